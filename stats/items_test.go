package stats

import (
	"fmt"
	"testing"
)

// attempt is the cell of attempts that succeeded (1) or not (0).
func attemptCell(agent, scenario string, outcomes ...float64) Cell {
	score := fold(outcomes)
	c := Cell{Agent: agent, Scenario: scenario, Tier: "L1", Attempts: Runs{Count: score.N, TotalScore: score}}
	for _, x := range outcomes {
		if x == 1 {
			c.Attempts.Successes++
		}
	}
	return c
}

var success = Scope{Metric: MetricSuccess, Infra: InfraExclude, Level: 0.95}

func TestItems(t *testing.T) {
	t.Parallel()
	file := golden[struct {
		Matrix [][]float64
		Items  []struct {
			Scenario                   int
			Difficulty, Discrimination *float64
			Dead                       bool
		}
		Alpha    *float64
		Repeated []struct {
			Table                           [][]float64
			ICC1, Flips                     *float64
			BetweenVariance, WithinVariance *float64
		}
	}](t, "items")
	var cells []Cell
	for e, row := range file.Matrix {
		for i, x := range row {
			cells = append(cells, attemptCell(fmt.Sprint(e), fmt.Sprintf("s%02d", i), x))
		}
	}
	for _, metric := range []Metric{MetricSuccess, MetricTotalScore} {
		r := Items(cells, ByAgentModel, Scope{Metric: metric, Level: 0.95})
		same(t, "alpha", r.Alpha, file.Alpha, 1e-12)
		for i, want := range file.Items {
			got := r.Items[i]
			same(t, got.Scenario+" difficulty", got.Difficulty, want.Difficulty, 1e-12)
			same(t, got.Scenario+" discrimination", got.Discrimination, want.Discrimination, 1e-12)
			if (got.Dead != DeadNot) != want.Dead || (got.Flag == FlagDead) != want.Dead {
				t.Errorf("%s: dead %q, flag %q, want %v", got.Scenario, got.Dead, got.Flag, want.Dead)
			}
			if want.Dead && (got.Dead == DeadAll) != (*want.Difficulty == 0) {
				t.Errorf("%s: dead %q, difficulty %v", got.Scenario, got.Dead, *want.Difficulty)
			}
		}
	}
	for _, want := range file.Repeated {
		cells = nil
		for i, row := range want.Table {
			cells = append(cells, attemptCell("a", fmt.Sprint(i), row...))
		}
		r := Items(cells, ByAgentModel, success)
		same(t, "ICC", r.ICC, want.ICC1, 1e-12)
		same(t, "between", r.BetweenVariance, want.BetweenVariance, 1e-12)
		same(t, "within", r.WithinVariance, want.WithinVariance, 1e-12)
		flips := 0.0
		for _, item := range r.Items {
			flips += *item.Flips / float64(len(r.Items))
		}
		same(t, "flips", &flips, want.Flips, 1e-12)
	}
}

func TestItemFlags(t *testing.T) {
	t.Parallel()
	cells := []Cell{
		attemptCell("a", "dead", 0), attemptCell("b", "dead", 0), attemptCell("c", "dead", 0),
		attemptCell("a", "flaky", 0, 1), attemptCell("b", "flaky", 0, 1), attemptCell("c", "flaky", 1),
		attemptCell("a", "good", 0), attemptCell("b", "good", 1), attemptCell("c", "good", 1),
		attemptCell("a", "reverse", 1), attemptCell("b", "reverse", 0), attemptCell("c", "reverse", 0),
		{Agent: "a", Scenario: "only open", OpenRuns: 1},
	}
	r := Items(cells, ByAgentModel, success)
	want := []Flag{FlagDead, FlagFlaky, FlagNegative, FlagNegative}
	sameCount(t, "items", len(r.Items), len(want))
	for i, item := range r.Items {
		if item.Flag != want[i] {
			t.Errorf("%+v: want %s", item, want[i])
		}
	}
	if r.Items[0].Flips != nil || *r.Items[1].Flips != 1 || r.Items[1].Attempts != 5 || r.Items[1].Entries != 3 {
		t.Errorf("counts: %+v", r.Items[:2])
	}
}

func TestItemsOfPartialEntries(t *testing.T) {
	t.Parallel()
	var cells []Cell
	for i, solved := range []float64{0, 0, 1, 1} {
		agent := fmt.Sprint(i)
		cells = append(cells, attemptCell(agent, "x", solved), attemptCell(agent, "y", solved), attemptCell(agent, "z", solved))
	}
	cells = append(cells, attemptCell("only x", "x", 0))
	r := Items(cells, ByAgentModel, success)
	one, difficulty := 1.0, 0.6
	same(t, "discrimination", r.Items[0].Discrimination, &one, 1e-12)
	same(t, "difficulty", r.Items[0].Difficulty, &difficulty, 1e-12)
	same(t, "alpha of the complete entries", r.Alpha, &one, 1e-12)
}
