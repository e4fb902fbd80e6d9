package db_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/benchledger/benchledger/db"
)

// evaluated is a run with one evaluation for each score; nil is none.
func evaluated(id, evaluator string, change func(*db.Submission), scores ...*float64) db.Submission {
	return with(leastRun(id), func(r *db.Submission) {
		for _, score := range scores {
			r.Evaluations = append(r.Evaluations, db.EvaluationResult{EvaluatorName: evaluator, Score: score, MaxScore: 4})
		}
		if change != nil {
			change(r)
		}
	})
}

func failedBy(errorType string) func(*db.Submission) {
	return func(r *db.Submission) {
		r.Status, r.MetadataText = "failed", []byte(`{"errorType":"`+errorType+`"}`)
	}
}

func withStatus(status string) func(*db.Submission) {
	return func(r *db.Submission) { r.Status = status }
}

// everyOutcome stores runs of each outcome with a score, one without a score, and one that is voided.
func everyOutcome(t *testing.T, q *db.Queries) {
	t.Helper()
	create(t, q, evaluated("completed", "judge", nil, new(1.0), nil))
	create(t, q, evaluated("agent", "judge", failedBy("agent"), new(2.0)))
	create(t, q, evaluated("workspace", "judge", failedBy("workspace"), new(3.0)))
	create(t, q, evaluated("running", "judge", withStatus("running"), new(4.0)))
	create(t, q, evaluated("incomplete", "judge", withStatus("incomplete"), new(4.0)))
	create(t, q, evaluated("voided", "judge", nil, new(4.0)))
	void(t, q, "voided")
}

func TestCountRuns(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)
	count := func(t *testing.T, q *db.Queries, filters db.Filters, errorsCount bool) db.CountRunsRow {
		t.Helper()
		row, err := db.CountMatchingRuns(t.Context(), q, filters, errorsCount)
		wantNoError(t, err)
		return row
	}

	t.Run("counts runs by outcome, and attempts without a score", func(t *testing.T) {
		q, _ := begin(t, pool)
		wantEqual(t, count(t, q, nil, false), db.CountRunsRow{})
		everyOutcome(t, q)
		create(t, q, evaluated("null", "judge", nil, nil, nil))
		create(t, q, leastRun("not evaluated"))
		create(t, q, evaluated("lost", "judge", failedBy("lost"), nil))
		create(t, q, leastRun("beside a score"))
		create(t, q, evaluated("running without a score", "judge", withStatus("running"), nil))
		wantEqual(t, count(t, q, nil, false), db.CountRunsRow{Runs: 10, Attempts: 5, InfraErrors: 2, OpenRuns: 3, Unscored: 3})
		wantEqual(t, count(t, q, nil, true), db.CountRunsRow{Runs: 10, Attempts: 7, InfraErrors: 2, OpenRuns: 3, Unscored: 4})
	})

	t.Run("counts the runs that match", func(t *testing.T) {
		q, _ := begin(t, pool)
		wantFiltersSelect(t, q, db.CountRunsRow{Runs: 1, Attempts: 1}, func(filters db.Filters) db.CountRunsRow {
			return count(t, q, filters, false)
		})
	})

	t.Run("counts up to the limit", func(t *testing.T) {
		q, _ := begin(t, pool)
		create(t, q, leastRun("run-1"))
		create(t, q, leastRun("run-2"))
		got, err := q.CountRuns(t.Context(), db.CountRunsParams{Filters: []byte(`{}`), RunLimit: 1})
		wantNoError(t, err)
		wantEqual(t, got, db.CountRunsRow{Runs: 1, Attempts: 1, Unscored: 1})
	})
}

