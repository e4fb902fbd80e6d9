package db

import "context"

// Internals for the tests of the queries.

// CreateRun calls the query with a submission.
func CreateRun(ctx context.Context, q *Queries, submission Submission) (isCreated bool, err error) {
	return createOne(ctx, q, submission)
}

// CreateRuns calls the query with submissions.
func CreateRuns(ctx context.Context, q *Queries, submissions ...Submission) ([]string, error) {
	rows, err := submissionRows(submissions)
	if err != nil {
		return nil, err
	}
	return q.CreateRuns(ctx, rows)
}

// ListRunsDifferences calls the query with submissions.
func ListRunsDifferences(ctx context.Context, q *Queries, submissions ...Submission) ([]ListRunsDifferencesRow, error) {
	rows, err := submissionRows(submissions)
	if err != nil {
		return nil, err
	}
	return q.ListRunsDifferences(ctx, ListRunsDifferencesParams(rows))
}

// UpdateRuns calls the query with submissions.
func UpdateRuns(ctx context.Context, q *Queries, submissions ...Submission) error {
	rows, err := submissionRows(submissions)
	if err != nil {
		return err
	}
	return q.UpdateRuns(ctx, UpdateRunsParams(rows))
}

// WithCustomPlans returns queries that PostgreSQL plans for their values.
func WithCustomPlans(q *Queries) *Queries { return New(customPlan{q.db}) }
