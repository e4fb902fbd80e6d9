package api_test

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/benchledger/benchledger/api"
	"github.com/benchledger/benchledger/internal/testdb"
)

// What would be SQL, a path, a header or a line of a log, if it were not a value.
var hostile = []string{
	`'; drop table benchmark_runs; --`, `' or '1'='1`, `" or ""="`, `\'; select pg_sleep(10); --`, `$1`, `$$;$$`, `%' or suite like '%`,
	`{suite}`, `../../etc/passwd`, `..\..\windows`, `%2e%2e%2f`, `<script>alert(1)</script>`, `${jndi:ldap://x}`, `{{7*7}}`, `a b&c=d#e?f`, `😀"\`,
}

func TestHostileValuesAreValues(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for i, value := range hostile {
		id := fmt.Sprint(value, i)
		s.submit(leastRun(id, object{
			"batchId": id, "suite": value, "scenario": value, "tier": value, "agent": value, "model": value, "metadata": object{value: value},
			"evaluations": []object{{"evaluatorName": value, "score": 1, "maxScore": 1, "details": value}},
		})).want(http.StatusCreated)
	}
	for i, value := range hostile {
		id, escaped := fmt.Sprint(value, i), url.QueryEscape(value)
		for _, filter := range []string{"suite", "scenario", "agent"} {
			if got := runIDs(s.get("/api/runs?" + filter + "=" + escaped)); !slices.Equal(got, []string{id}) {
				t.Errorf("%s=%s: %q", filter, value, got)
			}
		}
		if got := runIDs(s.get("/api/runs?suite=" + escaped + "&agent=" + escaped)); !slices.Equal(got, []string{id}) {
			t.Errorf("two filters %s: %q", value, got)
		}
		run := decode[struct{ Run object }](s.get("/api/runs/" + url.PathEscape(id)).want(http.StatusOK)).Run
		if run["suite"] != value || run["metadata"].(object)[value] != value {
			t.Errorf("%s is read back as %v", value, run)
		}
		s.get("/api/batches/" + url.PathEscape(id)).want(http.StatusOK)
		s.get("/api/runs?status=" + escaped).wantProblem(http.StatusUnprocessableEntity)
		s.get("/api/runs?limit=" + escaped).wantProblem(http.StatusUnprocessableEntity)
		s.get("/api/runs?cursor=" + escaped).wantProblem(http.StatusUnprocessableEntity)
		s.get("/api/runs?" + escaped + "=x").wantProblem(http.StatusUnprocessableEntity)
	}
	if got := len(runIDs(s.get("/api/runs?limit=1000"))); got != len(hostile) {
		t.Errorf("%d runs, want %d", got, len(hostile))
	}
}

// What a client may not say of a run is not taken from it.
func TestMassAssignment(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.submit(leastRun("first")).want(http.StatusCreated)
	s.submit(leastRun("run-1", object{
		"id": 999, "createdAt": "1999-01-01T00:00:00Z", "startedAtGiven": false, "started_at_given": false, "submittedBy": "root", "RunID": "other", "run_id": "other",
		"evaluations": []object{{"evaluatorName": "e", "score": 1, "maxScore": 1, "id": 999, "runId": "first", "run_id": "first", "position": 7, "createdAt": "1999-01-01T00:00:00Z"}},
		"telemetry":   object{"tokensIn": 1, "id": 999, "runId": "first", "run_id": "first"},
	})).want(http.StatusCreated)
	got := s.get("/api/runs/run-1").want(http.StatusOK)
	if strings.Contains(got.body, "999") || strings.Contains(got.body, "1999") || strings.Contains(got.body, "root") || strings.Contains(got.body, "other") {
		t.Errorf("taken from the client: %s", got.body)
	}
	if evaluations := decode[[]object](s.get("/api/runs/first/evaluations")); len(evaluations) != 0 {
		t.Errorf("another run has %v", evaluations)
	}
	s.submitBatch(object{"batchId": "b", "submittedBy": "root", "runs": []object{leastRun("run-2")}}).want(http.StatusCreated)
	s.get("/api/runs/run-2").wantProblem(http.StatusNotFound)
}

// An answer says no more of a key than that it does not hold.
func TestKeysCannotBeEnumerated(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.makeKey("mine", api.ScopeSubmit)
	unknown, _ := api.NewKey()
	answers := map[string]bool{}
	for _, wrong := range []string{"wrong", unknown, "mine", key[:3], strings.Repeat("x", 10_000)} {
		got := s.with(wrong, http.MethodPost, "/api/results", leastRun("x")).want(http.StatusForbidden)
		answers[decode[struct{ Detail string }](got).Detail] = true
	}
	if len(answers) != 1 {
		t.Errorf("answers differ: %v", answers)
	}
}

func TestHeadersCannotBeInjected(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for _, request := range []string{
		"GET /api/runs?suite=a%0d%0aX-Injected:%20yes&limit=1 HTTP/1.1\r\nHost: x\r\n",
		"GET /health HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\rX-Injected: yes\r\n",
		"GET /health HTTP/1.1\r\nHost: x\r\nX-Request-Id: a%0d%0aX-Injected: yes\r\n",
		"GET /health HTTP/1.1\r\nHost: x\r\nOrigin: https://dashboard.example\rX-Injected: yes\r\n",
		"GET /api/runs/a%0d%0aX-Injected:%20yes HTTP/1.1\r\nHost: x\r\n",
	} {
		connection, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
		if _, err := io.WriteString(connection, request+"Connection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(bufio.NewReader(connection), nil)
		if err != nil {
			t.Fatalf("%q: %v", request, err)
		}
		defer response.Body.Close()
		if response.Header.Get("X-Injected") != "" {
			t.Errorf("%q is answered with %v", request, response.Header)
		}
	}
}

func TestLogLinesCannotBeInjected(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]func(io.Writer) slog.Handler{
		"JSON": func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) },
		"text": func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setup(t)
			log := &syncBuffer{}
			server := httptest.NewServer(api.New(api.Config{Pool: s.pool, APISecretKey: key, Logger: api.NewLogger(handler(log))}))
			defer server.Close()
			s.url = server.URL
			s.do(http.MethodGet, "/api/runs/a%0alevel=ERROR%20msg=forged%0a", nil, "X-Request-Id", "a level=ERROR", "X-Forwarded-For", "1.2.3.4\tforged")
			s.do(http.MethodGet, "/%1b[2Jforged%0d%0a", nil)
			lines := strings.Split(strings.TrimSpace(log.String()), "\n")
			if len(lines) != 2 || strings.ContainsAny(log.String(), "\x1b\r") {
				t.Errorf("%d lines of 2 requests: %q", len(lines), log)
			}
			for _, line := range lines {
				if name == "JSON" && !json.Valid([]byte(line)) || strings.HasPrefix(line, "level=ERROR") {
					t.Errorf("line %q", line)
				}
			}
		})
	}
}

func TestSecureHeaders(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for _, path := range []string{"/api/runs", "/api/runs/none", "/health", "/nope", "/openapi.yaml", "/docs/"} {
		header := s.get(path).header
		if header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Referrer-Policy") != "no-referrer" ||
			!strings.Contains(header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
			t.Errorf("%s: %v", path, header)
		}
		if got, want := header.Get("Cache-Control") == "no-store", strings.HasPrefix(path, "/api/"); got != want {
			t.Errorf("%s: Cache-Control %q", path, header.Get("Cache-Control"))
		}
		if server := header.Get("Server") + header.Get("X-Powered-By"); server != "" {
			t.Errorf("%s says what it runs on: %s", path, server)
		}
	}
}

// How long the refusal of a key takes does not say how much of it is right. Medians of
// requests in turn are compared, several times: a comparison that ends at the first
// difference by intent, or a slow one for some keys, shows each time.
func TestKeyTiming(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("k", 4096)
	handler := api.New(api.Config{Pool: testdb.New(t), APISecretKey: long, Logger: api.NewLogger(slog.DiscardHandler)})
	refuse := func(key string) time.Duration {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/results", http.NoBody)
		request.Header.Set("Authorization", "Bearer "+key)
		answer, start := httptest.NewRecorder(), time.Now()
		handler.ServeHTTP(answer, request)
		took := time.Since(start)
		if answer.Code != http.StatusForbidden {
			t.Fatalf("status %d", answer.Code)
		}
		return took
	}
	nearly, far := long[:4095]+"x", "x"+long[1:]
	var ratios []float64
	for range 5 {
		var nearlyTook, farTook []time.Duration
		for range 500 {
			nearlyTook, farTook = append(nearlyTook, refuse(nearly)), append(farTook, refuse(far))
		}
		slices.SortFunc(nearlyTook, cmp.Compare)
		slices.SortFunc(farTook, cmp.Compare)
		ratio := float64(nearlyTook[250]) / float64(farTook[250])
		if ratio > 0.9 && ratio < 1.1 {
			return
		}
		ratios = append(ratios, ratio)
	}
	t.Errorf("a key that is nearly right takes %.2f times as long to refuse as one that is far off", ratios)
}
