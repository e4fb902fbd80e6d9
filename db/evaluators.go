package db

import "context"

// CountMatchingRuns counts the runs that match all filters; infra errors are attempts if errorsCount.
func CountMatchingRuns(ctx context.Context, q *Queries, filters Filters, errorsCount bool) (CountRunsRow, error) {
	q, encoded, err := matching(q, filters)
	if err != nil {
		return CountRunsRow{}, err
	}
	row, err := q.CountRuns(ctx, CountRunsParams{Filters: encoded, ErrorsCount: errorsCount, RunLimit: MaxRuns + 1})
	if err == nil && row.Runs > MaxRuns {
		err = ErrTooManyRuns
	}
	return row, err
}

// ListMatchingEvaluatorCells returns the evaluations of the attempts that match all filters, by evaluator, scenario and tier. Infra
// errors are attempts if errorsCount. It cannot tell whether more than MaxRuns match: CountMatchingRuns, in the same
// transaction, can.
func ListMatchingEvaluatorCells(ctx context.Context, q *Queries, filters Filters, errorsCount bool) ([]ListEvaluatorCellsRow, error) {
	q, encoded, err := matching(q, filters)
	if err != nil {
		return nil, err
	}
	rows, err := q.ListEvaluatorCells(ctx, ListEvaluatorCellsParams{
		Filters: encoded, ErrorsCount: errorsCount, RunLimit: MaxRuns, EvaluationLimit: MaxEvaluations + 1, GroupLimit: MaxGroups + 1,
	})
	return bounded(rows, err, MaxEvaluations, func(r *ListEvaluatorCellsRow) int64 { return r.Evaluations })
}
