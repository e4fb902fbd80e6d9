package api_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/benchledger/benchledger/api"
	"github.com/benchledger/benchledger/internal/testdb"
	"github.com/benchledger/benchledger/keys"
)

type receipt struct {
	Line           int
	RunID, Outcome string
	Errors         []struct {
		Location string `json:"location"`
		Message  string `json:"message"`
	}
	Warnings []string
}

// String is what a test says of a receipt.
func (r receipt) String() string {
	text := fmt.Sprintf("%d %s %s", r.Line, r.RunID, r.Outcome)
	for _, e := range r.Errors {
		text += " " + e.Location
	}
	return text
}

// submitBulk submits text as it is, with the key.
func (s *service) submitBulk(query, body string, headers ...string) answer {
	s.t.Helper()
	return s.do(http.MethodPost, "/api/results/bulk"+query, body, append([]string{"Authorization", "Bearer " + key}, headers...)...)
}

func (a answer) wantReceipts(want ...string) []receipt {
	a.t.Helper()
	a.want(http.StatusOK)
	if got := a.header.Get("Content-Type"); got != "application/x-ndjson" {
		a.t.Errorf("content type %q of receipts", got)
	}
	var receipts []receipt
	var got []string
	for line := range strings.Lines(a.body) {
		var r receipt
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			a.t.Fatalf("%v in %s", err, line)
		}
		receipts, got = append(receipts, r), append(got, r.String())
	}
	if want != nil && !slices.Equal(got, want) {
		a.t.Errorf("receipts\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	return receipts
}

func ndjson(t *testing.T, runs ...object) string {
	t.Helper()
	var lines strings.Builder
	for _, run := range runs {
		lines.WriteString(encode(t, run) + "\n")
	}
	return lines.String()
}

func compressed(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestSubmitRuns(t *testing.T) {
	t.Parallel()

	t.Run("all runs are read back as submitted, in every format", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		for name, send := range map[string]func(lines string) answer{
			"lines":           func(lines string) answer { return s.submitBulk("", lines, "Content-Type", "application/x-ndjson") },
			"no-type":         func(lines string) answer { return s.submitBulk("", lines) },
			"crlf":            func(lines string) answer { return s.submitBulk("?mode=each", strings.ReplaceAll(lines, "\n", "\r\n")) },
			"no-last-newline": func(lines string) answer { return s.submitBulk("", strings.TrimSpace(lines)) },
			"array": func(lines string) answer {
				return s.submitBulk("", " [\n"+strings.ReplaceAll(strings.TrimSpace(lines), "\n", " ,\n")+"] \n", "Content-Type", "application/json")
			},
			"gzip": func(lines string) answer {
				return s.submitBulk("?mode=atomic", compressed(t, lines), "Content-Encoding", "gzip", "Content-Type", "application/x-ndjson")
			},
		} {
			full, least := fullRun(name+"-1"), leastRun(name+"-2")
			send(ndjson(t, full, least)).wantReceipts("1 "+name+"-1 recorded", "2 "+name+"-2 recorded")
			wantRun(t, s, full)
			wantRun(t, s, least)
			send(ndjson(t, full, least)).wantReceipts("1 "+name+"-1 replayed", "2 "+name+"-2 replayed")
		}
	})

	t.Run("each line has its own outcome", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		final := fullRun("final")
		final["evaluations"] = slices.Repeat([]object{{"evaluatorName": "e", "score": 1, "maxScore": 2}}, 11)
		s.submit(final).want(http.StatusCreated)
		s.submit(leastRun("open", object{"status": "running"})).want(http.StatusCreated)
		lines := ndjson(t,
			leastRun("new"),
			leastRun("final", object{"agent": "other"}),
			final,
			fullRun("open"),
			leastRun("invalid", object{"agent": absent, "telemetry": object{"tokensIn": -1}}),
		) + "\n{bad\n" + ndjson(t, leastRun("last"))
		receipts := s.submitBulk("", lines).wantReceipts(
			"1 new recorded",
			"2 final conflict body.agent body.batchId body.completedAt body.isSuccessful body.metadata body.model body.specialistEnabled"+
				" body.specialistName body.specialistVersion body.successMetric body.totalScore body.weightedScore"+
				" body.evaluations[0] body.evaluations[1] body.evaluations[2] body.evaluations[3] body.evaluations[4] body.evaluations[5]"+
				" body.evaluations[6] body",
			"3 final replayed",
			"4 open recorded",
			"5 invalid refused body body.telemetry.tokensIn",
			"7  refused body",
			"8 last recorded",
		)
		if last := receipts[1].Errors[19]; last.Message != "and 5 more" {
			t.Errorf("the last of many differences says %q", last.Message)
		}
		wantRun(t, s, final)
		wantRun(t, s, fullRun("open"))
		wantRun(t, s, leastRun("last"))
		s.get("/api/runs/invalid").wantProblem(http.StatusNotFound)
	})

	t.Run("an open run that appears twice in one request is replaced", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		announced := leastRun("run-1", object{"status": "running"})
		for _, mode := range []string{"?mode=each", "?mode=atomic"} {
			id := "run-1" + mode
			announced["runId"] = id
			s.submitBulk(mode, ndjson(t, announced, fullRun(id), fullRun(id), leastRun("other"+mode))).wantReceipts(
				"1 "+id+" recorded", "2 "+id+" recorded", "3 "+id+" replayed", "4 other"+mode+" recorded")
			wantRun(t, s, fullRun(id))
		}
	})

	t.Run("atomic stores nothing if a line is not valid, and names the lines", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		lines := ndjson(t, leastRun("run-1"), leastRun("run-2", object{"status": "done"})) + "{bad\n"
		found := s.submitBulk("?mode=atomic", lines).wantProblem(http.StatusUnprocessableEntity)
		if len(found) != 2 || found["line 2: body.status"] == "" || found["line 3: body"] == "" {
			t.Errorf("faults %v", found)
		}
		if stored := runIDs(s.get("/api/runs")); len(stored) != 0 {
			t.Errorf("stored: %v", stored)
		}
	})

	t.Run("atomic stores nothing if a run is finished, and names the fields", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.submit(leastRun("final")).want(http.StatusCreated)
		s.submit(leastRun("open", object{"status": "running"})).want(http.StatusCreated)
		lines := ndjson(t, leastRun("new"), fullRun("open"), leastRun("final", object{"tier": "L9"}))
		found := s.submitBulk("?mode=atomic", lines).wantProblem(http.StatusConflict)
		if len(found) != 1 || found["line 3: body.tier"] == "" {
			t.Errorf("faults %v", found)
		}
		s.get("/api/runs/new").wantProblem(http.StatusNotFound)
		wantRun(t, s, leastRun("open", object{"status": "running"}))
	})

	t.Run("more runs than fit in one statement are stored in their order", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		var runs []object
		for i := range 600 {
			runs = append(runs, leastRun(fmt.Sprint("run-", i), object{"batchId": fmt.Sprint("batch-", i%3)}))
		}
		for _, mode := range []string{"?mode=each", "?mode=atomic"} {
			receipts := s.submitBulk(mode, ndjson(t, runs...)).wantReceipts()
			for i, r := range receipts {
				if want := fmt.Sprint("run-", i); r.RunID != want || r.Line != i+1 {
					t.Fatalf("receipt %d is %v", i, r)
				}
			}
			if len(receipts) != 600 {
				t.Errorf("%d receipts", len(receipts))
			}
		}
		stored := runIDs(s.get("/api/runs?limit=1000"))
		if len(stored) != 600 || stored[0] != "run-599" || stored[599] != "run-0" {
			t.Errorf("%d runs, from %s to %s", len(stored), stored[0], stored[len(stored)-1])
		}
	})

	t.Run("the maximum number of runs is stored atomically, and replayed", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		var lines strings.Builder
		for i := range 10_000 {
			lines.WriteString(encode(t, leastRun(fmt.Sprint("run-", i), object{"evaluations": []object{{"evaluatorName": "e", "score": i, "maxScore": 1}}})) + "\n")
		}
		for _, outcome := range []string{"recorded", "replayed"} {
			got := s.submitBulk("?mode=atomic", lines.String()).want(http.StatusOK)
			if n := strings.Count(got.body, `"outcome":"`+outcome+`"`); n != 10_000 {
				t.Fatalf("%d are %s", n, outcome)
			}
		}
	})

	t.Run("an empty list stores nothing", func(t *testing.T) {
		t.Parallel()
		if got := setup(t).submitBulk("", "[]").want(http.StatusOK); got.body != "" {
			t.Errorf("receipts %s", got.body)
		}
	})
}

