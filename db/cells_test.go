package db_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/benchledger/benchledger/db"
)

func TestListCells(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)
	cells := func(t *testing.T, q *db.Queries, filters db.Filters) []db.ListCellsRow {
		t.Helper()
		rows, err := db.ListMatchingCells(t.Context(), q, filters)
		wantNoError(t, err)
		return rows
	}
	// attempt is a run with figures of its own.
	attempt := func(id string, figure float64, change func(*db.Submission)) db.Submission {
		return with(fullRun(id), func(r *db.Submission) {
			r.TotalScore, r.WeightedScore = new(figure), new(10*figure)
			r.Telemetry.CostUsd, r.Telemetry.DurationMs = new(figure/8), new(int64(100*figure))
			r.Telemetry.TokensIn, r.Telemetry.TokensOut = new(int64(1000*figure)), new(int64(10*figure))
			change(r)
		})
	}
	least := func(id string, change func(*db.Submission)) db.Submission { return with(leastRun(id), change) }
	failed := func(metadata string) func(*db.Submission) {
		return func(r *db.Submission) {
			r.Status, r.IsSuccessful = "failed", true // A failed run has no success, whatever it says.
			r.TotalScore, r.WeightedScore = nil, nil
			if metadata != "" {
				r.MetadataText = []byte(metadata)
			}
		}
	}

	t.Run("summarizes the attempts of a cell", func(t *testing.T) {
		q, _ := begin(t, pool)
		create(t, q, attempt("run-1", 1, func(*db.Submission) {}))
		create(t, q, attempt("run-2", 2, func(r *db.Submission) { r.IsSuccessful, r.StartedAt = false, noon.Add(time.Hour) }))
		create(t, q, attempt("run-3", 6, func(*db.Submission) {}))
		create(t, q, with(fullRun("run-4"), func(r *db.Submission) { r.TotalScore, r.WeightedScore, r.Telemetry = nil, nil, nil }))
		voided := attempt("run-5", 100, func(*db.Submission) {})
		create(t, q, voided)
		void(t, q, voided.RunID)
		deviation := math.Sqrt(14.0 / 3)
		got := cells(t, q, nil)
		if len(got) != 1 {
			t.Fatalf("%d cells", len(got))
		}
		wantAverage(t, got[0].ScoreDeviation, deviation)
		wantAverage(t, got[0].WeightedScoreDeviation, 10*deviation)
		got[0].ScoreDeviation, got[0].WeightedScoreDeviation = nil, nil
		wantEqual(t, slices.Sorted(slices.Values(got[0].DurationsMs)), []int64{100, 200, 600})
		got[0].DurationsMs = nil
		wantEqual(t, got, []db.ListCellsRow{{
			Agent: "agent-a", Model: new("model-a"), Scenario: "scenario-a", Tier: "L1", Outcome: "attempt", Runs: 4, Successes: 3,
			Scores: 3, ScoreMean: new(3.0), WeightedScores: 3, WeightedScoreMean: new(30.0),
			Costs: 3, CostMean: new(0.375), TokensInKnown: 3, TokensInMean: new(3000.0), TokensOutKnown: 3, TokensOutMean: new(30.0),
			Durations: 3, DurationMean: new(300.0), LastStartedAt: noon.Add(time.Hour),
		}})
	})

	t.Run("has a row for each agent, model, scenario, tier and outcome, in order", func(t *testing.T) {
		q, _ := begin(t, pool)
		for i, change := range []func(*db.Submission){
			func(r *db.Submission) { r.Agent, r.Model = "b", new("a") },
			func(r *db.Submission) { r.Agent = "b" },
			func(r *db.Submission) { r.Agent, r.Scenario = "a", "b" },
			func(r *db.Submission) { r.Agent, r.Scenario, r.Tier = "a", "a", "b" },
			func(r *db.Submission) { r.Agent, r.Scenario, r.Tier = "a", "a", "a" },
			func(r *db.Submission) { r.Agent, r.Scenario, r.Tier, r.Status = "a", "a", "a", "running" },
			func(r *db.Submission) { r.Agent, r.Model = "b", new("A") }, // by code point
		} {
			create(t, q, least(string(rune('a'+i)), change))
		}
		var got []string
		for _, row := range cells(t, q, nil) {
			model := "none"
			if row.Model != nil {
				model = *row.Model
			}
			got = append(got, row.Agent+" "+model+" "+row.Scenario+" "+row.Tier+" "+row.Outcome)
		}
		wantEqual(t, got, []string{
			"a none a a attempt", "a none a a open", "a none a b attempt", "a none b L1 attempt",
			"b none scenario-a L1 attempt", "b A scenario-a L1 attempt", "b a scenario-a L1 attempt",
		})
	})

	t.Run("tells attempts, infra errors and open runs apart", func(t *testing.T) {
		for _, c := range []struct {
			name, outcome string
			change        func(*db.Submission)
		}{
			{"completed", "attempt", func(*db.Submission) {}},
			{"completed with an error", "attempt", func(r *db.Submission) { r.MetadataText = []byte(`{"errorType":"workspace"}`) }},
			{"running", "open", func(r *db.Submission) { r.Status = "running" }},
			{"incomplete", "open", func(r *db.Submission) { r.Status = "incomplete" }},
			{"failed without metadata", "attempt", failed("")},
			{"failed without a type", "attempt", failed(`{"cli":"1"}`)},
			{"failed by the agent", "attempt", failed(`{"errorType":"agent"}`)},
			{"failed by something unknown", "attempt", failed(`{"errorType":"unknown"}`)},
			{"failed with a type that is no text", "attempt", failed(`{"errorType":{"workspace":1}}`)},
			{"failed by the workspace", "infraError", failed(`{"errorType":"workspace"}`)},
			{"lost", "infraError", failed(`{"errorType":"lost"}`)},
		} {
			t.Run(c.name, func(t *testing.T) {
				q, _ := begin(t, pool)
				create(t, q, least("run-1", c.change))
				got := cells(t, q, nil)
				if len(got) != 1 || got[0].Outcome != c.outcome || got[0].Runs != 1 {
					t.Errorf("%+v, want %s", got, c.outcome)
				}
			})
		}
	})

	t.Run("reads metadata that an older server stored", func(t *testing.T) {
		q, tx := begin(t, pool)
		create(t, q, least("run-1", failed(`{"errorType":"agent"}`)))
		exec(t, tx, `update benchmark_runs set metadata = '{"errorType":"lost"}'`)
		wantEqual(t, cells(t, q, nil)[0].Outcome, "infraError")
	})

	t.Run("counts a failed run as 0, unless it has a score", func(t *testing.T) {
		q, _ := begin(t, pool)
		create(t, q, least("run-1", failed("")))
		create(t, q, least("run-2", func(r *db.Submission) {
			failed("")(r)
			r.TotalScore, r.WeightedScore = new(0.5), new(3.0)
		}))
		got := cells(t, q, nil)[0]
		wantEqual(t, []any{got.Runs, got.Successes, got.Scores, *got.ScoreMean, *got.ScoreDeviation}, []any{int64(2), int64(0), int64(2), 0.25, 0.25})
		wantEqual(t, []any{got.WeightedScores, *got.WeightedScoreMean, *got.WeightedScoreDeviation}, []any{int64(2), 1.5, 1.5})
	})

	t.Run("is exact at the ends of the range", func(t *testing.T) {
		q, _ := begin(t, pool)
		for i, score := range []float64{math.MaxFloat64, -math.MaxFloat64, 5e-324, 1e16, 1, -1e16} {
			create(t, q, least(string(rune('a'+i)), func(r *db.Submission) { r.TotalScore, r.WeightedScore = new(score), new(5e-324) }))
		}
		got := cells(t, q, nil)[0]
		wantAverage(t, got.ScoreMean, 1.0/6)
		wantAverage(t, got.ScoreDeviation, math.MaxFloat64/math.Sqrt(3))
		wantEqual(t, []float64{*got.WeightedScoreMean, *got.WeightedScoreDeviation}, []float64{0, 0})
	})

	t.Run("needs no digits of the session", func(t *testing.T) {
		q, tx := begin(t, pool)
		exec(t, tx, "set local extra_float_digits = -15")
		create(t, q, least("run-1", func(r *db.Submission) { r.TotalScore = new(0.1234567890123456) }))
		wantEqual(t, cells(t, q, nil)[0].ScoreMean, new(0.1234567890123456))
	})

	t.Run("reads the runs that match", func(t *testing.T) {
		q, _ := begin(t, pool)
		wantFiltersSelect(t, q, []string{"agent-b"}, func(filters db.Filters) (agents []string) {
			for _, row := range cells(t, q, filters) {
				agents = append(agents, row.Agent)
			}
			return agents
		})
		if got := cells(t, q, db.Filters{"until": {"2025-11-17T12:00:00.123457Z"}}); len(got) != 2 || got[0].Agent == "agent-b" {
			t.Errorf("until: %+v", got)
		}
		if got := cells(t, q, db.Filters{"noModel": {"true"}}); len(got) != 1 || got[0].Model != nil {
			t.Errorf("no model: %+v", got)
		}
	})

	t.Run("reads at most the limit", func(t *testing.T) {
		q, _ := begin(t, pool)
		create(t, q, least("run-1", func(*db.Submission) {}))
		create(t, q, least("run-2", func(r *db.Submission) { r.Agent = "b" }))
		for _, limits := range [][2]int32{{1, 9}, {9, 1}} {
			rows, err := q.ListCells(t.Context(), db.ListCellsParams{Filters: []byte(`{}`), RunLimit: limits[0], CellLimit: limits[1]})
			wantNoError(t, err)
			if len(rows) != 1 || rows[0].Runs != 1 {
				t.Errorf("limits %v: %+v", limits, rows)
			}
		}
	})
}
