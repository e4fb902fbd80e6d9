package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	benchledger "github.com/benchledger/benchledger/clients/go"
	"github.com/benchledger/benchledger/internal/testdb"
)

// recorder records at an address; its spool is dir.
func recorder(t *testing.T, address, dir string, options ...func(*benchledger.RecorderOptions)) *benchledger.Recorder {
	t.Helper()
	all := benchledger.RecorderOptions{
		URL: address, APIKey: localKey, Spool: dir, RetryFor: new(patience),
		Logger: slog.New(slog.NewTextHandler(testWriter{t}, nil)),
	}
	for _, option := range options {
		option(&all)
	}
	recorder, err := benchledger.NewRecorder(all)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(recorder.Close)
	return recorder
}

// logTo has a recorder log to a buffer.
func logTo(log io.Writer) func(*benchledger.RecorderOptions) {
	return func(o *benchledger.RecorderOptions) { o.Logger = slog.New(slog.NewTextHandler(log, nil)) }
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}

func attempt(scenario string) benchledger.RunSubmission {
	return benchledger.RunSubmission{Suite: "suite", Scenario: scenario, Tier: "L1", Agent: "agent", Model: new("model")}
}

// recordBatch records a batch of ten runs, all at once.
func recordBatch(t *testing.T, recorder *benchledger.Recorder) (batchID string, deliveries map[benchledger.Delivery]int) {
	t.Helper()
	batch := recorder.StartBatch()
	deliveries = map[benchledger.Delivery]int{}
	var mu sync.Mutex
	var runs sync.WaitGroup
	for i := range 10 {
		runs.Go(func() {
			run := batch.StartRun(attempt(fmt.Sprint("scenario-", i)))
			run.Evaluate("tests", 1, 2, "half of them")
			run.Evaluate("judge", float64(i), 10, "")
			run.Telemetry(benchledger.TelemetrySubmission{ToolCalls: new(int64(i)), CostUSD: new(0.25)})
			delivery, err := run.Complete(t.Context(), benchledger.RunResult{TotalScore: new(float64(i) / 4), IsSuccessful: new(true)})
			if err != nil {
				t.Errorf("run %d: %v", i, err)
			}
			mu.Lock()
			defer mu.Unlock()
			deliveries[delivery]++
		})
	}
	runs.Wait()
	if _, err := batch.Complete(t.Context(), benchledger.BatchSummary{Metadata: map[string]any{"commit": "abc"}}); err != nil {
		t.Errorf("batch: %v", err)
	}
	return batch.ID(), deliveries
}

// wantBatch checks that the ten runs of a batch are stored, each once and whole.
func (p *program) wantBatch(batchID string) {
	p.t.Helper()
	_, body := p.request(http.MethodGet, "/api/batches/"+batchID, "")
	var batch struct {
		TotalRuns, SuccessfulRuns int
		AvgScore                  float64
		CompletedAt               *time.Time
		Runs                      []benchledger.Run
	}
	if err := json.Unmarshal([]byte(body), &batch); err != nil {
		p.t.Fatalf("%v: %s", err, body)
	}
	if len(batch.Runs) != 10 || batch.TotalRuns != 10 || batch.SuccessfulRuns != 10 || batch.AvgScore != 1.125 || batch.CompletedAt == nil {
		p.t.Errorf("the batch is not whole: %s", body)
	}
	for _, run := range batch.Runs {
		_, body := p.request(http.MethodGet, "/api/runs/"+run.RunID, "")
		var details benchledger.RunDetails
		if err := json.Unmarshal([]byte(body), &details); err != nil {
			p.t.Fatalf("%v: %s", err, body)
		}
		i := strings.TrimPrefix(details.Run.Scenario, "scenario-")
		if details.Run.Status != benchledger.RunStatusCompleted || len(details.Evaluations) != 2 || fmt.Sprint(*details.Evaluations[1].Score) != i ||
			details.Telemetry == nil || fmt.Sprint(*details.Telemetry.ToolCalls) != i {
			p.t.Errorf("the run is not whole: %s", body)
		}
	}
}