func TestSubmitRunsRaces(t *testing.T) {
	t.Parallel()
	s := setup(t)
	const runs, requests = 300, 4
	outcomes := make(chan string, runs*requests)
	statuses := atOnce(requests, func(i int) int {
		var list []object
		for j := range runs {
			list = append(list, fullRun(fmt.Sprint("run-", j)))
		}
		if i%2 == 1 {
			slices.Reverse(list)
		}
		got := s.submitBulk("", ndjson(t, list...))
		for _, r := range got.wantReceipts() {
			outcomes <- r.Outcome
		}
		return got.status
	})
	close(outcomes)
	counts := map[string]int{}
	for outcome := range outcomes {
		counts[outcome]++
	}
	if statuses[http.StatusOK] != requests || counts["recorded"] != runs || counts["replayed"] != runs*(requests-1) {
		t.Errorf("statuses %v, outcomes %v", statuses, counts)
	}
	wantRun(t, s, fullRun("run-0"))
	wantRun(t, s, fullRun("run-299"))
}

func TestInvalidBulk(t *testing.T) {
	t.Parallel()
	s := setup(t)
	run := func(id string) string { return encode(t, leastRun(id)) }
	for _, body := range []string{
		"", " \n\r\n\t", "[" + run("x"), "[" + run("x") + ",{bad]", "[" + run("x") + "] 5", "[][]",
	} {
		s.submitBulk("", body).wantProblem(http.StatusBadRequest)
		s.submitBulk("?mode=atomic", body).wantProblem(http.StatusBadRequest)
	}
	s.submitBulk("?mode=some", run("x")).wantProblem(http.StatusUnprocessableEntity)
	s.submitBulk("?other=1", run("x")).wantProblem(http.StatusUnprocessableEntity)
	s.submitBulk("", run("x"), "Content-Type", "application/xml").wantProblem(http.StatusUnsupportedMediaType)
	s.submitBulk("", run("x"), "Content-Encoding", "br").wantProblem(http.StatusUnsupportedMediaType)
	s.submitBulk("", run("x"), "Content-Encoding", "gzip").wantProblem(http.StatusBadRequest)
	cut := compressed(t, run("x"))
	s.submitBulk("", cut[:len(cut)-9], "Content-Encoding", "gzip").wantProblem(http.StatusBadRequest)
	if stored := runIDs(s.get("/api/runs")); len(stored) != 0 {
		t.Errorf("stored: %v", stored)
	}
}

