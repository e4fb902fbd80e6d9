package main

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jedib0t/go-pretty/v6/text"
	"go.yaml.in/yaml/v3"

	"github.com/benchledger/benchledger/internal/testdb"
)

// someRuns are runs of a batch: one at each scenario of a suite.
type someRuns struct {
	batch, suite string
	scenarios    int
	solves       func(i int) bool
	// lacks is what the score of a run lacks to 0.9, nil for nothing; costs is nil for unknown costs.
	lacks, costs func(i int) float64
	prefix       string // of the names of scenarios
	infra        bool
	open         int // further runs, which have not ended
}

// serveGate serves batches to compare with the baseline main, which is the batch main-1. It solves 20 of 30 scenarios of deps, for
// about $0.1 each, and all 12 of docs.
func serveGate(t *testing.T) (server *program, env []string) {
	t.Helper()
	server = serveDatabase(t, testdb.URL(t))
	below := func(n int) func(int) bool { return func(i int) bool { return i < n } }
	times := func(factor func(int) float64) func(int) float64 {
		return func(i int) float64 { return (0.1 + 0.001*float64(i)) * factor(i) }
	}
	same := times(func(int) float64 { return 1 })
	nearly := func(i int) bool { return i < 21 && i != 3 } // once better, once worse
	var lines []string
	for _, r := range []someRuns{
		{batch: "main-1", suite: "deps", scenarios: 30, solves: below(20), costs: same},
		{batch: "main-1", suite: "docs", scenarios: 12, solves: below(12), costs: same},
		{batch: "better", suite: "deps", scenarios: 30, solves: below(30), costs: same},
		{batch: "a bit better", suite: "deps", scenarios: 30, solves: below(22), costs: same},
		{batch: "worse", suite: "deps", scenarios: 30, solves: below(5), costs: same},
		{batch: "a bit worse", suite: "deps", scenarios: 30, solves: below(20), costs: same, lacks: func(i int) float64 { return 0.01 + 0.001*float64(i%4) }},
		{batch: "close", suite: "deps", scenarios: 30, solves: nearly, costs: same},
		{batch: "expensive", suite: "deps", scenarios: 30, solves: nearly, costs: times(func(i int) float64 { return 1.5 + 0.01*float64(i%3) })},
		{batch: "unsteady", suite: "deps", scenarios: 30, solves: nearly, costs: times(func(i int) float64 { return []float64{0.5, 4}[i%2] })},
		{batch: "free", suite: "deps", scenarios: 30, solves: nearly},
		{batch: "open", suite: "deps", scenarios: 30, solves: below(30), costs: same, open: 2},
		{batch: "open and worse", suite: "deps", scenarios: 30, solves: below(5), costs: same, open: 1},
		{batch: "half", suite: "deps", scenarios: 15, solves: below(15), costs: same},
		{batch: "elsewhere", suite: "deps", scenarios: 5, solves: below(5), prefix: "new-"},
		{batch: "broken", suite: "deps", scenarios: 3, solves: below(0), infra: true},
		{batch: "two suites", suite: "deps", scenarios: 30, solves: nearly, costs: same},
		{batch: "two suites", suite: "docs", scenarios: 12, solves: below(2), costs: same},
		{batch: "unknown and worse", suite: "deps", scenarios: 5, solves: below(5), prefix: "new-"},
		{batch: "unknown and worse", suite: "docs", scenarios: 12, solves: below(2)},
		{batch: "odd", suite: "<i>\u202ea|b&", scenarios: 1, solves: below(1)},
	} {
		for i := range r.scenarios + r.open {
			run := map[string]any{
				"runId": fmt.Sprint("run-", len(lines)), "batchId": r.batch, "suite": r.suite, "scenario": fmt.Sprintf("%st%02d", r.prefix, i%max(1, r.scenarios)), "tier": "L1",
				"agent": "claude-code", "model": "sonnet", "status": "completed", "startedAt": "2025-11-17T10:00:00Z", "isSuccessful": r.solves(i), "totalScore": 0.9,
			}
			if r.lacks != nil {
				run["totalScore"] = 0.9 - r.lacks(i)
			}
			if r.costs != nil {
				run["telemetry"] = map[string]any{"costUsd": r.costs(i)}
			}
			if r.infra {
				run["status"], run["metadata"] = "failed", map[string]any{"errorType": "workspace"}
			}
			if i >= r.scenarios {
				run["status"] = "running"
			}
			line, err := json.Marshal(run)
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, string(line))
		}
	}
	response, body := server.request(http.MethodPost, "/api/results/bulk", "["+strings.Join(lines, ",")+"]")
	if response.StatusCode != http.StatusOK || strings.Count(body, `"recorded"`) != len(lines) {
		t.Fatalf("%d %s", response.StatusCode, body)
	}
	env = submitEnv(server.url)
	code, stdout, stderr := run(t, env, "baseline", "set", "main", "batch:main-1")
	wantOutput(t, code, stdout+stderr, 0, `the baseline "main" is the batch "main-1"`)
	return server, env
}

