package db_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/benchledger/benchledger/db"
)

func TestListAttemptValues(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)
	type row = db.ListAttemptValuesRow
	limits := func(metric string, errorsCount bool) db.ListAttemptValuesParams {
		return db.ListAttemptValuesParams{Metric: metric, ErrorsCount: errorsCount, RunLimit: 1000, GroupLimit: 1000}
	}
	list := func(t *testing.T, q *db.Queries, filters db.Filters, params db.ListAttemptValuesParams) []row {
		t.Helper()
		encoded, err := json.Marshal(filters)
		wantNoError(t, err)
		params.Filters = encoded
		rows, err := q.ListAttemptValues(t.Context(), params)
		wantNoError(t, err)
		return rows
	}
	n := 0
	run := func(scenario, tier string, change func(*db.Submission)) db.Submission {
		n++
		return with(leastRun(fmt.Sprint("run-", n)), func(r *db.Submission) {
			r.Scenario, r.Tier = scenario, tier
			change(r)
		})
	}
	failed := func(metadata string, total *float64) func(*db.Submission) {
		return func(r *db.Submission) {
			r.Status, r.IsSuccessful, r.TotalScore = "failed", true, total // no failed run is a success
			if metadata != "" {
				r.MetadataText = []byte(metadata)
			}
		}
	}
	scored := func(success bool, total, weighted *float64) func(*db.Submission) {
		return func(r *db.Submission) { r.IsSuccessful, r.TotalScore, r.WeightedScore = success, total, weighted }
	}

	t.Run("gives the values of each metric by scenario and tier", func(t *testing.T) {
		q, _ := begin(t, pool)
		for _, s := range []db.Submission{
			run("b", "L1", scored(true, new(0.75), new(-7.5))),
			run("a", "L2", scored(false, new(0.5), nil)),
			run("a", "L1", scored(true, new(0.9), new(9.0))),
			run("a", "L1", scored(false, nil, nil)),
			run("a", "L1", scored(true, new(0.1), new(1.0))),
			run("a", "L1", scored(true, new(0.2), new(0.5))),
			run("a", "L1", failed("", nil)),
			run("a", "L1", failed(`{"errorType":"agent"}`, new(0.3))),
			run("a", "L1", failed(`{"errorType":"workspace"}`, new(0.4))),
			run("a", "L1", failed(`{"errorType":"prompt"}`, nil)),
			run("a", "L1", func(r *db.Submission) { r.Status, r.IsSuccessful, r.TotalScore = "running", true, new(0.6) }),
			run("a", "L1", func(r *db.Submission) { r.Status, r.IsSuccessful, r.WeightedScore = "incomplete", true, new(0.6) }),
			run("c", "L1", func(r *db.Submission) { r.Status = "running" }),
		} {
			create(t, q, s)
		}
		create(t, q, run("a", "L1", func(r *db.Submission) { r.RunID, r.TotalScore = "voided", new(8.0) }))
		void(t, q, "voided")
		create(t, q, run("a", "L1", func(r *db.Submission) { r.Suite, r.TotalScore = "suite-b", new(8.0) }))
		filters := db.Filters{"suite": {"suite-a"}}
		open := row{Scenario: "c", Tier: "L1", Runs: 1, OpenRuns: 1, AttemptValues: []float64{}}

		a := row{Scenario: "a", Tier: "L1", Runs: 10, Attempts: 6, InfraErrors: 2, OpenRuns: 2}
		rows := list(t, q, filters, limits("totalScore", false))
		if len(rows) == 4 { // Not to be had exactly.
			wantAverage(t, rows[0].ValueMean, 1.5/5)
			rows[0].ValueMean = nil
		}
		wantEqual(t, rows, []row{
			with(a, func(r *row) { r.AttemptValues = []float64{0, 0.1, 0.2, 0.3, 0.9} }),
			{Scenario: "a", Tier: "L2", Runs: 1, Attempts: 1, AttemptValues: []float64{0.5}, ValueMean: new(0.5)},
			{Scenario: "b", Tier: "L1", Runs: 1, Attempts: 1, AttemptValues: []float64{0.75}, ValueMean: new(0.75)},
			open,
		})
		wantEqual(t, list(t, q, filters, limits("weightedScore", false)), []row{
			with(a, func(r *row) { r.AttemptValues, r.ValueMean = []float64{0, 0, 0.5, 1, 9}, new(2.1) }),
			{Scenario: "a", Tier: "L2", Runs: 1, Attempts: 1, AttemptValues: []float64{}},
			{Scenario: "b", Tier: "L1", Runs: 1, Attempts: 1, AttemptValues: []float64{-7.5}, ValueMean: new(-7.5)},
			open,
		})
		wantEqual(t, list(t, q, filters, limits("success", false)), []row{
			with(a, func(r *row) { r.AttemptValues, r.ValueMean = []float64{0, 0, 0, 1, 1, 1}, new(0.5) }),
			{Scenario: "a", Tier: "L2", Runs: 1, Attempts: 1, AttemptValues: []float64{0}, ValueMean: new(0.0)},
			{Scenario: "b", Tier: "L1", Runs: 1, Attempts: 1, AttemptValues: []float64{1}, ValueMean: new(1.0)},
			open,
		})
		// With infra errors as attempts.
		a.Attempts = 8
		tier := db.Filters{"suite": {"suite-a"}, "scenario": {"a"}, "tier": {"L1"}}
		rows = list(t, q, tier, limits("totalScore", true))
		if len(rows) == 1 {
			wantAverage(t, rows[0].ValueMean, 1.9/7)
			rows[0].ValueMean = nil
		}
		wantEqual(t, rows, []row{with(a, func(r *row) { r.AttemptValues = []float64{0, 0, 0.1, 0.2, 0.3, 0.4, 0.9} })})
		wantEqual(t, list(t, q, tier, limits("success", true)), []row{
			with(a, func(r *row) { r.AttemptValues, r.ValueMean = []float64{0, 0, 0, 0, 0, 1, 1, 1}, new(0.375) }),
		})
		wantEqual(t, list(t, q, db.Filters{"suite": {"suite-c"}}, limits("success", true)), []row{})
	})

	t.Run("reads and returns no more than its limits", func(t *testing.T) {
		q, _ := begin(t, pool)
		for i := range 5 {
			create(t, q, run(fmt.Sprint(i), "L1", scored(true, nil, nil)))
		}
		rows := list(t, q, nil, db.ListAttemptValuesParams{Metric: "success", RunLimit: 3, GroupLimit: 10})
		wantEqual(t, len(rows), 3)
		rows = list(t, q, nil, db.ListAttemptValuesParams{Metric: "success", RunLimit: 10, GroupLimit: 2})
		if len(rows) != 2 || rows[0].Scenario != "0" || rows[1].Scenario != "1" {
			t.Errorf("%+v, want the scenarios 0 and 1", rows)
		}
	})

	t.Run("keeps all digits, whatever the session is set to", func(t *testing.T) {
		q, tx := begin(t, pool)
		exec(t, tx, "set local extra_float_digits = 0")
		create(t, q, run("a", "L1", scored(true, new(0.1+0.2), nil)))
		create(t, q, run("b", "L1", scored(true, new(math.MaxFloat64), nil)))
		create(t, q, run("b", "L1", scored(true, new(math.MaxFloat64), nil)))
		create(t, q, run("c", "L1", scored(true, new(math.SmallestNonzeroFloat64), nil)))
		wantEqual(t, list(t, q, nil, limits("totalScore", false)), []row{
			{Scenario: "a", Tier: "L1", Runs: 1, Attempts: 1, AttemptValues: []float64{0.1 + 0.2}, ValueMean: new(0.1 + 0.2)},
			{Scenario: "b", Tier: "L1", Runs: 2, Attempts: 2, AttemptValues: []float64{math.MaxFloat64, math.MaxFloat64}, ValueMean: new(math.MaxFloat64)},
			{Scenario: "c", Tier: "L1", Runs: 1, Attempts: 1, AttemptValues: []float64{math.SmallestNonzeroFloat64}, ValueMean: new(0.0)},
		})
	})

	t.Run("serves ListMatchingAttemptValues with each filter", func(t *testing.T) {
		q, _ := begin(t, pool)
		wantFiltersSelect(t, q, []float64{0.25}, func(filters db.Filters) (values []float64) {
			rows, err := db.ListMatchingAttemptValues(t.Context(), q, filters, "totalScore", false)
			wantNoError(t, err)
			for _, row := range rows {
				values = append(values, row.AttemptValues...)
			}
			return values
		})
	})
}

