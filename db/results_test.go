package db_test

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/benchledger/benchledger/db"
)

func TestCreateRun(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)

	t.Run("stores all of a run", func(t *testing.T) {
		q, _ := begin(t, pool)
		wantRun(t, q, fullRun("run-1"), create(t, q, fullRun("run-1")))
	})

	t.Run("stores the least of a run, and no batch and no telemetry with it", func(t *testing.T) {
		q, tx := begin(t, pool)
		wantRun(t, q, leastRun("run-1"), create(t, q, leastRun("run-1")))
		if n := value[int](t, tx, "select count(*) from batch_runs"); n != 0 {
			t.Errorf("%d batches", n)
		}
	})

	t.Run("stores telemetry that says nothing", func(t *testing.T) {
		q, _ := begin(t, pool)
		run := with(leastRun("run-1"), func(r *db.Submission) { r.Telemetry = &db.RunTelemetry{} })
		wantRun(t, q, run, create(t, q, run))
	})

	t.Run("takes the time of receipt for what has no time", func(t *testing.T) {
		q, tx := begin(t, pool)
		now := value[time.Time](t, tx, "select now()")
		create(t, q, with(fullRun("run-1"), func(r *db.Submission) { r.StartedAtGiven = false }))

		stored := get(t, q, "run-1")
		if !stored.BenchmarkRun.StartedAt.Equal(now) || stored.BenchmarkRun.StartedAtGiven {
			t.Errorf("started at %v, given: %v; want %v, not given", stored.BenchmarkRun.StartedAt, stored.BenchmarkRun.StartedAtGiven, now)
		}
		for _, e := range decodeEvaluations(t, stored.Evaluations) {
			if !e.CreatedAt.Equal(now) {
				t.Errorf("evaluation created at %v, want %v", e.CreatedAt, now)
			}
		}
		batch := getBatch(t, q, "batch-a")
		if !batch.CreatedAt.Equal(now) {
			t.Errorf("batch created at %v, want %v", batch.CreatedAt, now)
		}
		wantEqual(t, batch.SubmittedBy, new("ci"))
	})

	t.Run("gives each run an id above those before", func(t *testing.T) {
		q, _ := begin(t, pool)
		if first, second := create(t, q, leastRun("b")), create(t, q, leastRun("a")); first >= second {
			t.Errorf("id %d, then %d", first, second)
		}
	})

	t.Run("leaves an announced batch as it is", func(t *testing.T) {
		q, _ := begin(t, pool)
		upsertBatch(t, q, fullBatch("batch-a"))
		create(t, q, fullRun("run-1"))
		wantEqual(t, getBatch(t, q, "batch-a"), summaryOf(fullBatch("batch-a")))
	})

	t.Run("says so and stores nothing when the run is there", func(t *testing.T) {
		q, tx := begin(t, pool)
		id := create(t, q, fullRun("run-1"))
		isCreated, err := db.CreateRun(t.Context(), q, otherRun("run-1"))
		wantNoError(t, err)
		wantEqual(t, isCreated, false)
		wantRun(t, q, fullRun("run-1"), id)
		wantEqual(t, values[string](t, tx, "select batch_id from batch_runs"), []string{"batch-a"})
	})

	t.Run("stores nothing of a run with an evaluation that is not valid", func(t *testing.T) {
		t.Parallel()
		q, pool := setup(t)
		_, err := db.CreateRun(t.Context(), q, with(fullRun("run-1"), func(r *db.Submission) {
			r.Evaluations = []db.EvaluationResult{{EvaluatorName: "e", Score: new(1.0), MaxScore: 1}, {EvaluatorName: "e"}}
		}))
		wantKind(t, err, db.Invalid)
		if name := db.ConstraintName(err); name != "evaluation_results_values_check" {
			t.Errorf("constraint %q", name)
		}
		for _, table := range []string{"batch_runs", "benchmark_runs", "evaluation_results", "run_telemetry"} {
			if n := value[int](t, pool, "select count(*) from "+table); n != 0 {
				t.Errorf("%d rows in %s", n, table)
			}
		}
	})

	t.Run("keeps floating-point scores to the bit", func(t *testing.T) {
		q, _ := begin(t, pool)
		for i, score := range []float64{
			math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, 0.1, math.Nextafter(1, 2), 1.0 / 3,
		} {
			run := leastRun(fmt.Sprint("run-", i))
			run.TotalScore, run.WeightedScore, run.SuccessMetric = &score, &score, &score
			run.Evaluations = []db.EvaluationResult{{EvaluatorName: "e", Score: &score, MaxScore: math.Abs(score)}}
			wantRun(t, q, run, create(t, q, run))
		}
	})

	t.Run("50 of one run at once: one is stored, nothing is mixed", func(t *testing.T) {
		t.Parallel()
		q, pool := setup(t)
		created, errs := atOnce(50, func(i int) (bool, error) { return db.CreateRun(t.Context(), q, variant("run-1", i)) })
		var stored []int
		for i, err := range errs {
			wantNoError(t, err)
			if created[i] {
				stored = append(stored, i)
			}
		}
		if len(stored) != 1 {
			t.Fatalf("%d were stored", len(stored))
		}
		wantRun(t, q, variant("run-1", stored[0]), get(t, q, "run-1").BenchmarkRun.ID)
		wantEqual(t, values[string](t, pool, "select batch_id from batch_runs"), []string{*variant("run-1", stored[0]).BatchID})
	})

	t.Run("two runs of a batch that nobody announced, at once", func(t *testing.T) {
		t.Parallel()
		for _, end := range []struct {
			name string
			of   func(pgx.Tx) error
		}{
			{"the first commits", func(tx pgx.Tx) error { return tx.Commit(t.Context()) }},
			{"the first rolls back", func(tx pgx.Tx) error { return tx.Rollback(t.Context()) }},
		} {
			t.Run(end.name, func(t *testing.T) {
				t.Parallel()
				q, pool := setup(t)
				tx, err := pool.Begin(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				create(t, q.WithTx(tx), fullRun("run-1"))
				second := make(chan error)
				go func() {
					_, err := db.CreateRun(t.Context(), q, fullRun("run-2"))
					second <- err
				}()
				waitUntilBlocked(t, pool)
				if err := end.of(tx); err != nil {
					t.Fatal(err)
				}
				if err := <-second; err != nil {
					t.Error("the second was not stored:", err)
				}
				wantEqual(t, values[string](t, pool, "select batch_id from batch_runs"), []string{"batch-a"})
			})
		}
	})
}

