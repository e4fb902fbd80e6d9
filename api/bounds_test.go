package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/benchledger/benchledger/api"
	"github.com/benchledger/benchledger/internal/testdb"
	"github.com/benchledger/benchledger/keys"
)

func TestErrorsAreLimited(t *testing.T) {
	t.Parallel()
	s := setup(t)
	empty := func(n int) string {
		return strings.TrimSuffix(encode(t, leastRun("run-1")), "}") + `,"evaluations":[{}` + strings.Repeat(",{}", n-1) + `]}`
	}
	type fault struct{ Location, Message string }
	errors := func(a answer) []fault {
		return decode[struct{ Errors []fault }](a.want(http.StatusUnprocessableEntity)).Errors
	}

	found := errors(s.submit(empty(10_000)))
	if last := found[len(found)-1]; len(found) != 100 || last != (fault{"body", "and 29901 more"}) { // Each lacks three fields.
		t.Errorf("%d errors, the last is %v", len(found), last)
	}
	for _, n := range []int{10_001, 100_000} {
		if found := errors(s.submit(empty(n))); !slices.Equal(found, []fault{{"body.evaluations", "expected array length <= 10000"}}) {
			t.Errorf("%d evaluations: %v", n, found)
		}
	}
	s.submitBatch(`{"batchId":[` + strings.Repeat("{},", 200_000) + `{}]}`).wantProblem(http.StatusBadRequest)
	names := func(n int) string {
		var text strings.Builder
		for i := range n {
			fmt.Fprintf(&text, `"%d":0,`, i)
		}
		return strings.TrimSuffix(encode(t, leastRun("names")), "}") + `,"metadata":{` + strings.TrimSuffix(text.String(), ",") + `}}`
	}
	s.submit(names(99_000)).want(http.StatusCreated)
	if found := errors(s.submit(names(100_001))); !slices.Equal(found, []fault{{"body", "expected at most 100000 names of members"}}) {
		t.Errorf("many names: %v", found)
	}
	receipts := s.submitBulk("", empty(10_000)).wantReceipts()
	if len(receipts[0].Errors) != 20 {
		t.Errorf("a receipt has %d errors", len(receipts[0].Errors))
	}

	// What many lines have together is limited, too.
	lines := strings.Repeat(`{"telemetry":{"toolCalls":-1,"tokensIn":-1,"tokensOut":-1,"durationMs":-1},"a":1,"b":2,"c":3}`+"\n", 10_000)
	got := s.submitBulk("", lines)
	receipts = got.wantReceipts()
	named := 0
	for _, receipt := range receipts {
		if len(receipt.Errors) == 0 || len(receipt.Warnings) == 0 {
			t.Fatalf("line %d says nothing: %v", receipt.Line, receipt)
		}
		named += len(receipt.Errors) + len(receipt.Warnings)
	}
	if named > 50_000 || len(got.body) > 8<<20 {
		t.Errorf("%d errors and warnings, %d bytes", named, len(got.body))
	}
}

func TestDifferencesAreLimited(t *testing.T) {
	t.Parallel()
	s := setup(t)
	with := func(score int) object {
		return leastRun("run-1", object{"evaluations": slices.Repeat([]object{{"evaluatorName": "e", "score": score, "maxScore": 1}}, 10_000)})
	}
	s.submit(with(0)).want(http.StatusCreated)
	s.submit(with(0)).want(http.StatusOK)
	problem := decode[struct {
		Errors []struct{ Location, Message string }
	}](s.submit(with(1)).want(http.StatusConflict))
	if last := problem.Errors[len(problem.Errors)-1]; len(problem.Errors) != 101 || last.Location != "body" || last.Message != "and more" {
		t.Errorf("%d errors, the last is %v", len(problem.Errors), last)
	}
	receipts := s.submitBulk("", ndjson(t, with(1))).wantReceipts()
	if got := receipts[0].Errors; len(got) != 20 || got[19].Message != "and more" {
		t.Errorf("a receipt has %v", got)
	}
}

