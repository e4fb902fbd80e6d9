package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/benchledger/benchledger/internal/testdb"
)

// serveResults serves suites of which the tests know the answers.
//
// deps: opus solves 11 of 12 scenarios, sonnet 6, and codex without a model 7; each twice, on 8 days. Nobody solves t00, and
// all solve t11. At t06 opus and codex succeed once and fail once. One run of codex is an infra error.
//
// moving: half of the runs succeed on six days, none on the seventh.
func serveResults(t *testing.T) (server *program, env []string) {
	t.Helper()
	server = serveDatabase(t, testdb.URL(t))
	var lines []string
	add := func(suite, scenario, agent, model, day, status, metadata string, isSuccessful bool, cost float64) {
		lines = append(lines, fmt.Sprintf(`{"runId":"run-%d","batchId":"batch-%s","suite":%q,"scenario":%q,"tier":"L1","agent":%q,"model":%s,"status":%q,"startedAt":"2025-11-%sT10:00:00Z",`+
			`"completedAt":"2025-11-%[8]sT10:05:00Z","isSuccessful":%t,"totalScore":%[10]s,"metadata":%s,"evaluations":[{"evaluatorName":"tests","score":%[10]s,"maxScore":1}],"telemetry":{"costUsd":%[12]g,"durationMs":300000}}`,
			len(lines), day, suite, scenario, agent, model, status, day, isSuccessful, map[bool]string{true: "1", false: "0"}[isSuccessful], metadata, cost))
	}
	for i := range 12 {
		for attempt := range 2 {
			scenario, day := fmt.Sprintf("t%02d", i), fmt.Sprintf("%02d", 1+(2*i+attempt)%8)
			isFirst := attempt == 0
			add("deps", scenario, "claude-code", `"opus"`, day, "completed", "{}", i > 0 && (i != 6 || isFirst), 0.05)
			add("deps", scenario, "claude-code", `"sonnet"`, day, "completed", "{}", i%2 == 1, 0.02)
			add("deps", scenario, "codex", "null", day, "completed", "{}", slices.Contains([]int{1, 2, 3, 4, 5, 7, 11}, i) || i == 6 && isFirst, 0.01)
		}
	}
	add("deps", "t03", "codex", "null", "03", "failed", `{"errorType":"workspace"}`, false, 0)
	for day := range 7 {
		for i := range 6 {
			succeeds := day < 6 && i < 3 || day%2 == 0 && day < 6 && i == 3
			add("moving", fmt.Sprint(i), "a", `"m"`, fmt.Sprintf("%02d", 1+day), "completed", "{}", succeeds, 0.1)
		}
	}
	response, body := server.request(http.MethodPost, "/api/results/bulk", "["+strings.Join(lines, ",")+"]")
	if response.StatusCode != http.StatusOK || strings.Count(body, `"recorded"`) != len(lines) {
		t.Fatalf("%d %s", response.StatusCode, body)
	}
	return server, submitEnv(server.url)
}

// results are commands that read, with the API request that they make, and some of their fields.
var results = []struct{ args, path, fields string }{
	{"leaderboard --suite=deps", "/api/leaderboard?suite=deps", "rank,rankLow,rankHigh,group,agent,model,costPerRunUsd"},
	{
		"compare --suite=deps --baseline=model:sonnet --candidate=no-model", "/api/comparison?suite=deps&baselineModel=sonnet&candidateNoModel=true",
		"verdict,baseline,candidate,difference,low,high,pValue",
	},
	{
		"compare --suite=deps --baseline=model:sonnet --baseline=agent:claude-code --candidate=agent:codex --details --by=evaluator",
		"/api/comparison/details?suite=deps&baselineModel=sonnet&baselineAgent=claude-code&candidateAgent=codex&by=evaluator",
		"scenario,tier,evaluatorName,baseline,candidate,difference,pValue,qValue",
	},
	{"scenarios --suite=deps", "/api/stats/scenarios?suite=deps", "scenario,tier,attempts,dead,difficulty,discrimination,entries,flag,flips"},
	{"trend --suite=deps --band=7", "/api/stats/days?suite=deps&band=7", "day,runs,successes,rate,score,expectedLow,expectedHigh"},
	{"power --difference=10% --discordant=0.2", "/api/power?difference=0.1&discordant=0.2", "scenarios,attempts,minimumDetectable"},
}