// variant is a submission unlike those of other numbers in all parts.
func variant(id string, i int) db.Submission {
	run := leastRun(id)
	run.BatchID, run.Agent, run.TotalScore = new(fmt.Sprint("batch-", i)), fmt.Sprint("agent-", i), new(float64(i))
	list := make([]db.EvaluationResult, i%7)
	for j := range list {
		list[j] = db.EvaluationResult{EvaluatorName: fmt.Sprint("e", i), Score: new(float64(i)), MaxScore: float64(j + 1)}
	}
	run.Evaluations = list
	if i%3 > 0 {
		run.Telemetry = &db.RunTelemetry{ToolCalls: new(int64(i))}
	}
	return run
}

// atOnce calls fn n times at the same moment.
func atOnce[T any](n int, fn func(int) (T, error)) ([]T, []error) {
	var (
		start   = make(chan struct{})
		group   sync.WaitGroup
		results = make([]T, n)
		errs    = make([]error, n)
	)
	for i := range n {
		group.Go(func() {
			<-start
			results[i], errs[i] = fn(i)
		})
	}
	close(start)
	group.Wait()
	return results, errs
}

func TestCreateRuns(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)
	createAll := func(t *testing.T, q *db.Queries, runs ...db.Submission) []string {
		t.Helper()
		ids, err := db.CreateRuns(t.Context(), q, runs...)
		wantNoError(t, err)
		slices.Sort(ids)
		return ids
	}

	t.Run("stores all of many runs, in their order", func(t *testing.T) {
		q, _ := begin(t, pool)
		runs := []db.Submission{fullRun("run-2"), leastRun("run-3"), otherRun("run-1"), openRun("run-4")}
		wantEqual(t, createAll(t, q, runs...), []string{"run-1", "run-2", "run-3", "run-4"})
		last := int64(0)
		for _, run := range runs {
			stored := get(t, q, run.RunID)
			wantRun(t, q, run, stored.BenchmarkRun.ID)
			if stored.BenchmarkRun.ID <= last {
				t.Errorf("%s has the id %d, after %d", run.RunID, stored.BenchmarkRun.ID, last)
			}
			last = stored.BenchmarkRun.ID
		}
	})

	t.Run("carries numbers, times and text to the last digit, as CreateRun does", func(t *testing.T) {
		q, _ := begin(t, pool)
		run := with(fullRun("run-1"), func(r *db.Submission) {
			r.TotalScore, r.WeightedScore, r.Telemetry.CostUsd = new(math.MaxFloat64), new(math.SmallestNonzeroFloat64), new(0.1+0.2)
			r.Telemetry.TokensIn = new(int64(math.MaxInt64))
			r.StartedAt, r.CompletedAt = time.Date(1, 1, 1, 0, 0, 0, 1000, time.UTC), new(time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC))
			r.Telemetry.PromptSent = new("a \"b\" \\ \n \u2028 🐘")
			r.MetadataText = []byte(`{"null":null,"n":12345678901234567890.123456789,"\u006d":"<&>"}`)
		})
		createAll(t, q, run)
		wantRun(t, q, run, get(t, q, "run-1").BenchmarkRun.ID)
		run.RunID = "run-2"
		wantRun(t, q, run, create(t, q, run))
	})

	t.Run("takes the time of receipt for what has no time, and creates each batch once", func(t *testing.T) {
		q, tx := begin(t, pool)
		now := value[time.Time](t, tx, "select now()")
		without := func(id string) db.Submission {
			return with(fullRun(id), func(r *db.Submission) { r.StartedAtGiven = false })
		}
		createAll(t, q, without("run-1"), without("run-2"))
		for _, id := range []string{"run-1", "run-2"} {
			if stored := get(t, q, id).BenchmarkRun; !stored.StartedAt.Equal(now) || stored.StartedAtGiven {
				t.Errorf("%s started at %v, given: %v; want %v, not given", id, stored.StartedAt, stored.StartedAtGiven, now)
			}
			for _, e := range decodeEvaluations(t, get(t, q, id).Evaluations) {
				if !e.CreatedAt.Equal(now) {
					t.Errorf("evaluation created at %v, want %v", e.CreatedAt, now)
				}
			}
		}
		batch := getBatch(t, q, "batch-a")
		if !batch.CreatedAt.Equal(now) {
			t.Errorf("batch created at %v, want %v", batch.CreatedAt, now)
		}
		wantEqual(t, batch.SubmittedBy, new("ci"))
	})

	t.Run("leaves what is there as it is, and stores the others", func(t *testing.T) {
		q, _ := begin(t, pool)
		upsertBatch(t, q, fullBatch("batch-a"))
		batch := getBatch(t, q, "batch-a")
		id := create(t, q, fullRun("run-1"))
		wantEqual(t, createAll(t, q, otherRun("run-1"), fullRun("run-2")), []string{"run-2"})
		wantRun(t, q, fullRun("run-1"), id)
		wantRun(t, q, fullRun("run-2"), get(t, q, "run-2").BenchmarkRun.ID)
		wantEqual(t, getBatch(t, q, "batch-a").CreatedAt, batch.CreatedAt)
		wantEqual(t, createAll(t, q, otherRun("run-1")), []string{})
	})

	t.Run("stores none where one is refused", func(t *testing.T) {
		q, pool := setup(t)
		invalid := with(leastRun("run-2"), func(r *db.Submission) { r.Status = "unknown" })
		_, err := db.CreateRuns(t.Context(), q, leastRun("run-1"), invalid)
		wantKind(t, err, db.Invalid)
		if n := value[int](t, pool, "select count(*) from benchmark_runs"); n != 0 {
			t.Errorf("%d runs", n)
		}
	})
}

