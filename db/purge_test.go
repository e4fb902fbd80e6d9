package db_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/benchledger/benchledger/db"
)

// setupPurge stores a run of each of ten seconds, with all that a run owns: the first four
// are in batch-a, the others in batch-b; suite-b has every second, status running every
// third, and every fourth is voided.
func setupPurge(t testing.TB) (*db.Queries, *pgxpool.Pool) {
	t.Helper()
	q, pool := setup(t)
	for _, i := range []int{4, 9, 2, 0, 7, 3, 5, 1, 8, 6} { // Their ids are not in the order of their starts.
		run := with(fullRun(fmt.Sprint("run-", i)), func(r *db.Submission) {
			r.StartedAt = noon.Add(time.Duration(i) * time.Second)
			r.BatchID = new("batch-b")
			if i < 4 {
				r.BatchID = new("batch-a")
			}
			if i%2 > 0 {
				r.Suite = "suite-b"
			}
			if i%3 == 0 {
				r.Status = "running"
			}
		})
		create(t, q, run)
		if i%4 == 0 {
			void(t, q, run.RunID)
		}
	}
	return q, pool
}

// purges are what can be purged, and the runs of setupPurge that match.
var purges = map[string]struct {
	db.Purge
	runs []int
}{
	"by age":                {db.Purge{StartedBefore: noon.Add(4 * time.Second)}, []int{0, 1, 2, 3}},
	"by a filter":           {db.Purge{StartedBefore: beyondEveryTime, Filters: db.Filters{"suite": {"suite-b"}}}, []int{1, 3, 5, 7, 9}},
	"by several":            {db.Purge{StartedBefore: noon.Add(8 * time.Second), Filters: db.Filters{"suite": {"suite-b"}, "status": {"running"}}}, []int{3}},
	"only what is voided":   {db.Purge{StartedBefore: beyondEveryTime, OnlyVoided: true}, []int{0, 4, 8}},
	"nothing":               {db.Purge{StartedBefore: noon}, nil},
	"everything":            {db.Purge{StartedBefore: beyondEveryTime}, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
	"a filter and no run":   {db.Purge{StartedBefore: beyondEveryTime, Filters: db.Filters{"suite": {"suite-c"}}}, nil},
	"a filter and an agent": {db.Purge{StartedBefore: beyondEveryTime, Filters: db.Filters{"agent": {"agent-a"}, "scenario": {"scenario-a"}}}, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
}

func TestGetPurgeCounts(t *testing.T) {
	t.Parallel()
	q, _ := setupPurge(t)
	for name, c := range purges {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := db.CountPurge(t.Context(), q, c.Purge)
			wantNoError(t, err)
			want := db.GetPurgeCountsRow{Runs: int64(len(c.runs))}
			for _, i := range c.runs {
				if i%3 == 0 {
					want.OpenRuns++
				}
				if i%4 == 0 {
					want.VoidedRuns++
				}
			}
			if len(c.runs) > 0 {
				for _, i := range c.runs {
					want.LastID = max(want.LastID, get(t, q, fmt.Sprint("run-", i)).BenchmarkRun.ID)
				}
				want.FirstStartedAt = noon.Add(time.Duration(c.runs[0]) * time.Second)
				want.LastStartedAt = noon.Add(time.Duration(c.runs[len(c.runs)-1]) * time.Second)
			} else {
				got.FirstStartedAt, got.LastStartedAt = time.Time{}, time.Time{}
			}
			wantEqual(t, got, want)
		})
	}
}

// purgeAll purges in steps, and returns what was deleted, and in how many steps.
func purgeAll(t testing.TB, q *db.Queries, purge db.Purge, limit int32) (runs, batches int64, steps int) {
	t.Helper()
	counts, err := db.CountPurge(t.Context(), q, purge)
	wantNoError(t, err)
	purge.LastID = counts.LastID
	after := db.RunPosition{}
	for {
		purged, err := db.PurgePage(t.Context(), q, purge, after, limit)
		wantNoError(t, err)
		runs, batches, after = runs+purged.Runs, batches+purged.Batches, purged.Last
		if purged.Runs == 0 {
			return runs, batches, steps
		}
		steps++
	}
}