// TestResultFormats checks each command of results in all its formats.
func TestResultFormats(t *testing.T) {
	t.Parallel()
	server, env := serveResults(t)
	asOf := regexp.MustCompile(`"asOf":"[^"]+"`)
	for _, test := range results {
		t.Run(test.args, func(t *testing.T) {
			t.Parallel()
			args := strings.Fields(test.args)

			code, printed, _ := run(t, env, append(args, "--json")...)
			_, body := server.request(http.MethodGet, test.path, "")
			if code != 0 || asOf.ReplaceAllString(printed, "") != asOf.ReplaceAllString(strings.TrimSpace(body)+"\n", "") {
				t.Errorf("--json prints %s\nthe API returns %s", printed, body)
			}

			_, printed, _ = run(t, env, append(args, "--csv")...)
			records, err := csv.NewReader(strings.NewReader(printed)).ReadAll()
			if err != nil || len(records) < 2 || !strings.HasPrefix(strings.Join(records[0], ","), test.fields) {
				t.Fatalf("--csv: %v: %s", err, printed)
			}
			rows := []map[string]json.RawMessage{{}}
			if list := (struct{ Rows []map[string]json.RawMessage }{}); json.Unmarshal([]byte(body), &list) == nil && list.Rows != nil {
				rows = list.Rows
			} else if err := json.Unmarshal([]byte(body), &rows[0]); err != nil {
				t.Fatal(err)
			}
			if len(records) != 1+len(rows) {
				t.Errorf("--csv has %d rows, the API %d", len(records)-1, len(rows))
			}
			numbers := 0
			for i, name := range records[0] {
				var printed, wanted []string
				for j, row := range rows {
					if value := string(row[name]); value != "null" && strings.Trim(value, "-.0123456789e") == "" {
						wanted = append(wanted, value)
					}
					if value := records[1+j][i]; value != "" {
						printed = append(printed, value)
					}
				}
				slices.Sort(wanted) // The order is another one.
				slices.Sort(printed)
				if len(wanted) > 0 && !slices.Equal(wanted, printed) && !strings.Contains(name, ".") {
					t.Errorf("--csv has the %s %v, the API %v", name, printed, wanted)
				}
				numbers += len(wanted)
			}
			if numbers == 0 {
				t.Error("no number was compared")
			}

			_, printed, _ = run(t, env, append(args, "--markdown")...)
			if !strings.Contains(printed, "| --") || !strings.Contains(printed, "\n- ") {
				t.Errorf("--markdown prints no table with sentences:\n%s", printed)
			}
			for table := range strings.SplitSeq(printed, "\n\n") {
				bars := map[int]bool{}
				for line := range strings.Lines(table) {
					if strings.HasPrefix(line, "|") {
						bars[strings.Count(line, "|")-strings.Count(line, `\|`)] = true
					}
				}
				if len(bars) > 1 {
					t.Errorf("rows of a Markdown table have different numbers of cells:\n%s", table)
				}
			}

			code, screen := runOnTerminal(t, 80, env, args...)
			if code != 0 {
				t.Errorf("exit code %d", code)
			}
			for line := range strings.Lines(screen) {
				if width := text.StringWidthWithoutEscSequences(strings.TrimSuffix(line, "\n")); width > 80 {
					t.Errorf("a line is %d wide: %s", width, line)
				}
			}
			_, plain, _ := run(t, env, args...)
			if _, again, _ := run(t, env, args...); plain != again || len(plain) < len(screen)/2 {
				t.Errorf("without a terminal it prints\n%s\nand then\n%s", plain, again)
			}

			for _, flags := range []string{"--json --csv", "--csv --markdown", "--markdown --json"} {
				code, stdout, stderr := run(t, env, append(args, strings.Fields(flags)...)...)
				wantOutput(t, code, stdout+stderr, 80, "can't be used together")
			}
		})
	}
}

