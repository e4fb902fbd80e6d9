package db_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/benchledger/benchledger/db"
)

// TestBudget checks that a list ends where its rows are too large, and that its connection can
// be used further.
func TestBudget(t *testing.T) {
	t.Parallel()
	q, pool := setup(t)
	metadata := []byte(`{"a":"` + strings.Repeat("x", 100_000) + `"}`)
	for i := range 50 {
		create(t, q, with(fullRun(fmt.Sprint("run-", i)), func(r *db.Submission) {
			r.BatchID, r.StartedAt, r.MetadataText = new("batch-a"), noon.Add(time.Duration(i)*time.Second), metadata
		}))
	}
	connection, err := pool.Acquire(t.Context())
	wantNoError(t, err)
	defer connection.Release()
	q = db.New(connection)
	params := db.ListRunsByBatchParams{BatchID: "batch-a", RowLimit: 100}
	for _, c := range []struct {
		left, rows int
		exceeded   bool
	}{
		{10_000_000, 50, false},
		{1_000_000, 9, true},
		{100, 1, true}, // One row is read in any case.
		{0, 1, true},
	} {
		budget := db.Budget{Left: c.left}
		runs, err := db.WithBudget(q, &budget).ListRunsByBatch(t.Context(), params)
		wantNoError(t, err)
		if len(runs) != c.rows || budget.Exceeded != c.exceeded {
			t.Errorf("with %d bytes: %d rows, exceeded %t; want %d, %t", c.left, len(runs), budget.Exceeded, c.rows, c.exceeded)
		}
		all, err := q.ListRunsByBatch(t.Context(), params)
		wantNoError(t, err)
		if len(all) != 50 {
			t.Errorf("afterwards there are %d rows", len(all))
		}
	}
	// The last row ends a list without exceeding the budget of the next page.
	params.RowLimit = 1
	budget := db.Budget{Left: 1}
	runs, err := db.WithBudget(q, &budget).ListRunsByBatch(t.Context(), params)
	wantNoError(t, err)
	if len(runs) != 1 || budget.Exceeded {
		t.Errorf("%d rows, exceeded %t", len(runs), budget.Exceeded)
	}
}
