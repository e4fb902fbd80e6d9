package benchledger

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestNormalize checks which addresses mean the same server.
func TestNormalize(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"http://h:1": "http://h:1", "http://h:1/": "http://h:1", "http://h:1//": "http://h:1", "http://h:1/api": "http://h:1", "http://h:1/api/": "http://h:1",
		"http://h/prefix/api": "http://h/prefix", "http://h/prefix//api//": "http://h/prefix", "http://h/prefix/": "http://h/prefix", "http://h/myapi": "http://h/myapi",
		"http://api": "http://api", "https://api/": "https://api", "http://api/api": "http://api", "http://h/api/v2": "http://h/api/v2",
		"": "", "::": "::", // What an edited spool may have.
	} {
		if got := normalize(address); got != want {
			t.Errorf("%q is %q, want %q", address, got, want)
		}
	}
}

// answer is a response to a request.
func answer(t *testing.T, method, address string, status int, header map[string]string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response := &http.Response{StatusCode: status, Header: http.Header{}, Request: request}
	for name, value := range header {
		response.Header.Set(name, value)
	}
	return response
}

// TestCheck checks which responses count as responses of BenchLedger.
func TestCheck(t *testing.T) {
	t.Parallel()
	const address = "http://user:secret@h:1/prefix/api/results?suite=a"
	problem := func(status int) string {
		return fmt.Sprintf(`{"type":"about:blank","title":"T","status":%d,"detail":"D.","requestId":"R"}`, status)
	}
	const isForeign = "http://user:xxxxx@h:1/prefix answered %s, which is not a response of BenchLedger: is the address right, or is a proxy in front of the server?"
	for _, test := range []struct {
		name, contentType, body string
		status                  int
		want                    string
	}{
		{"a problem", "application/problem+json", problem(404), 404, "404 T: D. (request R)"},
		{"a problem with a charset", "Application/Problem+JSON; charset=utf-8", problem(422), 422, "422 T: D. (request R)"},
		{"a page", "text/html; charset=utf-8", "<p>", 404, fmt.Sprintf(isForeign, "404 Not Found (text/html)")},
		{"nothing", "", "", 403, fmt.Sprintf(isForeign, "403 Forbidden")},
		{"JSON", "application/json", problem(400), 400, fmt.Sprintf(isForeign, "400 Bad Request (application/json)")},
		{"a problem of another server", "application/problem+json", `{"title":"T","status":413,"detail":"D."}`, 413, fmt.Sprintf(isForeign, "413 Request Entity Too Large (application/problem+json)")},
		{"another status", "application/problem+json", problem(421), 425, fmt.Sprintf(isForeign, "425 Too Early (application/problem+json)")},
		{"other types", "application/problem+json", `{"title":1,"status":403,"detail":"D.","requestId":"R"}`, 403, fmt.Sprintf(isForeign, "403 Forbidden (application/problem+json)")},
		{"an array", "application/problem+json", `[]`, 403, fmt.Sprintf(isForeign, "403 Forbidden (application/problem+json)")},
		{"no JSON", "application/problem+json", `{`, 503, fmt.Sprintf(isForeign, "503 Service Unavailable (application/problem+json)")},
		{"a page for a receipt", "text/html", "<p>", 200, fmt.Sprintf(isForeign, "200 OK (text/html)")},
		{"no content", "application/json", "", 204, fmt.Sprintf(isForeign, "204 No Content (application/json)")},
		{"other JSON", "application/json", `{"hello":1}`, 200, fmt.Sprintf(isForeign, "200 OK (application/json)")},
		{"an array of other JSON", "application/json", `[{"hello":1}]`, 200, fmt.Sprintf(isForeign, "200 OK (application/json)")},
		{"an array of numbers", "application/json", `[1]`, 200, fmt.Sprintf(isForeign, "200 OK (application/json)")},
		{"a receipt", "application/json", `{"runId":"a"}`, 201, ""},
		{"a run", "application/json", ` [{"runId":"a"}]`, 200, ""},
		{"no runs", "application/json", `[]`, 200, ""},
		{"null", "application/json", `{"runId":null}`, 200, ""},
	} {
		got := ""
		if err := Check(answer(t, http.MethodPost, address, test.status, map[string]string{"Content-Type": test.contentType}), []byte(test.body), "runId"); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}

	for location, want := range map[string]string{
		"https://other/sign-in": "http://user:xxxxx@h:1/prefix redirects to https://other/sign-in: set the server address to where BenchLedger is",
		"":                      fmt.Sprintf(isForeign, "308 Permanent Redirect"),
	} {
		err := Check(answer(t, http.MethodPost, address, http.StatusPermanentRedirect, map[string]string{"Location": location}), nil)
		if err == nil || err.Error() != want {
			t.Errorf("a redirect to %q: %v, want %s", location, err, want)
		}
	}

	var foreign *ForeignError
	err := Check(answer(t, http.MethodGet, "http://h/livez", http.StatusServiceUnavailable, map[string]string{"Retry-After": "7"}), nil)
	if !errors.As(err, &foreign) || foreign.Server != "http://h" || !foreign.Retriable() || foreign.RetryAfter != 7*time.Second {
		t.Errorf("%#v", err)
	}
}