// TestResults checks what the commands answer.
func TestResults(t *testing.T) {
	t.Parallel()
	_, env := serveResults(t)
	for _, test := range []struct {
		args    string
		want    []string
		without string
	}{
		// Which agent and model is best, how sure is that, and what does a success cost?
		{"leaderboard --suite=deps", []string{
			"RANK  AGENT        MODEL   SUCCESS  INTERVAL             LOW    HIGH   COST  PER SUCCESS  SCENARIOS  RUNS\n",
			"1-3   claude-code  opus     87.5 %  ·······├─────●┤·  ", "  $0.05      $0.0571         12    24\n",
			"1-3   codex                 62.5 %  ", "1-3   claude-code  sonnet   50.0 %  ",
			"\n- Ranks 1 to 3 are one tie: the best of them, claude-code with opus, cannot be told from the others; to tell the first from the last of them, about 6 more scenarios are needed.\n",
			"- Bars: the 95 % interval of success, drawn from ", "\n- Worth their cost, because no other entry is both cheaper and better: claude-code with opus and codex.\n- 72 runs of 3 entries at 12 scenarios.\n- Left out: 1 infra error.\n",
		}, "no score"},
		{"leaderboard --suite=deps --agent=codex --infra=failure", []string{"25\n", "1 entry at 12 scenarios"}, "Left out"},
		{"leaderboard --suite=deps --agent=claude-code", []string{
			"\n1     claude-code  opus ", "\n2     claude-code  sonnet ", "\n- claude-code with opus is best: the data tell it from every other entry.\n",
		}, "tie"},
		{"leaderboard --suite=deps --scenario=t01", []string{"Ranks 1 to 3", "Fewer than 10 scenarios are behind the figures of every entry: intervals are rough."}, "more scenarios"},
		{"leaderboard --suite=deps --metric=totalScore --by=agent --wide", []string{"SCORE", "WARNINGS", "0.688", "- Ranks 1 and 2 are one tie: claude-code cannot be told from codex; to tell them apart, about "}, "opus"},
		{"leaderboard --suite=deps --columns=model,rank", []string{"MODEL   RANK\nopus    1-3\n"}, "SUCCESS"},
		{"leaderboard --suite=deps --since=2025-11-01 --until=2025-11-03", []string{"- Fewer than 10 scenarios"}, ""},

		// Is X better than Y?
		{"compare --suite=deps --baseline=model:sonnet --candidate=model:opus", []string{
			"The candidate is better: +37.5 percentage points (95 % interval +", ", p = 0.02", ") over 12 shared scenarios.\n\nSIDE ",
			"baseline    model sonnet   50.0 %  ████████········", "difference                  +37.5  ", "cost per run          2.5 x",
			"- Of 12 shared scenarios, the candidate is better at 5, worse at 0, and equal at 7.\n",
		}, "Left out"},
		{"compare --suite=deps --baseline=model:opus --candidate=model:sonnet --agent=claude-code", []string{"The candidate is worse: -37.5 percentage points (95 % interval -"}, ""},
		{"compare --suite=deps --baseline=model:sonnet --candidate=no-model", []string{
			"Cannot tell: the difference is +12.5 percentage points (95 % interval -", ") over 12 shared scenarios; a difference of about ", " percentage points would be detectable; " +
				"to find one as small as this, about ", " scenarios would be needed.\n", "Left out: 1 infra error of the candidate.",
		}, ""},
		{"compare --suite=deps --baseline=model:sonnet --candidate=agent:codex --margin=90%", []string{"The candidate is equivalent: the difference is within ± 90.0 percentage points. It is +12.5 percentage points (95 %"}, ""},
		{"compare --suite=deps --baseline=model:sonnet --candidate=agent:codex --margin=0.22", []string{"The candidate is not worse by more than 22.0 percentage points: +12.5"}, ""},
		{"compare --suite=deps --baseline=model:sonnet --candidate=model:opus --metric=totalScore --interval=bootstrap", []string{"The candidate is better: +0.375 (95 % interval +"}, "percentage"},
		{"compare --suite=deps --baseline=batch:batch-01 --candidate=batch:batch-03", []string{"Cannot tell: the sides share no scenario."}, ""},
		{"compare --suite=deps --baseline=model:sonnet --candidate=model:opus --details --sort=name", []string{
			"Cannot tell: none of the 12 scenarios has enough attempts for a test.\n", "\nt02       L1  ", "     +100.0  ········│······●", "  2 / 2\n",
		}, ""},
		{"compare --suite=deps --baseline=model:sonnet --candidate=model:opus --details --by=evaluator", []string{"The candidate is better at tests (+37.5) (q < 0.05, of 1 tested evaluators)."}, "3 attempts"},

		{"compare --suite=deps --baseline=model:opus --candidate=model:opus", []string{
			"Cannot tell: the sides have the same results over 12 shared scenarios, which is no proof that they are equal.\n",
		}, ""},

		// Which scenarios are flaky or dead?
		{"scenarios --suite=deps", []string{
			"SCENARIO  TIER  SUCCESS  BAR               FLAG", "\nt00       L1      0.0 %  ················  dead", "t11       L1    100.0 %  ████████████████  dead",
			"- Dead: all entries solve it, or none does. It says nothing about who is better. Replace it, or make it easier or harder (t00, t01, t03, t05, t07 and t11).\n",
			"(t06).", "- Left out: 1 infra error.",
		}, ""},
		{"scenarios --suite=deps --flag=flaky", []string{"\nt06       L1     33.3 %  █████···········  flaky "}, "t00"},
		{"scenarios --suite=deps --flag=flaky --agent=claude-code --model=sonnet", []string{"None of 12 scenarios is flaky.\n"}, "t06"},
		{"scenarios --suite=deps --sort=name --columns=scenario", []string{"SCENARIO\nt00\nt01\nt02\n"}, ""},

		// How did it move?
		{"trend --suite=moving", []string{
			"\n2025-11-01     6   66.7 %  ", "2025-11-07     6    0.0 %  ●····░░░░░░░░░░·  ! below  ",
			"- Outside of the range that the days before lead to expect: 2025-11-07 (1 of 2 days; about 0.1 by chance). Look at their runs.",
		}, "last 7 days"},
		{"trend --suite=moving --band=0", []string{"2025-11-07"}, "below"},
		{"trend --suite=moving --since=2025-11-05", []string{"No day has an expected range: that takes 5 days with at least 5 runs each, of the 28 before it."}, "2025-11-04"},

		// How many scenarios are needed?
		{"power --suite=deps --baseline=batch:batch-01 --candidate=batch:batch-02", []string{"A comparison over the 3 scenarios that the sides share now can miss any difference: they are too few.\n"}, ""},
		{"power --difference=10% --discordant=20%", []string{"To find a difference of 10.0 percentage points with a probability of 80 %, a comparison needs 155 scenarios (310 runs).\n"}, ""},
		{"power --scenarios=155 --discordant=0.2", []string{"A comparison over 155 scenarios finds a difference of 10.0 percentage points or more, with a probability of 80 %.\n"}, ""},
		{"power --suite=deps --baseline=model:sonnet --candidate=model:opus --difference=0.3 --baseline-attempts=2 --candidate-attempts=2", []string{
			"To find a difference of 30.0 percentage points", "A comparison over the 12 scenarios that the sides share now finds", "- Estimated from 12 shared scenarios: the variance",
		}, ""},
		{"power --suite=deps --baseline=batch:batch-01 --candidate=batch:batch-03", []string{"Cannot tell: the sides share no scenario."}, ""},
	} {
		t.Run(test.args, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := run(t, env, strings.Fields(test.args)...)
			wantOutput(t, code, stdout+stderr, 0, test.want...)
			if test.without != "" && strings.Contains(stdout, test.without) {
				t.Errorf("%q is there:\n%s", test.without, stdout)
			}
		})
	}
}

