package db_test

import (
	"testing"
	"time"

	"github.com/benchledger/benchledger/db"
)

func setBaseline(t testing.TB, q *db.Queries, name, batch string) db.Baseline {
	t.Helper()
	row, err := q.UpsertBaseline(t.Context(), db.UpsertBaselineParams{Name: name, BatchID: batch, SetBy: new("ci")})
	wantNoError(t, err)
	return row
}

func setupBaselines(t testing.TB) *db.Queries {
	t.Helper()
	q, _ := setup(t)
	for _, batch := range []string{"batch-a", "batch-b"} {
		create(t, q, with(fullRun("run of "+batch), func(r *db.Submission) { r.BatchID = &batch }))
	}
	return q
}

func TestUpsertBaseline(t *testing.T) {
	t.Parallel()
	q := setupBaselines(t)
	start := time.Now()
	first := setBaseline(t, q, "main", "batch-a")
	if first.Name != "main" || first.BatchID != "batch-a" || first.SetBy == nil || *first.SetBy != "ci" || first.SetAt.Sub(start).Abs() > time.Minute {
		t.Errorf("%+v", first)
	}
	moved, err := q.UpsertBaseline(t.Context(), db.UpsertBaselineParams{Name: "main", BatchID: "batch-b"})
	wantNoError(t, err)
	if moved.Name != "main" || moved.BatchID != "batch-b" || moved.SetBy != nil || !moved.SetAt.After(first.SetAt) {
		t.Errorf("%+v", moved)
	}
	_, err = q.UpsertBaseline(t.Context(), db.UpsertBaselineParams{Name: "main", BatchID: "batch-c"})
	wantKind(t, err, db.NotFound)
	got, err := q.GetBaseline(t.Context(), "main")
	wantNoError(t, err)
	wantEqual(t, got, moved)
}

func TestListBaselines(t *testing.T) {
	t.Parallel()
	q := setupBaselines(t)
	list := func(after string, limit int32) []db.Baseline {
		rows, err := q.ListBaselines(t.Context(), db.ListBaselinesParams{AfterName: after, RowLimit: limit})
		wantNoError(t, err)
		return rows
	}
	wantEqual(t, list("", 9), []db.Baseline{})
	second, first, third := setBaseline(t, q, "main", "batch-a"), setBaseline(t, q, "Main", "batch-b"), setBaseline(t, q, "release", "batch-a")
	wantEqual(t, list("", 9), []db.Baseline{first, second, third})
	wantEqual(t, list("", 2), []db.Baseline{first, second})
	wantEqual(t, list("main", 2), []db.Baseline{third})
}

func TestGetBaseline(t *testing.T) {
	t.Parallel()
	q := setupBaselines(t)
	setBaseline(t, q, "other", "batch-b")
	want := setBaseline(t, q, "main", "batch-a")
	got, err := q.GetBaseline(t.Context(), "main")
	wantNoError(t, err)
	wantEqual(t, got, want)
	_, err = q.GetBaseline(t.Context(), "none")
	wantKind(t, err, db.NotFound)
}

func TestDeleteBaseline(t *testing.T) {
	t.Parallel()
	q := setupBaselines(t)
	want, other := setBaseline(t, q, "main", "batch-a"), setBaseline(t, q, "other", "batch-a")
	got, err := q.DeleteBaseline(t.Context(), "main")
	wantNoError(t, err)
	wantEqual(t, got, want)
	_, err = q.DeleteBaseline(t.Context(), "main")
	wantKind(t, err, db.NotFound)
	rows, err := q.ListBaselines(t.Context(), db.ListBaselinesParams{RowLimit: 9})
	wantNoError(t, err)
	wantEqual(t, rows, []db.Baseline{other})
	_, err = q.GetBatch(t.Context(), "batch-a")
	wantNoError(t, err)
}

// A purge deletes a batch that has no runs any more, with its names.
func TestBaselineOfPurgedBatch(t *testing.T) {
	t.Parallel()
	q := setupBaselines(t)
	setBaseline(t, q, "main", "batch-a")
	kept := setBaseline(t, q, "kept", "batch-b")
	_, err := db.PurgePage(t.Context(), q, db.Purge{
		Filters: db.Filters{"batchId": {"batch-a"}}, StartedBefore: beyondEveryTime, LastID: 1000,
	}, db.RunPosition{}, 10)
	wantNoError(t, err)
	rows, err := q.ListBaselines(t.Context(), db.ListBaselinesParams{RowLimit: 9})
	wantNoError(t, err)
	wantEqual(t, rows, []db.Baseline{kept})
}
