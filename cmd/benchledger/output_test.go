package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/benchledger/benchledger/internal/testdb"
)

func TestFullDisk(t *testing.T) {
	t.Parallel()
	database := testdb.URL(t)
	server := serveDatabase(t, database)
	env := append(submitEnv(server.url), "DATABASE_URL="+database)
	runIn(t, t.TempDir(), submitted("run-1"), env, "submit", "-")
	for _, args := range []string{
		"version", "--version", "--help", "runs --help", "openapi", "man", "completion bash", "completion fish", "migrate status",
		"keys create ci", "keys list", "health --addr=" + strings.TrimPrefix(server.url, "http://"),
		"runs", "runs --json", "runs --csv", "runs --markdown", "leaderboard --suite=s", "leaderboard --suite=s --csv", "trend --suite=s --markdown", "run run-1", "run run-1 --json", "batches", "stats", "stats --agents", "stats --json", "submit -", "flush --spool=" + t.TempDir(),
	} {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		p := command(t, env, strings.Fields(args)...)
		p.cmd.Dir, p.cmd.Stdin, p.cmd.Stdout = t.TempDir(), strings.NewReader(submitted("run-1")), full
		if code := p.start().wait(); code != 1 || !strings.Contains(p.stderr.String(), "no space left on device") {
			t.Errorf("%s: exit status %d, %s", args, code, p.stderr.String())
		}
		full.Close()
	}
}

func TestNegativeLimit(t *testing.T) {
	t.Parallel()
	for _, list := range []string{"runs", "batches"} {
		code, stdout, stderr := run(t, submitEnv("http://127.0.0.1:1"), list, "--limit=-1")
		wantOutput(t, code, stdout+stderr, 80, "--limit is -1: set the number of rows to print, or 0 for all")
	}
}

// All runs are printed page by page: they need not fit into memory.
func TestLinesArePrintedAsTheyCome(t *testing.T) {
	t.Parallel()
	server := serveDatabase(t, testdb.URL(t))
	runIn(t, t.TempDir(), submitted("run-1")+"\n"+submitted("run-2"), submitEnv(server.url), "submit", "-")
	release := make(chan struct{})
	way := between(t, server.url, func(_ http.ResponseWriter, r *http.Request, forward func()) {
		query := r.URL.Query()
		if query.Has("cursor") {
			<-release
		}
		query.Set("limit", "1")
		r.URL.RawQuery = query.Encode()
		forward()
	})
	p := command(t, submitEnv(way), "runs", "--json", "--limit=0")
	p.cmd.Stdout = nil
	output, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.start()
	lines := bufio.NewScanner(output)
	if !lines.Scan() || !strings.Contains(lines.Text(), `"runId":"run-`) {
		t.Errorf("first %s, %v", lines.Text(), lines.Err())
	}
	close(release)
	if !lines.Scan() || !strings.Contains(lines.Text(), `"runId":"run-`) || lines.Scan() {
		t.Errorf("then %s, %v", lines.Text(), lines.Err())
	}
}

// TestControlCharacters checks that nothing of a server, a file or an argument controls the terminal.
func TestControlCharacters(t *testing.T) {
	t.Parallel()
	const odd, shownOdd = "\x1b[31m\u009b1m\u202e\r\x7f", `\u001b[31m\u009b1m\u202e\u000d\u007f`
	server := serveDatabase(t, testdb.URL(t))
	text, err := json.Marshal(odd)
	if err != nil {
		t.Fatal(err)
	}
	inJSON := strings.Trim(string(text), `"`)
	way := between(t, server.url, func(w http.ResponseWriter, r *http.Request, forward func()) {
		switch {
		case r.URL.Path == "/api/runs":
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `[{"runId":"%s","startedAt":"2025-11-17T10:00:00Z"}]`, inJSON)
		case r.Method == http.MethodGet:
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprintf(w, `{"status":404,"title":"Not Found","detail":"none: %s","requestId":"r"}`, inJSON)
		case strings.HasSuffix(r.URL.Path, "/bulk"):
			w.Header().Set("Content-Type", "application/x-ndjson")
			fmt.Fprintf(w, `{"line":1,"runId":"x","outcome":"recorded","warnings":["unknown: %s"]}`, inJSON)
		case strings.HasSuffix(r.URL.Path, "/results"):
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusCreated)
			fmt.Fprintf(w, `{"success":true,"runId":"x","warnings":["unknown: %s"]}`, inJSON)
		default:
			forward()
		}
	})
	dir := t.TempDir()
	write(t, dir, odd+".json", "{}")
	const entry = `{"url":"%s","operation":"submit-run","spooledAt":"2025-11-17T10:00:00Z","body":%s}`
	write(t, dir, "elsewhere.json", fmt.Sprintf(entry, "http://"+inJSON, submitted("elsewhere")))
	write(t, dir, "here.json", fmt.Sprintf(entry, way, submitted("x")))
	file := write(t, dir, odd, submitted("x"))
	for _, test := range []struct {
		args string
		code int
		want []string
	}{
		{"flush", 0, []string{"skipped: " + shownOdd + ".json: not a submission", "server at http://" + shownOdd, "with a warning: unknown: "}},
		{"run x", 1, []string{"404 Not Found: none: " + shownOdd}},
		{"batch x", 1, []string{"404 Not Found: none: " + shownOdd}},
		{"run x --json", 1, []string{"404 Not Found: none: " + shownOdd}},
		{"runs --json", 0, []string{`"runId":"` + strings.Replace(shownOdd, `\u000d`, `\r`, 1) + `"`}},
		{"runs", 0, []string{"[31m"}},
		{"submit " + file, 0, []string{"warning: unknown: "}},
		{"submit " + odd, 1, []string{shownOdd + ": no such file"}},
		{odd, 80, []string{"unexpected argument " + shownOdd}},
	} {
		p := command(t, append(submitEnv(way), "BENCHLEDGER_SPOOL="+dir), strings.Split(test.args, " ")...)
		p.cmd.Dir = t.TempDir()
		code := p.start().wait()
		output := p.stdout.String() + p.stderr.String()
		wantOutput(t, code, output, test.code, test.want...)
		if strings.ContainsAny(output, odd[:1]+odd[5:7]+"\u202e\r\x7f") {
			t.Errorf("%s: the output controls the terminal: %q", test.args, output)
		}
	}

	// The log of serve on a terminal, which has colors of its own.
	var log strings.Builder
	logger := slog.New(forTerminal(&log, false))
	logger.Error("message "+odd, "text", odd, "error", errors.New(odd), "value", []string{odd})
	if text := strings.ReplaceAll(log.String(), "\x1b[0m", ""); strings.Contains(text, "\x1b[31m") || strings.ContainsAny(text, "\u009b\u202e\r\x7f") {
		t.Errorf("the log controls the terminal: %q", text)
	}
}
