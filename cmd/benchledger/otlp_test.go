package main

import (
	"compress/gzip"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/benchledger/benchledger/internal/testdb"
)

// traceCollector keeps the names of received spans. It is busy at first.
type traceCollector struct {
	t        *testing.T
	mu       sync.Mutex
	requests int
	services []string
	spans    []string
	headers  http.Header
}

func (c *traceCollector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.requests++; c.requests == 1 {
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if r.Method != http.MethodPost || r.URL.Path != "/base/v1/traces" {
		c.t.Errorf("%s %s", r.Method, r.URL.Path)
	}
	c.headers = r.Header
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		reader, err := gzip.NewReader(body)
		if err != nil {
			c.t.Error(err)
			return
		}
		body = reader
	}
	content, err := io.ReadAll(body)
	if err != nil {
		c.t.Error(err)
	}
	var data collector.TracesData
	if err := proto.Unmarshal(content, &data); err != nil {
		c.t.Error(err)
	}
	for _, resource := range data.GetResourceSpans() {
		for _, attribute := range resource.GetResource().GetAttributes() {
			if attribute.GetKey() == "service.name" {
				c.services = append(c.services, attribute.GetValue().GetStringValue())
			}
		}
		for _, scope := range resource.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				c.spans = append(c.spans, span.GetName())
			}
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = w.Write([]byte("\x0a\x0a\x08\x02\x12\x06broken")) // partial_success: 2 spans rejected, "broken".
}

// Spans reach a collector over TLS with its own certificate, compressed, and are retried while
// it is busy.
func TestTracesAreSent(t *testing.T) {
	t.Parallel()
	received := &traceCollector{t: t}
	server := httptest.NewTLSServer(received)
	t.Cleanup(server.Close)
	certificate := filepath.Join(t.TempDir(), "collector.pem")
	if err := os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	p := serveDatabase(t, testdb.URL(t), "OTEL_EXPORTER_OTLP_ENDPOINT="+server.URL+"/base/", "OTEL_EXPORTER_OTLP_CERTIFICATE="+certificate,
		"OTEL_EXPORTER_OTLP_COMPRESSION=gzip", "OTEL_EXPORTER_OTLP_HEADERS=x-one=a%2Cb, x-two = c=d", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf")
	p.request(http.MethodGet, "/api/runs", "")
	p.terminate()

	if !slices.Contains(received.spans, "list-runs") || !slices.Contains(received.spans, "ListRuns") {
		t.Errorf("spans %q", received.spans)
	}
	if received.requests < 2 || len(received.services) == 0 || received.services[0] != "benchledger" {
		t.Errorf("%d requests, of %q", received.requests, received.services)
	}
	for name, want := range map[string]string{"X-One": "a,b", "X-Two": "c=d", "Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"} {
		if got := received.headers.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if log := p.stderr.String(); !strings.Contains(log, "the collector rejected some spans") || !strings.Contains(log, "broken") {
		t.Errorf("the log does not say what the collector rejected: %s", log)
	}
}

// Without a collector, only the spans are lost.
func TestTracesWithoutCollector(t *testing.T) {
	t.Parallel()
	p := serveDatabase(t, testdb.URL(t), "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://127.0.0.1:1/v1/traces")
	p.request(http.MethodGet, "/api/runs", "")
	p.terminate()
	if log := p.stderr.String(); !strings.Contains(log, "127.0.0.1:1/v1/traces") || !strings.Contains(log, "connection refused") {
		t.Errorf("the log does not say that spans were lost: %s", log)
	}
}

func TestInvalidTracing(t *testing.T) {
	t.Parallel()
	const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1"
	for name, test := range map[string]struct {
		env  []string
		want string
	}{
		"gRPC":                 {[]string{endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"}, `OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" is not supported: set it to http/protobuf`},
		"JSON, for traces":     {[]string{endpoint, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/json"}, `OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: "http/json" is not supported`},
		"an exporter":          {[]string{"OTEL_TRACES_EXPORTER=zipkin"}, `OTEL_TRACES_EXPORTER: "zipkin" is not supported: set it to otlp, console or none`},
		"a host alone":         {[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=localhost:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT must be a URL"},
		"insecure":             {[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=https://localhost:4318", "OTEL_EXPORTER_OTLP_INSECURE=true"}, "start the endpoint with http://"},
		"a header":             {[]string{endpoint, "OTEL_EXPORTER_OTLP_HEADERS=secret"}, "OTEL_EXPORTER_OTLP_HEADERS must be comma-separated key=value pairs"},
		"a compression":        {[]string{endpoint, "OTEL_EXPORTER_OTLP_COMPRESSION=zstd"}, "set it to gzip or none"},
		"a timeout":            {[]string{endpoint, "OTEL_EXPORTER_OTLP_TIMEOUT=10s"}, "not a number of milliseconds"},
		"no certificate":       {[]string{endpoint, "OTEL_EXPORTER_OTLP_CERTIFICATE=/dev/null"}, "/dev/null contains no PEM certificate"},
		"half a client's pair": {[]string{endpoint, "OTEL_EXPORTER_OTLP_CLIENT_KEY=/dev/null"}, "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := run(t, append(test.env, "DATABASE_URL=postgres://127.0.0.1:1/none"), "serve", "--addr=127.0.0.1:0")
			wantOutput(t, code, stderr, 1, test.want)
			if strings.Contains(stdout+stderr, "secret") {
				t.Errorf("a header is shown: %s", stderr)
			}
		})
	}
}