// TestResultsOfNothing checks that a question about runs that do not exist says how to find those that do.
func TestResultsOfNothing(t *testing.T) {
	t.Parallel()
	_, env := serveResults(t)
	for _, command := range []string{"leaderboard", "scenarios", "trend", "compare --baseline=model:x --candidate=model:y"} {
		for flags, want := range map[string]string{
			"--suite=dpes":                `No run has the suite "dpes". To see what there is: benchledger runs --columns=suite,`,
			"--suite=deps --tier=L9":      `No run of the suite "deps" matches the other filters. To see its runs: benchledger runs --suite=deps`,
			"--suite=deps --since=0h":     `No run of the suite "deps" matches the other filters.`,
			"--suite=deps --scenario=a,b": `No run of the suite "deps" matches the other filters.`,
		} {
			code, stdout, stderr := run(t, env, append(strings.Fields(command), strings.Fields(flags)...)...)
			wantOutput(t, code, stderr, 0, want)
			if strings.Count(stdout, "\n") > 1 {
				t.Errorf("%s %s prints %s", command, flags, stdout)
			}
			_, screen := runOnTerminal(t, 80, env, append(strings.Fields(command), strings.Fields(flags)...)...)
			wantOutput(t, 0, screen, 0, want)
		}
	}
	code, _, stderr := run(t, env, "compare", "--suite=deps", "--baseline=model:opus", "--candidate=model:a/b:c")
	wantOutput(t, code, stderr, 0, "Cannot tell: no run matches the candidate (model a/b:c).\n", "benchledger runs --suite=deps")
	for command, fields := range map[string]string{"leaderboard": "rank,rankLow,", "trend": "day,runs,"} {
		if _, stdout, _ := run(t, env, command, "--suite=none", "--csv"); strings.Count(stdout, "\n") != 1 || !strings.HasPrefix(stdout, fields) {
			t.Errorf("%s --csv without rows prints %q", command, stdout)
		}
	}
}

