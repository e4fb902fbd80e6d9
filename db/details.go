package db

import "context"

// ListMatchingAttemptValues returns the values of a metric of the attempts that match all filters;
// see ListRunsPage for these. Infra errors are attempts if errorsCount.
func ListMatchingAttemptValues(ctx context.Context, q *Queries, filters Filters, metric string, errorsCount bool) ([]ListAttemptValuesRow, error) {
	q, encoded, err := matching(q, filters)
	if err != nil {
		return nil, err
	}
	rows, err := q.ListAttemptValues(ctx, ListAttemptValuesParams{
		Filters: encoded, Metric: metric, ErrorsCount: errorsCount, RunLimit: MaxRuns + 1, GroupLimit: MaxGroups + 1,
	})
	return bounded(rows, err, MaxRuns, func(r *ListAttemptValuesRow) int64 { return r.Runs })
}

// ListMatchingEvaluationValues returns what evaluators said of the attempts that match all filters. It
// cannot tell whether more than MaxRuns match: ListMatchingAttemptValues, in the same
// transaction, can.
func ListMatchingEvaluationValues(ctx context.Context, q *Queries, filters Filters, errorsCount bool) ([]ListEvaluationValuesRow, error) {
	q, encoded, err := matching(q, filters)
	if err != nil {
		return nil, err
	}
	rows, err := q.ListEvaluationValues(ctx, ListEvaluationValuesParams{
		Filters: encoded, ErrorsCount: errorsCount, RunLimit: MaxRuns, EvaluationLimit: MaxEvaluations + 1, GroupLimit: MaxGroups + 1,
	})
	return bounded(rows, err, MaxEvaluations, func(r *ListEvaluationValuesRow) int64 { return r.Evaluations })
}