func TestListEvaluatorCells(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)
	cells := func(t *testing.T, q *db.Queries, filters db.Filters, errorsCount bool) []db.ListEvaluatorCellsRow {
		t.Helper()
		rows, err := db.ListMatchingEvaluatorCells(t.Context(), q, filters, errorsCount)
		wantNoError(t, err)
		return rows
	}

	t.Run("summarizes the evaluations of attempts", func(t *testing.T) {
		q, _ := begin(t, pool)
		everyOutcome(t, q)
		create(t, q, evaluated("others", "judge", nil, new(4.0), new(5.0), new(0.0), new(-1.0), nil))
		row := db.ListEvaluatorCellsRow{
			EvaluatorName: "judge", Scenario: "scenario-a", Tier: "L1", Evaluations: 8, Runs: 3, FullScores: 2, ZeroScores: 2, Scores: 6, Mean: new(11.0 / 24),
		}
		wantEqual(t, cells(t, q, nil, false), []db.ListEvaluatorCellsRow{row})
		row.Evaluations, row.Runs, row.Scores, row.Mean = 9, 4, 7, new(0.5)
		wantEqual(t, cells(t, q, nil, true), []db.ListEvaluatorCellsRow{row})
	})

	t.Run("has a row for each evaluator, scenario and tier, in order", func(t *testing.T) {
		q, _ := begin(t, pool)
		for i, run := range [][3]string{{"a", "b", "b"}, {"b", "a", "b"}, {"a", "a", "b"}, {"b", "b", "a"}, {"a", "b", "a"}, {"B", "c", "c"}, {"a", "a", "b"}} {
			create(t, q, evaluated(fmt.Sprint(i), run[0], func(r *db.Submission) { r.Scenario, r.Tier = run[1], run[2] }, new(1.0)))
		}
		var got []string
		for _, row := range cells(t, q, nil, false) {
			got = append(got, fmt.Sprint(row.EvaluatorName, row.Scenario, row.Tier, row.Runs))
		}
		wantEqual(t, got, []string{"Bcc1", "aab2", "aba1", "abb1", "bab1", "bba1"})
	})

	t.Run("has no mean without a score", func(t *testing.T) {
		q, _ := begin(t, pool)
		create(t, q, evaluated("run-1", "judge", nil, nil, nil))
		create(t, q, leastRun("run-2"))
		wantEqual(t, cells(t, q, nil, false), []db.ListEvaluatorCellsRow{{EvaluatorName: "judge", Scenario: "scenario-a", Tier: "L1", Evaluations: 2, Runs: 1}})
	})

	t.Run("gives the nearest double at the ends of the range", func(t *testing.T) {
		const most, least = math.MaxFloat64, math.SmallestNonzeroFloat64
		for name, c := range map[string]struct{ score, maxScore, want float64 }{
			"beyond the largest":  {most, least, most},
			"below the smallest":  {-most, least, -most},
			"the largest":         {most, 1, most},
			"the smallest":        {-most, 1, -most},
			"almost 0":            {least, most, 0},
			"equal and tiny":      {least, least, 1},
			"equal and huge":      {most, most, 1},
			"all digits of score": {0.1234567890123456, 1, 0.1234567890123456},
			"all digits of max":   {1, 1.234567890123456, 1 / 1.234567890123456},
		} {
			t.Run(name, func(t *testing.T) {
				q, tx := begin(t, pool)
				exec(t, tx, "set local extra_float_digits = -15")
				create(t, q, with(leastRun("run-1"), func(r *db.Submission) {
					r.Evaluations = []db.EvaluationResult{{EvaluatorName: "judge", Score: &c.score, MaxScore: c.maxScore}}
				}))
				wantEqual(t, cells(t, q, nil, false)[0].Mean, &c.want)
			})
		}
	})

	t.Run("does not lose small values beside large ones", func(t *testing.T) {
		q, _ := begin(t, pool)
		create(t, q, evaluated("run-1", "judge", nil, new(4e200), new(4.0), new(-4e200), new(8.0)))
		wantEqual(t, cells(t, q, nil, false)[0].Mean, new(0.75))
	})

	t.Run("reads the attempts that match, with all of their evaluators", func(t *testing.T) {
		q, _ := begin(t, pool)
		want := []db.ListEvaluatorCellsRow{{
			EvaluatorName: "build", Scenario: "scenario-b", Tier: "L2", Evaluations: 1, Runs: 1, Scores: 1, Mean: new(4.0 / 9),
		}}
		wantFiltersSelect(t, q, want, func(filters db.Filters) []db.ListEvaluatorCellsRow {
			rows := cells(t, q, filters, false)
			for i := range rows {
				wantAverage(t, rows[i].Mean, 4.0/9)
				rows[i].Mean = new(4.0 / 9)
			}
			return rows
		})
		got := cells(t, q, db.Filters{"evaluator": {"judge"}}, false)
		if len(got) != 2 || got[0].EvaluatorName != "install" || got[0].Evaluations != 2 || got[1].EvaluatorName != "judge" {
			t.Errorf("%+v", got)
		}
	})

	t.Run("reads at most the limits", func(t *testing.T) {
		q, _ := begin(t, pool)
		create(t, q, evaluated("run-1", "judge", withStatus("running"), new(1.0)))
		create(t, q, evaluated("run-2", "judge", nil, new(1.0), new(2.0)))
		create(t, q, evaluated("run-3", "other", nil, new(1.0), new(2.0)))
		for _, limits := range [][3]int32{{1, 9, 9}, {9, 2, 9}, {9, 9, 1}} {
			rows, err := q.ListEvaluatorCells(t.Context(), db.ListEvaluatorCellsParams{
				Filters: []byte(`{}`), RunLimit: limits[0], EvaluationLimit: limits[1], GroupLimit: limits[2],
			})
			wantNoError(t, err)
			if len(rows) != 1 || rows[0].Runs != 1 || rows[0].Evaluations != 2 {
				t.Errorf("limits %v: %+v", limits, rows)
			}
		}
	})
}