func TestListRunStatusesForUpdate(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)

	t.Run("gives the status", func(t *testing.T) {
		q, _ := begin(t, pool)
		for _, status := range []string{"running", "completed", "failed", "incomplete"} {
			create(t, q, with(leastRun("run-"+status), func(r *db.Submission) { r.Status = status }))
			if got, err := q.ListRunStatusesForUpdate(t.Context(), []string{"run-" + status}); err != nil || len(got) != 1 || got[0].Status != status {
				t.Errorf("status %q, want %q, error %v", got, status, err)
			}
		}
	})

	t.Run("gives no row for a run that is not there", func(t *testing.T) {
		q, _ := begin(t, pool)
		create(t, q, leastRun("run-1"))
		got, err := q.ListRunStatusesForUpdate(t.Context(), []string{"run-2", "run-1", "run-3"})
		wantNoError(t, err)
		wantEqual(t, got, []db.ListRunStatusesForUpdateRow{{RunID: "run-1", Status: "completed"}})
	})

	t.Run("locks many in their order", func(t *testing.T) {
		q, _ := begin(t, pool)
		create(t, q, leastRun("b"))
		create(t, q, openRun("a"))
		got, err := q.ListRunStatusesForUpdate(t.Context(), []string{"b", "a"})
		wantNoError(t, err)
		wantEqual(t, got, []db.ListRunStatusesForUpdateRow{{RunID: "a", Status: "running"}, {RunID: "b", Status: "completed"}})
	})

	t.Run("waits for who holds the run, and sees what they stored", func(t *testing.T) {
		t.Parallel()
		q, pool := setup(t)
		create(t, q, openRun("run-1"))
		var runs []db.ListRunStatusesForUpdateRow
		got := make(chan error)
		err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			if _, err := q.WithTx(tx).ListRunStatusesForUpdate(t.Context(), []string{"run-1"}); err != nil {
				return err
			}
			go func() {
				var err error
				runs, err = q.ListRunStatusesForUpdate(t.Context(), []string{"run-1"})
				got <- err
			}()
			waitUntilBlocked(t, pool)
			return db.UpdateRuns(t.Context(), q.WithTx(tx), leastRun("run-1"))
		})
		if err != nil {
			t.Fatal(err)
		}
		wantNoError(t, <-got)
		wantEqual(t, runs, []db.ListRunStatusesForUpdateRow{{RunID: "run-1", Status: "completed"}})
	})

	// A commit waits for a synchronous standby only where its transaction has an
	// id: that is what makes it write to the log.
	t.Run("makes the answer to a replay as durable as the first", func(t *testing.T) {
		create(t, db.New(pool), fullRun("an earlier one"))
		q, tx := begin(t, pool)
		const transactionID = "select pg_current_xact_id_if_assigned()::text"
		if id := value[*string](t, tx, transactionID); id != nil {
			t.Errorf("the transaction has the id %s before it does anything", *id)
		}
		_, err := q.ListRunStatusesForUpdate(t.Context(), []string{"an earlier one"})
		wantNoError(t, err)
		if id := value[*string](t, tx, transactionID); id == nil {
			t.Error("the transaction has no id: its commit writes nothing")
		}
	})
}

