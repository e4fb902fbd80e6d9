package db

import (
	"context"
	"encoding/json"
	"maps"
	"time"

	"github.com/jackc/pgx/v5"
)

// Purge says which runs to delete: those that match all of it, voided or not.
type Purge struct {
	// Filters are as for ListRunsPage.
	Filters Filters
	// StartedBefore is the end of the runs, which it leaves out.
	StartedBefore time.Time
	// OnlyVoided leaves out the runs that are not voided.
	OnlyVoided bool
	// LastID is the highest ID to delete. CountPurge does not use it.
	LastID int64
}

func (p Purge) params() (GetPurgeCountsParams, error) {
	filters := Filters{"voided": {"true"}}
	maps.Copy(filters, p.Filters)
	encoded, err := json.Marshal(filters)
	return GetPurgeCountsParams{Filters: encoded, StartedBefore: p.StartedBefore, OnlyVoided: p.OnlyVoided}, err
}

// CountPurge returns how many runs a purge deletes.
func CountPurge(ctx context.Context, q *Queries, purge Purge) (GetPurgeCountsRow, error) {
	params, err := purge.params()
	if err != nil {
		return GetPurgeCountsRow{}, err
	}
	return New(customPlan{q.db}).GetPurgeCounts(ctx, params)
}

// Purged is what a step of a purge deleted.
type Purged struct {
	Runs, Batches int64
	// Last is the position of the last run: the next step continues after it.
	Last RunPosition
}

// PurgePage deletes, in one transaction, at most limit runs that come after a position,
// oldest first, with all they own; and the batches that have no run any more.
func PurgePage(ctx context.Context, q *Queries, purge Purge, after RunPosition, limit int32) (purged Purged, err error) {
	params, err := purge.params()
	if err != nil {
		return purged, err
	}
	err = WithTx(ctx, q, pgx.TxOptions{}, func(q *Queries) error {
		purged = Purged{Last: after}
		rows, err := New(customPlan{q.db}).ListRunsForPurge(ctx, ListRunsForPurgeParams{
			Filters: params.Filters, StartedBefore: params.StartedBefore, OnlyVoided: params.OnlyVoided,
			LastID: purge.LastID, AfterStartedAt: after.StartedAt, AfterID: after.ID, RowLimit: limit,
		})
		if err != nil || len(rows) == 0 {
			return err
		}
		var runs, batches []string
		for _, row := range rows {
			runs = append(runs, row.RunID)
			if row.BatchID != nil {
				batches = append(batches, *row.BatchID)
			}
			purged.Last = RunPosition{StartedAt: row.StartedAt, ID: row.ID}
		}
		purged.Runs = int64(len(runs))
		if err := q.DeleteRuns(ctx, runs); err != nil {
			return err
		}
		if _, err := q.ListBatchesForUpdate(ctx, batches); err != nil {
			return err
		}
		purged.Batches, err = q.DeleteEmptyBatches(ctx, batches)
		return err
	})
	return purged, err
}
