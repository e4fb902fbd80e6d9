package db_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/benchledger/benchledger/db"
)

func TestGetStats(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)
	stats := func(t *testing.T, q *db.Queries) db.GetStatsRow {
		t.Helper()
		row, err := q.GetStats(t.Context())
		wantNoError(t, err)
		return row
	}

	t.Run("gives zeros and no averages without completed runs", func(t *testing.T) {
		q, _ := begin(t, pool)
		wantEqual(t, stats(t, q), db.GetStatsRow{})
		for _, status := range []string{"running", "failed", "incomplete"} {
			create(t, q, with(fullRun(status), func(r *db.Submission) { r.Status = status }))
		}
		wantEqual(t, stats(t, q), db.GetStatsRow{})
	})

	t.Run("counts and averages completed runs alone", func(t *testing.T) {
		q, _ := begin(t, pool)
		create(t, q, with(leastRun("run-1"), func(r *db.Submission) { r.TotalScore, r.IsSuccessful = new(0.5), true }))
		create(t, q, with(leastRun("run-2"), func(r *db.Submission) { r.TotalScore, r.WeightedScore = new(-1.0), new(3.0) }))
		create(t, q, with(leastRun("run-3"), func(r *db.Submission) { r.IsSuccessful = true }))
		create(t, q, with(fullRun("voided"), func(r *db.Submission) { r.IsSuccessful = true }))
		void(t, q, "voided")
		for _, status := range []string{"running", "failed", "incomplete"} {
			create(t, q, with(fullRun(status), func(r *db.Submission) { r.Status = status }))
		}
		wantEqual(t, stats(t, q), db.GetStatsRow{TotalRuns: 3, SuccessfulRuns: 2, AvgScore: new(-0.25), AvgWeightedScore: new(3.0)})
	})

	t.Run("gives no average of a score that no completed run has", func(t *testing.T) {
		q, _ := begin(t, pool)
		create(t, q, leastRun("run-1"))
		wantEqual(t, stats(t, q), db.GetStatsRow{TotalRuns: 1})
	})

	t.Run("gives the averages computed here", func(t *testing.T) {
		q, _ := begin(t, pool)
		scored := manyScores(t, q)
		var total, weighted []float64
		for _, run := range scored {
			total, weighted = append(total, *run.TotalScore), append(weighted, *run.WeightedScore)
		}
		got := stats(t, q)
		wantAverage(t, got.AvgScore, mean(total))
		wantAverage(t, got.AvgWeightedScore, mean(weighted))
	})

	t.Run("averages scores at the ends of the range", func(t *testing.T) {
		for name, extreme := range extremes {
			t.Run(name, func(t *testing.T) {
				q, _ := begin(t, pool)
				for i, score := range extreme {
					create(t, q, with(leastRun(fmt.Sprint(i)), func(r *db.Submission) { r.TotalScore, r.WeightedScore = &score, &score }))
				}
				got := stats(t, q)
				wantAverage(t, got.AvgScore, mean(extreme))
				wantAverage(t, got.AvgWeightedScore, mean(extreme))
			})
		}
	})
}

// manyScores stores 400 completed runs of 5 agents, with scores of every size.
func manyScores(t testing.TB, q *db.Queries) []db.Submission {
	t.Helper()
	random := rand.New(rand.NewPCG(3, 4))
	runs := make([]db.Submission, 400)
	for i := range runs {
		runs[i] = with(leastRun(fmt.Sprint("run-", i)), func(r *db.Submission) {
			r.Agent, r.IsSuccessful = fmt.Sprint("agent-", i%5), true
			r.TotalScore, r.WeightedScore = new(random.Float64()), new(random.NormFloat64()*1e6)
		})
		create(t, q, runs[i])
	}
	return runs
}

