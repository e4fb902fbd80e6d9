package db_test

import (
	"math"
	"testing"

	"github.com/benchledger/benchledger/db"
)

// corrections reads all corrections, newest first, without their ids and times.
func corrections(t testing.TB, q *db.Queries) []db.Correction {
	t.Helper()
	rows, err := q.ListCorrections(t.Context(), db.ListCorrectionsParams{BeforeID: math.MaxInt64, RowLimit: 100})
	wantNoError(t, err)
	for i := range rows {
		rows[i] = db.Correction{RunID: rows[i].RunID, Action: rows[i].Action, Reason: rows[i].Reason, CorrectedBy: rows[i].CorrectedBy}
	}
	return rows
}

func TestUpdateRunVoided(t *testing.T) {
	t.Parallel()
	q, pool := setup(t)

	t.Run("voids one run, and records it", func(t *testing.T) {
		id := create(t, q, fullRun("run-1"))
		create(t, q, fullRun("run-2"))
		got := void(t, q, "run-1")
		now := value[int64](t, pool, "select extract(epoch from now())::bigint")
		if got.VoidedAt == nil || now-got.VoidedAt.Unix() > 60 || now < got.VoidedAt.Unix() {
			t.Errorf("voided at %v", got.VoidedAt)
		}
		want := with(runOf(fullRun("run-1"), id), func(r *db.BenchmarkRun) {
			r.VoidedAt, r.VoidedBy, r.VoidReason = got.VoidedAt, new("alice"), new("It was wrong.")
		})
		wantEqual(t, got, want)
		wantEqual(t, get(t, q, "run-1").BenchmarkRun, want)
		wantEqual(t, get(t, q, "run-2").BenchmarkRun.VoidedAt, nil)
		wantEqual(t, corrections(t, q), []db.Correction{{RunID: "run-1", Action: "void", Reason: new("It was wrong."), CorrectedBy: new("alice")}})
		wantEqual(t, value[bool](t, pool, "select c.corrected_at = r.voided_at from corrections as c join benchmark_runs as r using (run_id)"), true)
	})

	t.Run("gives no row, and records nothing, for a run that is voided, or not there", func(t *testing.T) {
		for _, id := range []string{"run-1", "RUN-1"} {
			_, err := q.UpdateRunVoided(t.Context(), db.UpdateRunVoidedParams{RunID: id, Reason: "another"})
			wantKind(t, err, db.NotFound)
		}
		wantEqual(t, *get(t, q, "run-1").BenchmarkRun.VoidReason, "It was wrong.")
		wantEqual(t, len(corrections(t, q)), 1)
	})

	t.Run("lasts, whatever is submitted", func(t *testing.T) {
		create(t, q, openRun("run-3"))
		voided := void(t, q, "run-3")
		outcome, err := db.SubmitRun(t.Context(), q, openRun("run-3"))
		wantNoError(t, err)
		wantEqual(t, outcome, db.Outcome{Result: db.Replayed})
		outcome, err = db.SubmitRun(t.Context(), q, otherRun("run-3"))
		wantNoError(t, err)
		wantEqual(t, outcome, db.Outcome{Result: db.Recorded})
		wantEqual(t, get(t, q, "run-3").BenchmarkRun, with(runOf(otherRun("run-3"), voided.ID), func(r *db.BenchmarkRun) {
			r.VoidedAt, r.VoidedBy, r.VoidReason = voided.VoidedAt, voided.VoidedBy, voided.VoidReason
		}))
	})
}

func TestUpdateRunRestored(t *testing.T) {
	t.Parallel()
	q, pool := setup(t)
	id := create(t, q, fullRun("run-1"))
	create(t, q, fullRun("run-2"))
	void(t, q, "run-1")
	void(t, q, "run-2")

	t.Run("restores one run, and records it", func(t *testing.T) {
		row, err := q.UpdateRunRestored(t.Context(), db.UpdateRunRestoredParams{RunID: "run-1", Reason: new("It was right."), CorrectedBy: new("bob")})
		wantNoError(t, err)
		wantEqual(t, db.BenchmarkRun(row), runOf(fullRun("run-1"), id))
		wantEqual(t, get(t, q, "run-1").BenchmarkRun, runOf(fullRun("run-1"), id))
		wantEqual(t, get(t, q, "run-2").BenchmarkRun.VoidReason, new("It was wrong."))
		wantEqual(t, corrections(t, q)[0], db.Correction{RunID: "run-1", Action: "restore", Reason: new("It was right."), CorrectedBy: new("bob")})
		wantEqual(t, value[bool](t, pool, "select abs(extract(epoch from now() - max(corrected_at))) < 60 from corrections"), true)
	})

	t.Run("gives no row, and records nothing, for a run that is not voided, or not there", func(t *testing.T) {
		for _, id := range []string{"run-1", "RUN-2"} {
			_, err := q.UpdateRunRestored(t.Context(), db.UpdateRunRestoredParams{RunID: id})
			wantKind(t, err, db.NotFound)
		}
		wantEqual(t, len(corrections(t, q)), 3)
	})

	t.Run("a restored run can be voided again", func(t *testing.T) {
		wantEqual(t, void(t, q, "run-1").VoidReason, new("It was wrong."))
		wantEqual(t, len(corrections(t, q)), 4)
	})
}

// storeCorrections voids three runs, and restores the second; it returns all corrections,
// newest first.
func storeCorrections(t testing.TB, q *db.Queries) []db.Correction {
	t.Helper()
	for _, id := range []string{"run-1", "run-2", "run-3"} {
		create(t, q, leastRun(id))
		void(t, q, id)
	}
	_, err := q.UpdateRunRestored(t.Context(), db.UpdateRunRestoredParams{RunID: "run-2"})
	wantNoError(t, err)
	all, err := q.ListCorrections(t.Context(), db.ListCorrectionsParams{BeforeID: math.MaxInt64, RowLimit: 100})
	wantNoError(t, err)
	return all
}

func TestListCorrections(t *testing.T) {
	t.Parallel()
	q, _ := setup(t)
	page, err := q.ListCorrections(t.Context(), db.ListCorrectionsParams{BeforeID: math.MaxInt64, RowLimit: 9})
	wantNoError(t, err)
	wantEqual(t, page, []db.Correction{})

	all := storeCorrections(t, q)
	var ids []string
	for i, c := range all {
		ids = append(ids, c.Action+" "+c.RunID)
		page, err := q.ListCorrections(t.Context(), db.ListCorrectionsParams{BeforeID: c.ID, RowLimit: 2})
		wantNoError(t, err)
		wantEqual(t, page, append([]db.Correction{}, all[i+1:min(i+3, len(all))]...))
	}
	wantEqual(t, ids, []string{"restore run-2", "void run-3", "void run-2", "void run-1"})
}

func TestListCorrectionsByRun(t *testing.T) {
	t.Parallel()
	q, _ := setup(t)
	all := storeCorrections(t, q)
	for before, want := range map[int64][]db.Correction{
		math.MaxInt64: {all[0], all[2]}, all[0].ID: {all[2]}, all[2].ID: {},
	} {
		got, err := q.ListCorrectionsByRun(t.Context(), db.ListCorrectionsByRunParams{RunID: "run-2", BeforeID: before, RowLimit: 9})
		wantNoError(t, err)
		wantEqual(t, got, want)
	}
	got, err := q.ListCorrectionsByRun(t.Context(), db.ListCorrectionsByRunParams{RunID: "run-2", BeforeID: math.MaxInt64, RowLimit: 1})
	wantNoError(t, err)
	wantEqual(t, got, all[:1])
}