// TestGate checks which exit status follows from which runs, and that a sentence says why.
func TestGate(t *testing.T) {
	t.Parallel()
	_, env := serveGate(t)
	const notProven = "--fail-on=notProven --margin=2%"
	for _, test := range []struct {
		what, candidate, flags string
		status                 int
		want                   []string
	}{
		// By default, only a candidate that is worse fails.
		{"better", "better", "", 0, []string{"PASS: deps, success: The candidate is better: +33.3 percentage points (95 % interval +", "deps   PASS ", "Not checked, because only the baseline has runs of it: docs."}},
		{"worse", "worse", "", 1, []string{"FAIL: deps, success: The candidate is worse: -50.0 percentage points", "the gate fails: there is a regression (deps, success)"}},
		{"inconclusive", "close", "", 0, []string{"PASS: deps, success: No regression was found, which is no proof that there is none: the difference is 0.0", " percentage points would be detectable."}},
		{"worse within the margin", "a bit worse", "--metric=totalScore --margin=0.05", 0, []string{"PASS: deps, totalScore: The candidate is worse, but by less than the margin of 0.050: -0.01"}},
		{"worse beyond the margin", "a bit worse", "--metric=totalScore --margin=0.005", 1, []string{"FAIL: deps, totalScore: The candidate is worse: -0.01"}},
		{"worse without a margin", "a bit worse", "--metric=totalScore", 1, []string{"FAIL"}},
		{"a part of the scenarios", "half", "", 0, []string{"deps: Not compared: 15 scenarios that only the baseline has"}},

		// What is not proven does not pass, on request.
		{"proven: better", "better", notProven, 0, []string{"PASS: deps, success: The candidate is better"}},
		{"proven: not worse", "a bit better", "--fail-on=notProven --margin=10%", 0, []string{"PASS: deps, success: The candidate is not worse by more than 10.0 percentage points"}},
		{"proven: equivalent", "close", "--fail-on=notProven --margin=90%", 0, []string{"PASS: deps, success: The candidate is equivalent within ± 90.0 percentage points"}},
		{"proven: worse by less", "a bit worse", "--metric=totalScore --margin=0.05 --fail-on=notProven", 0, []string{"worse, but by less"}},
		{"not proven", "close", notProven, 2, []string{
			"CANNOT TELL: deps, success: It is not proven that the candidate is not worse by more than 2.0 percentage points: the difference is 0.0",
			"To find a difference of 2.0 percentage points, about 1,", " scenarios would be needed; there are 30.", "the gate cannot tell (deps, success)",
		}},
		{"not proven: worse", "worse", notProven, 1, []string{"FAIL"}},

		{"not proven: a few equal scenarios", "close", "--scenario=t01 --scenario=t02 --metric=totalScore " + notProven, 2, []string{"CANNOT TELL: deps, totalScore: All 2 shared scenarios have the same result"}},
		{"proven: many equal scenarios", "close", "--metric=totalScore " + notProven, 0, []string{"PASS: deps, totalScore: The candidate is equivalent within"}},

		// Without a test, nothing can be told.
		{"no runs", "none", "", 2, []string{"CANNOT TELL: success: No run matches the candidate (batch none)."}},
		{"no runs of the suite", "better", "--suite=docs", 2, []string{"CANNOT TELL: docs, success: No run of the suite matches the candidate (batch better)."}},
		{"no shared scenarios", "elsewhere", "", 2, []string{"CANNOT TELL: deps, success: The sides share no scenario."}},
		{"too few scenarios", "better", "--scenario=t01 --metric=totalScore", 2, []string{"There are too few shared scenarios for a test (1). Run more scenarios: 10 or more."}},
		{"only infra errors", "broken", "", 2, []string{"All 3 runs of the candidate (batch broken) are infra errors."}},
		{"the baseline itself", "main-1", "", 2, []string{"Both sides are the same runs (baseline main (batch main-1))."}},
		{"open runs", "open", "", 2, []string{"CANNOT TELL: deps, success: 2 runs of the sides are open. Wait until the runs have ended, or void the stale ones. So far, the difference is +33.3"}},
		{"open runs, but worse already", "open and worse", "", 1, []string{"FAIL: deps, success: The candidate is worse: -50.0"}},

		// The cost is another check.
		{"within the costs", "close", "--max-cost-increase=0", 0, []string{"PASS: deps, cost: The cost per run does not increase by more than 0 %: 0.0 %"}},
		{"too expensive", "expensive", "--max-cost-increase=20%", 1, []string{"PASS: deps, success", "FAIL: deps, cost: The cost per run increases by more than 20 %: +51.0 % (95 % interval +50.", "regression (deps, cost)"}},
		{"expensive, without a limit", "expensive", "", 0, nil},
		{"expensive, within the limit", "expensive", "--max-cost-increase=0.6", 0, []string{"PASS: deps, cost"}},
		{"maybe too expensive", "unsteady", "--max-cost-increase=20%", 0, []string{"PASS: deps, cost: The cost per run may increase by more than 20 %, which is not certain: +41.4 %"}},
		{"costs are not proven", "unsteady", "--max-cost-increase=20% --fail-on=notProven --margin=90%", 2, []string{"PASS: deps, success", "CANNOT TELL: deps, cost"}},
		{"unknown costs", "free", "--max-cost-increase=20%", 0, []string{"PASS: deps, cost: The cost is unknown"}},
		{"unknown costs are no proof", "free", "--max-cost-increase=20% --fail-on=notProven --margin=90%", 2, []string{"CANNOT TELL: deps, cost: The cost is unknown"}},
		{"costs of open runs", "open", "--max-cost-increase=20%", 2, []string{"CANNOT TELL: deps, cost: Runs are open"}},

		// The worst of several suites counts: a regression before what cannot be told.
		{"worse at one of two suites", "two suites", "", 1, []string{"PASS: deps, success", "FAIL: docs, success", "regression (docs, success)"}},
		{"one of two suites", "two suites", "--suite=deps", 0, []string{"PASS: deps, success"}},
		{"unknown at one suite, worse at the other", "unknown and worse", "", 1, []string{"CANNOT TELL: deps, success", "FAIL: docs, success"}},
		{"two suites, one without runs", "better", "--suite=deps --suite=docs", 2, []string{"PASS: deps, success", "CANNOT TELL: docs, success"}},
	} {
		t.Run(test.what, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"gate", "--baseline=baseline:main", "--candidate=batch:" + test.candidate}, strings.Fields(test.flags)...)
			code, stdout, stderr := run(t, env, args...)
			wantOutput(t, code, stdout+stderr, test.status, test.want...)
			for format, want := range map[string]string{"--report=-": "## Benchmarks: " + outcome(test.status).title(), "--json": `{"outcome":"` + outcome(test.status).String() + `",`} {
				code, stdout, stderr := run(t, env, append(args, format)...)
				if code != test.status || !strings.HasPrefix(stdout, want) {
					t.Errorf("%s: exit code %d: %s%s", format, code, stdout, stderr)
				}
			}
		})
	}
}