func TestListAgentStats(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)
	stats := func(t *testing.T, q *db.Queries) []db.ListAgentStatsRow {
		t.Helper()
		rows, err := q.ListAgentStats(t.Context())
		wantNoError(t, err)
		return rows
	}
	n := 0
	scored := func(agent string, weighted *float64) db.Submission {
		n++
		return with(leastRun(fmt.Sprint("run-", n)), func(r *db.Submission) {
			r.Agent, r.TotalScore, r.WeightedScore, r.IsSuccessful = agent, new(77.0), weighted, true
		})
	}

	t.Run("gives the best average first, none last, equal ones by agent", func(t *testing.T) {
		q, _ := begin(t, pool)
		for _, run := range []db.Submission{
			scored("none-b", nil),
			scored("none-a", nil), scored("none-a", nil),
			scored("equal-b", new(5.0)),
			scored("equal-a", new(4.0)), scored("equal-a", new(6.0)), scored("equal-a", nil),
			scored("Equal-c", new(5.0)),
			scored("worst", new(-9.0)),
			scored("best", new(9.0)), scored("best", new(7.0)), scored("best", new(8.5)),
			// What does not count.
			with(scored("worst", new(100.0)), func(r *db.Submission) { r.IsSuccessful = false }),
			with(scored("worst", new(100.0)), func(r *db.Submission) { r.Status = "failed" }),
			with(scored("worst", new(100.0)), func(r *db.Submission) { r.Status = "running" }),
			with(scored("worst", new(100.0)), func(r *db.Submission) { r.Status = "incomplete" }),
			with(scored("unsuccessful", new(100.0)), func(r *db.Submission) { r.IsSuccessful = false }),
		} {
			create(t, q, run)
		}
		voided := scored("worst", new(100.0))
		create(t, q, voided)
		void(t, q, voided.RunID)
		got := stats(t, q)
		if len(got) > 0 { // Not to be had exactly.
			wantAverage(t, got[0].AvgScore, 24.5/3)
			got[0].AvgScore = nil
		}
		wantEqual(t, got, []db.ListAgentStatsRow{
			{Agent: "best", Runs: 3, MinScore: new(7.0), MaxScore: new(9.0)},
			{Agent: "Equal-c", Runs: 1, AvgScore: new(5.0), MinScore: new(5.0), MaxScore: new(5.0)}, // by code point
			{Agent: "equal-a", Runs: 3, AvgScore: new(5.0), MinScore: new(4.0), MaxScore: new(6.0)},
			{Agent: "equal-b", Runs: 1, AvgScore: new(5.0), MinScore: new(5.0), MaxScore: new(5.0)},
			{Agent: "worst", Runs: 1, AvgScore: new(-9.0), MinScore: new(-9.0), MaxScore: new(-9.0)},
			{Agent: "none-a", Runs: 2},
			{Agent: "none-b", Runs: 1},
		})
	})

	t.Run("gives none where no run counts", func(t *testing.T) {
		q, _ := begin(t, pool)
		create(t, q, leastRun("run-1"))
		wantEqual(t, stats(t, q), []db.ListAgentStatsRow{})
	})

	t.Run("gives the averages computed here", func(t *testing.T) {
		q, _ := begin(t, pool)
		weighted := map[string][]float64{}
		for _, run := range manyScores(t, q) {
			weighted[run.Agent] = append(weighted[run.Agent], *run.WeightedScore)
		}
		got := stats(t, q)
		if len(got) != len(weighted) {
			t.Errorf("%d agents", len(got))
		}
		for i, row := range got {
			wantAverage(t, row.AvgScore, mean(weighted[row.Agent]))
			wantEqual(t, row.MinScore, new(slices.Min(weighted[row.Agent])))
			wantEqual(t, row.MaxScore, new(slices.Max(weighted[row.Agent])))
			if i > 0 && *got[i-1].AvgScore < *row.AvgScore {
				t.Errorf("%s, %v, comes after %s, %v", row.Agent, *row.AvgScore, got[i-1].Agent, *got[i-1].AvgScore)
			}
		}
	})

	t.Run("averages scores at the ends of the range", func(t *testing.T) {
		q, _ := begin(t, pool)
		for name, extreme := range extremes {
			for _, score := range extreme {
				create(t, q, scored(name, &score))
			}
		}
		for _, row := range stats(t, q) {
			wantAverage(t, row.AvgScore, mean(extremes[row.Agent]))
		}
	})
}
