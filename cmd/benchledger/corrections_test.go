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
	wantOutput(t, code, stdout+stderr, 0, `"run-1": voided`, `"run-2": voided`)
	code, stdout, stderr = run(t, env, "void", "run-2", "--reason=The workspace had the solution in it.")
	wantOutput(t, code, stdout+stderr, 0, `"run-2": already voided`)
	server.wantRuns("run-3")
	code, stdout, stderr = run(t, env, "void", "run-4", "run-3", "--reason=x")
	wantOutput(t, code, stdout+stderr, 1, `"run-4": `, "No run has the ID", `"run-3": voided`, "1 of 2 runs failed")
	code, stdout, stderr = run(t, env, "restore", "run-3", "run-3")
	wantOutput(t, code, stdout+stderr, 0, `"run-3": restored`, `"run-3": was not voided`)
	code, _, stderr = run(t, env, "void", "run-3", "--reason= ")
	wantOutput(t, code, stderr, 1, "say why")
	code, _, stderr = run(t, env, "void", "run-3")
	if code == 0 || !strings.Contains(stderr, "--reason") {
		t.Errorf("exit code %d: %s", code, stderr)
	}

	submitKey, _ := runKeys(t, database, "create", "ci")
	code, _, stderr = run(t, append(env, "BENCHLEDGER_API_KEY="+strings.TrimSpace(submitKey)), "restore", "run-1")
	wantOutput(t, code, stderr, 1, "to a key with the scope admin")

	code, stdout, stderr = run(t, env, "restore", "run-1", "--reason=It was right.")
	wantOutput(t, code, stdout+stderr, 0, `"run-1": restored`)
	server.wantRuns("run-1", "run-3")

	code, stdout, stderr = run(t, env, "corrections")
	wantOutput(t, code, stdout+stderr, 0, "restore", "It was right.", "void", "The workspace had the solution in it.", "run-2", "(shared key)")
	code, _, stderr = run(t, env, "corrections", "--run=run-4")
	wantOutput(t, code, stderr, 0, "No correction matches these filters.")
	code, stdout, stderr = run(t, env, "runs", "--voided", "--columns=run,voided")
	wantOutput(t, code, stdout+stderr, 0, "run-2  yes", "run-1")
	code, stdout, stderr = run(t, env, "run", "run-2")
	wantOutput(t, code, stdout+stderr, 0, "Voided: ", "The workspace had the solution in it.", "(shared key)")
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

	for _, future := range []string{"-24h", "2999-01-01"} {
		code, _, stderr := run(t, env, "purge", "--older-than="+future)
		if code == 0 || !strings.Contains(stderr, "is in the future") {
			t.Errorf("exit code %d: %s", code, stderr)
		}
	}
	purge("no run matches", "--suite=S")
	purge("1 run, started from 2024-05-01T00:00:00Z to 2024-05-01T00:00:00Z, 0 of them open, 0 voided\nNothing was deleted.", "--older-than=90d")
	purge("4 runs, ", "--suite=s", "--agent=a", "--scenario=c", "--status=completed")
	code, _, stderr = run(t, env, "purge", "--suite=s", "--delete")
	wantOutput(t, code, stderr, 1, "add --yes")
	server.wantRuns("run-0", "run-1", "run-2", "run-3")

	purge("deleted 1 run and 1 batch", "--older-than=2024-05-02", "--delete", "--yes")
	server.wantRuns("run-1", "run-2", "run-3")
	if code, stdout, stderr := run(t, []string{"BENCHLEDGER_URL=" + server.url, "BENCHLEDGER_API_KEY=" + localKey}, "void", "run-2", "--reason=wrong"); code != 0 {
		t.Fatal(stdout, stderr)
	}
	purge("deleted 1 run and 0 batches", "--voided", "--delete", "--yes")
	purge("no run matches", "--voided", "--delete")
	server.wantRuns("run-1", "run-3")
	purge("deleted 2 runs", "--suite=s", "--delete", "--yes")
	server.wantRuns()
	old = testdb.Empty(t)
	code, _, stderr = run(t, []string{"DATABASE_URL=" + old}, "purge", "--voided")
	wantOutput(t, code, stderr, 1, "benchledger migrate up")
}