func TestListRunsDifferences(t *testing.T) {
	t.Parallel()
	q, pool := setup(t)
	differences := func(t *testing.T, submitted db.Submission) []string {
		t.Helper()
		found, err := db.ListRunsDifferences(t.Context(), q, submitted)
		wantNoError(t, err)
		var fields []string
		for _, row := range found {
			if row.RunID != submitted.RunID {
				t.Errorf("%s differs in %s", row.RunID, row.Field)
			}
			fields = append(fields, row.Field)
		}
		return fields
	}
	// stored and submitted get their own ID, and are compared.
	ids := 0
	want := func(t *testing.T, stored, submitted db.Submission, fields ...string) {
		t.Helper()
		ids++
		stored.RunID = fmt.Sprint("run-", ids)
		submitted.RunID = stored.RunID
		create(t, q, stored)
		if got := differences(t, submitted); !slices.Equal(got, fields) {
			t.Errorf("differences %q, want %q", got, fields)
		}
	}

	t.Run("who submits makes none", func(t *testing.T) {
		want(t, fullRun(""), with(fullRun(""), func(r *db.Submission) { r.SubmittedBy = new("someone else") }))
		want(t, fullRun(""), with(fullRun(""), func(r *db.Submission) { r.SubmittedBy = nil }))
	})
	t.Run("at most 101 of each run, in their order", func(t *testing.T) {
		evaluations := func(score float64) []db.EvaluationResult {
			return slices.Repeat([]db.EvaluationResult{{EvaluatorName: "e", Score: &score, MaxScore: 1}}, 200)
		}
		run := with(fullRun("many"), func(r *db.Submission) { r.Evaluations = evaluations(0) })
		create(t, q, run)
		other := with(fullRun("other"), func(r *db.Submission) { r.Agent = "other" })
		create(t, q, fullRun("other"))
		run.Agent, run.Evaluations = "another", evaluations(1)
		found, err := db.ListRunsDifferences(t.Context(), q, run, other)
		wantNoError(t, err)
		if len(found) != 102 || found[0].Field != "agent" || found[1].Field != "evaluations[0].score" || found[100].Field != "evaluations[99].score" ||
			found[101].RunID != "other" || found[101].Field != "agent" {
			t.Errorf("%d differences: %v", len(found), found)
		}
	})
	// wantEach changes each column of a row on its own.
	wantEach := func(t *testing.T, prefix string, rowOf func(*db.Submission) reflect.Value, but ...string) {
		t.Helper()
		other := rowOf(new(otherRun("")))
		for _, field := range reflect.VisibleFields(other.Type()) {
			column := field.Tag.Get("json")
			if slices.Contains(but, column) {
				continue
			}
			having := func(value reflect.Value) db.Submission {
				run := fullRun("")
				rowOf(&run).FieldByIndex(field.Index).Set(value)
				return run
			}
			name := prefix + column
			t.Run(name+" changed", func(t *testing.T) { want(t, fullRun(""), having(other.FieldByIndex(field.Index)), name) })
			if kind := field.Type.Kind(); kind == reflect.Pointer || kind == reflect.Slice {
				less := having(reflect.Zero(field.Type))
				t.Run(name+" left out", func(t *testing.T) { want(t, fullRun(""), less, name) })
				t.Run(name+" added", func(t *testing.T) { want(t, less, fullRun(""), name) })
				t.Run(name+" absent twice", func(t *testing.T) { want(t, less, less) })
			}
		}
	}
	wantEach(t, "", func(s *db.Submission) reflect.Value { return reflect.ValueOf(&s.BenchmarkRun).Elem() },
		"run_id", "id", "started_at_given", "submitted_by", "metadata", "metadata_text", // The id says which run; the others are below.
		"voided_at", "voided_by", "void_reason") // They are not submitted.
	wantEach(t, "telemetry.", func(s *db.Submission) reflect.Value { return reflect.ValueOf(s.Telemetry).Elem() }, "run_id", "id")

	silent := with(leastRun(""), func(r *db.Submission) { r.Telemetry = &db.RunTelemetry{} })
	untimed := with(leastRun(""), func(r *db.Submission) { r.StartedAtGiven = false })
	evaluated := func(list ...db.EvaluationResult) db.Submission {
		return with(leastRun(""), func(r *db.Submission) { r.Evaluations = list })
	}
	a := db.EvaluationResult{EvaluatorName: "a", Score: new(1.0), MaxScore: 2, Details: new("text")}
	b := db.EvaluationResult{EvaluatorName: "b", Score: new(3.0), MaxScore: 4}
	metadata := func(text string) db.Submission {
		return with(leastRun(""), func(r *db.Submission) { r.MetadataText = []byte(text) })
	}
	for _, c := range []struct {
		name              string
		stored, submitted db.Submission
		fields            []string
	}{
		{"a full submission again", fullRun(""), fullRun(""), nil},
		{"the least submission again", leastRun(""), leastRun(""), nil},
		{"no start, again", untimed, untimed, nil},
		{"telemetry added", leastRun(""), silent, []string{"telemetry"}},
		{"telemetry left out", silent, leastRun(""), []string{"telemetry"}},
		{"telemetry that says nothing, again", silent, silent, nil},

		{"evaluations again", evaluated(a, b, a), evaluated(a, b, a), nil},
		{"another evaluator", evaluated(a, b), evaluated(a, with(b, func(e *db.EvaluationResult) { e.EvaluatorName = "c" })), []string{"evaluations[1].evaluator_name"}},
		{"another score", evaluated(a, b), evaluated(with(a, func(e *db.EvaluationResult) { e.Score = new(9.0) }), b), []string{"evaluations[0].score"}},
		{"another maximum", evaluated(a, b), evaluated(a, with(b, func(e *db.EvaluationResult) { e.MaxScore = 9 })), []string{"evaluations[1].max_score"}},
		{"a score for none", evaluated(with(a, func(e *db.EvaluationResult) { e.Score = nil })), evaluated(a), []string{"evaluations[0].score"}},
		{"no score, again", evaluated(with(a, func(e *db.EvaluationResult) { e.Score = nil })), evaluated(with(a, func(e *db.EvaluationResult) { e.Score = nil })), nil},
		{"other details", evaluated(a, b), evaluated(with(a, func(e *db.EvaluationResult) { e.Details = new("other") }), b), []string{"evaluations[0].details"}},
		{"details left out", evaluated(b, a), evaluated(b, with(a, func(e *db.EvaluationResult) { e.Details = nil })), []string{"evaluations[1].details"}},
		{"details added", evaluated(b, a), evaluated(with(b, func(e *db.EvaluationResult) { e.Details = new("") }), a), []string{"evaluations[0].details"}},
		{"an evaluation more", evaluated(a), evaluated(a, b), []string{"evaluations[1]"}},
		{"an evaluation fewer", evaluated(b, a), evaluated(b), []string{"evaluations[1]"}},
		{"first evaluations", evaluated(), evaluated(a, b), []string{"evaluations[0]", "evaluations[1]"}},
		{"no evaluations any more", evaluated(a, b), evaluated(), []string{"evaluations[0]", "evaluations[1]"}},
		{"evaluations in another order", evaluated(a, b), evaluated(b, a), []string{
			"evaluations[0].details", "evaluations[0].evaluator_name", "evaluations[0].max_score", "evaluations[0].score",
			"evaluations[1].details", "evaluations[1].evaluator_name", "evaluations[1].max_score", "evaluations[1].score",
		}},

		{"a number of metadata written otherwise", metadata(`{"a": 1, "b": [1.50]}`), metadata(`{"b":[15e-1],"a":1.0}`), nil},
		{"a large number of metadata, in its last digit", metadata(`{"a": 9007199254740993}`), metadata(`{"a": 9007199254740992}`), []string{"metadata"}},
		{"a string of metadata for a number", metadata(`{"a": 1}`), metadata(`{"a": "1"}`), []string{"metadata"}},
		{"null in metadata for nothing", metadata(`{}`), metadata(`{"a": null}`), []string{"metadata"}},
		{"empty metadata for none", leastRun(""), metadata(`{}`), []string{"metadata"}},
		{"metadata left out", metadata(`{}`), leastRun(""), []string{"metadata"}},
	} {
		t.Run(c.name, func(t *testing.T) { want(t, c.stored, c.submitted, c.fields...) })
	}

	t.Run("metadata that an older server stored", func(t *testing.T) {
		run := with(fullRun("old"), func(r *db.Submission) { r.MetadataText = []byte(`{"b":1,"a":2}`) })
		create(t, q, run)
		exec(t, pool, "update benchmark_runs set metadata = metadata_text, metadata_text = null where run_id = 'old'")
		if got := differences(t, run); len(got) > 0 {
			t.Errorf("differences %q", got)
		}
		wantEqual(t, differences(t, with(run, func(r *db.Submission) { r.MetadataText = []byte(`{"b":1,"a":3}`) })), []string{"metadata"})

		// It stored other metadata later.
		exec(t, pool, `update benchmark_runs set metadata = '{"a":4}', metadata_text = '{"b":1,"a":2}' where run_id = 'old'`)
		found, err := db.ListRunsDifferences(t.Context(), q, run)
		wantNoError(t, err)
		wantEqual(t, found, []db.ListRunsDifferencesRow{{RunID: "old", Field: "metadata", Stored: `{"a": 4}`}})
	})

	t.Run("the run is compared with itself, not with others", func(t *testing.T) {
		id := create(t, q, otherRun("a stranger"))
		create(t, q, fullRun("the run"))
		if got := differences(t, fullRun("the run")); len(got) > 0 {
			t.Errorf("differences %q", got)
		}
		wantRun(t, q, otherRun("a stranger"), id)
	})

	t.Run("each of many is compared with its own", func(t *testing.T) {
		a, b, c := fullRun("many-a"), fullRun("many-b"), fullRun("many-c")
		for _, run := range []db.Submission{a, b, c} {
			create(t, q, run)
		}
		a.Tier, c.Evaluations = "L9", nil
		found, err := db.ListRunsDifferences(t.Context(), q, c, a, b)
		wantNoError(t, err)
		got := []string{}
		for _, row := range found {
			got = append(got, row.RunID+" "+row.Field)
		}
		wantEqual(t, got, []string{"many-a tier", "many-c evaluations[0]", "many-c evaluations[1]", "many-c evaluations[2]"})
	})

	t.Run("says what is stored, up to 101 characters", func(t *testing.T) {
		long := strings.Repeat("ü", 200)
		stored := with(fullRun("shown"), func(r *db.Submission) {
			r.Telemetry, r.Model, r.SpecialistName = nil, nil, &long
			r.Evaluations = r.Evaluations[:1]
		})
		create(t, q, stored)
		submitted := with(fullRun("shown"), func(r *db.Submission) {
			r.TotalScore, r.Evaluations = new(0.25), nil
		})
		found, err := db.ListRunsDifferences(t.Context(), q, submitted)
		wantNoError(t, err)
		wantEqual(t, found, []db.ListRunsDifferencesRow{
			{RunID: "shown", Field: "model", Stored: "null"},
			{RunID: "shown", Field: "specialist_name", Stored: `"` + strings.Repeat("ü", 100)},
			{RunID: "shown", Field: "total_score", Stored: "0.85"},
			{RunID: "shown", Field: "evaluations[0]", Stored: `{"score": 1, "details": "exited 0", "max_score": 2, "evaluator_name": "install"}`},
			{RunID: "shown", Field: "telemetry", Stored: ""},
		})
	})

	// An end that leaves the start out keeps the announced one.
	t.Run("an end without a start, again", func(t *testing.T) {
		create(t, q, openRun("announced"))
		end := with(fullRun("announced"), func(r *db.Submission) { r.StartedAtGiven = false })
		update(t, q, end)
		if got := differences(t, end); len(got) > 0 {
			t.Errorf("differences %q", got)
		}
	})
}