// wantSpool checks how many submissions wait in a spool, and how many were refused.
func wantSpool(t *testing.T, dir string, waiting, refused int) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	kept, err := filepath.Glob(filepath.Join(dir, "refused", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != waiting || len(kept) != refused {
		t.Errorf("the spool has %d waiting and %d refused, want %d and %d", len(left), len(kept), waiting, refused)
	}
}

func TestRecorder(t *testing.T) {
	t.Parallel()
	server := serveDatabase(t, testdb.URL(t))

	for _, test := range []struct {
		name string
		// answer may answer the nth request itself.
		answer func(n int64, w http.ResponseWriter, r *http.Request, forward func())
	}{
		{"a server that is well", func(_ int64, _ http.ResponseWriter, _ *http.Request, forward func()) { forward() }},
		{"a server that asks to wait", func(n int64, w http.ResponseWriter, _ *http.Request, forward func()) {
			if n <= 15 {
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			forward()
		}},
		{"a server that hangs", func(n int64, _ http.ResponseWriter, r *http.Request, forward func()) {
			if n%3 == 0 {
				_, _ = io.Copy(io.Discard, r.Body)
				<-r.Context().Done()
				return
			}
			forward()
		}},
		{"connections that break before the request is there", func(n int64, _ http.ResponseWriter, _ *http.Request, forward func()) {
			if n%2 == 0 {
				panic(http.ErrAbortHandler)
			}
			forward()
		}},
		{"connections that break after the run is stored", func(n int64, _ http.ResponseWriter, r *http.Request, forward func()) {
			if n%2 == 0 {
				request, err := http.NewRequestWithContext(t.Context(), r.Method, server.url+r.URL.Path, r.Body)
				if err != nil {
					panic(err)
				}
				request.Header = r.Header
				if response, err := http.DefaultClient.Do(request); err == nil {
					response.Body.Close()
					if response.StatusCode/100 != 2 && response.StatusCode != http.StatusConflict {
						t.Errorf("the run is not stored: %s", response.Status)
					}
				}
				panic(http.ErrAbortHandler)
			}
			forward()
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var n atomic.Int64
			way := between(t, server.url, func(w http.ResponseWriter, r *http.Request, forward func()) {
				test.answer(n.Add(1), w, r, forward)
			})
			dir := t.TempDir()
			recorder := recorder(t, way, dir, func(o *benchledger.RecorderOptions) { o.HTTPClient = &http.Client{Timeout: time.Second} })
			batch, deliveries := recordBatch(t, recorder)
			if deliveries[benchledger.Delivered] != 10 {
				t.Errorf("deliveries %v", deliveries)
			}
			server.wantBatch(batch)
			wantSpool(t, dir, 0, 0)
		})
	}

	t.Run("a server that is down, and comes back", func(t *testing.T) {
		t.Parallel()
		address := freeAddr(t)
		dir := t.TempDir()
		recorder := recorder(t, "http://"+address, dir)
		// It comes back after the runs ended without it.
		go func() {
			eventually(t, "runs wait in the spool", func() bool { return exists(t, dir+"/*.json") })
			listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { listener.Close() })
			go forward(listener, "tcp", strings.TrimPrefix(server.url, "http://"))
		}()
		batch, _ := recordBatch(t, recorder)
		server.wantBatch(batch)
		wantSpool(t, dir, 0, 0)
	})

	away := func(o *benchledger.RecorderOptions) { o.RetryFor = new(time.Duration(0)) }
	t.Run("what was not delivered is sent by the next recorder", func(t *testing.T) {
		t.Parallel()
		var gone atomic.Bool
		gone.Store(true)
		way := between(t, server.url, func(_ http.ResponseWriter, _ *http.Request, forward func()) {
			if gone.Load() {
				panic(http.ErrAbortHandler)
			}
			forward()
		})
		dir := t.TempDir()
		batch, deliveries := recordBatch(t, recorder(t, way, dir, away))
		if deliveries[benchledger.Spooled] != 10 {
			t.Errorf("deliveries %v", deliveries)
		}
		wantSpool(t, dir, 11, 0)
		gone.Store(false)
		readdress(t, dir, way, way+"/api") // As earlier versions wrote it.
		recorder(t, way+"/api/", dir)
		eventually(t, "the spool is empty", func() bool { return !exists(t, dir+"/*.json") })
		server.wantBatch(batch)
	})

	t.Run("what was not delivered is sent by benchledger flush, to its own server", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		nowhere := "http://127.0.0.1:1"
		batch, _ := recordBatch(t, recorder(t, nowhere, dir, away))
		env := append(submitEnv(server.url), "BENCHLEDGER_SPOOL="+dir)
		write(t, dir, "odd.json", "{}")
		write(t, dir, "null.json", "null")
		code, stdout, _ := run(t, env, "flush")
		wantOutput(t, code, stdout, 0, "0 delivered", "11 for the server at "+nowhere, "skipped: null.json: not a submission", "2 files in the spool are not submissions, or cannot be read")
		code, stdout, stderr := run(t, env, "flush", "--url="+nowhere, "--retry-for=1ms")
		wantOutput(t, code, stdout+stderr, 1, "0 delivered, 0 refused, 11 left", "connection refused")
		wantSpool(t, dir, 13, 0)
		var log syncBuffer
		other := recorder(t, server.url, dir, logTo(&log))
		eventually(t, "the spool is read", func() bool { return strings.Contains(log.String(), "see benchledger flush") })
		other.Close()
		if text := log.String(); !strings.Contains(text, nowhere+":11") || !strings.Contains(text, "unreadable=2") || !strings.Contains(text, "odd.json: not a submission") {
			t.Errorf("a recorder for another server logs: %s", text)
		}
		readdress(t, dir, nowhere, nowhere+"/api") // As earlier versions wrote it.
		code, stdout, stderr = run(t, env, "flush", "--from="+nowhere+"/")
		wantOutput(t, code, stdout+stderr, 0, "11 delivered, 0 refused, 0 left")
		server.wantBatch(batch)
		wantSpool(t, dir, 2, 0)
	})

	t.Run("what is refused is kept, with the reason, and not sent again unasked", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		recorder := recorder(t, server.url, dir)
		run1 := recorder.StartRun(attempt("refused"))
		run1.Evaluate("judge", 1, 0, "")
		delivery, err := run1.Complete(t.Context(), benchledger.RunResult{})
		var answered *benchledger.Error
		if delivery != benchledger.Refused || !errors.As(err, &answered) || answered.Status != http.StatusUnprocessableEntity ||
			!strings.Contains(err.Error(), "body.evaluations[0].maxScore") || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s, %v", delivery, err)
		}
		wantSpool(t, dir, 0, 1)
		env := append(submitEnv(server.url), "BENCHLEDGER_SPOOL="+dir)
		code, stdout, stderr := run(t, env, "flush")
		wantOutput(t, code, stdout+stderr, 0, "0 delivered, 0 refused, 0 left")
		code, stdout, stderr = run(t, env, "flush", "--refused")
		wantOutput(t, code, stdout+stderr, exitRefused, "0 delivered, 1 refused, 0 left")
		wantSpool(t, dir, 0, 1)
		readdress(t, filepath.Join(dir, "refused"), `"maxScore":0`, "\n\t\"maxScore\": 1\n") // As an editor leaves it.
		code, stdout, stderr = run(t, env, "flush", "--refused")
		wantOutput(t, code, stdout+stderr, 0, "1 delivered, 0 refused, 0 left")
		wantSpool(t, dir, 0, 0)
		if response, body := server.request(http.MethodGet, "/api/runs/"+run1.ID(), ""); response.StatusCode != http.StatusOK {
			t.Errorf("the corrected run is not stored: %s", body)
		}
	})

	t.Run("a key that is wrong loses nothing in the spool", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		batch, _ := recordBatch(t, recorder(t, "http://127.0.0.1:1", dir, away))
		readdress(t, dir, "http://127.0.0.1:1", server.url)
		env := append(submitEnv(server.url), "BENCHLEDGER_SPOOL="+dir)
		code, stdout, stderr := run(t, env, "flush", "--api-key=wrong")
		wantOutput(t, code, stdout+stderr, 1, "11 left", "403", "BENCHLEDGER_API_KEY", "--api-key", "scope submit", "dev-local-key", "what is left stays in "+dir)
		wantSpool(t, dir, 11, 0)
		code, stdout, stderr = run(t, env, "flush")
		wantOutput(t, code, stdout+stderr, 0, "11 delivered")
		server.wantBatch(batch)
	})

	t.Run("a recorder without the right key refuses nothing", func(t *testing.T) {
		t.Parallel()
		var log syncBuffer
		var requests atomic.Int64
		way := between(t, server.url, func(_ http.ResponseWriter, _ *http.Request, forward func()) {
			requests.Add(1)
			forward()
		})
		dir := t.TempDir()
		recorder := recorder(t, way, dir, logTo(&log), func(o *benchledger.RecorderOptions) { o.APIKey = "wrong" })
		batch := recorder.StartBatch()
		eventually(t, "the announcement fails", func() bool { return strings.Contains(log.String(), "the start could not be announced") })
		for range 3 {
			if delivery, err := batch.StartRun(attempt("keyless")).Complete(t.Context(), benchledger.RunResult{}); delivery != benchledger.Spooled || err != nil {
				t.Errorf("%s, %v", delivery, err)
			}
		}
		recorder.Close()
		wantSpool(t, dir, 3, 0)
		text := log.String()
		wantOutput(t, 0, text, 0, "403", "Invalid API key", "set BENCHLEDGER_API_KEY (or APIKey, --api-key) to a key with the scope submit", "dev-local-key", "the run is safe in "+dir, "benchledger flush")
		if strings.Count(text, "not delivered") != 1 || strings.Count(text, "could not be announced") != 1 || requests.Load() > 7 {
			t.Errorf("%d requests of 3 runs and a batch; it logs %s", requests.Load(), text)
		}
	})

	t.Run("the user reads of an outage once", func(t *testing.T) {
		t.Parallel()
		const nowhere = "http://127.0.0.1:1"
		dir := t.TempDir()
		var log syncBuffer
		recorder := recorder(t, nowhere+"/api", dir, logTo(&log), func(o *benchledger.RecorderOptions) { o.RetryFor = new(5 * time.Second) })
		end := func() {
			if delivery, err := recorder.StartRun(attempt("outage")).Complete(t.Context(), benchledger.RunResult{}); delivery != benchledger.Spooled || err != nil {
				t.Errorf("%s, %v", delivery, err)
			}
		}
		var ends sync.WaitGroup
		for range 5 {
			ends.Go(end)
		}
		ends.Wait()
		for range 5 {
			end()
		}
		recorder.Close()
		wantSpool(t, dir, 10, 0)
		text := regexp.MustCompile(`\d\d:\d\d:\d\d\.`).ReplaceAllString(log.String(), "HH:MM:SS.")
		first := "no response from " + nowhere + " (connection refused); the run is safe in " + dir + "; trying again until HH:MM:SS. \\\"benchledger flush\\\" sends it later."
		second := "no response from " + nowhere + " (connection refused); the run is safe in " + dir + ". \\\"benchledger flush\\\" sends it later."
		if strings.Count(text, first) != 1 || strings.Count(text, second) != 1 || strings.Count(text, "could not be announced") > 1 || strings.Count(text, "\n") > 3 {
			t.Errorf("it logs %s", text)
		}
	})

	t.Run("text that the server cannot store", func(t *testing.T) {
		t.Parallel()
		var log syncBuffer
		recorder := recorder(t, server.url, t.TempDir(), logTo(&log))
		for i := range 2 {
			run := recorder.StartRun(benchledger.RunSubmission{RunID: fmt.Sprint("text-", i), Suite: "suite", Scenario: "NUL\x00", Tier: "L1", Agent: "half \xf0\x9f"})
			run.Evaluate("judge\x00", 1, 1, "\xff")
			run.Telemetry(benchledger.TelemetrySubmission{PromptSent: new("a\x00b"), WorkspaceDir: new("\xc3(")})
			if delivery, err := run.Fail(t.Context(), errors.New("cut \xe2\x82"), ""); delivery != benchledger.Delivered || err != nil {
				t.Errorf("%s, %v", delivery, err)
			}
			_, body := server.request(http.MethodGet, "/api/runs/"+run.ID(), "")
			body = strings.ReplaceAll(body, `\ufffd`, "\ufffd") // Go writes metadata with an escape.
			wantOutput(t, 0, body, 0, "\"NUL\ufffd\"", "\"half \ufffd", "\"judge\ufffd\"", "\"cut \ufffd", "\"a\ufffdb\"")
		}
		if text := log.String(); strings.Count(text, "replaced by U+FFFD") != 1 || !strings.Contains(text, "a text had a NUL or half a character (text-0, body.agent): replaced by U+FFFD") {
			t.Errorf("it logs %s", text)
		}
	})

	t.Run("what the server warns of is logged once", func(t *testing.T) {
		t.Parallel()
		way := between(t, server.url, func(w http.ResponseWriter, r *http.Request, _ func()) {
			var sent struct{ RunID, BatchID string }
			_ = json.NewDecoder(r.Body).Decode(&sent)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusCreated)
			fmt.Fprintf(w, `{"success":true,"runId":%q,"batchId":%q,"warnings":["unknown field body.scor"]}`, sent.RunID, sent.BatchID)
		})
		var log syncBuffer
		recordBatch(t, recorder(t, way, t.TempDir(), logTo(&log)))
		if text := log.String(); strings.Count(text, "unknown field body.scor") != 1 {
			t.Errorf("it logs %s", text)
		}
	})

	t.Run("a run is announced, and a failed one says why", func(t *testing.T) {
		t.Parallel()
		recorder := recorder(t, server.url, t.TempDir())
		run := recorder.StartRun(attempt("failing"))
		path := "/api/runs/" + run.ID()
		eventually(t, "the run is announced", func() bool {
			response, body := server.request(http.MethodGet, path, "")
			return response.StatusCode == http.StatusOK && strings.Contains(body, `"status":"running"`)
		})
		if _, err := run.Fail(t.Context(), errors.New("no such package"), benchledger.FailedWorkspace); err != nil {
			t.Fatal(err)
		}
		if _, body := server.request(http.MethodGet, path, ""); !strings.Contains(body, `"status":"failed"`) ||
			!strings.Contains(body, `"error":"no such package"`) || !strings.Contains(body, `"errorType":"workspace"`) {
			t.Errorf("the failed run: %s", body)
		}
	})

	t.Run("an announcement does not hold up the end", func(t *testing.T) {
		t.Parallel()
		hung := make(chan struct{})
		way := between(t, server.url, func(_ http.ResponseWriter, r *http.Request, forward func()) {
			text, _ := io.ReadAll(r.Body)
			if strings.Contains(string(text), `"status":"running"`) {
				close(hung)
				<-r.Context().Done()
				return
			}
			r.Body = io.NopCloser(strings.NewReader(string(text)))
			forward()
		})
		run := recorder(t, way, t.TempDir()).StartRun(attempt("overtaken"))
		<-hung
		if delivery, err := run.Complete(t.Context(), benchledger.RunResult{}); delivery != benchledger.Delivered || err != nil {
			t.Errorf("%s, %v", delivery, err)
		}
	})

	t.Run("without a disk, runs are sent all the same", func(t *testing.T) {
		t.Parallel()
		file, pipe := write(t, t.TempDir(), "file", ""), filepath.Join(t.TempDir(), "pipe")
		if err := syscall.Mkfifo(pipe, 0o600); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), "spool")
		for _, test := range []struct {
			spool string
			want  []string
		}{
			{pipe, []string{"the spool cannot be read", "the spool cannot be written", "not a directory"}},
			{file, []string{"the spool cannot be read", "the spool cannot be written", "not a directory"}},
			{dir, []string{"the spool cannot be written", "not a directory"}},
		} {
			var log syncBuffer
			recorder := recorder(t, server.url, test.spool, logTo(&log))
			if test.spool == dir {
				write(t, filepath.Dir(dir), "spool", "") // The directory cannot be made now.
			}
			for range 2 {
				if delivery, err := recorder.StartRun(attempt("no disk")).Complete(t.Context(), benchledger.RunResult{}); delivery != benchledger.Delivered || err != nil {
					t.Errorf("%s, %v", delivery, err)
				}
			}
			wantOutput(t, 0, log.String(), 0, test.want...)
			if strings.Count(log.String(), "cannot be written") != 1 {
				t.Errorf("it logs %s", log.String())
			}
		}
		if delivery, err := recorder(t, "http://127.0.0.1:1", file, away).StartRun(attempt("no disk")).Complete(t.Context(), benchledger.RunResult{}); delivery != "" || err == nil {
			t.Errorf("%s, %v, though the run is nowhere", delivery, err)
		}
	})
}

