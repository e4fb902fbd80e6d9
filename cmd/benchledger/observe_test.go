package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/benchledger/benchledger/internal/testdb"
)

// Only trusted proxies can set the trace and the client address of a request.
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
			_, spans, _ := strings.Cut(p.stdout.String(), "\n") // The first line has the address.
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