// TestPagesHaveABudget checks that a page of large runs is shorter than its limit, and that all
// pages have each run once.
func TestPagesHaveABudget(t *testing.T) {
	t.Parallel()
	s := start(t, api.Config{Pool: testdb.New(t), ConnectionWait: patience, MemoryLimit: 512 << 20})
	large := strings.Repeat("x", 1<<20)
	var want []string
	for i := range 20 {
		id := fmt.Sprintf("run-%02d", i)
		s.submit(leastRun(id, object{"batchId": "batch-a", "metadata": object{"log": large}})).want(http.StatusCreated)
		want = append(want, id)
	}
	s.submit(leastRun("run-20", object{"batchId": "batch-a", "metadata": object{"log": strings.Repeat("y", 7<<20)}})).want(http.StatusCreated)
	want = append(want, "run-20")

	pages := func(path string, read func(answer) []string) (all []string, n int) {
		for path != "" {
			got := s.get(path).want(http.StatusOK)
			if size := len(got.body); size > 17<<20 {
				t.Errorf("%s: %d bytes", path, size)
			}
			all = append(all, read(got)...)
			path = nextPage(got)
			n++
		}
		return all, n
	}
	listed, n := pages("/api/runs?limit=10000&suite=suite-a", runIDs)
	slices.Reverse(listed)
	if wantEqual(t, listed, want); n < 3 || n > 5 {
		t.Errorf("%d pages", n)
	}
	ofBatch := func(a answer) (ids []string) {
		for _, run := range decode[struct{ Runs []struct{ RunID string } }](a).Runs {
			ids = append(ids, run.RunID)
		}
		return ids
	}
	listed, n = pages("/api/batches/batch-a", ofBatch)
	if wantEqual(t, listed, want); n < 3 || n > 5 {
		t.Errorf("%d pages of a batch", n)
	}
	// A cursor belongs to its batch.
	cursor := nextPage(s.get("/api/batches/batch-a"))
	s.submitBatch(object{"batchId": "batch-b"}).want(http.StatusCreated)
	s.get(strings.Replace(cursor, "batch-a", "batch-b", 1)).wantProblem(http.StatusUnprocessableEntity)

	for i := range 9 {
		s.submitBatch(object{"batchId": fmt.Sprint("large-", i), "metadata": object{"log": large}}).want(http.StatusCreated)
	}
	if first := s.get("/api/batches?limit=10000").want(http.StatusOK); nextPage(first) == "" {
		t.Error("the first page has all batches")
	}
}

// TestManyRunsOfABatch checks that a response has at most 10,000 runs of a batch.
func TestManyRunsOfABatch(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.submitBatch(object{"batchId": "batch-a"}).want(http.StatusCreated)
	s.exec(`insert into benchmark_runs (run_id, batch_id, suite, scenario, tier, agent, status, started_at, started_at_given, is_successful)
		select 'run-' || n, 'batch-a', 's', 'c', 't', 'a', 'completed', now(), false, false from generate_series(1, 10001) as n`)
	type batch struct {
		TotalRuns int
		Runs      []json.RawMessage
	}
	first := s.get("/api/batches/batch-a")
	second := s.get(nextPage(first))
	if a, b := decode[batch](first), decode[batch](second); a.TotalRuns != 10_001 || len(a.Runs) != 10_000 || b.TotalRuns != 10_001 || len(b.Runs) != 1 {
		t.Errorf("%d and %d runs of %d", len(a.Runs), len(b.Runs), a.TotalRuns)
	}
	if next := nextPage(second); next != "" {
		t.Errorf("after the last: %s", next)
	}
}

// TestFutureTimes checks that only an administrator may submit times of the far future: they would
// come first in every list.
func TestFutureTimes(t *testing.T) {
	t.Parallel()
	s := setup(t)
	ci, admin := s.makeKey("ci", keys.ScopeSubmit), s.makeKey("admin", keys.ScopeAdmin)
	soon, late := time.Now().Add(23*time.Hour).Format(time.RFC3339), time.Now().Add(25*time.Hour).Format(time.RFC3339)
	for _, field := range []string{"startedAt", "completedAt"} {
		for _, value := range []any{late, "9999-12-31T23:59:59Z", 253402300799000} {
			run := leastRun("late-"+field, object{field: value})
			if found := s.with(ci, http.MethodPost, "/api/results", run).wantProblem(http.StatusUnprocessableEntity); found["body."+field] == "" {
				t.Errorf("%s %v: %v", field, value, found)
			}
			s.do(http.MethodPost, "/api/results/bulk", ndjson(t, run), "Authorization", "Bearer "+ci).wantReceipts("1 late-" + field + " refused body." + field)
		}
		s.with(ci, http.MethodPost, "/api/results", leastRun("soon-"+field, object{field: soon})).want(http.StatusCreated)
		s.with(admin, http.MethodPost, "/api/results", leastRun("admin-"+field, object{field: late})).want(http.StatusCreated)
		s.submit(leastRun("shared-"+field, object{field: late})).want(http.StatusCreated)
	}
	for _, field := range []string{"createdAt", "completedAt"} {
		batch := object{"batchId": "batch-a", field: late}
		if found := s.with(ci, http.MethodPost, "/api/results/batch", batch).wantProblem(http.StatusUnprocessableEntity); found["body."+field] == "" {
			t.Errorf("%s: %v", field, found)
		}
		s.with(admin, http.MethodPost, "/api/results/batch", batch).want(http.StatusCreated)
	}
}

