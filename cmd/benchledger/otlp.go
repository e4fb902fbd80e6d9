package main

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	collector "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

const (
	// otlpTimeout is how long one request to the collector may take, unless OTEL_EXPORTER_OTLP_TIMEOUT says otherwise.
	otlpTimeout = 10 * time.Second
	// otlpRetry is how long a batch is retried while the collector is busy. The SDK allows 30 s for a batch.
	otlpRetry = 25 * time.Second
	// maxOTLPResponse is the maximum size that is read of a response.
	maxOTLPResponse = 64 << 10
)

// otlpClient sends spans to a collector by OTLP over HTTP, with bodies in protobuf. It replaces otlptracehttp,
// which links gRPC without using it (open-telemetry/opentelemetry-go#2579).
type otlpClient struct {
	endpoint string
	headers  http.Header
	gzip     bool
	http     *http.Client
}

// newOTLPClient reads OpenTelemetry's standard environment variables. It rejects unsupported values.
func newOTLPClient() (*otlpClient, error) {
	if name, protocol := otlpVariable("PROTOCOL"); protocol != "" && protocol != "http/protobuf" {
		return nil, fmt.Errorf("%s: %q is not supported: set it to http/protobuf, or unset it, and use the collector's HTTP port, 4318 by default", name, protocol)
	}
	c := &otlpClient{headers: http.Header{"Content-Type": {"application/x-protobuf"}, "User-Agent": {"benchledger/" + version}}}
	if err := errors.Join(c.readEndpoint(), c.readHeaders()); err != nil {
		return nil, err
	}
	switch name, compression := otlpVariable("COMPRESSION"); compression {
	case "", "none":
	case "gzip":
		c.gzip = true
		c.headers.Set("Content-Encoding", "gzip")
	default:
		return nil, fmt.Errorf("%s: %q is not supported: set it to gzip or none", name, compression)
	}
	timeout := otlpTimeout
	if name, text := otlpVariable("TIMEOUT"); text != "" {
		milliseconds, err := strconv.Atoi(text)
		if err != nil || milliseconds <= 0 {
			return nil, fmt.Errorf("%s: %q is not a number of milliseconds", name, text)
		}
		timeout = time.Duration(milliseconds) * time.Millisecond
	}
	config, err := otlpTLS()
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // It is one.
	transport.TLSClientConfig = config
	c.http = &http.Client{Transport: transport, Timeout: timeout}
	return c, nil
}

// otlpVariable returns the value of a variable, and its name: the one for traces takes precedence over the one for all signals.
func otlpVariable(name string) (variable, value string) {
	for _, prefix := range []string{"OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_"} {
		if value := strings.TrimSpace(os.Getenv(prefix + name)); value != "" {
			return prefix + name, value
		}
	}
	return "", ""
}

func (c *otlpClient) readEndpoint() error {
	name, text := otlpVariable("ENDPOINT")
	endpoint, err := url.Parse(cmp.Or(text, "http://localhost:4318"))
	if err != nil || endpoint.Scheme != "http" && endpoint.Scheme != "https" || endpoint.Host == "" {
		return fmt.Errorf("%s must be a URL, such as http://localhost:4318", name)
	}
	if name != "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" { // That one is used unchanged.
		endpoint = endpoint.JoinPath("v1", "traces")
	}
	if name, insecure := otlpVariable("INSECURE"); endpoint.Scheme == "https" && strings.EqualFold(insecure, "true") {
		return fmt.Errorf("%s is for gRPC: for a collector without TLS, start the endpoint with http://", name)
	}
	c.endpoint = endpoint.String()
	return nil
}

// readHeaders reads comma-separated key=value pairs. Values may be percent-encoded, and are secret.
func (c *otlpClient) readHeaders() error {
	name, text := otlpVariable("HEADERS")
	if text == "" {
		return nil
	}
	for pair := range strings.SplitSeq(text, ",") {
		key, value, found := strings.Cut(pair, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if key = strings.TrimSpace(key); !found || key == "" || err != nil {
			return fmt.Errorf("%s must be comma-separated key=value pairs with percent-encoded values", name)
		}
		c.headers.Set(key, value)
	}
	return nil
}

// otlpTLS returns the TLS configuration, with the trusted and the client certificates if set.
func otlpTLS() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if name, file := otlpVariable("CERTIFICATE"); file != "" {
		pem, err := os.ReadFile(file) //nolint:gosec // G304, G703: the file that the operator names
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if config.RootCAs = x509.NewCertPool(); !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: %s contains no PEM certificate", name, file)
		}
	}
	name, certificate := otlpVariable("CLIENT_CERTIFICATE")
	_, key := otlpVariable("CLIENT_KEY")
	if certificate == "" && key == "" {
		return config, nil
	}
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("%s and its key: %w", cmp.Or(name, "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"), err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}

// Start does nothing: connections are opened when needed.
func (*otlpClient) Start(context.Context) error { return nil }

// Stop does nothing: the program ends.
func (*otlpClient) Stop(context.Context) error { return nil }

// UploadTraces sends a batch of spans, and retries while the collector is busy.
func (c *otlpClient) UploadTraces(ctx context.Context, spans []*collector.ResourceSpans) error {
	// TracesData is encoded like the export request of OTLP, whose package links gRPC.
	body, err := proto.Marshal(&collector.TracesData{ResourceSpans: spans})
	if err != nil {
		return err
	}
	if c.gzip {
		var compressed bytes.Buffer
		writer := gzip.NewWriter(&compressed)
		_, writeErr := writer.Write(body)
		if err := errors.Join(writeErr, writer.Close()); err != nil {
			return err
		}
		body = compressed.Bytes()
	}
	_, err = backoff.Retry(ctx, func() (struct{}, error) { return struct{}{}, c.post(ctx, body) }, backoff.WithMaxElapsedTime(otlpRetry))
	return err
}

// post sends a body once. Its error is permanent unless a retry may succeed.
func (c *otlpClient) post(ctx context.Context, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint, bytes.NewReader(body))
	if err != nil {
		return backoff.Permanent(err)
	}
	request.Header = c.headers.Clone()
	response, err := c.http.Do(request)
	if err != nil {
		return backoff.Permanent(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, maxOTLPResponse))
	if err != nil {
		return backoff.Permanent(fmt.Errorf("read the collector's response: %w", err))
	}
	if response.StatusCode/100 == 2 {
		// The only field of the response is partial_success: which spans were rejected, and why. An empty one has two bytes.
		if len(content) > 2 && response.Header.Get("Content-Type") == "application/x-protobuf" {
			return backoff.Permanent(fmt.Errorf("the collector rejected some spans: %.200q", content))
		}
		return nil
	}
	err = fmt.Errorf("the collector at %s responded %s: %.200q", request.URL.Redacted(), response.Status, content)
	switch response.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		if seconds, convErr := strconv.Atoi(response.Header.Get("Retry-After")); convErr == nil && seconds >= 0 {
			err = errors.Join(err, backoff.RetryAfter(seconds))
		}
		return err
	}
	return backoff.Permanent(err)
}
