package stats

import (
	"fmt"
	"slices"
	"testing"
)

// goldenCells folds the submissions of leaderboard.json.
func goldenCells(t *testing.T) ([]Cell, []DurationCount) {
	t.Helper()
	type run struct {
		Agent          string
		Model          *string
		Scenario, Tier string
		Status         string
		IsSuccessful   bool
		TotalScore     *float64
		Metadata       struct{ ErrorType string }
		Telemetry      struct {
			CostUSD, TokensIn, TokensOut *float64
			DurationMs                   *int64
		}
	}
	var cells []Cell
	var durations []DurationCount
	groups := map[string][]run{}
	var order []string
	for _, r := range golden[struct{ Runs []run }](t, "leaderboard").Runs {
		key := fmt.Sprint(keyOf(r.Agent, r.Model), r.Scenario, r.Tier)
		if groups[key] == nil {
			order = append(order, key)
		}
		groups[key] = append(groups[key], r)
	}
	add := func(list *[]float64, x *float64) {
		if x != nil {
			*list = append(*list, *x)
		}
	}
	for _, key := range order {
		first := groups[key][0]
		cell := Cell{Agent: first.Agent, Model: first.Model, Scenario: first.Scenario, Tier: first.Tier}
		for _, infra := range []bool{false, true} {
			runs := Runs{}
			var scores, costs, in, out []float64
			for _, r := range groups[key] {
				if r.Status != "completed" && r.Status != "failed" {
					cell.OpenRuns += int64(boolToInt(!infra))
					continue
				}
				kind := r.Metadata.ErrorType
				if infra != (r.Status == "failed" && kind != "" && kind != "agent" && kind != "unknown") {
					continue
				}
				runs.Count++
				runs.Successes += int64(boolToInt(r.IsSuccessful))
				if r.TotalScore == nil && r.Status == "failed" {
					r.TotalScore = new(float64)
				}
				add(&scores, r.TotalScore)
				add(&costs, r.Telemetry.CostUSD)
				add(&in, r.Telemetry.TokensIn)
				add(&out, r.Telemetry.TokensOut)
				if ms := r.Telemetry.DurationMs; ms != nil {
					durations = append(durations, DurationCount{r.Agent, r.Model, r.Scenario, r.Tier, DurationBin{DurationBinOf(*ms), 1}})
				}
			}
			average := func(xs []float64) Average { return Average{int64(len(xs)), fold(xs).Mean} }
			runs.TotalScore, runs.CostUSD, runs.TokensIn, runs.TokensOut = fold(scores), average(costs), average(in), average(out)
			if infra {
				cell.InfraErrors = runs
			} else {
				cell.Attempts = runs
			}
		}
		cells = append(cells, cell)
	}
	return cells, durations
}

func TestLeaderboard(t *testing.T) {
	t.Parallel()
	cells, durations := goldenCells(t)
	for _, b := range golden[struct {
		Boards []struct {
			Parameters struct {
				Infra              Infra
				Coverage           Coverage
				MinCoverage, Level float64
				Metric             string
			}
			Scenarios       int
			SharedScenarios *int
			Rows            []struct {
				Agent, Model                           *string
				Runs, Successes, InfraErrors, OpenRuns int64
				Unscored, CostRuns                     int64
				Scenarios                              int
				Coverage                               float64
				Rate, RateLow, RateHigh                *float64
				RateErrorsAsFailures                   *float64
				Score, ScoreLow, ScoreHigh             *float64
				CostPerRunUSD, CostPerSuccessUSD       *float64
				TokensInPerRun, TokensOutPerRun        *float64
				P50DurationMs, P95DurationMs           *float64
				Rank, RankLow, RankHigh, Group         *int
				OnFrontier                             *bool
			}
		}
	}](t, "leaderboard").Boards {
		p := b.Parameters
		o := LeaderboardOptions{Scope{MetricSuccess, p.Infra, p.Level}, ByAgentModel, p.Coverage, p.MinCoverage}
		if p.Metric == "score" {
			o.Metric = MetricTotalScore
		}
		got := Leaderboard(cells, durations, o)
		sameCount(t, "items", got.Items, b.Scenarios)
		sameNullable(t, "shared", got.SharedItems, b.SharedScenarios)
		sameCount(t, "rows", len(got.Rows), len(b.Rows))
		for i, want := range b.Rows {
			row := got.Rows[i]
			name := fmt.Sprintf("%+v: %s %v", p, *want.Agent, show(want.Model))
			sameNullable(t, name+" agent", row.Agent, want.Agent)
			sameNullable(t, name+" model", row.Model, want.Model)
			sameCount(t, name+" runs", row.Runs, want.Runs)
			sameCount(t, name+" successes", row.Successes, want.Successes)
			sameCount(t, name+" infra errors", row.InfraErrors, want.InfraErrors)
			sameCount(t, name+" open runs", row.OpenRuns, want.OpenRuns)
			sameCount(t, name+" unscored", row.Unscored, want.Unscored)
			sameCount(t, name+" runs with costs", row.CostRuns, want.CostRuns)
			sameCount(t, name+" items", row.Items, want.Scenarios)
			same(t, name+" coverage", &row.Coverage, &want.Coverage, 1e-8)
			same(t, name+" rate", row.Rate, want.Rate, 1e-8)
			sameBounds(t, name+" rate", row.RateBounds, want.RateLow, want.RateHigh, 1e-8)
			same(t, name+" with errors", row.RateErrorsAsFailures, want.RateErrorsAsFailures, 1e-8)
			same(t, name+" score", row.Score, want.Score, 1e-8)
			sameBounds(t, name+" score", row.ScoreBounds, want.ScoreLow, want.ScoreHigh, 1e-8)
			same(t, name+" cost of a run", row.CostPerRunUSD, want.CostPerRunUSD, 1e-8)
			same(t, name+" cost of a success", row.CostPerSuccessUSD, want.CostPerSuccessUSD, 1e-8)
			same(t, name+" tokens in", row.TokensInPerRun, want.TokensInPerRun, 1e-8)
			same(t, name+" tokens out", row.TokensOutPerRun, want.TokensOutPerRun, 1e-8)
			same(t, name+" p50", row.P50DurationMs, want.P50DurationMs, 0.011)
			same(t, name+" p95", row.P95DurationMs, want.P95DurationMs, 0.011)
			sameNullable(t, name+" rank", row.Rank, want.Rank)
			sameNullable(t, name+" rank from", row.RankLow, want.RankLow)
			sameNullable(t, name+" rank to", row.RankHigh, want.RankHigh)
			sameNullable(t, name+" group", row.Group, want.Group)
			sameNullable(t, name+" frontier", row.OnFrontier, want.OnFrontier)
		}
	}
}