// TestRevokedKeyDuringBulk revokes a key while a request with it is sent.
func TestRevokedKeyDuringBulk(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for _, mode := range []string{"each", "atomic"} {
		name := "ci-" + mode
		ci := s.makeKey(name, keys.ScopeSubmit)
		lines := func(from, to int) string {
			var text strings.Builder
			for i := from; i < to; i++ {
				text.WriteString(encode(t, leastRun(fmt.Sprint(mode, i))) + "\n")
			}
			return text.String()
		}
		body, send := io.Pipe()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/api/results/bulk?mode="+mode, body)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+ci)
		answered := make(chan int, 1)
		go func() {
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Error(err)
				answered <- 0
				return
			}
			defer response.Body.Close()
			answered <- response.StatusCode
		}()
		if _, err := io.WriteString(send, lines(0, 251)); err != nil { // The server stores 250 at once.
			t.Fatal(err)
		}
		if mode == "each" {
			eventually(t, func() bool { return s.get("/api/runs/each249").status == http.StatusOK })
		}
		s.exec("update api_keys set revoked_at = now() where name = '" + name + "'")
		eventually(t, func() bool {
			return s.with(ci, http.MethodPost, "/api/results/batch", object{"batchId": "b"}).status == http.StatusForbidden
		})
		if _, err := io.WriteString(send, lines(251, 600)); err != nil {
			t.Fatal(err)
		}
		_ = send.Close() // It does not fail.
		if status := <-answered; status != http.StatusForbidden {
			t.Errorf("%s: status %d", mode, status)
		}
		s.get("/api/runs/" + mode + "599").wantProblem(http.StatusNotFound)
	}
	s.get("/api/runs/atomic0").wantProblem(http.StatusNotFound)
}

