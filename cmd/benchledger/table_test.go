package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/creack/pty"

	"github.com/benchledger/benchledger/internal/testdb"
)

// runOnTerminal runs the program on a terminal to its end, and returns its exit code and what the
// terminal received.
func runOnTerminal(t *testing.T, columns uint16, env []string, args ...string) (int, string) {
	t.Helper()
	terminal, screen, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	if err := pty.Setsize(terminal, &pty.Winsize{Rows: 40, Cols: columns}); err != nil {
		t.Fatal(err)
	}
	p := command(t, env, args...)
	p.cmd.Stdout, p.cmd.Stderr = screen, screen
	p.start()
	screen.Close()
	output, _ := io.ReadAll(terminal) // It ends with an error, when the program does.
	return p.wait(), strings.ReplaceAll(string(output), "\r\n", "\n")
}

// TestTablesOnTerminal checks the tables on a terminal.
func TestTablesOnTerminal(t *testing.T) {
	t.Parallel()
	server := serveDatabase(t, testdb.URL(t))
	env := submitEnv(server.url)
	for _, list := range []string{"runs", "batches"} {
		code, screen := runOnTerminal(t, 80, env, list)
		wantOutput(t, code, screen, 0, server.url+" has no ")
	}
	long := strings.Repeat("long ", 20)
	var lines strings.Builder
	for i, model := range []string{"gpt", "claude", long} {
		fmt.Fprintf(&lines, `{"runId":"019a6c5e-0000-7000-8000-00000000000%d","batchId":"nightly","suite":"deps","scenario":"pnpm","tier":"L1","agent":"codex","model":%q,`+
			`"status":"completed","startedAt":"2025-11-17T1%[1]d:00:00Z","completedAt":"2025-11-17T1%[1]d:05:30Z","totalScore":0.%[1]d5,"weightedScore":%[1]d,"isSuccessful":%[3]t,`+
			`"metadata":{"ci":{"job":7}},"evaluations":[{"evaluatorName":"judge","score":1,"maxScore":2,"details":%[2]q}],`+
			`"telemetry":{"costUsd":0.0123,"durationMs":61000,"tokensIn":85000,"promptSent":"Do it."}}`+"\n", i, model, i == 2)
	}
	code, stdout, stderr := runIn(t, t.TempDir(), lines.String()+submitted("other"), env, "submit", "-")
	wantOutput(t, code, stdout+stderr, 0, "4 recorded")

	for _, test := range []struct {
		columns uint16
		args    string
		want    []string
		without []string
	}{
		{80, "runs --suite=deps", []string{
			"suite deps, scenario pnpm, tier L1, agent codex, status completed, batch nightly\n\n",
			"RUN                                   STARTED           SCORE  SUCCESS  DURATION\n",
			"019a6c5e-0000-7000-8000-000000000002  2025-11-17 12:00  0.25   yes      5m30s\n",
			"019a6c5e-0000-7000-8000-000000000001  2025-11-17 11:00  0.15   no       5m30s\n",
			"\n3 runs. Times are UTC.\nNot shown: model, weighted; see --wide and --columns.\nCost, tokens and evaluations of a run: benchledger run RUN\n",
		}, []string{"WEIGHTED"}},
		{120, "runs --suite=deps", []string{"MODEL", "  claude  ", "…"}, []string{"Not shown"}},
		{80, "runs --suite=deps --limit=2", []string{"\n2 runs; --limit=4 shows more, --limit=0 all. Times are UTC.\n"}, []string{"000000000000"}},
		{80, "runs --columns=score,run --scenario=pnpm", []string{"SCORE  RUN\n0.25   019a6c5e-0000-7000-8000-000000000002\n"}, []string{"suite deps"}},
		{80, "runs --suite=none", []string{"No run matches these filters.\n"}, []string{"RUN"}},
		{80, "batches", []string{"BATCH    CREATED           RUNS  SUCCESSFUL  AVERAGE", "STATE\n", "\nnightly  ", "  3     1           0.15", "  open\n", "\n1 batch. Times are UTC.\n"}, nil},
		{80, "batch nightly", []string{"Batch nightly\n  state          open\n", "  runs           3\n  successful     1\n  average score  0.15\n", "RUN  ", "00000000001  "}, []string{"batch nightly\n\n"}},
		{80, "stats --agents", []string{"AGENT  SUCCESSFUL RUNS  AVERAGE  LOWEST  HIGHEST\ncodex  1                2        2       2\n", "failed runs do not count"}, nil},
		{80, "run 019a6c5e-0000-7000-8000-000000000001", []string{
			"Run 019a6c5e-0000-7000-8000-000000000001\n  suite      deps\n", "  started    2025-11-17 11:00:00 UTC\n", "  duration   5m30s\n",
			"\nScores\n  score     0.15\n  weighted  1\n  success   no\n", "\nEvaluations\nEVALUATOR  SCORE  OF  DETAILS\njudge      1      2   claude\n",
			"\nTelemetry\n  cost       $0.0123\n  duration   1m1s\n  tokens in  85000\n  prompt     6 characters; see --json\n",
			"\nMetadata\n  {\n    \"ci\": {\n      \"job\": 7\n", "benchledger batch nightly\n", server.url + "/api/runs/019a6c5e-0000-7000-8000-000000000001\n",
		}, nil},
		{80, "run 019a6c5e-0000-7000-8000-000000000002", []string{"judge      1      2   long long"}, nil},
	} {
		code, screen := runOnTerminal(t, test.columns, env, strings.Fields(test.args)...)
		wantOutput(t, code, screen, 0, test.want...)
		for line := range strings.Lines(screen) {
			if n := len([]rune(strings.TrimSpace(line))); n > int(test.columns) && !strings.Contains(line, "model") {
				t.Errorf("%s: a line of %d characters: %s", test.args, n, line)
			}
		}
		for _, text := range test.without {
			if strings.Contains(screen, text) {
				t.Errorf("%s: %q is there:\n%s", test.args, text, screen)
			}
		}
	}

	code, screen := runOnTerminal(t, 80, env, "runs", "--wide", "--suite=deps")
	wantOutput(t, code, screen, 0, "RUN  ", "SUITE  SCENARIO  TIER  AGENT  MODEL", "BATCH", strings.TrimSpace(long), "2025-11-17 12:00")
	for flag, want := range map[string]string{"--columns=run,cost": `there is no column "cost"; the columns are run, suite`, "--wide --json": "can't be used together"} {
		code, stdout, stderr := run(t, env, append([]string{"runs"}, strings.Fields(flag)...)...)
		wantOutput(t, code, stdout+stderr, 80, want)
	}

	// Without a terminal, the columns do not depend on the rows.
	_, stdout, _ = run(t, env, "runs")
	if head, _, _ := strings.Cut(stdout, "\n"); strings.Join(strings.Fields(head), " ") != "RUN SUITE SCENARIO AGENT MODEL STATUS STARTED SCORE WEIGHTED" || !strings.Contains(stdout, strings.TrimSpace(long)) {
		t.Error(stdout)
	}
	code, stdout, stderr = run(t, env, "runs", "--suite=none")
	if wantOutput(t, code, stderr, 0, "No run matches these filters."); stdout != "RUN  SUITE  SCENARIO  AGENT  MODEL  STATUS  STARTED  SCORE  WEIGHTED\n" {
		t.Errorf("%q", stdout)
	}

	// Long metadata is only cut on a terminal; a running run has no success yet.
	many := map[string]int{}
	for i := range 100 {
		many[fmt.Sprint("key", i)] = i
	}
	metadata, err := json.Marshal(many)
	if err != nil {
		t.Fatal(err)
	}
	running := fmt.Sprintf(`{"runId":"it's running","suite":"s","scenario":"c","tier":"L1","agent":"a","status":"running","metadata":%s}`, metadata)
	if response, body := server.request(http.MethodPost, "/api/results", running); response.StatusCode != http.StatusCreated {
		t.Fatal(body)
	}
	code, screen = runOnTerminal(t, 80, env, "run", "it's running", "--url="+server.url)
	wantOutput(t, code, screen, 0, "… 62 more lines; see --json", `benchledger run 'it'\''s running' --json --url=`+server.url)
	if _, stdout, _ := run(t, env, "run", "it's running"); !strings.Contains(stdout, `"key99": 99`) || strings.Contains(stdout, "success") {
		t.Error(stdout)
	}
}
