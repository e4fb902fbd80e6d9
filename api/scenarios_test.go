package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// wantJSON fails the test unless a part of the answer is this JSON, whatever its order of fields.
func wantJSON(t *testing.T, got any, want string) {
	t.Helper()
	encoded, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var x, y any
	for text, parsed := range map[string]*any{string(encoded): &x, want: &y} {
		if err := json.Unmarshal([]byte(text), parsed); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
	}
	if !cmp.Equal(x, y) {
		t.Errorf("%s", cmp.Diff(x, y))
	}
}

func TestListScenarioStats(t *testing.T) {
	t.Parallel()
	s := setup(t)
	g := golden[struct {
		Matrix [][]float64
		Items  []object
		Alpha  *float64
	}](t, "items")
	for entry, row := range g.Matrix {
		for scenario, score := range row {
			s.submit(leastRun(fmt.Sprint("run-", entry, "-", scenario), object{
				"suite": "golden", "scenario": fmt.Sprintf("scenario-%02d", scenario), "agent": fmt.Sprint("agent-", entry), "isSuccessful": score == 1,
			})).want(http.StatusCreated)
		}
	}
	got := decode[object](s.get("/api/stats/scenarios?suite=golden"))
	if g.Alpha != nil {
		wantFields(t, "all", got, object{"alpha": *g.Alpha})
	}
	wantFields(t, "all", got, object{"runs": 180.0, "infraErrors": 0.0, "openRuns": 0.0, "unscored": 0.0, "icc": nil, "withinVariance": nil})
	rows := got["rows"].([]any)
	if len(rows) != len(g.Items) {
		t.Fatalf("%d rows", len(rows))
	}
	for i, want := range g.Items {
		what := fmt.Sprintf("scenario-%02d", i)
		row := rows[i].(object)
		wantFields(t, what, row, object{
			"scenario": what, "tier": "L1", "attempts": 12.0, "entries": 12.0, "flips": nil,
			"difficulty": want["difficulty"], "discrimination": want["discrimination"],
		})
		if isDead := row["dead"] != nil; isDead != want["dead"] {
			t.Errorf("%s: dead is %v, want %v", what, row["dead"], want["dead"])
		}
	}
}

// The attempts of one entry with flaky scenarios, an infra error and an open run.
func submitAttempts(s *service) {
	attempt := func(id, scenario string, isSuccessful bool, more ...object) {
		s.submit(leastRun(id, append([]object{{"scenario": scenario, "isSuccessful": isSuccessful}}, more...)...)).want(http.StatusCreated)
	}
	attempt("run-1", "a", true, object{"totalScore": 0.5})
	attempt("run-2", "a", false, object{"totalScore": 0.25, "startedAt": "2025-11-18T10:00:00Z"})
	attempt("run-3", "b", true)
	attempt("run-4", "b", true)
	attempt("run-5", "b", false, object{"status": "failed", "metadata": object{"errorType": "workspace"}})
	attempt("run-6", "b", false, object{"status": "running"})
	attempt("run-7", "b", false, object{"model": "model-b", "status": "failed", "metadata": object{"errorType": "lost"}})
	attempt("run-8", "a", true, object{"suite": "suite-b"})
}

func TestGetScenarioMatrix(t *testing.T) {
	t.Parallel()
	s := setup(t)
	submitAttempts(s)
	got := decode[object](s.get("/api/stats/matrix?suite=suite-a&metric=totalScore"))
	delete(got, "asOf")
	wantJSON(t, got, `{"runs": 4, "infraErrors": 2, "openRuns": 1, "unscored": 2, "rows": [
		{"agent": "agent-a", "model": null, "scenario": "a", "tier": "L1", "attempts": 2, "successes": 1, "mean": 0.375, "infraErrors": 0, "openRuns": 0,
		 "lastStartedAt": "2025-11-18T10:00:00.000Z"},
		{"agent": "agent-a", "model": null, "scenario": "b", "tier": "L1", "attempts": 2, "successes": 2, "mean": null, "infraErrors": 1, "openRuns": 1,
		 "lastStartedAt": "2025-11-17T10:00:00.000Z"},
		{"agent": "agent-a", "model": "model-b", "scenario": "b", "tier": "L1", "attempts": 0, "successes": 0, "mean": null, "infraErrors": 1, "openRuns": 0,
		 "lastStartedAt": "2025-11-17T10:00:00.000Z"}]}`)
	got = decode[object](s.get("/api/stats/matrix?suite=suite-a&infra=failure&scenario=b"))
	wantFields(t, "with failures", got, object{"runs": 4.0, "infraErrors": 2.0, "openRuns": 1.0, "unscored": 0.0})
	row := got["rows"].([]any)[0].(object)
	wantFields(t, "with failures", row, object{"attempts": 3.0, "successes": 2.0, "mean": 2.0 / 3})
}

func TestListPassStats(t *testing.T) {
	t.Parallel()
	s := setup(t)
	submitAttempts(s)
	got := decode[object](s.get("/api/stats/pass?suite=suite-a&kMax=100"))
	delete(got, "asOf")
	wantJSON(t, got, `{"runs": 4, "infraErrors": 2, "openRuns": 1, "unscored": 0, "rows": [
		{"agent": "agent-a", "model": null, "k": 1, "scenarios": 2, "left": 0,
		 "passAtK": 0.75, "passAtKLow": 0, "passAtKHigh": 1, "passHatK": 0.75, "passHatKLow": 0, "passHatKHigh": 1},
		{"agent": "agent-a", "model": null, "k": 2, "scenarios": 2, "left": 0,
		 "passAtK": 1, "passAtKLow": 1, "passAtKHigh": 1, "passHatK": 0.5, "passHatKLow": 0, "passHatKHigh": 1},
		{"agent": "agent-a", "model": "model-b", "k": 1, "scenarios": 0, "left": 0,
		 "passAtK": null, "passAtKLow": null, "passAtKHigh": null, "passHatK": null, "passHatKLow": null, "passHatKHigh": null}]}`)
	got = decode[object](s.get("/api/stats/pass?suite=suite-a&kMax=3&infra=failure"))
	row := got["rows"].([]any)[2].(object)
	wantFields(t, "with failures", row, object{"k": 3.0, "scenarios": 1.0, "left": 1.0, "passAtK": 1.0, "passAtKLow": nil, "passHatK": 0.0})
	if rows := decode[object](s.get("/api/stats/pass?suite=suite-a&kMax=1"))["rows"].([]any); len(rows) != 2 {
		t.Errorf("kMax=1: %v", rows)
	}
}