func TestUpdateRuns(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)

	t.Run("replaces all of a run but its id, and nothing of others", func(t *testing.T) {
		q, tx := begin(t, pool)
		before := create(t, q, fullRun("run-0"))
		id := create(t, q, fullRun("run-1"))
		after := create(t, q, fullRun("run-2"))
		for _, run := range []db.Submission{otherRun("run-1"), fullRun("run-1"), leastRun("run-1"), fullRun("run-1")} {
			update(t, q, run)
			wantRun(t, q, run, id)
			wantRun(t, q, fullRun("run-0"), before)
			wantRun(t, q, fullRun("run-2"), after)
		}
		wantEqual(t, values[string](t, tx, "select batch_id from batch_runs order by 1"), []string{"batch-a", "batch-b"})
	})

	t.Run("replaces many, each by its own", func(t *testing.T) {
		q, tx := begin(t, pool)
		ids := []int64{create(t, q, fullRun("run-0")), create(t, q, leastRun("run-1")), create(t, q, fullRun("run-2"))}
		wantNoError(t, db.UpdateRuns(t.Context(), q, otherRun("run-1"), leastRun("run-0"), otherRun("not there")))
		wantRun(t, q, leastRun("run-0"), ids[0])
		wantRun(t, q, otherRun("run-1"), ids[1])
		wantRun(t, q, fullRun("run-2"), ids[2])
		wantEqual(t, values[string](t, tx, "select run_id from benchmark_runs order by 1"), []string{"run-0", "run-1", "run-2"})
	})

	t.Run("replaces evaluations by fewer, more, none", func(t *testing.T) {
		q, tx := begin(t, pool)
		run := leastRun("run-1")
		id := create(t, q, run)
		for i, n := range []int{3, 1, 7, 7, 0, 2} {
			list := make([]db.EvaluationResult, n)
			for j := range list {
				list[j] = db.EvaluationResult{EvaluatorName: fmt.Sprint("e", i, j), Score: new(float64(i)), MaxScore: float64(j + 1), Details: new(fmt.Sprint(i))}
			}
			run.Evaluations = list
			update(t, q, run)
			wantRun(t, q, run, id)
			if stored := value[int](t, tx, "select count(*) from evaluation_results"); stored != n {
				t.Errorf("%d evaluations are stored, want %d", stored, n)
			}
		}
	})

	t.Run("adds telemetry, replaces it and takes it away", func(t *testing.T) {
		q, tx := begin(t, pool)
		id := create(t, q, leastRun("run-1"))
		silent := with(leastRun("run-1"), func(r *db.Submission) { r.Telemetry = &db.RunTelemetry{} })
		for _, run := range []db.Submission{fullRun("run-1"), otherRun("run-1"), silent, fullRun("run-1"), leastRun("run-1")} {
			update(t, q, run)
			wantRun(t, q, run, id)
			if n := value[int](t, tx, "select count(*) from run_telemetry"); (n == 1) != (run.Telemetry != nil) {
				t.Errorf("%d telemetries", n)
			}
		}
	})

	t.Run("keeps an announced start, and notes that it was left out", func(t *testing.T) {
		q, _ := begin(t, pool)
		id := create(t, q, openRun("run-1"))
		update(t, q, with(otherRun("run-1"), func(r *db.Submission) { r.StartedAtGiven = false }))
		wantEqual(t, get(t, q, "run-1").BenchmarkRun, with(runOf(otherRun("run-1"), id), func(r *db.BenchmarkRun) {
			r.StartedAt, r.StartedAtGiven = openRun("run-1").StartedAt, false
		}))
	})

	t.Run("takes the time of receipt for evaluations and a new batch", func(t *testing.T) {
		t.Parallel()
		q, pool := setup(t)
		create(t, q, fullRun("run-1"))
		q, tx := begin(t, pool)
		now := value[time.Time](t, tx, "select now()")
		update(t, q, with(fullRun("run-1"), func(r *db.Submission) {
			r.BatchID, r.Evaluations = new("batch-new"), slices.Repeat([]db.EvaluationResult{{EvaluatorName: "e", Score: new(1.0), MaxScore: 1}}, 4)
		}))
		for _, e := range decodeEvaluations(t, get(t, q, "run-1").Evaluations) {
			if !e.CreatedAt.Equal(now) { // over an earlier one, or new
				t.Errorf("evaluation created at %v, want %v", e.CreatedAt, now)
			}
		}
		batch := getBatch(t, q, "batch-new")
		if !batch.CreatedAt.Equal(now) {
			t.Errorf("batch created at %v, want %v", batch.CreatedAt, now)
		}
		wantEqual(t, batch.SubmittedBy, new("ci"))
	})

	t.Run("leaves an announced batch as it is", func(t *testing.T) {
		q, _ := begin(t, pool)
		upsertBatch(t, q, fullBatch("batch-b"))
		create(t, q, fullRun("run-1"))
		update(t, q, otherRun("run-1"))
		wantEqual(t, getBatch(t, q, "batch-b"), summaryOf(fullBatch("batch-b")))
	})

	t.Run("does nothing when there is no such run", func(t *testing.T) {
		q, tx := begin(t, pool)
		update(t, q, fullRun("run-1"))
		for _, table := range []string{"batch_runs", "benchmark_runs", "evaluation_results", "run_telemetry"} {
			if n := value[int](t, tx, "select count(*) from "+table); n != 0 {
				t.Errorf("%d rows in %s", n, table)
			}
		}
	})

	t.Run("changes nothing when a part is not valid", func(t *testing.T) {
		t.Parallel()
		q, pool := setup(t)
		id := create(t, q, fullRun("run-1"))
		run := with(otherRun("run-1"), func(r *db.Submission) { r.Telemetry.TokensIn = new(int64(-1)) })
		wantKind(t, db.UpdateRuns(t.Context(), q, run), db.Invalid)
		wantRun(t, q, fullRun("run-1"), id)
		wantEqual(t, values[string](t, pool, "select batch_id from batch_runs"), []string{"batch-a"})
	})

	// One locks the run and replaces it; the other waits for the lock in a separate
	// statement, and replaces what the first stored.
	for _, c := range []struct{ first, second int }{{6, 2}, {1, 5}, {3, 0}} {
		t.Run(fmt.Sprintf("two at once, of %d and of %d evaluations, leave the second alone", c.first, c.second), func(t *testing.T) {
			t.Parallel()
			q, pool := setup(t)
			id := create(t, q, openRun("run-1"))
			replace := func(by int, meanwhile func()) error {
				return db.WithTx(t.Context(), db.New(pool), pgx.TxOptions{}, func(q *db.Queries) error {
					if _, err := q.ListRunStatusesForUpdate(t.Context(), []string{"run-1"}); err != nil {
						return err
					}
					if err := db.UpdateRuns(t.Context(), q, variant("run-1", by)); err != nil {
						return err
					}
					meanwhile()
					return nil
				})
			}
			second := make(chan error)
			err := replace(c.first, func() {
				go func() { second <- replace(c.second, func() {}) }()
				waitUntilBlocked(t, pool)
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := <-second; err != nil {
				t.Fatal(err)
			}
			wantRun(t, q, variant("run-1", c.second), id)
		})
	}

	t.Run("30 at once leave one submission, never a mixture", func(t *testing.T) {
		t.Parallel()
		q, pool := setup(t)
		id := create(t, q, fullRun("run-1"))
		_, errs := atOnce(30, func(i int) (any, error) {
			return nil, db.WithTx(t.Context(), db.New(pool), pgx.TxOptions{}, func(q *db.Queries) error {
				if _, err := q.ListRunStatusesForUpdate(t.Context(), []string{"run-1"}); err != nil {
					return err
				}
				return db.UpdateRuns(t.Context(), q, variant("run-1", i))
			})
		})
		for _, err := range errs {
			if err != nil {
				t.Error(err)
			}
		}
		wantRun(t, q, variant("run-1", int(*get(t, q, "run-1").BenchmarkRun.TotalScore)), id)
	})
}

func TestUpsertBatch(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)
	announcement := func() db.UpsertBatchParams {
		return db.UpsertBatchParams{BatchID: "batch-a", CreatedAt: new(noon)}
	}
	// A run of batch-a, from which what is not reported is computed.
	withRun := func(s db.BatchSummary) db.BatchSummary {
		s.TotalRuns, s.SuccessfulRuns, s.AvgScore, s.AvgWeightedScore = 1, 1, fullRun("").TotalScore, fullRun("").WeightedScore
		return s
	}
	open := db.BatchSummary{BatchID: "batch-a", CreatedAt: noon}

	for _, c := range []struct {
		name  string
		sent  []db.UpsertBatchParams
		wants db.BatchSummary
	}{
		{
			"a completed batch is as reported",
			[]db.UpsertBatchParams{fullBatch("batch-a")},
			summaryOf(fullBatch("batch-a")),
		},
		{
			"an announcement is computed",
			[]db.UpsertBatchParams{announcement()},
			withRun(open),
		},
		{
			"the summary of an announcement is ignored, its metadata not",
			[]db.UpsertBatchParams{with(fullBatch("batch-a"), func(b *db.UpsertBatchParams) { b.CompletedAt = nil })},
			with(withRun(open), func(b *db.BatchSummary) { b.MetadataText, b.SubmittedBy = fullBatch("").MetadataText, new("nightly") }),
		},
		{
			"a completion keeps the creation, and replaces the metadata",
			[]db.UpsertBatchParams{
				with(announcement(), func(b *db.UpsertBatchParams) { b.MetadataText = []byte(`{"first": true}`) }),
				with(fullBatch("batch-a"), func(b *db.UpsertBatchParams) { b.CreatedAt = new(noon.Add(time.Hour)) }),
			},
			summaryOf(fullBatch("batch-a")),
		},
		{
			"absent metadata keeps what is stored",
			[]db.UpsertBatchParams{
				with(announcement(), func(b *db.UpsertBatchParams) { b.MetadataText = []byte(`{"first": true}`) }),
				with(fullBatch("batch-a"), func(b *db.UpsertBatchParams) { b.MetadataText = nil }),
			},
			with(summaryOf(fullBatch("batch-a")), func(b *db.BatchSummary) { b.MetadataText = []byte(`{"first": true}`) }),
		},
		{
			"a second announcement replaces the metadata",
			[]db.UpsertBatchParams{
				with(announcement(), func(b *db.UpsertBatchParams) { b.MetadataText = []byte(`{"first": true}`) }),
				with(announcement(), func(b *db.UpsertBatchParams) { b.MetadataText = []byte(`{"second": true}`) }),
			},
			with(withRun(open), func(b *db.BatchSummary) { b.MetadataText = []byte(`{"second": true}`) }),
		},
		{
			"an announcement leaves a completed batch as it is",
			[]db.UpsertBatchParams{
				fullBatch("batch-a"),
				with(announcement(), func(b *db.UpsertBatchParams) {
					b.TotalRuns, b.SuccessfulRuns, b.MetadataText = new(int64(0)), new(int64(0)), []byte(`{"late": true}`)
				}),
			},
			summaryOf(fullBatch("batch-a")),
		},
		{
			"a second completion replaces what was reported, and computes what it leaves out",
			[]db.UpsertBatchParams{
				fullBatch("batch-a"),
				with(announcement(), func(b *db.UpsertBatchParams) { b.CompletedAt = new(noon.Add(2 * time.Hour)) }),
			},
			with(withRun(open), func(b *db.BatchSummary) {
				b.CompletedAt, b.MetadataText = new(noon.Add(2*time.Hour)), fullBatch("").MetadataText
			}),
		},
		{
			"an earlier completion that comes late changes nothing",
			[]db.UpsertBatchParams{
				fullBatch("batch-a"),
				with(fullBatch("batch-a"), func(b *db.UpsertBatchParams) {
					b.CompletedAt, b.TotalRuns, b.MetadataText = new(noon.Add(time.Hour-time.Microsecond)), new(int64(1)), []byte(`{"late": true}`)
				}),
			},
			summaryOf(fullBatch("batch-a")),
		},
		{
			"a second completion may correct every figure",
			[]db.UpsertBatchParams{
				fullBatch("batch-a"),
				with(fullBatch("batch-a"), func(b *db.UpsertBatchParams) {
					b.TotalRuns, b.SuccessfulRuns, b.AvgScore, b.AvgWeightedScore = new(int64(1)), new(int64(2)), new(3.0), new(4.0)
				}),
			},
			with(summaryOf(fullBatch("batch-a")), func(b *db.BatchSummary) {
				b.TotalRuns, b.SuccessfulRuns, b.AvgScore, b.AvgWeightedScore = 1, 2, new(3.0), new(4.0)
			}),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			q, _ := begin(t, pool)
			upsertBatch(t, q, db.UpsertBatchParams{BatchID: "batch-b", CreatedAt: new(noon)})
			for _, batch := range c.sent {
				upsertBatch(t, q, batch)
			}
			create(t, q, fullRun("run-1"))
			wantEqual(t, getBatch(t, q, "batch-a"), c.wants)
			wantEqual(t, getBatch(t, q, "batch-b"), db.BatchSummary{BatchID: "batch-b", CreatedAt: noon})
		})
	}

	t.Run("a batch without its creation was created on receipt", func(t *testing.T) {
		q, tx := begin(t, pool)
		upsertBatch(t, q, db.UpsertBatchParams{BatchID: "batch-a"})
		wantEqual(t, getBatch(t, q, "batch-a"), db.BatchSummary{BatchID: "batch-a", CreatedAt: value[time.Time](t, tx, "select now()")})
	})

	t.Run("metadata of an older server stays until there is other metadata", func(t *testing.T) {
		q, tx := begin(t, pool)
		exec(t, tx, `insert into batch_runs (batch_id, created_at, metadata) values ('batch-a', $1, '{"old":true}')`, noon)
		upsertBatch(t, q, announcement())
		old := db.BatchSummary{BatchID: "batch-a", CreatedAt: noon}
		wantEqual(t, getBatch(t, q, "batch-a"), with(old, func(b *db.BatchSummary) { b.Metadata = []byte(`{"old": true}`) }))
		upsertBatch(t, q, with(announcement(), func(b *db.UpsertBatchParams) { b.MetadataText = []byte(`{"new":true}`) }))
		wantEqual(t, getBatch(t, q, "batch-a"), with(old, func(b *db.BatchSummary) { b.MetadataText = []byte(`{"new":true}`) }))
	})

	t.Run("a negative count is refused, and changes nothing", func(t *testing.T) {
		t.Parallel()
		q, _ := setup(t)
		upsertBatch(t, q, fullBatch("batch-a"))
		batch := with(fullBatch("batch-a"), func(b *db.UpsertBatchParams) { b.SuccessfulRuns, b.AvgScore = new(int64(-1)), new(99.0) })
		wantKind(t, q.UpsertBatch(t.Context(), batch), db.Invalid)
		wantEqual(t, getBatch(t, q, "batch-a"), summaryOf(fullBatch("batch-a")))
	})
}