// TestGateDoesNotRun checks that an error does not look like a regression.
func TestGateDoesNotRun(t *testing.T) {
	t.Parallel()
	server, env := serveGate(t)
	private := serveDatabase(t, testdb.URL(t), "PUBLIC_READS=false")
	sides := " --baseline=baseline:main --candidate=batch:better"
	for _, test := range []struct {
		args   string
		env    []string
		status int
		want   string
	}{
		{"gate --baseline=baseline:mian --candidate=batch:better", env, 3, `No baseline has the ID "mian".`},
		{"gate --baseline=baseline:mian --candidate=batch:better", env, 3, "; to see all baselines: benchledger baseline list"},
		{"gate --url=http://127.0.0.1:1" + sides, env, 3, "is the server running?"},
		{"gate --api-key=wrong --url=" + private.url + sides, env, 3, "to a key with the scope read"},
		{"gate --url=" + server.url + "/livez" + sides, env, 3, "No operation has this path"},
		{"gate --report=/nowhere/report.md" + sides, env, 3, "/nowhere/report.md"},
		{"gate" + sides, []string{"BENCHLEDGER_API_KEY_FILE=/nowhere"}, 3, "BENCHLEDGER_API_KEY_FILE"},
		{"gate --candidate=batch:better", env, 80, "--baseline is missing"},
		{"gate --fail-on=notProven" + sides, env, 80, "--fail-on=notProven needs --margin"},
		{"gate --margin=-1" + sides, env, 80, "--margin is not 0 or more"},
		{"gate --max-cost-increase=-1" + sides, env, 80, "--max-cost-increase is not 0 or more"},
		{"gate --json --report=-" + sides, env, 80, "--json and --report=- cannot be used together"},
		{"gate --junit=-" + sides, env, 80, "--junit needs a file"},
		{"gate --candidate=baseline:a --candidate=batch:b --baseline=batch:c", env, 80, "--candidate has several batches"},
		{"gate --baseline=branch:main --candidate=batch:b", env, 80, `"branch:main" is no selector`},
		// A regression stays one, if its report is lost.
		{"gate --report=/nowhere/report.md --baseline=baseline:main --candidate=batch:worse", env, 1, "/nowhere/report.md"},
	} {
		code, stdout, stderr := run(t, test.env, strings.Fields(test.args)...)
		if code != test.status || !strings.Contains(stdout+stderr, test.want) {
			t.Errorf("%s: exit code %d, want %d and %q:\n%s%s", test.args, code, test.status, test.want, stdout, stderr)
		}
	}
	code, stdout, _ := run(t, env, "gate", "--help")
	wantOutput(t, code, stdout, 0, "Exit status: 0 if all checks pass; 1 if one finds a regression;")
}