// TestBadQuestions checks that what cannot be asked says what can.
func TestBadQuestions(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ args, want string }{
		{"leaderboard", "--suite"},
		{"leaderboard --suite=", "--suite is empty: set the name of a suite"},
		{"leaderboard --suite=s --model=", "--model is empty: set a value, or leave it out for all"},
		{"leaderboard --suite=s --by=tier", `must be one of "agentModel","agent","model"`},
		{"leaderboard --suite=s --since=yesterday", `"yesterday" is not a duration (90d, 12h), a date (2026-12-31) or a time (2026-12-31T12:00:00Z)`},
		{"leaderboard --suite=s --level=high", `"high" is not a number, such as 0.05 or 5%`},
		{"leaderboard --suite=s --columns=cost,win", `there is no column "win"; the columns are rank, agent,`},
		{"compare --suite=s --candidate=model:m", "--baseline is missing: say what to compare, for example --baseline=model:"},
		{"compare --suite=s --baseline=opus", `"opus" is no selector: write agent:NAME, model:NAME, batch:ID, baseline:NAME or no-model`},
		{"compare --suite=s --baseline=suite:x", `"suite:x" is no selector`},
		{"compare --suite=s --baseline=no-model --baseline=model:m --candidate=model:n", "--baseline has both model:m and no-model: leave out one of them"},
		{"compare --suite=s --baseline=model:m --candidate=model:n --wide", "--columns and --wide are only for --details"},
		{"scenarios --suite=s --flag=dull", "dead"},
		{"scenarios --suite=s --flag=dead --json", "--flag and --sort do not change --json"},
		{"trend --suite=s --band=91", "--band is 91: set a number of days from 0 to 90"},
		{"power --difference=10%", "say how much the sides differ: --discordant (for example"},
		{"power --discordant=10%", "say what to find: --difference (for example"},
		{"power --discordant=10% --tier=L1", "--suite is missing: name the suite"},
		{"power --suite=s --difference=10%", " is missing: say what to compare"},
		{"runs --csv --columns=run", "can't be used together"},
	} {
		code, stdout, stderr := run(t, submitEnv("http://127.0.0.1:1"), strings.Fields(test.args)...)
		wantOutput(t, code, stdout+stderr, 80, test.want)
	}
	server := serveDatabase(t, testdb.URL(t))
	for _, test := range []struct{ args, want string }{
		{"leaderboard --suite=s --level=2", "level"},
		{"power --difference=30% --discordant=20%", "difference"},
		{"compare --suite=s --baseline=model:m --candidate=model:n --margin=-1", "margin"},
	} {
		code, _, stderr := run(t, submitEnv(server.url), strings.Fields(test.args)...)
		wantOutput(t, code, stderr, 1, "422", test.want)
	}
}