func TestListEvaluationValues(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)
	type row = db.ListEvaluationValuesRow
	limits := func(errorsCount bool) db.ListEvaluationValuesParams {
		return db.ListEvaluationValuesParams{ErrorsCount: errorsCount, RunLimit: 1000, EvaluationLimit: 1000, GroupLimit: 1000}
	}
	list := func(t *testing.T, q *db.Queries, filters db.Filters, params db.ListEvaluationValuesParams) []row {
		t.Helper()
		encoded, err := json.Marshal(filters)
		wantNoError(t, err)
		params.Filters = encoded
		rows, err := q.ListEvaluationValues(t.Context(), params)
		wantNoError(t, err)
		return rows
	}
	n := 0
	run := func(scenario, tier string, evaluations ...db.EvaluationResult) db.Submission {
		n++
		return with(leastRun(fmt.Sprint("run-", n)), func(r *db.Submission) {
			r.Scenario, r.Tier, r.Evaluations = scenario, tier, evaluations
		})
	}
	evaluation := func(name string, score *float64, maxScore float64) db.EvaluationResult {
		return db.EvaluationResult{EvaluatorName: name, Score: score, MaxScore: maxScore}
	}

	t.Run("gives the share of the highest score by scenario, tier and evaluator", func(t *testing.T) {
		q, _ := begin(t, pool)
		for _, s := range []db.Submission{
			run("b", "L1", evaluation("build", new(1.0), 1)),
			run("a", "L2", evaluation("build", new(3.0), 4)),
			run("a", "L1", evaluation("test", new(2.0), 4), evaluation("build", new(1.0), 1)),
			run("a", "L1", evaluation("test", new(1.0), 4), evaluation("build", nil, 1)),
			run("a", "L1", evaluation("test", new(6.0), 4)),
			// What one evaluator said several times of a run is one value, of what has a score.
			run("a", "L1", evaluation("test", new(-1.0), 1), evaluation("test", nil, 1), evaluation("test", new(0.0), 1)),
			run("a", "L1"),
			run("b", "L1", evaluation("none", nil, 1)),
			with(run("a", "L1", evaluation("test", new(10.0), 1)), func(r *db.Submission) { r.Status = "failed" }),
			with(run("a", "L1", evaluation("test", new(20.0), 1)), func(r *db.Submission) {
				r.Status, r.MetadataText = "failed", []byte(`{"errorType":"workspace"}`)
			}),
			with(run("a", "L1", evaluation("test", new(30.0), 1)), func(r *db.Submission) { r.Status = "running" }),
			with(run("a", "L1", evaluation("test", new(30.0), 1)), func(r *db.Submission) { r.Status = "incomplete" }),
			with(run("a", "L1", evaluation("test", new(30.0), 1)), func(r *db.Submission) { r.Suite = "suite-b" }),
			with(run("a", "L1", evaluation("test", new(30.0), 1)), func(r *db.Submission) { r.RunID = "voided" }),
		} {
			create(t, q, s)
		}
		void(t, q, "voided")
		filters := db.Filters{"suite": {"suite-a"}}
		others := []row{
			{Scenario: "a", Tier: "L2", EvaluatorName: "build", Evaluations: 1, AttemptValues: []float64{0.75}, ValueMean: new(0.75)},
			{Scenario: "b", Tier: "L1", EvaluatorName: "build", Evaluations: 1, AttemptValues: []float64{1}, ValueMean: new(1.0)},
			{Scenario: "b", Tier: "L1", EvaluatorName: "none", Evaluations: 1, Unscored: 1, AttemptValues: []float64{}},
		}
		build := row{Scenario: "a", Tier: "L1", EvaluatorName: "build", Evaluations: 2, Unscored: 1, AttemptValues: []float64{1}, ValueMean: new(1.0)}
		wantEqual(t, list(t, q, filters, limits(false)), append([]row{build, {
			Scenario: "a", Tier: "L1", EvaluatorName: "test", Evaluations: 7, Unscored: 1,
			AttemptValues: []float64{-0.5, 0.25, 0.5, 1.5, 10}, ValueMean: new(2.35),
		}}, others...))
		wantEqual(t, list(t, q, filters, limits(true)), append([]row{build, {
			Scenario: "a", Tier: "L1", EvaluatorName: "test", Evaluations: 8, Unscored: 1,
			AttemptValues: []float64{-0.5, 0.25, 0.5, 1.5, 10, 20}, ValueMean: new(31.75 / 6),
		}}, others...))
		wantEqual(t, list(t, q, db.Filters{"suite": {"suite-c"}}, limits(true)), []row{})
	})

	t.Run("reads and returns no more than its limits", func(t *testing.T) {
		q, _ := begin(t, pool)
		for i := range 5 {
			create(t, q, run("a", "L1", evaluation(fmt.Sprint(i), new(1.0), 1), evaluation(fmt.Sprint(i), new(0.0), 1)))
		}
		total := func(rows []row) (total int64) {
			for _, row := range rows {
				total += row.Evaluations
			}
			return total
		}
		params := db.ListEvaluationValuesParams{RunLimit: 3, EvaluationLimit: 100, GroupLimit: 100}
		wantEqual(t, total(list(t, q, nil, params)), 6)
		params = db.ListEvaluationValuesParams{RunLimit: 100, EvaluationLimit: 7, GroupLimit: 100}
		wantEqual(t, total(list(t, q, nil, params)), 7)
		rows := list(t, q, nil, db.ListEvaluationValuesParams{RunLimit: 100, EvaluationLimit: 100, GroupLimit: 2})
		if len(rows) != 2 || rows[0].EvaluatorName != "0" || rows[1].EvaluatorName != "1" {
			t.Errorf("%+v, want the evaluators 0 and 1", rows)
		}
	})

	t.Run("keeps all digits, and takes what no double holds for the nearest one", func(t *testing.T) {
		q, tx := begin(t, pool)
		exec(t, tx, "set local extra_float_digits = 0")
		create(t, q, run("a", "L1", evaluation("digits", new(0.1+0.2), 1)))
		create(t, q, run("a", "L1", evaluation("large", new(math.MaxFloat64), math.SmallestNonzeroFloat64)))
		create(t, q, run("a", "L1", evaluation("large", new(-math.MaxFloat64), 1e-5)))
		create(t, q, run("a", "L1", evaluation("small", new(math.SmallestNonzeroFloat64), math.MaxFloat64)))
		create(t, q, run("a", "L1", evaluation("third", new(1.0), 3)))
		wantEqual(t, list(t, q, nil, limits(false)), []row{
			{Scenario: "a", Tier: "L1", EvaluatorName: "digits", Evaluations: 1, AttemptValues: []float64{0.1 + 0.2}, ValueMean: new(0.1 + 0.2)},
			{
				Scenario: "a", Tier: "L1", EvaluatorName: "large", Evaluations: 2,
				AttemptValues: []float64{-math.MaxFloat64, math.MaxFloat64}, ValueMean: new(0.0),
			},
			{Scenario: "a", Tier: "L1", EvaluatorName: "small", Evaluations: 1, AttemptValues: []float64{0}, ValueMean: new(0.0)},
			{Scenario: "a", Tier: "L1", EvaluatorName: "third", Evaluations: 1, AttemptValues: []float64{1.0 / 3}, ValueMean: new(1.0 / 3)},
		})
	})

	t.Run("serves ListMatchingEvaluationValues", func(t *testing.T) {
		q, _ := begin(t, pool)
		create(t, q, fullRun("full"))
		create(t, q, otherRun("other"))
		rows, err := db.ListMatchingEvaluationValues(t.Context(), q, db.Filters{"agent": {"agent-b"}}, false)
		wantNoError(t, err)
		wantEqual(t, rows, []row{{
			Scenario: "scenario-b", Tier: "L2", EvaluatorName: "build", Evaluations: 1, AttemptValues: []float64{4.0 / 9}, ValueMean: new(4.0 / 9),
		}})
	})
}