// TestGateReports checks what CI systems and reviewers read.
func TestGateReports(t *testing.T) {
	t.Parallel()
	_, env := serveGate(t)
	dir := t.TempDir()
	gate := func(candidate string, flags ...string) (stdout, report string, all junitSuites) {
		t.Helper()
		markdown, junit := filepath.Join(dir, candidate+".md"), filepath.Join(dir, candidate+".xml")
		_, stdout, stderr := run(t, env, append([]string{"gate", "--baseline=baseline:main", "--candidate=batch:" + candidate, "--report=" + markdown, "--junit=" + junit}, flags...)...)
		results, err := os.ReadFile(junit)
		if err == nil {
			err = xml.Unmarshal(results, &all)
		}
		if err != nil || !strings.HasPrefix(string(results), xml.Header) {
			t.Fatalf("%v: %s%s%s", err, results, stdout, stderr)
		}
		written, err := os.ReadFile(markdown)
		if err != nil {
			t.Fatal(err)
		}
		return stdout, string(written), all
	}

	stdout, report, all := gate("two suites", "--max-cost-increase=10%", "--json")
	wantOutput(
		t, 0, report, 0, "## Benchmarks: FAIL, there is a regression\n\nCandidate: batch two suites. Compared with: baseline main (batch main-1).\n\n- **PASS** deps, success: No regression",
		"\n- **FAIL** docs, success: The candidate is worse: -83.3 percentage points", "\n| docs | FAIL | 100.0 % | 16.7 % | -83.3 | ",
		"\n### deps: scenarios that changed most\n\nOf 30 shared scenarios, the candidate is better at 1, worse at 1, and equal at 28.\n",
		"\n| t03 | L1 | 100.0 % | 0.0 % | -100.0 |", "\n| t20 | L1 | 0.0 % | 100.0 % | +100.0 |",
	)
	_, docs, _ := strings.Cut(report, "### docs")
	if changed := strings.Count(docs, "\n| t"); changed != 5 {
		t.Errorf("%d scenarios of docs are in the report", changed)
	}
	if all.Tests != 4 || all.Failures != 1 || all.Errors != 0 || len(all.Suites) != 2 || all.Suites[1].Name != "docs" || all.Suites[1].Failures != 1 {
		t.Errorf("JUnit: %+v", all)
	}
	if failed := all.Suites[1].Cases[0]; failed.Name != "success" || failed.Failure == nil || !strings.HasPrefix(failed.Failure.Message, "The candidate is worse") {
		t.Errorf("JUnit: %+v", failed)
	}
	if passed := all.Suites[0].Cases[1]; passed.Name != "cost" || passed.Failure != nil || passed.Error != nil || !strings.HasPrefix(passed.Output, "The cost") {
		t.Errorf("JUnit: %+v", passed)
	}
	var printed struct {
		Outcome string
		Checks  []struct{ Suite, Check, Outcome, Sentence string }
		Suites  []struct {
			Suite      string
			Comparison struct{ Verdict string }
			Notes      []string
		}
	}
	if err := json.Unmarshal([]byte(stdout), &printed); err != nil {
		t.Fatal(err)
	}
	if printed.Outcome != "regression" || len(printed.Checks) != 4 || printed.Checks[2].Outcome != "regression" || printed.Checks[1].Check != "cost" ||
		len(printed.Suites) != 2 || printed.Suites[1].Comparison.Verdict != "worse" || printed.Suites[0].Notes == nil {
		t.Errorf("--json: %+v", printed)
	}

	// What cannot be told is an error.
	_, report, all = gate("none")
	wantOutput(t, 0, report, 0, "## Benchmarks: CANNOT TELL\n", "- **CANNOT TELL** success: No run matches")
	if all.Tests != 1 || all.Errors != 1 || all.Suites[0].Name != "(no suite)" || all.Suites[0].Cases[0].Error == nil {
		t.Errorf("JUnit: %+v", all)
	}

	code, screen := runOnTerminal(t, 80, env, "gate", "--baseline=baseline:main", "--candidate=batch:two suites", "--max-cost-increase=10%")
	wantOutput(t, code, screen, 1, "FAIL: docs, success: The candidate is worse", "docs   FAIL")
	for line := range strings.Lines(screen) {
		if width := text.StringWidthWithoutEscSequences(strings.TrimRight(line, "\r\n")); width > 80 {
			t.Errorf("a line is %d wide: %s", width, line)
		}
	}

	// Names are only names.
	_, report, all = gate("odd")
	wantOutput(t, 0, report, 0, "- **CANNOT TELL** \\<i\\>·a\\|b\\&, success: ")
	if all.Suites[0].Name != "<i>·a|b&" {
		t.Errorf("JUnit: %+v", all)
	}
}

