package db

import (
	"context"
	"math"
	"time"
)

// RunOrder is an order of a list of runs.
type RunOrder string

// By time, and with the highest figure first; runs without the figure are last.
const (
	OrderNewest        RunOrder = "newest"
	OrderOldest        RunOrder = "oldest"
	OrderScore         RunOrder = "score"
	OrderWeightedScore RunOrder = "weightedScore"
	OrderCost          RunOrder = "cost"
	OrderDuration      RunOrder = "duration"
)

// RunPosition is a place in a list of runs: that of the run with these values. Lists by time know StartedAt, the others
// Figure.
type RunPosition struct {
	StartedAt time.Time
	Figure    float64
	ID        int64
}

// IsByTime reports whether runs are ordered by the time when they started.
func (o RunOrder) IsByTime() bool { return o == OrderNewest || o == OrderOldest }

// First is the position before the first page.
func (o RunOrder) First() RunPosition {
	switch o {
	case OrderOldest:
		return RunPosition{ID: math.MinInt64}
	case OrderNewest:
		return RunPosition{StartedAt: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), ID: math.MaxInt64}
	default:
		return RunPosition{Figure: math.Inf(1), ID: math.MaxInt64}
	}
}

// PlacedRun is a run of a list.
type PlacedRun struct {
	BenchmarkRun
	Position RunPosition
}

// MaxSorted is how many runs may match where they have to be sorted.
const MaxSorted = 50_000

// ListRunsPage returns at most limit runs that match all filters and come after a position. The error is
// ErrTooManyRuns if an order that no index has would have to sort too many.
func ListRunsPage(ctx context.Context, q *Queries, filters Filters, order RunOrder, after RunPosition, limit int32) ([]PlacedRun, error) {
	if !order.IsByTime() {
		return listRunsSorted(ctx, q, filters, order, after, limit)
	}
	rows, err := listRunsInTime(ctx, q, filters, order, after, limit)
	runs := make([]PlacedRun, len(rows))
	for i, row := range rows {
		runs[i] = PlacedRun{row, RunPosition{StartedAt: row.StartedAt, ID: row.ID}}
	}
	return runs, err
}

func listRunsInTime(ctx context.Context, q *Queries, filters Filters, order RunOrder, after RunPosition, limit int32) ([]BenchmarkRun, error) {
	// PostgreSQL would begin at the position, and pass over all that is not in the window.
	if until, ok := filters.moment("until"); ok && order == OrderNewest && until.Before(after.StartedAt) {
		after = RunPosition{StartedAt: until, ID: math.MinInt64}
	}
	if since, ok := filters.moment("since"); ok && order == OrderOldest && since.After(after.StartedAt) {
		after = RunPosition{StartedAt: since, ID: math.MinInt64}
	}
	if order == OrderNewest {
		if len(filters) == 0 {
			return q.ListRuns(ctx, ListRunsParams{BeforeStartedAt: after.StartedAt, BeforeID: after.ID, RowLimit: limit})
		}
		if suite, ok := filters.only("suite"); ok {
			return q.ListRunsBySuite(ctx, ListRunsBySuiteParams{Suite: suite, BeforeStartedAt: after.StartedAt, BeforeID: after.ID, RowLimit: limit})
		}
		if scenario, ok := filters.only("scenario"); ok {
			return q.ListRunsByScenario(ctx, ListRunsByScenarioParams{Scenario: scenario, BeforeStartedAt: after.StartedAt, BeforeID: after.ID, RowLimit: limit})
		}
		if agent, ok := filters.only("agent"); ok {
			return q.ListRunsByAgent(ctx, ListRunsByAgentParams{Agent: agent, BeforeStartedAt: after.StartedAt, BeforeID: after.ID, RowLimit: limit})
		}
		if status, ok := filters.only("status"); ok {
			return q.ListRunsByStatus(ctx, ListRunsByStatusParams{Status: status, BeforeStartedAt: after.StartedAt, BeforeID: after.ID, RowLimit: limit})
		}
	}
	q, encoded, err := matching(q, filters)
	if err != nil {
		return nil, err
	}
	if order == OrderOldest {
		return q.ListOldestRuns(ctx, ListOldestRunsParams{Filters: encoded, AfterStartedAt: after.StartedAt, AfterID: after.ID, RowLimit: limit})
	}
	return q.ListRunsByFilters(ctx, ListRunsByFiltersParams{Filters: encoded, BeforeStartedAt: after.StartedAt, BeforeID: after.ID, RowLimit: limit})
}

func listRunsSorted(ctx context.Context, q *Queries, filters Filters, order RunOrder, after RunPosition, limit int32) ([]PlacedRun, error) {
	q, encoded, err := matching(q, filters)
	if err != nil {
		return nil, err
	}
	rows, err := q.ListRunsByFigure(ctx, ListRunsByFigureParams{
		Figure: string(order), Filters: encoded, MatchLimit: MaxSorted + 1, BeforeFigure: after.Figure, BeforeID: after.ID, RowLimit: limit,
	})
	if err != nil {
		return nil, err
	}
	runs := make([]PlacedRun, len(rows))
	for i, row := range rows {
		if row.Matches > MaxSorted {
			return nil, ErrTooManyRuns
		}
		runs[i] = PlacedRun{row.BenchmarkRun, RunPosition{Figure: row.Figure, ID: row.BenchmarkRun.ID}}
	}
	return runs, nil
}