// TestFilters checks that each filter reaches the API unchanged, also several times.
func TestFilters(t *testing.T) {
	t.Parallel()
	server := serveDatabase(t, testdb.URL(t))
	queries := make(chan url.Values, 1)
	way := between(t, server.url, func(w http.ResponseWriter, r *http.Request, _ func()) {
		queries <- r.URL.Query()
		w.WriteHeader(http.StatusNotImplemented)
	})
	filters := []string{
		"--suite=s&t", "--scenario=a,b", "--scenario=c: d", "--tier=L1", "--agent=x/y", "--model=m1", "--model=m2", "--status=failed", "--status=incomplete",
		"--batch=b", "--specialist=p", "--evaluator=e", "--metadata=commit=abc", "--metadata=commit=d=e", "--metadata=a.b=", "--no-successful",
		"--since=2025-11-01", "--until=2025-11-02T03:04:05.678+01:00",
	}
	want := url.Values{
		"suite": {"s&t"}, "scenario": {"a,b", "c: d"}, "tier": {"L1"}, "agent": {"x/y"}, "model": {"m1", "m2"}, "status": {"failed", "incomplete"}, "batchId": {"b"},
		"specialistName": {"p"}, "evaluator": {"e"}, "metadata.commit": {"abc", "d=e"}, "metadata.a.b": {""}, "isSuccessful": {"false"},
		"since": {"2025-11-01T00:00:00Z"}, "until": {"2025-11-02T02:04:05.678Z"},
	}
	for command, others := range map[string]struct {
		args []string
		want url.Values
	}{
		"leaderboard": {
			[]string{"--level=90%", "--infra=failure", "--metric=totalScore"},
			url.Values{"level": {"0.9"}, "infra": {"failure"}, "metric": {"totalScore"}, "by": {"agentModel"}, "coverage": {"shared"}, "minCoverage": {"0.8"}},
		},
		"runs": {[]string{"--sort=cost", "--limit=5"}, url.Values{"sort": {"cost"}, "limit": {"6"}, "voided": {"false"}}},
		"power": {
			[]string{"--baseline=batch:1", "--candidate=no-model"},
			url.Values{
				"power": {"0.8"}, "alpha": {"0.05"}, "baselineAttempts": {"1"}, "candidateAttempts": {"1"}, "metric": {"success"}, "infra": {"exclude"},
				"baselineBatchId": {"1"}, "candidateNoModel": {"true"},
			},
		},
	} {
		code, stdout, stderr := run(t, submitEnv(way), slices.Concat([]string{command}, filters, others.args)...)
		if code != 1 {
			t.Fatal(stdout, stderr)
		}
		maps.Copy(others.want, want)
		if got := <-queries; !reflect.DeepEqual(got, others.want) {
			t.Errorf("%s: the query is %v, want %v", command, got, others.want)
		}
	}
	before := time.Now().Add(-30 * 24 * time.Hour)
	run(t, submitEnv(way), "compare", "--suite=s", "--since=30d", "--baseline=agent:a,b:c", "--baseline=no-model", "--candidate=batch:1", "--candidate=model:agent:m")
	got := <-queries
	since, err := time.Parse(time.RFC3339, got.Get("since"))
	if err != nil || since.Before(before) || since.After(before.Add(patience)) {
		t.Errorf("--since=30d is %s", got.Get("since"))
	}
	for name, want := range map[string]string{"baselineAgent": "a,b:c", "baselineNoModel": "true", "baselineModel": "", "candidateBatchId": "1", "candidateModel": "agent:m"} {
		if got.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, got.Get(name), want)
		}
	}
}