// TestGateAction runs the script of the GitHub action.
func TestGateAction(t *testing.T) {
	t.Parallel()
	server, env := serveGate(t)
	const folder = "../../deploy/github-actions/benchledger-gate"
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(self, filepath.Join(bin, "benchledger")); err != nil {
		t.Fatal(err)
	}
	act := func(settings ...string) (status int, outputs, summary, log string) {
		t.Helper()
		dir := t.TempDir()
		script := exec.Command("sh", folder+"/gate.sh")
		script.Env = append([]string{
			asProgram + "=1", "PATH=" + bin + ":" + os.Getenv("PATH"), "RUNNER_TEMP=" + dir, "GITHUB_STEP_SUMMARY=" + dir + "/summary", "GITHUB_OUTPUT=" + dir + "/outputs",
		}, append(env, settings...)...)
		printed, err := script.CombinedOutput()
		if err != nil && script.ProcessState == nil {
			t.Fatal(err)
		}
		written := func(name string) string {
			content, _ := os.ReadFile(filepath.Join(dir, name)) // nothing, if it does not exist
			return string(content)
		}
		return script.ProcessState.ExitCode(), written("outputs"), written("summary"), string(printed)
	}
	for _, test := range []struct {
		what     string
		settings []string
		status   int
		output   string
		summary  string
		baseline string // afterwards
	}{
		{"a regression", []string{"GATE_CANDIDATE=batch:worse", "GATE_MOVE_BASELINE=main"}, 1, "regression", "## Benchmarks: FAIL", "main-1"},
		{"cannot tell", []string{"GATE_CANDIDATE=batch:none", "GATE_MOVE_BASELINE=main"}, 2, "cannotTell", "## Benchmarks: CANNOT TELL", "main-1"},
		{"flags, one per line", []string{"GATE_CANDIDATE=batch:a bit worse\n", "GATE_FLAGS=--metric=totalScore\n--margin=5%\n\n"}, 0, "pass", "worse, but by less", "main-1"},
		{"wrong flags", []string{"GATE_CANDIDATE=batch:better", "GATE_FLAGS=--marign=5%"}, 80, "notRun", "notRun, with exit status 80", "main-1"},
		{"no server", []string{"GATE_CANDIDATE=batch:better", "GATE_MOVE_BASELINE=main", "BENCHLEDGER_URL=http://127.0.0.1:1"}, 3, "notRun", "notRun, with exit status 3", "main-1"},
		{"nothing to move to", []string{"GATE_CANDIDATE=model:sonnet", "GATE_MOVE_BASELINE=main"}, 3, "notRun", "", "main-1"},
		{"a key that cannot move", []string{"GATE_CANDIDATE=batch:better", "GATE_MOVE_BASELINE=main", "BENCHLEDGER_API_KEY=wrong"}, 3, "pass", "## Benchmarks: PASS", "main-1"},
		{"no order is executed", []string{"GATE_CANDIDATE=batch:$(touch '" + bin + "/ran');`touch '" + bin + "/ran'`"}, 2, "cannotTell", "CANNOT TELL", "main-1"},
		{"a pass", []string{"GATE_CANDIDATE=batch:close"}, 0, "pass", "## Benchmarks: PASS", "main-1"},
		{"a pass that moves the baseline", []string{"GATE_CANDIDATE=batch:better", "GATE_MOVE_BASELINE=main"}, 0, "pass", "## Benchmarks: PASS", "better"},
	} {
		status, outputs, summary, log := act(append([]string{"GATE_BASELINE=baseline:main"}, test.settings...)...)
		if status != test.status || !strings.HasPrefix(outputs, "outcome="+test.output+"\n") || !strings.Contains(summary, test.summary) {
			t.Errorf("%s: exit code %d, outputs %s, summary %s\n%s", test.what, status, outputs, summary, log)
		}
		if _, body := server.request(http.MethodGet, "/api/baselines/main", ""); !strings.Contains(body, `"batchId":"`+test.baseline+`"`) {
			t.Errorf("%s: the baseline is %s", test.what, body)
		}
	}
	if exists(t, bin+"/ran") {
		t.Error("a name was executed")
	}

	// The action gives the script what it reads.
	script, err := os.ReadFile(folder + "/gate.sh")
	if err != nil {
		t.Fatal(err)
	}
	definition, err := os.ReadFile(folder + "/action.yml")
	if err != nil {
		t.Fatal(err)
	}
	var action struct {
		Inputs map[string]struct{ Description string }
		Runs   struct {
			Steps []struct{ Env map[string]string }
		}
	}
	if err := yaml.Unmarshal(definition, &action); err != nil {
		t.Fatal(err)
	}
	given := fmt.Sprint(action.Runs.Steps[0].Env)
	for name := range action.Inputs {
		if !strings.Contains(given, "inputs."+name+" ") {
			t.Errorf("the input %s is not used: %s", name, given)
		}
	}
	for name := range action.Runs.Steps[0].Env {
		if strings.HasPrefix(name, "GATE_") && !strings.Contains(string(script), "${"+name+"-}") {
			t.Errorf("gate.sh does not read %s", name)
		}
	}
}

