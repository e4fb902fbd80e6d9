package db

import (
	"context"
	"encoding/json"
	"errors"
)

// MaxRuns and MaxEvaluations are how many of these a statistic reads at most, and MaxGroups in how many groups
// (cells, for example).
const (
	MaxRuns        = 250_000
	MaxEvaluations = 1_000_000
	MaxGroups      = 100_000
)

// ErrTooManyRuns is the error of filters that match more than that.
var ErrTooManyRuns = errors.New("the filters match too many runs")

// ListMatchingCells returns the cells of the runs that match all filters; see ListRunsPage for
// these.
func ListMatchingCells(ctx context.Context, q *Queries, filters Filters) ([]ListCellsRow, error) {
	q, encoded, err := matching(q, filters)
	if err != nil {
		return nil, err
	}
	rows, err := q.ListCells(ctx, ListCellsParams{Filters: encoded, RunLimit: MaxRuns + 1, CellLimit: MaxGroups + 1})
	return bounded(rows, err, MaxRuns, func(r *ListCellsRow) int64 { return r.Runs })
}

// matching returns queries that are planned for the values of filters, and the filters as JSON.
func matching(q *Queries, filters Filters) (*Queries, json.RawMessage, error) {
	encoded, err := json.Marshal(filters)
	return New(customPlan{q.db}), encoded, err
}

// bounded returns rows unless there are more than MaxGroups, or they summarize more than most runs or
// evaluations, of which count is the number in a row.
func bounded[R any](rows []R, err error, most int64, count func(*R) int64) ([]R, error) {
	if err != nil {
		return nil, err
	}
	total := int64(0)
	for i := range rows {
		total += count(&rows[i])
	}
	if total > most || len(rows) > MaxGroups {
		return nil, ErrTooManyRuns
	}
	return rows, nil
}