// TestRecorderKeeps causes failures that prevent storing a run: the run must not be lost.
func TestRecorderKeeps(t *testing.T) {
	t.Parallel()
	server := serveDatabase(t, testdb.URL(t))
	once := func(o *benchledger.RecorderOptions) { o.RetryFor = new(time.Duration(0)) }
	env := func(dir string) []string { return append(submitEnv(server.url), "BENCHLEDGER_SPOOL="+dir) }

	// Responses of a proxy instead of the server: with none of them is a run stored.
	for name, answer := range map[string]http.HandlerFunc{
		"a page to sign in": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/sign-in" {
				http.Redirect(w, r, "/sign-in", http.StatusFound)
				return
			}
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "<h1>Sign in</h1>")
		},
		"another address": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://other.example"+r.URL.Path, http.StatusPermanentRedirect)
		},
		"nothing":              func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		"nothing, as JSON":     func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "application/json") },
		"a way without an end": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) },
		"some other JSON": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"success":true,"runId":"another"}`)
		},
		"an array of other JSON": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `[{"hello":"world"}]`)
		},
		"its own 404": http.NotFound,
		"its own 400": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<p>no</p>", http.StatusBadRequest) },
		"its own 403": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<p>no</p>", http.StatusForbidden) },
		"its own 413": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "<p>no</p>", http.StatusRequestEntityTooLarge)
		},
		"its own 421": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusMisdirectedRequest) },
		"a 422 of another API": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnprocessableEntity)
			fmt.Fprint(w, `["title","detail"]`)
		},
	} {
		t.Run("where a proxy answers with "+name, func(t *testing.T) {
			t.Parallel()
			var posts atomic.Int64
			way := between(t, server.url, func(w http.ResponseWriter, r *http.Request, _ func()) {
				if r.Method == http.MethodPost {
					posts.Add(1)
				}
				answer(w, r)
			})
			want := "which is not a response of BenchLedger"
			switch name {
			case "a page to sign in":
				want = way + " redirects to " + way + "/sign-in: set the server address to where BenchLedger is"
			case "another address":
				want = way + " redirects to https://other.example/api/"
			}
			dir := t.TempDir()
			var log syncBuffer
			recorder := recorder(t, way, dir, logTo(&log))
			if delivery, err := recorder.StartRun(attempt("intercepted")).Complete(t.Context(), benchledger.RunResult{}); delivery != benchledger.Spooled || err != nil {
				t.Errorf("%s, %v", delivery, err)
			}
			if delivery, err := recorder.StartBatch().Complete(t.Context(), benchledger.BatchSummary{}); delivery != benchledger.Spooled || err != nil {
				t.Errorf("%s, %v", delivery, err)
			}
			recorder.Close()
			wantSpool(t, dir, 2, 0)
			wantOutput(t, 0, log.String(), 0, want, "the run is safe in "+dir)
			if n := posts.Load(); n > 4 {
				t.Errorf("%d requests for a run and a batch", n)
			}
			code, stdout, stderr := run(t, append(submitEnv(way), "BENCHLEDGER_SPOOL="+dir), "flush")
			wantOutput(t, code, stdout+stderr, 1, "0 delivered, 0 refused, 2 left", want)
			wantSpool(t, dir, 2, 0)
			code, stdout, stderr = runIn(t, t.TempDir(), submitted("intercepted"), submitEnv(way), "submit", "-")
			wantOutput(t, code, stdout+stderr, exitUndelivered, "0 recorded, 0 replayed, 0 refused, 1 undelivered", want)
			for _, command := range []string{"runs", "runs --json", "run x", "run x --json", "batches", "batch x", "stats", "stats --agents"} {
				code, stdout, stderr := run(t, submitEnv(way), strings.Fields(command)...)
				wantOutput(t, code, stdout+stderr, 1, "benchledger: ", want)
			}
		})
	}

	t.Run("an evaluator that could not score", func(t *testing.T) {
		t.Parallel()
		recorded := recorder(t, server.url, t.TempDir()).StartRun(attempt("unscored"))
		recorded.Evaluate("judge", math.NaN(), 2, "")
		recorded.Evaluate("tests", 0, 2, "")
		if delivery, err := recorded.Complete(t.Context(), benchledger.RunResult{}); delivery != benchledger.Delivered || err != nil {
			t.Fatalf("%s, %v", delivery, err)
		}
		_, body := server.request(http.MethodGet, "/api/runs/"+recorded.ID()+"/evaluations", "")
		if !strings.Contains(body, `"evaluatorName":"judge","score":null`) || !strings.Contains(body, `"evaluatorName":"tests","score":0`) {
			t.Error(body)
		}
	})

	t.Run("values that JSON has no form for", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		run1 := recorder(t, server.url, dir).StartRun(attempt("odd values"))
		run1.Evaluate("good", 1, 2, "")
		run1.Evaluate("divided by zero", math.Inf(1), 2, "")
		cycle := map[string]any{"fine": 1}
		cycle["self"] = cycle
		delivery, err := run1.Complete(t.Context(), benchledger.RunResult{TotalScore: new(math.Inf(1)), Metadata: map[string]any{
			"commit": "abc", "big": json.Number("9007199254740993"), "channel": make(chan int), "cycle": cycle,
		}})
		if delivery != benchledger.Refused || err == nil {
			t.Fatalf("%s, %v", delivery, err)
		}
		for _, part := range []string{"body.totalScore", "body.evaluations[1].score", "body.metadata.channel", "body.metadata.cycle.self", dir} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("the error says nothing of %s: %v", part, err)
			}
		}
		wantSpool(t, dir, 0, 1)
		// The score is filled in by hand.
		readdress(t, filepath.Join(dir, "refused"), `"evaluatorName":"divided by zero"`, `"evaluatorName":"divided by zero","score":0`)
		code, stdout, stderr := run(t, env(dir), "flush", "--refused")
		wantOutput(t, code, stdout+stderr, 0, "1 delivered")
		_, body := server.request(http.MethodGet, "/api/runs/"+run1.ID(), "")
		for _, text := range []string{`"status":"completed"`, `"commit":"abc"`, `"big":9007199254740993`, `"fine":1`, `"divided by zero"`} {
			if !strings.Contains(body, text) {
				t.Errorf("the run lacks %s: %s", text, body)
			}
		}
	})

	t.Run("a run that is too large does not keep others in the spool", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		recorder := recorder(t, "http://127.0.0.1:1", dir, once)
		large := recorder.StartRun(attempt("large"))
		large.Telemetry(benchledger.TelemetrySubmission{PromptSent: new(strings.Repeat("x", 9<<20))})
		small := recorder.StartRun(attempt("small"))
		for _, run := range []*benchledger.RunRecorder{large, small} {
			if delivery, err := run.Complete(t.Context(), benchledger.RunResult{}); delivery != benchledger.Spooled || err != nil {
				t.Fatalf("%s, %v", delivery, err)
			}
		}
		code, stdout, stderr := run(t, env(dir), "flush", "--from=http://127.0.0.1:1")
		wantOutput(t, code, stdout+stderr, exitRefused, "1 delivered, 1 refused, 0 left")
		wantSpool(t, dir, 0, 1)
		if response, body := server.request(http.MethodGet, "/api/runs/"+small.ID(), ""); response.StatusCode != http.StatusOK {
			t.Errorf("the small run is not stored: %s", body)
		}
	})

	t.Run("what a process left while it wrote it", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		const entry = `{"url":"%s","operation":"submit-run","spooledAt":"2025-11-17T10:00:00Z","body":%s}`
		for name, content := range map[string]string{
			"whole.json.tmp": fmt.Sprintf(entry, server.url, submitted("rescued")),
			"part.json.tmp":  fmt.Sprintf(entry, server.url, submitted("partial"))[:150],
			"new.json.tmp":   "{",
		} {
			path := write(t, dir, name, content)
			if name != "new.json.tmp" {
				long := time.Now().Add(-time.Hour)
				if err := os.Chtimes(path, long, long); err != nil {
					t.Fatal(err)
				}
			}
		}
		code, stdout, stderr := run(t, env(dir), "flush")
		wantOutput(t, code, stdout+stderr, 0, "1 delivered, 0 refused, 0 left")
		if files, _ := filepath.Glob(dir + "/*"); len(files) != 1 || filepath.Base(files[0]) != "new.json.tmp" {
			t.Errorf("the spool has %v", files)
		}
		if response, _ := server.request(http.MethodGet, "/api/runs/rescued", ""); response.StatusCode != http.StatusOK {
			t.Errorf("the run that was whole: %s", response.Status)
		}
	})

	t.Run("what must not be opened, deleted or sent", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		const entry = `{"url":"%s","operation":"submit-run","spooledAt":"2025-11-17T10:00:00Z","body":%s}`
		for name, content := range map[string]string{"other.json.tmp": `{"a":1}`, "text.json.tmp": "a text", "edited.json.tmp": `{"url":"x","operation":"none"}`} {
			path, long := write(t, dir, name, content), time.Now().Add(-time.Hour)
			if err := os.Chtimes(path, long, long); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"pipe.json", "pipe.json.tmp", "pipe"} {
			if err := syscall.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for name, to := range map[string]string{"link.json": "pipe.json", "device.json": "/dev/zero"} {
			if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		socket, err := new(net.ListenConfig).Listen(t.Context(), "unix", filepath.Join(dir, "socket.json"))
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()
		if err := os.Mkdir(filepath.Join(dir, "folder.json"), 0o700); err != nil {
			t.Fatal(err)
		}
		before, _ := filepath.Glob(dir + "/*")
		write(t, dir, "good.json", fmt.Sprintf(entry, server.url, submitted("beside-pipes")))
		code, stdout, stderr := run(t, env(dir), "flush")
		wantOutput(t, code, stdout+stderr, 0, "1 delivered, 0 refused, 0 left", "9 files in the spool are not submissions, or cannot be read",
			"skipped: pipe.json: not a regular file\n", "skipped: pipe.json.tmp: not", "skipped: link.json: not", "skipped: device.json: not", "skipped: socket.json: not", "skipped: folder.json: not",
			"skipped: other.json.tmp: not a submission\n", "skipped: text.json.tmp: not", "skipped: edited.json.tmp: not")
		if after, _ := filepath.Glob(dir + "/*"); !slices.Equal(after, before) {
			t.Errorf("the spool has %v, want %v", after, before)
		}
		write(t, dir, "good.json", fmt.Sprintf(entry, server.url, submitted("beside-pipes-2")))
		var log syncBuffer
		recorder := recorder(t, server.url, dir, logTo(&log))
		eventually(t, "the recorder sends the run", func() bool { return !exists(t, dir+"/good.json") })
		recorder.Close()
		wantOutput(t, 0, log.String(), 0, "unreadable=9", "pipe.json: not a regular file")
	})

	t.Run("a file that the user may not read", func(t *testing.T) {
		t.Parallel()
		if os.Geteuid() == 0 {
			t.Skip("root reads all files")
		}
		dir := t.TempDir()
		long := time.Now().Add(-time.Hour)
		for _, name := range []string{"closed.json", "closed.json.tmp"} {
			path := write(t, dir, name, "{")
			if err := errors.Join(os.Chmod(path, 0), os.Chtimes(path, long, long)); err != nil {
				t.Fatal(err)
			}
		}
		code, stdout, stderr := run(t, env(dir), "flush")
		wantOutput(t, code, stdout+stderr, 1, "0 delivered", "closed.json: permission denied", "closed.json.tmp: permission denied")
		if files, _ := filepath.Glob(dir + "/*"); len(files) != 2 {
			t.Errorf("the spool has %v", files)
		}
	})

	t.Run("scores that come while the run ends, and an end that comes twice", func(t *testing.T) {
		t.Parallel()
		run := recorder(t, server.url, t.TempDir()).StartRun(benchledger.RunSubmission{
			Suite: "suite", Scenario: "hasty", Tier: "L1", Agent: "agent", Metadata: map[string]any{"commit": "abc"},
			Evaluations: []benchledger.EvaluationSubmission{{EvaluatorName: "first", Score: new(1.0), MaxScore: 1}},
		})
		var late sync.WaitGroup
		late.Go(func() {
			for range 100 {
				run.Evaluate("late", 1, 1, "")
			}
		})
		delivery, err := run.Fail(t.Context(), nil, "")
		late.Wait()
		if delivery != benchledger.Delivered || err != nil {
			t.Errorf("%s, %v", delivery, err)
		}
		_, before := server.request(http.MethodGet, "/api/runs/"+run.ID(), "")
		if !strings.Contains(before, `"commit":"abc"`) || !strings.Contains(before, `"errorType":"unknown"`) || !strings.Contains(before, `"evaluatorName":"first"`) {
			t.Errorf("the failed run: %s", before)
		}
		if _, err := run.Complete(t.Context(), benchledger.RunResult{}); err == nil || !strings.Contains(err.Error(), "has already ended") {
			t.Errorf("a run that ends twice: %v", err)
		}
		if _, after := server.request(http.MethodGet, "/api/runs/"+run.ID(), ""); after != before {
			t.Errorf("its second end changes it: %s", after)
		}
	})

	t.Run("a server that asks to wait until a date, or for longer than there is time", func(t *testing.T) {
		t.Parallel()
		var first atomic.Int64
		way := between(t, server.url, func(w http.ResponseWriter, r *http.Request, forward func()) {
			text, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(strings.NewReader(string(text)))
			switch {
			case strings.Contains(string(text), `"status":"running"`):
				w.WriteHeader(http.StatusNotFound)
			case strings.Contains(string(text), "impatient"):
				w.Header().Set("Retry-After", "3600")
				w.WriteHeader(http.StatusTooManyRequests)
			case first.CompareAndSwap(0, time.Now().UnixMilli()):
				w.Header().Set("Retry-After", time.Now().Add(4*time.Second).UTC().Format(http.TimeFormat))
				w.WriteHeader(http.StatusServiceUnavailable)
			default:
				if waited := time.Since(time.UnixMilli(first.Load())); waited < 2*time.Second {
					t.Errorf("it waits for %s", waited)
				}
				forward()
			}
		})
		recorder := recorder(t, way, t.TempDir())
		if delivery, err := recorder.StartRun(attempt("patient")).Complete(t.Context(), benchledger.RunResult{}); delivery != benchledger.Delivered || err != nil {
			t.Errorf("%s, %v", delivery, err)
		}
		start := time.Now()
		if delivery, err := recorder.StartRun(attempt("impatient")).Complete(t.Context(), benchledger.RunResult{}); delivery != benchledger.Spooled || err != nil {
			t.Errorf("%s, %v", delivery, err)
		}
		if waited := time.Since(start); waited > patience/2 {
			t.Errorf("it waits for %s, though that cannot be enough", waited)
		}
	})

	t.Run("a time that is none", func(t *testing.T) {
		t.Parallel()
		if _, err := benchledger.NewRecorder(benchledger.RecorderOptions{Spool: t.TempDir(), RetryFor: new(-time.Second)}); err == nil {
			t.Error("a negative RetryFor is taken")
		}
		for args, want := range map[string]string{
			"flush --retry-for=-1s": "--retry-for must not be negative", "submit - --retry-for=-1s": "--retry-for must not be negative",
			"submit - --concurrency=0": "--concurrency must be at least 1",
		} {
			code, stdout, stderr := run(t, env(t.TempDir()), strings.Fields(args)...)
			wantOutput(t, code, stdout+stderr, 80, want)
		}
	})
}

// TestRecorderCannotRemove checks that a stored run counts as delivered, although its file cannot be
// removed from the spool.
func TestRecorderCannotRemove(t *testing.T) {
	t.Parallel()
	server := serveDatabase(t, testdb.URL(t))
	dir := t.TempDir()
	way := between(t, server.url, func(_ http.ResponseWriter, _ *http.Request, forward func()) {
		files, _ := filepath.Glob(dir + "/*.json")
		for _, file := range files { // A folder that is not empty takes the place of each file.
			_ = os.Remove(file)
			_ = os.MkdirAll(file+"/kept", 0o700)
		}
		forward()
	})
	var log syncBuffer
	recorder := recorder(t, way, dir, logTo(&log))
	for range 2 {
		delivery, err := recorder.StartRun(attempt("kept")).Complete(t.Context(), benchledger.RunResult{})
		if err != nil || delivery != benchledger.Delivered {
			t.Errorf("%s, %v", delivery, err)
		}
	}
	if strings.Count(log.String(), "cannot be removed from the spool") != 1 {
		t.Errorf("not one warning: %s", log.String())
	}
}

// TestFlushCannotRemove flushes a spool of which one file stays: the others are sent, and flush says so.
func TestFlushCannotRemove(t *testing.T) {
	t.Parallel()
	server := serveDatabase(t, testdb.URL(t))
	dir := t.TempDir()
	down := "http://" + freeAddr(t)
	offline := recorder(t, down, dir, func(o *benchledger.RecorderOptions) { o.RetryFor = new(time.Duration(0)) })
	for range 2 {
		if delivery, err := offline.StartRun(attempt("spooled")).Complete(t.Context(), benchledger.RunResult{}); delivery != benchledger.Spooled || err != nil {
			t.Fatal(delivery, err)
		}
		if delivery, err := offline.StartBatch().Complete(t.Context(), benchledger.BatchSummary{}); delivery != benchledger.Spooled || err != nil {
			t.Fatal(delivery, err)
		}
	}
	offline.Close()
	replaced := false
	way := between(t, server.url, func(_ http.ResponseWriter, _ *http.Request, forward func()) {
		if !replaced { // A folder that is not empty takes the place of the oldest file, that of a batch.
			replaced = true
			files, _ := filepath.Glob(dir + "/*.json")
			for _, file := range files {
				if content, _ := os.ReadFile(file); strings.Contains(string(content), `"submit-batch"`) {
					_ = os.Remove(file)
					_ = os.MkdirAll(file+"/kept", 0o700)
					break
				}
			}
		}
		forward()
	})
	code, stdout, stderr := run(t, append(submitEnv(way), "BENCHLEDGER_SPOOL="+dir), "flush", "--from="+down)
	wantOutput(t, code, stdout+stderr, 1, "4 delivered, 0 refused, 0 left", "1 of the files in the spool cannot be removed, and will be sent again, which does no harm: remove "+dir)
}

// unstored returns the address of a proxy that answers 503 to what contains one of the texts, until
// it is healed, and counts the requests.
func unstored(t *testing.T, server *program, texts ...string) (way string, requests *atomic.Int64, heal func()) {
	t.Helper()
	var healed atomic.Bool
	requests = new(atomic.Int64)
	way = between(t, server.url, func(w http.ResponseWriter, r *http.Request, forward func()) {
		requests.Add(1)
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		for _, text := range texts {
			if !healed.Load() && bytes.Contains(body, []byte(text)) {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
		}
		forward()
	})
	return way, requests, func() { healed.Store(true) }
}

// TestFlushGoesRound flushes a spool with a run and a batch that the server cannot store.
func TestFlushGoesRound(t *testing.T) {
	t.Parallel()
	server := serveDatabase(t, testdb.URL(t))
	way, _, heal := unstored(t, server, "broken", "fails")
	dir := t.TempDir()
	second := 0
	spool := func(operation, body string) string {
		second++
		name := fmt.Sprintf("%02d.json", 99-second) // The time counts, not the name.
		write(t, dir, name, fmt.Sprintf(`{"url":%q,"operation":%q,"spooledAt":"2025-11-17T10:00:%02dZ","body":%s}`, way, operation, second, body))
		return name
	}
	in := func(run, members string) string { return strings.TrimSuffix(run, "}") + "," + members + "}" }
	stuck := []string{
		spool("submit-run", strings.Replace(in(submitted("states"), `"totalScore":0.1,"model":"broken"`), "completed", "incomplete", 1)),
		spool("submit-run", in(submitted("states"), `"totalScore":0.2`)),
		spool("submit-batch", `{"batchId":"fails","createdAt":"2025-11-17T09:00:00Z","completedAt":"2025-11-17T10:00:00Z"}`),
	}
	slices.Sort(stuck)
	for i := range 20 {
		spool("submit-run", in(submitted(fmt.Sprint("round-", i)), fmt.Sprintf(`"batchId":"batch-%d"`, i%2)))
	}
	wantLeft := func(want []string) {
		t.Helper()
		left, _ := filepath.Glob(dir + "/*.json")
		for i := range left {
			left[i] = filepath.Base(left[i])
		}
		if !slices.Equal(left, want) {
			t.Errorf("the spool has %v, want %v", left, want)
		}
	}
	// A recorder does not wait until the retry time of the one is over.
	early := recorder(t, way, dir, func(o *benchledger.RecorderOptions) { o.RetryFor = new(24 * time.Hour) })
	eventually(t, "the others are delivered", func() bool {
		left, _ := filepath.Glob(dir + "/*.json")
		return len(left) == len(stuck)
	})
	early.Close()
	wantLeft(stuck)
	if response, body := server.request(http.MethodGet, "/api/runs/states", ""); response.StatusCode != http.StatusNotFound {
		t.Errorf("a later state is stored before an earlier one: %s", body)
	}
	spool("submit-run", submitted("round-later"))
	env := append(submitEnv(way), "BENCHLEDGER_SPOOL="+dir)
	code, stdout, stderr := run(t, env, "flush", "--retry-for=100ms")
	wantOutput(t, code, stdout+stderr, 1, "1 delivered, 0 refused, 3 left", "was not delivered", "503", "what is left stays in "+dir)
	wantLeft(stuck)
	heal()
	code, stdout, stderr = run(t, env, "flush")
	wantOutput(t, code, stdout+stderr, 0, "3 delivered, 0 refused, 0 left")
	if _, body := server.request(http.MethodGet, "/api/runs/states", ""); !strings.Contains(body, `"totalScore":0.2`) || !strings.Contains(body, `"status":"completed"`) {
		t.Errorf("not the last state of the run: %s", body)
	}
}

// TestFlushStops flushes a spool to a server that stores nothing.
func TestFlushStops(t *testing.T) {
	t.Parallel()
	server := serveDatabase(t, testdb.URL(t))
	way, requests, _ := unstored(t, server, "{")
	dir := t.TempDir()
	for i := range 1200 {
		write(t, dir, fmt.Sprint(i, ".json"), fmt.Sprintf(`{"url":%q,"operation":"submit-run","spooledAt":"2025-11-17T10:00:00Z","body":%s}`, way, submitted(fmt.Sprint("none-", i))))
	}
	code, stdout, stderr := run(t, append(submitEnv(way), "BENCHLEDGER_SPOOL="+dir), "flush", "--retry-for=0")
	wantOutput(t, code, stdout+stderr, 1, "0 delivered, 0 refused, 1200 left", "503", "5 submissions in a row failed, so others were not tried", "what is left stays in "+dir)
	if n := requests.Load(); n > 8 { // Three groups of runs, and five runs.
		t.Errorf("%d requests", n)
	}
	wantSpool(t, dir, 1200, 0)
}

// TestSubmitGoesRound submits runs, one of which the server cannot store.
func TestSubmitGoesRound(t *testing.T) {
	t.Parallel()
	server := serveDatabase(t, testdb.URL(t))
	way, _, _ := unstored(t, server, "broken")
	var lines strings.Builder
	for i := range 20 {
		lines.WriteString(submitted(fmt.Sprint("submit-round-", i)) + "\n")
		if i == 3 {
			lines.WriteString(strings.Replace(submitted("states"), `"completed"`, `"incomplete","model":"broken"`, 1) + "\n" + submitted("states") + "\n")
		}
	}
	dir := t.TempDir()
	code, stdout, stderr := runIn(t, dir, lines.String(), submitEnv(way), "submit", "-", "--retry-for=0", "--concurrency=1")
	wantOutput(t, code, stdout+stderr, exitUndelivered, "20 recorded, 0 replayed, 0 refused, 2 undelivered", "503")
	left, _ := os.ReadFile(filepath.Join(dir, "undelivered.ndjson"))
	if text := string(left); strings.Count(text, "\n") != 2 || strings.Count(text, `"states"`) != 2 || strings.Index(text, "incomplete") > strings.Index(text, "completed\"}") {
		t.Errorf("undelivered are %s", text)
	}

	way, requests, _ := unstored(t, server, "{")
	lines.Reset()
	for i := range 1200 {
		lines.WriteString(submitted(fmt.Sprint("none-", i)) + "\n")
	}
	code, stdout, stderr = runIn(t, t.TempDir(), lines.String(), submitEnv(way), "submit", "-", "--retry-for=0", "--concurrency=1")
	wantOutput(t, code, stdout+stderr, exitUndelivered, "0 recorded, 0 replayed, 0 refused, 1200 undelivered", "503")
	if n := requests.Load(); n > 8 { // Three groups of runs, and five runs.
		t.Errorf("%d requests", n)
	}
}

// TestRecorderSurvivesServerOutage records a batch of ten runs on a server that is stopped and
// started again in between.
func TestRecorderSurvivesServerOutage(t *testing.T) {
	t.Parallel()
	database := testdb.URL(t)
	address := freeAddr(t)
	onDatabase := func() *program {
		return command(t, []string{"DATABASE_URL=" + database}, "serve", "--addr="+address).start().ready()
	}
	first := onDatabase()
	dir := t.TempDir()
	recorder := recorder(t, first.url, dir)
	batch := recorder.StartBatch()
	var ends sync.WaitGroup
	record := func(i int) {
		run := batch.StartRun(attempt(fmt.Sprint("scenario-", i)))
		run.Evaluate("tests", 1, 2, "half of them")
		run.Evaluate("judge", float64(i), 10, "")
		run.Telemetry(benchledger.TelemetrySubmission{ToolCalls: new(int64(i))})
		ends.Go(func() {
			delivery, err := run.Complete(t.Context(), benchledger.RunResult{TotalScore: new(float64(i) / 4), IsSuccessful: new(true)})
			if delivery != benchledger.Delivered || err != nil {
				t.Errorf("run %d: %s, %v", i, delivery, err)
			}
		})
	}
	for i := range 3 {
		record(i)
	}
	ends.Wait()
	first.terminate()
	for i := range 4 {
		record(3 + i)
	}
	eventually(t, "four runs wait in the spool", func() bool {
		waiting, _ := filepath.Glob(dir + "/*.json")
		return len(waiting) == 4
	})
	second := onDatabase()
	for i := range 3 {
		record(7 + i)
	}
	ends.Wait()
	if delivery, err := batch.Complete(t.Context(), benchledger.BatchSummary{}); delivery != benchledger.Delivered || err != nil {
		t.Errorf("the batch: %s, %v", delivery, err)
	}
	second.wantBatch(batch.ID())
	wantSpool(t, dir, 0, 0)
}

// readdress changes the text of all entries of a spool.
func readdress(t *testing.T, dir, from, to string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.IsDir() {
			continue
		}
		path := filepath.Join(dir, entry.Name())
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		write(t, dir, entry.Name(), strings.ReplaceAll(string(text), from, to))
	}
}