func TestBulkLimits(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", 8<<20)

	t.Run("a line above 8 MiB is refused alone", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		lines := ndjson(t, leastRun("a"), leastRun("b", object{"telemetry": object{"promptSent": large}}), leastRun("c"))
		s.submitBulk("", lines).wantReceipts("1 a recorded", "2  refused body", "3 c recorded")
		almost := leastRun("d", object{"telemetry": object{"promptSent": large[:8<<20-500]}})
		s.submitBulk("", ndjson(t, almost)).wantReceipts("1 d recorded")
	})

	t.Run("a line of more than 8 MiB of spaces is refused", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.submitBulk("", ndjson(t, leastRun("a"))+strings.Repeat(" ", 9<<20)+ndjson(t, leastRun("b"))+"\r\n"+ndjson(t, leastRun("c"))).
			wantReceipts("1 a recorded", "2  refused body", "4 c recorded")
	})

	t.Run("an element of an array above 8 MiB ends the request", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.submitBulk("", "["+encode(t, leastRun("a", object{"telemetry": object{"promptSent": large + large}}))+"]").
			wantProblem(http.StatusRequestEntityTooLarge)
	})

	t.Run("more than 10000 lines are too many", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.submitBulk("", strings.Repeat("5\n", 10_001)).wantProblem(http.StatusRequestEntityTooLarge)
		if receipts := s.submitBulk("", strings.Repeat("5\n", 10_000)).wantReceipts(); len(receipts) != 10_000 {
			t.Errorf("%d receipts", len(receipts))
		}
	})

	t.Run("the size of a body is limited, by its header and after decompression", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		connection := s.dial()
		fmt.Fprintf(connection, "POST /api/results/bulk HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 1000000000\r\n\r\n", key)
		first := make([]byte, len("HTTP/1.1 413"))
		if _, err := io.ReadFull(connection, first); err != nil || string(first) != "HTTP/1.1 413" {
			t.Errorf("%q, %v", first, err)
		}
		line := strings.Repeat("x", 7<<20) + "\n"
		s.submitBulk("?mode=atomic", compressed(t, strings.Repeat(line, 5)), "Content-Encoding", "gzip").wantProblem(http.StatusRequestEntityTooLarge)
		bomb := compressed(t, strings.Repeat(" ", 9<<20))
		s.submitBulk("", bomb, "Content-Encoding", "gzip").wantProblem(http.StatusBadRequest)
		s.submitBulk("", ndjson(t, leastRun("a"))+strings.Repeat("\n", 9<<20)).wantProblem(http.StatusBadRequest)
		s.do(http.MethodPost, "/api/results", bomb, "Authorization", "Bearer "+key, "Content-Encoding", "gzip").
			wantProblem(http.StatusRequestEntityTooLarge)
	})
}

