package api_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/benchledger/benchledger/api"
	"github.com/benchledger/benchledger/keys"
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

// The responses to unknown keys are the same, however a key differs from a valid one.
func TestKeysCannotBeEnumerated(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.makeKey("mine", keys.ScopeSubmit)
	unknown, _ := keys.New()
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
		connection := s.dial()
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

// A comparison with == ends at the first difference, and so may say how much of a key is
// right: there is none in the code.
func TestKeysAreComparedInConstantTime(t *testing.T) {
	t.Parallel()
	var files []string
	for _, pattern := range []string{"*.go", "../keys/*.go"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		files = append(files, found...)
	}
	secret := func(e ast.Expr) bool {
		if slice, ok := e.(*ast.SliceExpr); ok {
			e = slice.X
		}
		if field, ok := e.(*ast.SelectorExpr); ok {
			e = field.Sel
		}
		name, ok := e.(*ast.Ident)
		return ok && slices.Contains([]string{"key", "hash", "other", "otherHash", "APISecretKey", "Hash"}, name.Name)
	}
	compared := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		files := token.NewFileSet()
		parsed, err := parser.ParseFile(files, file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BinaryExpr:
				_, literal := n.Y.(*ast.BasicLit) // Whether there is one is no secret.
				if (n.Op == token.EQL || n.Op == token.NEQ) && !literal && (secret(n.X) || secret(n.Y)) {
					t.Errorf("%s compares a key by %s", files.Position(n.Pos()), n.Op)
				}
			case *ast.CallExpr:
				called, ok := n.Fun.(*ast.SelectorExpr)
				if !ok || !slices.ContainsFunc(n.Args, secret) {
					break
				}
				switch called.Sel.Name {
				case "ConstantTimeCompare":
					compared++
				case "Equal", "EqualFold", "Compare", "HasPrefix":
					t.Errorf("%s compares a key by %s", files.Position(n.Pos()), called.Sel.Name)
				}
			}
			return true
		})
	}
	if compared != 2 {
		t.Errorf("%d comparisons in constant time, want those of the shared key and of keys of one's own", compared)
	}
}

// A proxy may serve BenchLedger below a path prefix.
func TestBehindAPrefix(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for i := range 3 {
		s.submit(leastRun(fmt.Sprint("run-", i), object{"batchId": fmt.Sprint("batch-", i)})).want(http.StatusCreated)
	}
	target, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(http.StripPrefix("/benchledger", httputil.NewSingleHostReverseProxy(target)))
	t.Cleanup(proxy.Close)
	get := func(address string) (string, *http.Response) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%s: status %d, %v", address, response.StatusCode, err)
		}
		return string(body), response
	}
	resolve := func(response *http.Response, reference string) string {
		t.Helper()
		resolved, err := response.Request.URL.Parse(reference)
		if err != nil {
			t.Fatal(err)
		}
		return resolved.String()
	}
	for _, list := range []string{"/api/runs?limit=2", "/api/batches?limit=2"} {
		_, first := get(proxy.URL + "/benchledger" + list)
		body, _ := get(resolve(first, nextLink.FindStringSubmatch(first.Header.Get("Link"))[1]))
		if !strings.Contains(body, `"run-0"`) && !strings.Contains(body, `"batch-0"`) {
			t.Errorf("%s: the second page is %s", list, body)
		}
	}
	page, response := get(proxy.URL + "/benchledger/docs")
	references := regexp.MustCompile(`(?:href|src)="([^"]+)"`).FindAllStringSubmatch(page, -1)
	if len(references) < 4 {
		t.Fatalf("%d references in %s", len(references), page)
	}
	for _, reference := range references {
		get(resolve(response, reference[1]))
	}
	spec := regexp.MustCompile(`"swaggerJsonUrl":"([^"]+)"`).FindStringSubmatch(page)
	if spec == nil {
		t.Fatal("the page does not name the document")
	}
	get(resolve(response, spec[1]))
}