func sameNullable[T comparable](t *testing.T, what string, got, want *T) {
	t.Helper()
	if (got == nil) != (want == nil) || got != nil && *got != *want {
		t.Errorf("%s: got %v, want %v", what, show(got), show(want))
	}
}

func TestLeaderboardWarnings(t *testing.T) {
	t.Parallel()
	cells, _ := goldenCells(t)
	board := Leaderboard(cells, nil, LeaderboardOptions{success, ByAgentModel, CoverageShared, 0.8})
	if !slices.Equal(board.Warnings, []Warning{SharedShrunk}) {
		t.Errorf("board: got %v", board.Warnings)
	}
	want := [][]Warning{
		{InfraErrors}, // alpha m1
		{MissingCosts},
		{StillRunning},
		{UnequalAttempts, MissingCosts, MissingScores},
		{},
		{LowCoverage, FewScenarios},
		{LowCoverage, InfraErrors, FewScenarios},
	}
	for i, row := range board.Rows {
		if !slices.Equal(row.Warnings, want[i]) {
			t.Errorf("%s %v: got %v, want %v", *row.Agent, show(row.Model), row.Warnings, want[i])
		}
	}
}

func TestLeaderboardBy(t *testing.T) {
	t.Parallel()
	cells, durations := goldenCells(t)
	for by, want := range map[By][]string{
		ByAgent: {"alpha nil", "beta nil", "gamma nil", "delta nil", "epsilon nil"},
		ByModel: {"nil m1", "nil m2", "nil nil", "nil m9"},
	} {
		board := Leaderboard(cells, durations, LeaderboardOptions{success, by, CoverageShared, 0.8})
		var got []string
		runs := int64(0)
		for _, row := range board.Rows {
			got = append(got, fmt.Sprint(show(row.Agent), " ", show(row.Model)))
			runs += row.Runs
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", by, got, want)
		}
	}
	merged := Leaderboard(cells, durations, LeaderboardOptions{success, ByAgent, CoverageOwn, 0})
	for _, row := range merged.Rows {
		if *row.Agent == "beta" {
			// 26 and 10 runs.
			sameCount(t, "runs", row.Runs, 36)
			sameCount(t, "successes", row.Successes, 24)
		}
	}
}

// An entry can be first by its own items, and lose to another on those that they share.
func TestRankRangeIncludesRank(t *testing.T) {
	t.Parallel()
	var cells []Cell
	for i := range 20 {
		shared := fmt.Sprintf("shared %02d", i)
		cells = append(cells, attemptCell("a", shared, 0), attemptCell("b", shared, 1))
		for k := range 9 {
			cells = append(cells, attemptCell("a", fmt.Sprint("easy ", i, k), 1), attemptCell("b", fmt.Sprint("hard ", i, k), 0))
		}
	}
	for i, row := range Leaderboard(cells, nil, LeaderboardOptions{success, ByAgent, CoverageOwn, 0}).Rows {
		if *row.Agent != []string{"a", "b"}[i] || *row.Rank != i+1 || *row.RankLow != 1 || *row.RankHigh != 2 {
			t.Errorf("%s: rank %d, %d to %d", *row.Agent, *row.Rank, *row.RankLow, *row.RankHigh)
		}
	}
}
