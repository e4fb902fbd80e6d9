package main

import (
	"bufio"
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
		"runs", "runs --json", "run run-1", "run run-1 --json", "batches", "stats", "stats --agents", "stats --json", "submit -", "flush --spool=" + t.TempDir(),
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