func TestListRunsForPurge(t *testing.T) {
	t.Parallel()
	for name, c := range purges {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q, pool := setupPurge(t)
			kept := []string{}
			for i := range 10 {
				if !slices.Contains(c.runs, i) {
					kept = append(kept, fmt.Sprint("run-", i))
				}
			}
			runs, _, steps := purgeAll(t, q, c.Purge, 2)
			wantEqual(t, []int{int(runs), steps}, []int{len(c.runs), (len(c.runs) + 1) / 2})
			wantEqual(t, values[string](t, pool, "select run_id from benchmark_runs order by run_id"), kept)
			for _, owned := range []string{"select distinct run_id from evaluation_results order by 1", "select run_id from run_telemetry order by 1"} {
				wantEqual(t, values[string](t, pool, owned), kept)
			}
			wantEqual(t, len(corrections(t, q)), 3) // They stay.
		})
	}

	t.Run("gives the oldest first, and locks them", func(t *testing.T) {
		t.Parallel()
		_, pool := setupPurge(t)
		q, _ := begin(t, pool)
		rows, err := q.ListRunsForPurge(t.Context(), db.ListRunsForPurgeParams{
			Filters: []byte(`{"voided":"true"}`), StartedBefore: beyondEveryTime, LastID: math.MaxInt64, AfterStartedAt: noon.Add(2 * time.Second), AfterID: 0, RowLimit: 2,
		})
		wantNoError(t, err)
		wantEqual(t, len(rows), 2)
		wantEqual(t, []string{rows[0].RunID, rows[1].RunID}, []string{"run-2", "run-3"})
		wantEqual(t, []time.Time{rows[0].StartedAt, rows[1].StartedAt}, []time.Time{noon.Add(2 * time.Second), noon.Add(3 * time.Second)})
		wantEqual(t, *rows[0].BatchID, "batch-a")
		_, err = pool.Exec(t.Context(), "select from benchmark_runs where run_id = 'run-3' for update nowait")
		wantKind(t, err, db.Unavailable) // lock_not_available
		exec(t, pool, "select from benchmark_runs where run_id = 'run-4' for update nowait")

		rest, err := q.ListRunsForPurge(t.Context(), db.ListRunsForPurgeParams{
			Filters: []byte(`{"voided":"true"}`), StartedBefore: beyondEveryTime, LastID: math.MaxInt64, AfterStartedAt: rows[1].StartedAt, AfterID: rows[1].ID, RowLimit: 1,
		})
		wantNoError(t, err)
		wantEqual(t, rest[0].RunID, "run-4")
	})

	t.Run("goes on among runs that started at the same time", func(t *testing.T) {
		t.Parallel()
		q, _ := setup(t)
		for i := range 7 {
			create(t, q, leastRun(fmt.Sprint("run-", i)))
		}
		runs, _, steps := purgeAll(t, q, db.Purge{StartedBefore: beyondEveryTime}, 2)
		wantEqual(t, []int{int(runs), steps}, []int{7, 4})
	})

	t.Run("leaves out what was submitted after it was counted", func(t *testing.T) {
		t.Parallel()
		q, _ := setupPurge(t)
		purge := db.Purge{StartedBefore: beyondEveryTime}
		counts, err := db.CountPurge(t.Context(), q, purge)
		wantNoError(t, err)
		create(t, q, with(leastRun("late"), func(r *db.Submission) { r.StartedAt = noon.Add(-time.Hour) }))
		purge.LastID = counts.LastID
		purged, err := db.PurgePage(t.Context(), q, purge, db.RunPosition{}, 100)
		wantNoError(t, err)
		wantEqual(t, purged.Runs, 10)
		get(t, q, "late")
	})
}