// TestCheckOfKeys checks the message of an error about the API key.
func TestCheckOfKeys(t *testing.T) {
	t.Parallel()
	const local = "; a local server (`benchledger serve`) accepts the key dev-local-key"
	for _, test := range []struct {
		method, address, scope string
		isLocal                bool
	}{
		{http.MethodPost, "http://127.0.0.1:1/api/results", "submit", true},
		{http.MethodGet, "http://[::1]:1/api/runs", "read", true},
		{http.MethodPost, "http://localhost/api/results", "submit", true},
		{http.MethodPost, "https://bench.example/api/results", "submit", false},
		{http.MethodPut, "https://bench.example/api/baselines/main", "submit", false},
		{http.MethodDelete, "https://bench.example/api/baselines/main", "submit", false},
		{http.MethodGet, "https://bench.example/api/baselines/main", "read", false},
	} {
		for _, status := range []int{401, 403} {
			want := fmt.Sprintf("%d T: D. (request R); set BENCHLEDGER_API_KEY (or APIKey, --api-key) to a key with the scope %s", status, test.scope)
			if test.isLocal {
				want += local
			}
			body := fmt.Sprintf(`{"type":"about:blank","title":"T","status":%d,"detail":"D.","requestId":"R"}`, status)
			err := Check(answer(t, test.method, test.address, status, map[string]string{"Content-Type": "application/problem+json"}), []byte(body))
			if err == nil || err.Error() != want {
				t.Errorf("%v, want %s", err, want)
			}
		}
	}
}

// TestNewKeepsOptions checks that New does not change the slice of the caller.
func TestNewKeepsOptions(t *testing.T) {
	t.Parallel()
	options := make([]ClientOption, 2)
	options[0] = func(*Client) error { return nil }
	if _, err := New("http://h", "", options[:1]...); err != nil || options[1] != nil {
		t.Errorf("%v; the options of the caller are changed: %t", err, options[1] != nil)
	}
}

// transport returns responses without a network.
type transport func(*http.Request) *http.Response

// RoundTrip returns the response to a request.
func (f transport) RoundTrip(request *http.Request) (*http.Response, error) {
	_, _ = io.Copy(io.Discard, request.Body)
	return f(request), nil
}

// TestSubmitLines checks that only one receipt per line is a response, and that redirects are not
// followed.
func TestSubmitLines(t *testing.T) {
	t.Parallel()
	const receipt = `{"line":1,"outcome":"recorded","warnings":["unknown field"]}`
	for body, isOurs := range map[string]bool{
		receipt: true, receipt + receipt: false, "": false, `{"line":2,"outcome":"recorded"}`: false, `{"line":1,"outcome":"taken"}`: false, `{"line":1`: false, `{"success":true}`: false,
	} {
		requests := 0
		status := http.StatusOK
		if body == "" {
			status = http.StatusFound
		}
		given := &http.Client{Transport: transport(func(request *http.Request) *http.Response {
			requests++
			response := answer(t, request.Method, request.URL.String(), status, map[string]string{"Content-Type": "application/x-ndjson", "Location": "/elsewhere"})
			response.Body = io.NopCloser(strings.NewReader(body))
			return response
		})}
		client, err := New("http://h/api/", "", WithHTTPClient(given))
		if err != nil {
			t.Fatal(err)
		}
		receipts, err := client.SubmitLines(t.Context(), &SubmitRunsParams{}, bytes.NewReader([]byte("{}\n \n")))
		var foreign *ForeignError
		if errors.As(err, &foreign) == isOurs || isOurs && (len(receipts) != 1 || len(receipts[0].Warnings) != 1) || requests != 1 {
			t.Errorf("%s: %v, %v after %d requests", body, receipts, err, requests)
		}
		if given.CheckRedirect != nil {
			t.Error("the given HTTP client is changed")
		}
	}
}
