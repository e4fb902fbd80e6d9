package main

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/benchledger/benchledger/internal/testdb"
)

// Whose trace a request belongs to, and where it is from, is believed from trusted
// proxies alone.
func TestUntrustedTraces(t *testing.T) {
	t.Parallel()
	const traceID, spanID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	headers := http.Header{
		"Traceparent": {"00-" + traceID + "-" + spanID + "-01"}, "B3": {traceID + "-" + spanID + "-1"}, "X-Forwarded-For": {"198.51.100.1, 203.0.113.7"},
	}
	for name, test := range map[string]struct {
		env     []string
		address string
		goesOn  bool
	}{
		"a stranger":        {nil, "127.0.0.1", false},
		"a trusted proxy":   {[]string{"TRUSTED_PROXIES=127.0.0.1"}, "203.0.113.7", true},
		"another form":      {[]string{"TRUSTED_PROXIES=127.0.0.1", "OTEL_PROPAGATORS=b3"}, "203.0.113.7", true},
		"no form, a proxy":  {[]string{"TRUSTED_PROXIES=127.0.0.1", "OTEL_PROPAGATORS=none"}, "203.0.113.7", false},
		"another's proxies": {[]string{"TRUSTED_PROXIES=203.0.113.0/24"}, "127.0.0.1", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := serveDatabase(t, testdb.URL(t), append(test.env, "OTEL_TRACES_EXPORTER=console")...)
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+"/livez", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			request.Header = headers
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			p.terminate()
			_, spans, _ := strings.Cut(p.stdout.String(), "\n\n") // What it prints first says where it serves.
			for decoder := json.NewDecoder(strings.NewReader(spans)); ; {
				var span struct {
					Name        string
					SpanContext struct{ TraceID string }
					Attributes  []struct {
						Key   string
						Value struct{ Value any }
					}
				}
				if err := decoder.Decode(&span); errors.Is(err, io.EOF) {
					t.Fatalf("no span of the request: %s", spans)
				} else if err != nil {
					t.Fatalf("%v: %s", err, spans)
				}
				if span.Name != "get-liveness" {
					continue
				}
				if goesOn := span.SpanContext.TraceID == traceID; goesOn != test.goesOn {
					t.Errorf("it goes on with the caller's trace: %t, want %t", goesOn, test.goesOn)
				}
				for _, attribute := range span.Attributes {
					if attribute.Key == "client.address" && attribute.Value.Value != test.address {
						t.Errorf("it is from %v, want %s", attribute.Value.Value, test.address)
					}
				}
				return
			}
		})
	}
}

// TestMetricsServer serves metrics on all addresses, with clients that are slow, and takes a long profile.
func TestMetricsServer(t *testing.T) {
	t.Parallel()
	_, port, err := net.SplitHostPort(freeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	p := serveDatabase(t, testdb.URL(t), "METRICS_ADDR=0.0.0.0:"+port)
	wantOutput(t, 0, p.stderr.String(), 0, "level=WARN", "without a key on all addresses")
	address := "127.0.0.1:" + port

	t.Run("a profile of half a minute", func(t *testing.T) {
		t.Parallel()
		begun := time.Now()
		response, err := http.Get("http://" + address + "/debug/pprof/profile?seconds=31")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if content, err := io.ReadAll(response.Body); err != nil || len(content) == 0 || response.StatusCode != http.StatusOK || time.Since(begun) < 31*time.Second {
			t.Errorf("%s, %d bytes after %s: %v", response.Status, len(content), time.Since(begun), err)
		}
	})
	for name, test := range map[string]struct{ request, want string }{
		"slow headers":    {"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: ", ""},
		"endless headers": {"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Long: " + strings.Repeat("x", 80<<10) + "\r\n\r\n", "HTTP/1.1 431 "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			connection, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer connection.Close()
			_, _ = io.WriteString(connection, test.request) // It may be refused before its end.
			if err := connection.SetReadDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(connection)
			if errors.Is(err, os.ErrDeadlineExceeded) || !strings.HasPrefix(string(answer), test.want) {
				t.Errorf("%q %v", answer, err)
			}
		})
	}
}
