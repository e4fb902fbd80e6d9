package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/benchledger/benchledger/internal/testdb"
)

func TestVoidAndRestore(t *testing.T) {
	t.Parallel()
	database := testdb.URL(t)
	server := serveDatabase(t, database)
	for _, id := range []string{"run-1", "run-2", "run-3"} {
		server.submit(id)
	}
	env := []string{"BENCHLEDGER_URL=" + server.url, "BENCHLEDGER_API_KEY=" + localKey}

	code, stdout, stderr := run(t, env, "void", "run-1", "run-2", "--reason=The workspace had the solution in it.")
	wantOutput(t, code, stdout+stderr, 0, `voided "run-1"`, `voided "run-2"`)
	server.wantRuns("run-3")
	code, _, stderr = run(t, env, "void", "run-4", "--reason=x")
	wantOutput(t, code, stderr, 1, `"run-4"`, "No run has the ID")
	code, _, stderr = run(t, env, "void", "run-3", "--reason= ")
	wantOutput(t, code, stderr, 1, "say why")
	code, _, stderr = run(t, env, "void", "run-3")
	if code == 0 || !strings.Contains(stderr, "--reason") {
		t.Errorf("exit code %d: %s", code, stderr)
	}

	submitKey, _ := runKeys(t, database, "create", "ci")
	code, _, stderr = run(t, append(env, "BENCHLEDGER_API_KEY="+strings.TrimSpace(submitKey)), "restore", "run-1")
	wantOutput(t, code, stderr, 1, "scope")

	code, stdout, stderr = run(t, env, "restore", "run-1", "--reason=It was right.")
	wantOutput(t, code, stdout+stderr, 0, `restored "run-1"`)
	server.wantRuns("run-1", "run-3")

	code, stdout, stderr = run(t, env, "corrections")
	wantOutput(t, code, stdout+stderr, 0, "restore", "It was right.", "void", "The workspace had the solution in it.", "run-2")
	code, stdout, stderr = run(t, env, "corrections", "--json", "--run=run-1", "--limit=0")
	wantOutput(t, code, stdout+stderr, 0, `"action":"restore"`, `"action":"void"`)
	if strings.Contains(stdout, "run-2") {
		t.Errorf("corrections of another run: %s", stdout)
	}
}

func TestPurge(t *testing.T) {
	t.Parallel()
	database := testdb.URL(t)
	server := serveDatabase(t, database)
	for _, id := range []string{"run-1", "run-2", "run-3"} {
		server.submit(id) // They start now.
	}
	old := strings.TrimSuffix(submitted("run-0"), "}") + `,"startedAt":"2024-05-01T00:00:00Z","batchId":"batch-a"}`
	if response, body := server.request(http.MethodPost, "/api/results", old); response.StatusCode != http.StatusCreated {
		t.Fatal(body)
	}
	env := []string{"DATABASE_URL=" + database}
	purge := func(want string, args ...string) {
		t.Helper()
		code, stdout, stderr := run(t, env, append([]string{"purge"}, args...)...)
		wantOutput(t, code, stdout+stderr, 0, want)
	}

	for _, args := range [][]string{{}, {"--delete"}} {
		code, _, stderr := run(t, env, append([]string{"purge"}, args...)...)
		wantOutput(t, code, stderr, 1, "say which runs to delete")
	}
	code, _, stderr := run(t, env, "purge", "--older-than=soon")
	if code == 0 || !strings.Contains(stderr, `"soon" is not a duration`) {
		t.Errorf("exit code %d: %s", code, stderr)
	}

	purge("no run matches", "--suite=S")
	purge("1 runs match, started from 2024-05-01T00:00:00Z to 2024-05-01T00:00:00Z: 0 of them are open, 0 voided.\nNothing was deleted.", "--older-than=90d")
	purge("4 runs match", "--suite=s", "--agent=a", "--scenario=c", "--status=completed")
	server.wantRuns("run-0", "run-1", "run-2", "run-3")

	purge("deleted 1 runs and 1 batches", "--older-than=2024-05-02", "--delete")
	server.wantRuns("run-1", "run-2", "run-3")
	if code, stdout, stderr := run(t, []string{"BENCHLEDGER_URL=" + server.url, "BENCHLEDGER_API_KEY=" + localKey}, "void", "run-2", "--reason=wrong"); code != 0 {
		t.Fatal(stdout, stderr)
	}
	purge("deleted 1 runs and 0 batches", "--voided", "--delete")
	purge("no run matches", "--voided", "--delete")
	server.wantRuns("run-1", "run-3")
	purge("deleted 2 runs", "--suite=s", "--delete")
	server.wantRuns()
}