func TestDeleteRuns(t *testing.T) {
	t.Parallel()
	q, pool := setupPurge(t)
	wantNoError(t, q.DeleteRuns(t.Context(), []string{"run-1", "run-9", "RUN-2"}))
	wantEqual(t, value[int64](t, pool, "select count(*) from benchmark_runs"), 8)
	wantEqual(t, value[int64](t, pool, "select count(*) from benchmark_runs where run_id in ('run-1', 'run-9')"), 0)
}

func TestDeleteEmptyBatches(t *testing.T) {
	t.Parallel()
	q, pool := setupPurge(t)
	upsertBatch(t, q, db.UpsertBatchParams{BatchID: "announced"})
	runs, batches, _ := purgeAll(t, q, db.Purge{StartedBefore: noon.Add(6 * time.Second)}, 3)
	wantEqual(t, []int64{runs, batches}, []int64{6, 1})
	// One has runs still, the other never had any.
	wantEqual(t, values[string](t, pool, "select batch_id from batch_runs order by 1"), []string{"announced", "batch-b"})
}

func TestListBatchesForUpdate(t *testing.T) {
	t.Parallel()
	q, pool := setupPurge(t)
	upsertBatch(t, q, db.UpsertBatchParams{BatchID: "a-batch"})

	t.Run("gives the batches that there are, by id, and locks them", func(t *testing.T) {
		q, _ := begin(t, pool)
		ids, err := q.ListBatchesForUpdate(t.Context(), []string{"batch-b", "none", "a-batch"})
		wantNoError(t, err)
		wantEqual(t, ids, []string{"a-batch", "batch-b"})
		_, err = pool.Exec(t.Context(), "select from batch_runs where batch_id = 'batch-b' for key share nowait")
		wantKind(t, err, db.Unavailable) // lock_not_available
	})

	t.Run("a batch to which a run is added meanwhile stays", func(t *testing.T) {
		submission, err := pool.Begin(t.Context())
		wantNoError(t, err)
		create(t, db.New(submission), with(leastRun("late"), func(r *db.Submission) { r.BatchID = new("batch-a") }))
		done := make(chan error, 1)
		go func() {
			purged, err := db.PurgePage(t.Context(), q, db.Purge{StartedBefore: beyondEveryTime, LastID: math.MaxInt64}, db.RunPosition{}, 100)
			if err == nil && (purged.Runs != 10 || purged.Batches != 1) {
				err = fmt.Errorf("purged %+v", purged)
			}
			done <- err
		}()
		waitUntilBlocked(t, pool)
		wantNoError(t, submission.Commit(t.Context()))
		wantNoError(t, <-done)
		wantEqual(t, getBatch(t, q, "batch-a").TotalRuns, 1)
	})
}

func TestSubmitRunWhoseBatchIsDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	q, pool := setup(t)
	upsertBatch(t, q, fullBatch("batch-a"))
	// The submission finds the batch, and waits before it checks the foreign key.
	exec(t, pool, `create function wait() returns trigger language plpgsql as 'begin perform pg_advisory_xact_lock(1); return null; end'`)
	exec(t, pool, "create trigger a_wait after insert on benchmark_runs for each row execute function wait()")
	deletion, err := pool.Begin(t.Context())
	wantNoError(t, err)
	exec(t, deletion, "select pg_advisory_xact_lock(1)")
	done := make(chan error, 1)
	go func() {
		_, err := db.SubmitRun(t.Context(), q, fullRun("run-1"))
		done <- err
	}()
	waitUntilBlocked(t, pool)
	exec(t, deletion, "delete from batch_runs")
	wantNoError(t, deletion.Commit(t.Context()))
	wantNoError(t, <-done)
	wantEqual(t, *get(t, q, "run-1").BenchmarkRun.BatchID, "batch-a")
	wantEqual(t, getBatch(t, q, "batch-a").SubmittedBy, new("ci"))
}