// TestOddNames checks that names do not break the formats.
func TestOddNames(t *testing.T) {
	t.Parallel()
	server := serveDatabase(t, testdb.URL(t))
	env := submitEnv(server.url)
	names := []string{`=HYPERLINK("x"),`, "@cf/meta", "a|b*c*_d_ <i>&amp;`", "two\u202elines", "plain_name-1.5"}
	for i, name := range names {
		model, err := json.Marshal(name)
		if err != nil {
			t.Fatal(err)
		}
		run := fmt.Sprintf(`{"runId":"r%d","suite":"s, t","scenario":"c","tier":"L1","agent":"a","model":%s,"status":"completed","isSuccessful":true}`, i, model)
		if response, body := server.request(http.MethodPost, "/api/results", run); response.StatusCode != http.StatusCreated {
			t.Fatal(body)
		}
	}
	for _, command := range []string{"leaderboard", "runs"} {
		_, printed, _ := run(t, env, command, "--suite=s, t", "--csv")
		records, err := csv.NewReader(strings.NewReader(printed)).ReadAll()
		if err != nil || len(records) != 1+len(names) {
			t.Fatalf("%v: %s", err, printed)
		}
		column := slices.Index(records[0], "model")
		var got []string
		for _, record := range records[1:] {
			got = append(got, record[column])
		}
		slices.Sort(got)
		// A formula is a text, and nothing changes the direction of the terminal.
		want := []string{`'=HYPERLINK("x"),`, "'@cf/meta", "a|b*c*_d_ <i>&amp;`", "plain_name-1.5", "two\\u202elines"}
		if !slices.Equal(got, want) {
			t.Errorf("--csv has the models %q, want %q", got, want)
		}

		_, printed, _ = run(t, env, command, "--suite=s, t", "--markdown")
		wantOutput(t, 0, printed, 0, "a\\|b\\*c\\*\\_d\\_ \\<i\\>\\&amp;\\`", "two·lines", " plain_name-1.5 ")
	}
	code, _, stderr := run(t, env, "leaderboard", "--suite=s, t", "--model="+names[0], "--csv")
	wantOutput(t, code, stderr, 0)
	code, stdout, _ := run(t, env, "compare", "--suite=s, t", "--baseline=model:"+names[0], "--candidate=model:"+names[2])
	wantOutput(t, code, stdout, 0, "Cannot tell: ", "model "+names[0], "Fewer than 10 scenarios are behind the figures: ")
}

// TestLongNames checks that tables and sentences fit a terminal, whatever the names are.
func TestLongNames(t *testing.T) {
	t.Parallel()
	server := serveDatabase(t, testdb.URL(t))
	env := submitEnv(server.url)
	long := strings.Repeat("longer-", 20)
	var lines []string
	for i := range 24 {
		lines = append(lines, fmt.Sprintf(`{"runId":"r%d","suite":"s","scenario":"%s%d","tier":"L1","agent":"%[2]s","model":"%[2]s%[4]d","status":"completed","isSuccessful":%t,`+
			`"evaluations":[{"evaluatorName":"%[2]s","score":1,"maxScore":1}]}`, i, long, i%12, i/12, i%5 < 3))
	}
	if response, body := server.request(http.MethodPost, "/api/results/bulk", "["+strings.Join(lines, ",")+"]"); response.StatusCode != http.StatusOK {
		t.Fatal(body)
	}
	sides := fmt.Sprintf(" --baseline=model:%s0 --candidate=model:%[1]s1", long)
	for _, command := range []string{"leaderboard", "leaderboard --by=model", "scenarios", "trend", "compare" + sides, "compare --details" + sides} {
		code, screen := runOnTerminal(t, 80, env, append(strings.Fields(command), "--suite=s")...)
		if code != 0 || !strings.Contains(screen, "\n- ") {
			t.Errorf("%s: %s", command, screen)
		}
		for line := range strings.Lines(screen) {
			if width := text.StringWidthWithoutEscSequences(strings.TrimSuffix(line, "\n")); width > 80 {
				t.Errorf("%s: a line is %d wide: %s", command, width, line)
			}
		}
	}
}

// TestListFormats checks the other formats of lists.
func TestListFormats(t *testing.T) {
	t.Parallel()
	_, env := serveResults(t)
	for args, want := range map[string]string{
		"runs --limit=2":    "runId,agent,batchId,completedAt,",
		"batches --limit=2": "batchId,avgScore,",
		"stats":             "avgScore,avgWeightedScore,successfulRuns,totalRuns",
		"stats --agents":    "agent,avgScore,",
		"corrections":       "action,at,by,id,reason,runId",
	} {
		code, printed, _ := run(t, env, append(strings.Fields(args), "--csv")...)
		records, err := csv.NewReader(strings.NewReader(printed)).ReadAll()
		if code != 0 || err != nil || !strings.HasPrefix(printed, want) {
			t.Errorf("%s --csv: %v: %s", args, err, printed)
		}
		if strings.Contains(args, "limit=2") && len(records) != 3 {
			t.Errorf("%s prints %d records", args, len(records))
		}
		_, printed, _ = run(t, env, append(strings.Fields(args), "--markdown")...)
		wantOutput(t, 0, printed, 0, "| ", " |\n| --- |")
	}
}
