package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	benchledger "github.com/benchledger/benchledger/clients/go"
	"github.com/benchledger/benchledger/internal/testdb"
)

// submitEnv sets the server of a command, and its own folder.
func submitEnv(address string) []string {
	return []string{"BENCHLEDGER_URL=" + address, "BENCHLEDGER_API_KEY=" + localKey}
}

// runIn runs the program in a folder.
func runIn(t *testing.T, dir, input string, env []string, args ...string) (int, string, string) {
	t.Helper()
	p := command(t, env, args...)
	p.cmd.Dir, p.cmd.Stdin = dir, strings.NewReader(input)
	p.start()
	return p.wait(), p.stdout.String(), p.stderr.String()
}

func write(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func zipped(t *testing.T, content string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestSubmit(t *testing.T) {
	t.Parallel()
	server := serveDatabase(t, testdb.URL(t))
	env := submitEnv(server.url)

	t.Run("takes files of each form, and again", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		lines := func(prefix string, n int) string {
			var all strings.Builder
			for i := range n {
				all.WriteString(submitted(fmt.Sprint(prefix, i)) + "\n")
			}
			return all.String()
		}
		pretty := strings.ReplaceAll(submitted("pretty"), ",", ",\n  ")
		files := []string{
			write(t, dir, "lines.ndjson", lines("lines-", 1200)),
			write(t, dir, "array.json", "[\n"+strings.ReplaceAll(strings.TrimSpace(lines("array-", 3)), "\n", ",\n")+"\n]\n"),
			write(t, dir, "one.json", pretty),
			write(t, dir, "packed.ndjson.gz", zipped(t, lines("packed-", 2))),
			write(t, dir, "empty.ndjson", ""),
			"-",
		}
		args := append([]string{"submit"}, files...)
		code, stdout, stderr := runIn(t, dir, "\n"+lines("stdin-", 2), env, args...)
		wantOutput(t, code, stdout+stderr, 0, "1208 recorded, 0 replayed, 0 refused, 0 undelivered")
		code, stdout, stderr = runIn(t, dir, lines("stdin-", 2), env, args...)
		wantOutput(t, code, stdout+stderr, 0, "0 recorded, 1208 replayed, 0 refused, 0 undelivered")
		for _, id := range []string{"lines-1199", "array-2", "pretty", "packed-1", "stdin-1"} {
			if response, _ := server.request(http.MethodGet, "/api/runs/"+id, ""); response.StatusCode != http.StatusOK {
				t.Errorf("%s: %s", id, response.Status)
			}
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 5 {
			t.Errorf("%v, %v: files of what was refused, though nothing was", entries, err)
		}
	})

	t.Run("keeps what is refused, with the reason, and goes on", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		file := write(t, dir, "runs.ndjson", submitted("good-1")+"\n{bad\n\n"+strings.Replace(submitted("done"), "completed", "done", 1)+"\n"+submitted("good-2"))
		code, stdout, stderr := runIn(t, dir, "", env, "submit", file)
		wantOutput(t, code, stdout+stderr, exitRefused, "2 recorded, 0 replayed, 2 refused, 0 undelivered", "refused.ndjson")
		content, err := os.ReadFile(filepath.Join(dir, "refused.ndjson"))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range strings.Lines(string(content)) {
			var refused struct {
				Line         int
				Outcome, Run string
				Errors       []struct{ Location, Message string }
			}
			if err := json.Unmarshal([]byte(line), &refused); err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprint(refused.Line, " ", refused.Outcome, " ", refused.Errors[0].Location, " ", refused.Run[:4]))
		}
		slices.Sort(got) // The requests are concurrent.
		if want := "2 refused body {bad; 4 refused body.status {\"ru"; strings.Join(got, "; ") != want {
			t.Errorf("refused %v, want %s", got, want)
		}
	})

	t.Run("says what is wrong with its input", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		first, last := write(t, dir, "first", submitted("read-1")), write(t, dir, "last", submitted("read-2"))
		for file, want := range map[string]string{
			"none": "none: no such file",
			dir:    dir + ": is a directory",
			write(t, dir, "cut.gz", zipped(t, submitted("x"))[:20]): "cut.gz: unexpected EOF",
			write(t, dir, "cut.json", `[{"a":1},`):                  "cut.json: neither lines of JSON nor a JSON array",
		} {
			// The files around it are submitted.
			code, stdout, stderr := runIn(t, dir, "", env, "submit", first, file, last)
			wantOutput(t, code, stdout+stderr, exitUndelivered, want)
			if !strings.Contains(stdout, "2 recorded") && !strings.Contains(stdout, "2 replayed") {
				t.Errorf("beside %s: %s", file, stdout)
			}
		}
		code, stdout, stderr := runIn(t, dir, "", env, "submit", "none", "neither", first)
		wantOutput(t, code, stdout+stderr, exitUndelivered, "1 replayed", "none: no such file", "neither: no such file")
		code, stdout, stderr = runIn(t, dir, submitted("x"), submitEnv("localhost:8787"), "submit", "-")
		wantOutput(t, code, stdout+stderr, 1, "not a server address")
	})

	t.Run("refuses lines that are no runs, each for itself", func(t *testing.T) {
		t.Parallel()
		const noNumber = `{"runId":"f1","totalScore":NaN}` + "\n"
		content := noNumber + noNumber + submitted("after-NaN") + "\n"
		for name, input := range map[string]string{"a pipe": content, "gzip": zipped(t, content)} {
			dir := t.TempDir()
			code, stdout, stderr := runIn(t, dir, input, env, "submit", "-")
			wantOutput(t, code, name+": "+stdout+stderr, exitRefused, "2 refused, 0 undelivered", "line 1 of standard input: body: not valid JSON", "line 2 of standard input")
			if !strings.Contains(stdout, "1 recorded") && !strings.Contains(stdout, "1 replayed") {
				t.Errorf("%s: %s", name, stdout)
			}
		}
		// The second request begins like an array.
		var all strings.Builder
		for i := range groupRuns {
			all.WriteString(submitted(fmt.Sprint("before-array-", i)) + "\n")
		}
		all.WriteString("[1]\n" + submitted("after-array"))
		code, stdout, stderr := runIn(t, t.TempDir(), all.String(), env, "submit", "-", "--concurrency=1")
		wantOutput(t, code, stdout+stderr, exitRefused, "501 recorded, 0 replayed, 1 refused, 0 undelivered", "line 501 of standard input: body: expected a JSON object")
		// The first three reasons are printed.
		faulty := strings.Repeat(strings.Replace(submitted("faulty"), "}", `,"totalScore":"high"}`, 1)+"\n", 5)
		code, stdout, stderr = runIn(t, t.TempDir(), faulty, env, "submit", "-", "--concurrency=1")
		wantOutput(t, code, stdout+stderr, exitRefused, "line 1 of standard input: body.totalScore: expected number", "line 3 of")
		if strings.Contains(stdout, "line 4 of") {
			t.Errorf("more than three reasons: %s", stdout)
		}
	})

	t.Run("stores the lines of a run in their order", func(t *testing.T) {
		t.Parallel()
		// Each of the two lines fills most of a request; between them are enough runs for the
		// other workers. The first request waits until another one has been stored.
		large := func(status, score string) string {
			return fmt.Sprintf(`{"runId":"x","suite":"s","scenario":"c","tier":"L1","agent":"a","status":%q,"totalScore":%s,"telemetry":{"promptSent":%q}}`+"\n", status, score, strings.Repeat("x", groupBytes*3/4))
		}
		var all strings.Builder
		all.WriteString(large("incomplete", "0.1"))
		for i := range groupRuns {
			all.WriteString(submitted(fmt.Sprint("ordered-", i)) + "\n")
		}
		all.WriteString(large("completed", "0.9"))
		stored := make(chan struct{})
		var once sync.Once
		way := between(t, server.url, func(_ http.ResponseWriter, r *http.Request, forward func()) {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			if bytes.Contains(body, []byte(`"incomplete"`)) {
				<-stored
				forward()
				return
			}
			forward()
			once.Do(func() { close(stored) })
		})
		code, stdout, stderr := runIn(t, t.TempDir(), all.String(), submitEnv(way), "submit", "-")
		wantOutput(t, code, stdout+stderr, 0, "502 recorded")
		if _, body := server.request(http.MethodGet, "/api/runs/x", ""); !strings.Contains(body, `"totalScore":0.9`) {
			t.Errorf("the run is not that of its last line: %.300s", body)
		}
	})

	t.Run("a line does not overtake an undelivered one of the same run", func(t *testing.T) {
		t.Parallel()
		line := func(run, status string) string {
			return strings.Replace(submitted(run), "completed", status, 1) + "\n"
		}
		first := line("late", "incomplete") + strings.Repeat(line("early", "incomplete"), groupRuns-1)
		second := line("late", "completed") + line("other", "completed")
		way := between(t, server.url, func(_ http.ResponseWriter, r *http.Request, forward func()) {
			body, _ := io.ReadAll(r.Body)
			if bytes.Contains(body, []byte("incomplete")) {
				panic(http.ErrAbortHandler)
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			forward()
		})
		dir := t.TempDir()
		code, stdout, stderr := runIn(t, dir, first+second, submitEnv(way), "submit", "-", "--concurrency=1", "--retry-for=0")
		wantOutput(t, code, stdout+stderr, exitUndelivered, "1 recorded, 0 replayed, 0 refused, 501 undelivered")
		content, err := os.ReadFile(filepath.Join(dir, "undelivered.ndjson"))
		if want := first + line("late", "completed"); err != nil || string(content) != want {
			t.Errorf("%v, undelivered.ndjson has %d lines, which are not those that are undelivered, in their order", err, bytes.Count(content, []byte("\n")))
		}
		code, stdout, stderr = runIn(t, dir, "", env, "submit", "undelivered.ndjson")
		wantOutput(t, code, stdout+stderr, 0, "0 undelivered")
		if _, body := server.request(http.MethodGet, "/api/runs/late", ""); !strings.Contains(body, `"status":"completed"`) {
			t.Errorf("the run: %s", body)
		}
	})

	t.Run("takes a file of refused runs", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		wrong := strings.Replace(submitted("corrected"), "completed", "done", 1)
		code, stdout, stderr := runIn(t, dir, "\n"+wrong, env, "submit", "-")
		wantOutput(t, code, stdout+stderr, exitRefused, "1 refused", "refused.ndjson")
		code, stdout, stderr = runIn(t, dir, "", env, "submit", "refused.ndjson")
		wantOutput(t, code, stdout+stderr, exitRefused, "1 refused", "refused-2.ndjson", "line 1 of refused.ndjson: body.status: ")
		again, err := os.ReadFile(filepath.Join(dir, "refused-2.ndjson"))
		var refused refusedRun
		if err != nil || json.Unmarshal(again, &refused) != nil || refused.File != "refused.ndjson" || refused.Line != 1 || refused.Run != wrong {
			t.Errorf("%v, %s", err, again)
		}
		write(t, dir, "refused.ndjson", strings.Replace(string(again), `\"done\"`, `\"completed\"`, 1))
		code, stdout, stderr = runIn(t, dir, "", env, "submit", "refused.ndjson")
		wantOutput(t, code, stdout+stderr, 0, "1 recorded")
		if response, _ := server.request(http.MethodGet, "/api/runs/corrected", ""); response.StatusCode != http.StatusOK {
			t.Errorf("the corrected run: %s", response.Status)
		}
		// The run may be an object, too.
		write(t, dir, "refused.ndjson", `{"file":"-","line":2,"outcome":"refused","run":`+submitted("object")+"}\n"+`{"outcome":"refused","run":{"runId":"not","run":1}}`)
		code, stdout, stderr = runIn(t, dir, "", env, "submit", "refused.ndjson")
		wantOutput(t, code, stdout+stderr, exitRefused, "1 recorded", "1 refused", "line 2 of refused.ndjson: body: expected required property")
	})

	t.Run("prints the warnings of the server", func(t *testing.T) {
		t.Parallel()
		way := between(t, server.url, func(w http.ResponseWriter, r *http.Request, _ func()) {
			body, _ := io.ReadAll(r.Body)
			w.Header().Set("Content-Type", "application/x-ndjson")
			for i := range strings.Count(string(body), "\n") {
				fmt.Fprintf(w, `{"line":%d,"outcome":"recorded","warnings":["unknown field %d","unknown field tier2"]}`+"\n", i+1, i%12)
			}
		})
		code, stdout, stderr := runIn(t, t.TempDir(), strings.Repeat(submitted("warned")+"\n", 24), submitEnv(way), "submit", "-")
		wantOutput(t, code, stdout+stderr, 0, "24 recorded",
			"warning: unknown field 0 (2 lines, the first is line 1 of standard input)", "warning: unknown field tier2 (24 lines, the first is line 1 of standard input)",
			"warning: unknown field 8 (2 lines, the first is line 9 of standard input)", "and 3 more warnings")
	})

	t.Run("keeps what was not delivered as it was", func(t *testing.T) {
		t.Parallel()
		// The first group is delivered. Otherwise the line that starts with "[" would be the first of
		// the file of undelivered runs, which would be read as an array.
		var all strings.Builder
		for i := range groupRuns {
			all.WriteString(submitted(fmt.Sprint("delivered-", i)) + "\n")
		}
		lines := []string{`{"runId":"nan","totalScore":NaN}`, submitted("valid"), "not JSON \xff"}
		all.WriteString("[1,\n\ufeff[2]\n" + strings.Join(lines, "\n"))
		var n atomic.Int32
		way := between(t, server.url, func(_ http.ResponseWriter, _ *http.Request, forward func()) {
			if n.Add(1) > 1 {
				panic(http.ErrAbortHandler)
			}
			forward()
		})
		dir := t.TempDir()
		code, stdout, stderr := runIn(t, dir, all.String(), submitEnv(way), "submit", "-", "--retry-for=0", "--concurrency=1")
		wantOutput(t, code, stdout+stderr, exitUndelivered, "500 recorded, 0 replayed, 2 refused, 3 undelivered")
		left, err := os.ReadFile(filepath.Join(dir, "undelivered.ndjson"))
		if want := strings.Join(lines, "\n") + "\n"; err != nil || string(left) != want {
			t.Errorf("%v, %q, want %q", err, left, want)
		}
		code, stdout, stderr = runIn(t, dir, "", env, "submit", "undelivered.ndjson")
		wantOutput(t, code, stdout+stderr, exitRefused, "1 recorded, 0 replayed, 2 refused, 0 undelivered")
	})

	t.Run("sends runs one by one where a group is refused as a whole", func(t *testing.T) {
		t.Parallel()
		way := between(t, server.url, func(w http.ResponseWriter, r *http.Request, forward func()) {
			body, _ := io.ReadAll(r.Body)
			if bytes.Contains(body, []byte("too-large")) {
				problemOf(w, http.StatusRequestEntityTooLarge, "The body is too large.")
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			forward()
		})
		input := submitted("small-1") + "\n" + submitted("too-large") + "\n[]\n" + submitted("small-2")
		code, stdout, stderr := runIn(t, t.TempDir(), input, submitEnv(way), "submit", "-", "--concurrency=1")
		wantOutput(t, code, stdout+stderr, exitRefused, "2 recorded, 0 replayed, 2 refused, 0 undelivered", "line 2 of standard input: body: The body is too large.")
	})

	t.Run("refuses unknown fields with --strict", func(t *testing.T) {
		t.Parallel()
		input := submitted("strict-1") + "\n" + strings.Replace(submitted("strict-2"), "}", `,"totalscore":1}`, 1)
		code, stdout, stderr := runIn(t, t.TempDir(), input, env, "submit", "-", "--strict")
		wantOutput(t, code, stdout+stderr, exitRefused, "1 recorded, 0 replayed, 1 refused", "line 2 of standard input: body.totalscore")
		code, stdout, stderr = runIn(t, t.TempDir(), input, env, "submit", "-")
		wantOutput(t, code, stdout+stderr, 0, "1 recorded, 1 replayed, 0 refused", "warning: ")
	})

	t.Run("names its files, however it ends", func(t *testing.T) {
		t.Parallel()
		var n atomic.Int32
		way := between(t, server.url, func(w http.ResponseWriter, r *http.Request, _ func()) {
			_, _ = io.Copy(io.Discard, r.Body)
			if n.Add(1) <= 2 { // The first request, and its run alone.
				panic(http.ErrAbortHandler)
			}
			problemOf(w, http.StatusUnauthorized, "The key has expired.")
		})
		dir := t.TempDir()
		code, stdout, stderr := runIn(t, dir, strings.Repeat(submitted("expired")+"\n", groupRuns)+submitted("other"), submitEnv(way), "submit", "-", "--retry-for=0", "--concurrency=1")
		wantOutput(t, code, stdout+stderr, exitUndelivered, "500 undelivered", "undelivered runs: undelivered.ndjson", "The key has expired.")
		if !exists(t, dir+"/undelivered.ndjson") {
			t.Error("there is no such file")
		}
		code, stdout, stderr = runIn(t, dir, submitted("x"), submitEnv("http://127.0.0.1:1"), "submit", "-", "--retry-for=0", "--undelivered=/dev/full")
		wantOutput(t, code, stdout+stderr, exitUndelivered, "0 recorded, 0 replayed, 0 refused, 1 undelivered", "no space left on device", "1 runs could not be delivered")
	})

	t.Run("says that it waits, once", func(t *testing.T) {
		t.Parallel()
		code, stdout, stderr := runIn(t, t.TempDir(), submitted("waiting")+"\n"+submitted("waiting-2"), submitEnv("http://127.0.0.1:1/"), "submit", "-", "--retry-for=4s")
		wantOutput(t, code, stdout+stderr, exitUndelivered, "2 undelivered")
		if n := strings.Count(stderr, "waiting for http://127.0.0.1:1: connection refused\n"); n != 1 {
			t.Errorf("it says it %d times: %s", n, stderr)
		}
	})

	t.Run("tells on a terminal how far it is, and stays there", func(t *testing.T) {
		t.Parallel()
		hung := make(chan struct{}, 1)
		var n atomic.Int32
		way := between(t, server.url, func(_ http.ResponseWriter, r *http.Request, forward func()) {
			if n.Add(1) == 1 {
				forward()
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			hung <- struct{}{}
			<-r.Context().Done()
		})
		var all strings.Builder
		for i := range 2 * groupRuns {
			fmt.Fprintln(&all, submitted(fmt.Sprintf("half-%03d", i)))
		}
		dir := t.TempDir()
		file := write(t, dir, "runs.ndjson", all.String())
		onTerminal := func(address string) (p *program, drawn *syncBuffer) {
			terminal, screen, err := pty.Open()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _, _ = screen.Close(), terminal.Close() })
			drawn = &syncBuffer{}
			go func() { _, _ = io.Copy(drawn, terminal) }()
			p = command(t, submitEnv(address), "submit", file, "--concurrency=1")
			p.cmd.Dir, p.cmd.Stderr = dir, screen
			p.start()
			return p, drawn
		}
		p, drawn := onTerminal(way)
		<-hung
		p.signal(syscall.SIGINT)
		wantOutput(t, p.wait(), p.stdout.String(), exitUndelivered, "500 recorded, 0 replayed, 0 refused, 0 undelivered")
		eventually(t, "it says where it stopped", func() bool { return strings.Contains(drawn.String(), "stopped at 50 %") })
		eventually(t, "it says how to go on", func() bool { return strings.Contains(drawn.String(), "%; run the same command again") })
		if strings.Contains(drawn.String(), "100%") {
			t.Errorf("the bar goes on to its end: %q", drawn.String())
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("%v, %v: what was stopped is in a file", entries, err)
		}
		p, drawn = onTerminal(server.url)
		wantOutput(t, p.wait(), p.stdout.String(), 0, "500 recorded, 500 replayed")
		eventually(t, "the bar ends its line", func() bool { return strings.HasSuffix(drawn.String(), "\n") })
		eventually(t, "the bar counts the runs, to its end", func() bool {
			return strings.Contains(drawn.String(), "1000 runs") && strings.Contains(drawn.String(), "100%")
		})
	})

	t.Run("tells progress", func(t *testing.T) {
		t.Parallel()
		var all strings.Builder
		for i := range 2 * groupRuns {
			fmt.Fprintln(&all, submitted(fmt.Sprint("told-", i)))
		}
		first, told := make(chan struct{}, 1), make(chan struct{})
		first <- struct{}{}
		way := between(t, server.url, func(_ http.ResponseWriter, _ *http.Request, forward func()) {
			select {
			case <-first:
			case <-told:
			}
			forward()
		})
		p := command(t, submitEnv(way), "submit", "-", "--concurrency=1")
		p.cmd.Dir, p.cmd.Stdin = t.TempDir(), strings.NewReader(all.String())
		p.start()
		eventually(t, "it tells how far it is", func() bool {
			return strings.Contains(p.stderr.String(), "progress: 500 recorded, 0 replayed, 0 refused, 0 undelivered")
		})
		close(told)
		wantOutput(t, p.wait(), p.stdout.String(), 0, "1000 recorded")
		// There is none while it waits for the server.
		_, _, stderr := runIn(t, t.TempDir(), submitted("waits"), submitEnv("http://"+freeAddr(t)), "submit", "-", "--retry-for=5s")
		if !strings.Contains(stderr, "connection refused") || strings.Contains(stderr, "progress") {
			t.Error(stderr)
		}
	})

	t.Run("skips a byte order mark", func(t *testing.T) {
		t.Parallel()
		client, err := benchledger.New(server.url, localKey)
		if err != nil {
			t.Fatal(err)
		}
		receipts, err := client.SubmitLines(t.Context(), &benchledger.SubmitRunsParams{}, strings.NewReader("\ufeff"+submitted("marked-body")))
		if err != nil || len(receipts) != 1 || receipts[0].Outcome != benchledger.ReceiptOutcomeRecorded {
			t.Errorf("%v, %v", receipts, err)
		}
	})

	t.Run("repeats what the server cannot take, and what was answered by nobody", func(t *testing.T) {
		t.Parallel()
		// The first request gets a temporary error; the second is stored, but its response is lost.
		var n atomic.Int32
		way := between(t, server.url, func(w http.ResponseWriter, _ *http.Request, forward func()) {
			switch n.Add(1) {
			case 1:
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(http.StatusServiceUnavailable)
			case 2:
				forward()
				panic(http.ErrAbortHandler)
			default:
				forward()
			}
		})
		code, stdout, stderr := runIn(t, t.TempDir(), submitted("repeated"), submitEnv(way), "submit", "-")
		wantOutput(t, code, stdout+stderr, 0, "0 recorded, 1 replayed, 0 refused, 0 undelivered")
		if n.Load() != 3 {
			t.Errorf("%d requests", n.Load())
		}
	})

	t.Run("keeps what could not be delivered, to be submitted again", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		run := submitted("undelivered")
		code, stdout, stderr := runIn(t, dir, run+"\n", submitEnv("http://127.0.0.1:1"), "submit", "-", "--retry-for=1ms")
		wantOutput(t, code, stdout+stderr, exitUndelivered, "0 recorded, 0 replayed, 0 refused, 1 undelivered", "undelivered.ndjson")
		code, stdout, stderr = runIn(t, dir, "", env, "submit", filepath.Join(dir, "undelivered.ndjson"))
		wantOutput(t, code, stdout+stderr, 0, "1 recorded")
	})

	t.Run("never writes over a file, not even over the one that it submits", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		away := submitEnv("http://127.0.0.1:1")
		code, stdout, stderr := runIn(t, dir, submitted("kept-1")+"\n"+submitted("kept-2"), away, "submit", "-", "--retry-for=0")
		wantOutput(t, code, stdout+stderr, exitUndelivered, "2 undelivered", "undelivered.ndjson")
		code, stdout, stderr = runIn(t, dir, "", away, "submit", "undelivered.ndjson", "--retry-for=0")
		wantOutput(t, code, stdout+stderr, exitUndelivered, "2 undelivered", "undelivered-2.ndjson")
		code, stdout, stderr = runIn(t, dir, submitted("kept-3"), away, "submit", "-", "--retry-for=0")
		wantOutput(t, code, stdout+stderr, exitUndelivered, "1 undelivered", "undelivered-3.ndjson")
		code, stdout, stderr = runIn(t, dir, submitted("none"), away, "submit", "-", "--retry-for=0", "--undelivered=/dev/null")
		wantOutput(t, code, stdout+stderr, exitUndelivered, "/dev/null")
		code, stdout, stderr = runIn(t, dir, "", env, "submit", "undelivered.ndjson", "undelivered-2.ndjson", "undelivered-3.ndjson")
		wantOutput(t, code, stdout+stderr, 0, "3 recorded, 2 replayed")
	})

	t.Run("tries once where the server has been away for long", func(t *testing.T) {
		t.Parallel()
		var all strings.Builder
		for i := range 3 * groupRuns {
			all.WriteString(submitted(fmt.Sprint("away-", i)) + "\n")
		}
		var requests atomic.Int32
		way := between(t, server.url, func(_ http.ResponseWriter, r *http.Request, _ func()) {
			_, _ = io.Copy(io.Discard, r.Body)
			if requests.Add(1) == 1 {
				<-time.After(1500 * time.Millisecond) // Longer than requests are retried.
			}
			panic(http.ErrAbortHandler)
		})
		p := command(t, submitEnv(way), "submit", "-", "--retry-for=1s", "--concurrency=1")
		p.cmd.Dir, p.cmd.Stdin = t.TempDir(), strings.NewReader(all.String())
		p.start()
		code, stdout, stderr := p.wait(), p.stdout.String(), p.stderr.String()
		wantOutput(t, code, stdout+stderr, exitUndelivered, "1500 undelivered")
		if requests.Load() != 3+maxFailures {
			t.Errorf("%d requests of three groups, each once, and of five runs", requests.Load())
		}
		requests.Store(0)
		code, stdout, stderr = runIn(t, t.TempDir(), all.String(), submitEnv(way), "submit", "-", "--retry-for=0", "--concurrency=1")
		wantOutput(t, code, stdout+stderr, exitUndelivered, "1500 undelivered")
		if requests.Load() != 3+maxFailures {
			t.Errorf("%d requests of three groups, each once, and of five runs", requests.Load())
		}
	})

	t.Run("reads what others write", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		for name, content := range map[string]string{
			"bad": "{\"cut\": \n" + submitted("after-cut"), "text": "some text\n\n" + submitted("after-text"), "mark": "\ufeff" + submitted("marked"),
			"packed": zipped(t, "\ufeff"+submitted("packed-mark")), "element": "[\n" + submitted("element") + "\n]",
		} {
			want, status := "1 recorded, 0 replayed, 0 refused", 0
			if name == "bad" || name == "text" {
				want, status = "1 recorded, 0 replayed, 1 refused", exitRefused
			}
			code, stdout, stderr := runIn(t, dir, content, env, "submit", "-")
			wantOutput(t, code, name+": "+stdout+stderr, status, want)
		}
	})

	t.Run("stops at once without the right key, which it never shows", func(t *testing.T) {
		t.Parallel()
		for key, want := range map[string]string{"secret-key": "403", "": "401"} {
			dir := t.TempDir()
			code, stdout, stderr := runIn(t, dir, strings.Repeat(submitted("x")+"\n", 3*groupRuns), []string{"BENCHLEDGER_URL=" + server.url}, "submit", "-", "--api-key="+key)
			wantOutput(t, code, stdout+stderr, exitUndelivered, want, "API key", "BENCHLEDGER_API_KEY", "--api-key", "scope submit", "dev-local-key")
			if strings.Contains(stdout+stderr, "secret-key") {
				t.Error("the key is shown")
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
				t.Errorf("%v, %v: it writes files", entries, err)
			}
		}
	})

	t.Run("ends when it is told to, and what it left is submitted by the next one", func(t *testing.T) {
		t.Parallel()
		arrived := make(chan struct{}, 100)
		way := between(t, server.url, func(_ http.ResponseWriter, r *http.Request, _ func()) {
			_, _ = io.Copy(io.Discard, r.Body)
			arrived <- struct{}{}
			<-r.Context().Done()
		})
		dir := t.TempDir()
		file := write(t, dir, "runs.ndjson", submitted("stopped"))
		p := command(t, submitEnv(way), "submit", file)
		p.cmd.Dir = dir
		p.start()
		<-arrived
		p.signal(syscall.SIGINT)
		wantOutput(t, p.wait(), p.stdout.String()+p.stderr.String(), exitUndelivered, "stopped at 0 %; run the same command again")
		if exists(t, dir+"/*undelivered*") {
			t.Error("what was stopped counts as undelivered")
		}
		p = command(t, submitEnv(way), "submit", "-")
		p.cmd.Dir, p.cmd.Stdin = dir, strings.NewReader(submitted("stopped"))
		p.start()
		<-arrived
		p.signal(syscall.SIGINT)
		wantOutput(t, p.wait(), p.stdout.String()+p.stderr.String(), exitUndelivered, "stopped at 0 runs; run the same command again")
		code, stdout, stderr := runIn(t, dir, "", env, "submit", file)
		wantOutput(t, code, stdout+stderr, 0, "1 recorded")
	})
}