// TestBaselines checks the commands about baselines, and the selector.
func TestBaselines(t *testing.T) {
	t.Parallel()
	database := testdb.URL(t)
	server := serveDatabase(t, database)
	env := submitEnv(server.url)
	code, stdout, stderr := run(t, env, "baseline", "list")
	wantOutput(t, code, stdout+stderr, 0, "has no baseline.", "To name a batch: benchledger baseline set NAME batch:ID")

	lines := ""
	for i, batch := range []string{"b1", "b2"} {
		for j := range 12 {
			lines += fmt.Sprintf(`{"runId":"r%d-%d","batchId":%q,"suite":"s","scenario":"c%[2]d","tier":"L1","agent":"a","status":"completed","isSuccessful":%[4]t}`+"\n", i, j, batch, i == 1)
		}
	}
	code, stdout, stderr = runIn(t, t.TempDir(), lines, env, "submit", "-")
	wantOutput(t, code, stdout+stderr, 0)

	key, _ := runKeys(t, database, "create", "ci")
	code, stdout, stderr = run(t, append(env, "BENCHLEDGER_API_KEY="+strings.TrimSpace(key)), "baseline", "set", "main", "batch:b1")
	wantOutput(t, code, stdout+stderr, 0, `the baseline "main" is the batch "b1"`)
	code, stdout, stderr = run(t, env, "baseline", "set", "release/1.0 rc", "batch:b2")
	wantOutput(t, code, stdout+stderr, 0, `the baseline "release/1.0 rc" is the batch "b2"`)
	for format, want := range map[string]string{
		"--csv": "name,batchId,setAt,setBy\nmain,b1,", "--json": `{"name":"main","batchId":"b1",`, "--markdown": "| baseline | batch | set | key |\n| --- | --- | --- | --- |\n| main | b1 |",
	} {
		code, stdout, stderr := run(t, env, "baseline", "list", format)
		wantOutput(t, code, stdout+stderr, 0, want, "release/1.0 rc")
	}
	code, stdout, _ = run(t, env, "baseline", "list", "--limit=1")
	wantOutput(t, code, stdout, 0, "BASELINE  BATCH", "main      b1", "  ci\n")
	if strings.Contains(stdout, "release") {
		t.Errorf("--limit=1 prints %s", stdout)
	}

	// Commands that compare take the name.
	code, stdout, stderr = run(t, env, "compare", "--suite=s", "--baseline=baseline:main", "--candidate=baseline:release/1.0 rc")
	wantOutput(t, code, stdout+stderr, 0, "The candidate is better: +100.0", "baseline main (batch b1)", "baseline release/1.0 rc (batch b2)")
	code, stdout, stderr = run(t, env, "power", "--suite=s", "--baseline=baseline:main", "--candidate=batch:b2")
	wantOutput(t, code, stdout+stderr, 0, "Estimated from 12 shared scenarios")
	code, stdout, stderr = run(t, env, "gate", "--baseline=baseline:main", "--candidate=batch:b2")
	wantOutput(t, code, stdout+stderr, 0, "PASS: s, success: The candidate is better")

	// The name moves, and is deleted.
	code, stdout, stderr = run(t, env, "baseline", "set", "main", "batch:b2")
	wantOutput(t, code, stdout+stderr, 0, `the baseline "main" is the batch "b2"`)
	code, stdout, stderr = run(t, env, "baseline", "delete", "main")
	wantOutput(t, code, stdout+stderr, 0, `the baseline "main" was deleted; its batch "b2" stays`)

	for _, test := range []struct {
		args   string
		status int
		want   string
	}{
		{"baseline delete main", 1, `No baseline has the ID "main". `},
		{"baseline delete main", 1, "; to see all baselines: benchledger baseline list"},
		{"baseline set main batch:b3", 1, "; to see all batches: benchledger batches"},
		{"baseline set main b1", 80, `"b1" is no batch: write batch:ID`},
		{"baseline set main batch:b1 --api-key=wrong", 1, "to a key with the scope submit"},
		{"baseline list --limit=-1", 80, "--limit is -1"},
		{"compare --suite=s --baseline=baseline:main --candidate=batch:b2", 1, "; to see all baselines: benchledger baseline list"},
		{"power --suite=s --baseline=baseline:main --candidate=batch:b2", 1, "; to see all baselines: benchledger baseline list"},
	} {
		code, stdout, stderr := run(t, env, strings.Fields(test.args)...)
		if code != test.status || !strings.Contains(stdout+stderr, test.want) {
			t.Errorf("%s: exit code %d, want %d and %q:\n%s%s", test.args, code, test.status, test.want, stdout, stderr)
		}
	}
}