// TestSlowBulk sends a body slowly: the only connection to the database stays free.
func TestSlowBulk(t *testing.T) {
	t.Parallel()
	s := serve(t, testdb.Pool(t, testdb.URL(t)+"&pool_max_conns=1"), patience)
	for _, mode := range []string{"each", "atomic"} {
		connection := s.dial()
		line := encode(t, leastRun("slow-"+mode)) + "\n"
		fmt.Fprintf(connection, "POST /api/results/bulk?mode=%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s",
			mode, key, len(line)+1, line)
		s.submit(leastRun("quick-" + mode)).want(http.StatusCreated)
		fmt.Fprint(connection, "\n")
		answer, err := io.ReadAll(connection)
		if err != nil || !bytes.Contains(answer, []byte(`"outcome":"recorded"`)) {
			t.Errorf("%.300s, %v", answer, err)
		}
	}

	t.Run("an incomplete body is an error, and the lines before may be stored", func(t *testing.T) {
		connection := s.dial()
		fmt.Fprintf(connection, "POST /api/results/bulk HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 100000\r\n\r\n%s",
			key, ndjson(t, leastRun("broken-off")))
		if err := connection.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(connection)
		if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 400")) {
			t.Errorf("%.300s, %v", answer, err)
		}
	})
}

// TestManyBodies has bodies in memory that together are too large for one sender. What a body
// announces does not count.
func TestManyBodies(t *testing.T) {
	t.Parallel()
	s := start(t, api.Config{Pool: testdb.New(t), ConnectionWait: patience, MemoryLimit: 512 << 20})
	greedy := s.makeKey("greedy", keys.ScopeSubmit)
	large := leastRun("run-1", object{"telemetry": object{"promptSent": strings.Repeat("x", 6<<20)}})
	submit := func() answer { return s.with(greedy, http.MethodPost, "/api/results", large) }
	spaces := strings.Repeat(" ", 1<<20)
	connections := make([]net.Conn, 20)
	for i := range connections {
		connections[i] = s.dial()
		fmt.Fprintf(connections[i], "POST /api/results HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n", greedy, 8<<20)
	}
	submit().want(http.StatusCreated)
	for _, connection := range connections {
		for range 7 {
			if _, err := io.WriteString(connection, spaces); err != nil {
				break // The server has refused it.
			}
		}
	}
	eventually(t, func() bool { return submit().status == http.StatusServiceUnavailable }) // It has 14 of 16 MiB.
	large["runId"] = "run-2"
	s.submit(large).want(http.StatusCreated) // by another key
	large["runId"] = "run-1"
	for _, connection := range connections {
		connection.Close()
	}
	eventually(t, func() bool { return submit().status == http.StatusOK })
}

// TestBulkDeadlines sends a body so slowly that the time for a response has passed, and
// then that of the whole request.
func TestBulkDeadlines(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(api.New(api.Config{
		Pool: testdb.New(t), APISecretKey: key, Logger: api.NewLogger(slog.DiscardHandler), Version: "test",
		ConnectionWait: patience, RequestTimeout: 100 * time.Millisecond, // The whole request has 6 s.
	}))
	server.Config.WriteTimeout = 500 * time.Millisecond
	server.Start()
	defer server.Close()
	for _, c := range []struct {
		query, end string
		pause      time.Duration
		want       string
	}{
		{"?mode=atomic", "{bad\n", time.Second, "HTTP/1.1 422"},
		{"", "", 0, "HTTP/1.1 408"},
	} {
		connection, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
		fmt.Fprintf(connection, "POST /api/results/bulk%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer %s\r\nContent-Length: 5\r\n\r\n",
			c.query, key)
		time.Sleep(c.pause)
		fmt.Fprint(connection, c.end)
		answer, err := io.ReadAll(connection)
		if err != nil || !strings.HasPrefix(string(answer), c.want) {
			t.Errorf("%.300s, %v", answer, err)
		}
	}
}

func TestCompressedSubmission(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.do(http.MethodPost, "/api/results", compressed(t, encode(t, fullRun("run-1"))),
		"Authorization", "Bearer "+key, "Content-Encoding", "gzip", "Content-Type", "application/json").want(http.StatusCreated)
	wantRun(t, s, fullRun("run-1"))
}