// TestManyWarnings checks that warnings use limited memory.
func TestManyWarnings(t *testing.T) {
	t.Parallel()
	s := submission{warnings: map[string]*finding{}}
	for i := range 3 * keptWarnings {
		s.noteWarning(source{n: i}, fmt.Sprint(i))
	}
	if s.noteWarning(source{}, "0"); len(s.warnings) != keptWarnings || s.unkept != 2*keptWarnings || s.warnings["0"].lines != 2 {
		t.Errorf("%d warnings are kept, %d are not", len(s.warnings), s.unkept)
	}
}

// problemOf responds with a problem document of BenchLedger.
func problemOf(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"type":"about:blank","title":%q,"status":%d,"detail":%q,"requestId":"R"}`, http.StatusText(status), status, detail)
}

// between starts a proxy for a server, and checks its responses against openapi.yaml.
func between(t *testing.T, address string, handle func(w http.ResponseWriter, r *http.Request, forward func())) string {
	t.Helper()
	target, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ModifyResponse = func(response *http.Response) error {
		body, err := io.ReadAll(response.Body)
		if err == nil {
			conforms(t, response.Request, response, body)
		}
		response.Body = io.NopCloser(bytes.NewReader(body))
		return err
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Accept-Encoding") // The transport asks for gzip itself, and unpacks it.
		handle(w, r, func() { proxy.ServeHTTP(w, r) })
	}))
	t.Cleanup(server.CloseClientConnections)
	return server.URL
}

func TestReadingCommands(t *testing.T) {
	t.Parallel()
	database := testdb.URL(t)
	server := serveDatabase(t, database)
	env := submitEnv(server.url)
	run1 := `{"runId":"run-1","batchId":"batch-1","suite":"s","scenario":"first","tier":"L1","agent":"red\u202e","status":"completed",` +
		`"startedAt":"2025-11-17T10:00:00Z","totalScore":0.5,"weightedScore":5,"isSuccessful":true,"metadata":{"n":12345678901234567890},` +
		`"evaluations":[{"evaluatorName":"judge","score":1,"maxScore":2}],"telemetry":{"tokensIn":9007199254740993}}`
	for i := range 60 {
		run1 += "\n" + submitted(fmt.Sprint("more-", i))
	}
	code, stdout, stderr := runIn(t, t.TempDir(), run1, env, "submit", "-", "--concurrency=1") // more-59 is the newest.
	wantOutput(t, code, stdout+stderr, 0, "61 recorded")
	if response, body := server.request(http.MethodPost, "/api/results/batch", `{"batchId":"batch-1","metadata":{"ci":true}}`); response.StatusCode != http.StatusCreated {
		t.Fatal(body)
	}

	for _, test := range []struct {
		args  string
		lines int
		want  []string
	}{
		{"runs --suite=s --scenario=first", 2, []string{"RUN", "run-1", "red·", "2025-11-17 10:00:00", "0.5"}},
		{"runs", 51, []string{"more-59"}},
		{"runs --limit=0 --json", 61, []string{`"runId":"run-1"`, `"n":12345678901234567890`}},
		{"runs --limit=2 --json", 2, []string{`"runId":"more-`}},
		{"batches --json", 1, []string{`"batchId":"batch-1"`}},
		{"run run-1", 30, []string{"judge", "9007199254740993", `"n": 12345678901234567890`}},
		{"run run-1 --json", 1, []string{`"n":12345678901234567890`}},
		{"batches", 2, []string{"batch-1"}},
		{"batch batch-1", 15, []string{"batch-1", "run-1"}},
		{"batch batch-1 --json", 1, []string{`"runs":[{`}},
		{"stats", 2, []string{"61"}},
		{"stats --agents --json", 1, []string{`"agent":"red`}},
	} {
		code, stdout, stderr := runIn(t, t.TempDir(), "", env, strings.Fields(test.args)...)
		wantOutput(t, code, stdout, 0, test.want...)
		if got := strings.Count(stdout, "\n"); got != test.lines || stderr != "" {
			t.Errorf("%s: %d lines, want %d:\n%s%s", test.args, got, test.lines, stdout, stderr)
		}
	}
	// The tables are the same if metadata is a string.
	asText := serveDatabase(t, database, "METADATA_AS_TEXT=true")
	for _, args := range []string{"runs --scenario=first", "run run-1", "batches", "batch batch-1"} {
		_, want, _ := runIn(t, t.TempDir(), "", env, strings.Fields(args)...)
		code, stdout, stderr := runIn(t, t.TempDir(), "", submitEnv(asText.url), strings.Fields(args)...)
		wantOutput(t, code, stdout+stderr, 0)
		if strings.ReplaceAll(stdout, asText.url, server.url) != want {
			t.Errorf("%s: %s%s, want %s", args, stdout, stderr, want)
		}
	}
	client, err := benchledger.New(asText.url, localKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range client.EachRun(t.Context(), benchledger.ListRunsParams{Scenario: []string{"first"}}) {
		if err == nil || !strings.HasPrefix(err.Error(), "run run-1 cannot be read: metadata is a string, not a map[") {
			t.Error(err)
		}
	}
	code, stdout, stderr = runIn(t, t.TempDir(), "", env, "run", "none")
	wantOutput(t, code, stdout+stderr, 1, "404", "No run has the ID")
	code, stdout, stderr = runIn(t, t.TempDir(), "", submitEnv("http://127.0.0.1:1"), "stats")
	wantOutput(t, code, stdout+stderr, 1, "is the server running?")
}