// fullBatch is a submission that completes a batch and says everything.
func fullBatch(id string) db.UpsertBatchParams {
	return db.UpsertBatchParams{
		BatchID: id, CreatedAt: new(noon), CompletedAt: new(noon.Add(time.Hour)), TotalRuns: new(int64(70)),
		SuccessfulRuns: new(int64(50)), AvgScore: new(0.5), AvgWeightedScore: new(5.5), MetadataText: []byte(`{"cli": "1.2.0"}`),
		SubmittedBy: new("nightly"),
	}
}

// summaryOf is what is read back of fullBatch.
func summaryOf(b db.UpsertBatchParams) db.BatchSummary {
	return db.BatchSummary{
		BatchID: b.BatchID, CreatedAt: *b.CreatedAt, CompletedAt: b.CompletedAt, TotalRuns: *b.TotalRuns,
		SuccessfulRuns: *b.SuccessfulRuns, AvgScore: b.AvgScore, AvgWeightedScore: b.AvgWeightedScore, MetadataText: b.MetadataText,
		SubmittedBy: b.SubmittedBy,
	}
}

func upsertBatch(t testing.TB, q *db.Queries, batch db.UpsertBatchParams) {
	t.Helper()
	wantNoError(t, q.UpsertBatch(t.Context(), batch))
}
