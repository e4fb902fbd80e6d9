package db

import "context"

// ListMatchingDays returns the days of the runs that match all filters; infra errors are attempts
// if errorsCount.
func ListMatchingDays(ctx context.Context, q *Queries, filters Filters, errorsCount bool) ([]ListDaysRow, error) {
	q, encoded, err := matching(q, filters)
	if err != nil {
		return nil, err
	}
	rows, err := q.ListDays(ctx, ListDaysParams{Filters: encoded, ErrorsCount: errorsCount, RunLimit: MaxRuns + 1, GroupLimit: MaxGroups + 1})
	return bounded(rows, err, MaxRuns, func(r *ListDaysRow) int64 { return r.Runs })
}