// TestLocalOnly has the server asked by names that others may have made (DNS rebinding).
func TestLocalOnly(t *testing.T) {
	t.Parallel()
	s := start(t, api.Config{Pool: testdb.New(t), ConnectionWait: patience, LocalOnly: true})
	for host, want := range map[string]int{
		"localhost": 200, "localhost:8787": 200, "LOCALHOST:1": 200, "127.0.0.1": 200, "127.0.0.1:80": 200, "[::1]": 200, "[::1]:8787": 200,
		"evil.test": 421, "evil.test:8787": 421, "localhost.evil.test": 421, "127.0.0.1.evil.test": 421, "10.0.0.1": 421, "": 421,
	} {
		connection := s.dial()
		fmt.Fprintf(connection, "GET /api/runs HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host)
		got, err := io.ReadAll(connection)
		if err != nil || !strings.HasPrefix(string(got), fmt.Sprintf("HTTP/1.1 %d ", want)) {
			t.Errorf("Host %q: %.100q, %v; want %d", host, got, err, want)
		}
	}
}

// TestChallenges checks what an answer about a key says in WWW-Authenticate (RFC 6750).
func TestChallenges(t *testing.T) {
	t.Parallel()
	s := setup(t)
	reader, revoked := s.makeKey("reader", keys.ScopeRead), s.makeKey("revoked", keys.ScopeSubmit)
	s.exec("update api_keys set revoked_at = now() where name = 'revoked'")
	const invalid = `Bearer realm="benchledger", error="invalid_token"`
	for key, want := range map[string]string{
		"":      `Bearer realm="benchledger"`,
		"wrong": invalid, revoked: invalid,
		reader: `Bearer realm="benchledger", error="insufficient_scope", scope="submit"`,
	} {
		if got := s.with(key, http.MethodPost, "/api/results", leastRun("run-1")); got.header.Get("WWW-Authenticate") != want {
			t.Errorf("%q: status %d, %q, want %q", key, got.status, got.header.Get("WWW-Authenticate"), want)
		}
	}
}

// TestLoggedPathsAreShort checks that a long path does not fill the log.
func TestLoggedPathsAreShort(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.get("/" + strings.Repeat("x", 50_000)).wantProblem(http.StatusNotFound)
	eventually(t, func() bool { return strings.Contains(s.log.String(), `"path"`) })
	if size := len(s.log.String()); size > 2000 {
		t.Errorf("the log has %d bytes", size)
	}
}

// TestUnknownPathsAreLimited checks that what reaches no operation counts as well.
func TestUnknownPathsAreLimited(t *testing.T) {
	t.Parallel()
	s := start(t, api.Config{Pool: testdb.New(t), ConnectionWait: patience, RequestsPerAddress: 1})
	eventually(t, func() bool { return s.get("/nowhere").status == http.StatusTooManyRequests })
	s.get("/livez").want(http.StatusOK)
	s.get("/readyz").want(http.StatusOK)
}

// TestManyRequestsOfOneSender has requests under way whose bodies do not arrive: those of one key and
// one address are limited, others and health checks go on.
func TestManyRequestsOfOneSender(t *testing.T) {
	t.Parallel()
	s := setup(t)
	slow := s.makeKey("slow", keys.ScopeSubmit)
	begin := func() {
		fmt.Fprintf(s.dial(), "POST /api/results HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 100000\r\n\r\n", slow)
	}
	for range 300 {
		begin()
	}
	eventually(t, func() bool {
		begin() // A try that is under way may take the place of one.
		return s.with(slow, http.MethodPost, "/api/results", leastRun("run-1")).status == http.StatusTooManyRequests
	})
	s.submit(leastRun("run-2")).want(http.StatusCreated)
	s.get("/api/runs").want(http.StatusOK)
	for _, path := range []string{"/health", "/livez", "/readyz"} {
		s.get(path).want(http.StatusOK)
	}
}

// TestUnreadResponse has a client that does not read: its connection is closed.
func TestUnreadResponse(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for i := range 8 {
		s.submit(leastRun(fmt.Sprint("run-", i), object{"metadata": object{"log": strings.Repeat("x", 1<<20)}})).want(http.StatusCreated)
	}
	connection := s.dial()
	if err := connection.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil { //nolint:forcetypeassert // it dials tcp
		t.Fatal(err)
	}
	fmt.Fprint(connection, "GET /api/runs?limit=8 HTTP/1.1\r\nHost: x\r\n\r\n")
	eventually(t, func() bool { return strings.Contains(s.log.String(), `"operation":"list-runs"`) }) // The request has ended.
	if got, err := io.ReadAll(connection); err == nil && len(got) > 8<<20 {
		t.Errorf("all %d bytes were sent", len(got))
	}
}

// TestLockedBatch holds the row of a batch, as a large submission does: what waits for it ends
// with 503 in seconds, and all else goes on.
func TestLockedBatch(t *testing.T) {
	t.Parallel()
	url := strings.ReplaceAll(testdb.URL(t), "&lock_timeout=1min", "")
	direct := testdb.Pool(t, url)
	s := serve(t, testdb.Pool(t, url), patience)
	tx, err := direct.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	if _, err := tx.Exec(t.Context(), "insert into batch_runs (batch_id, created_at) values ('batch-a', now())"); err != nil {
		t.Fatal(err)
	}
	got := s.submit(leastRun("run-1", object{"batchId": "batch-a"}))
	got.wantProblem(http.StatusServiceUnavailable)
	if got.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	s.submit(leastRun("run-2", object{"batchId": "batch-b"})).want(http.StatusCreated)
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.submit(leastRun("run-1", object{"batchId": "batch-a"})).want(http.StatusCreated)
}

// TestOneSenderDoesNotHaveAllConnections has all that one key submits wait for a lock: another key
// has a connection left.
func TestOneSenderDoesNotHaveAllConnections(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	direct := testdb.Pool(t, url)
	s := serve(t, testdb.Pool(t, url+"&pool_max_conns=12"), patience) // Six of these are for submissions.
	greedy := s.makeKey("greedy", keys.ScopeSubmit)
	tx, err := direct.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := tx.Exec(t.Context(), "insert into batch_runs (batch_id, created_at) values ('locked', now())"); err != nil {
		t.Fatal(err)
	}
	const requests = 20
	answered := make(chan int, requests)
	for i := range requests {
		go func() {
			answered <- s.with(greedy, http.MethodPost, "/api/results", leastRun(fmt.Sprint("locked-", i), object{"batchId": "locked"})).status
		}()
	}
	waitUntilBlocked(t, direct, 4)
	for i := range 10 {
		s.submit(leastRun(fmt.Sprint("free-", i))).want(http.StatusCreated)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range requests {
		if status := <-answered; status != http.StatusCreated {
			t.Errorf("status %d", status)
		}
	}
}
