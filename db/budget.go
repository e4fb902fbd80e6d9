package db

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
)

// Budget limits the bytes of the rows that queries read, as they are in JSON. A list that exceeds it ends early,
// after its first row at the earliest.
type Budget struct {
	// Left is how many bytes may still be read.
	Left int
	// Exceeded says that a list ended early.
	Exceeded bool
}

// WithBudget returns queries that read at most what the budget has left.
func WithBudget(q *Queries, budget *Budget) *Queries { return New(limited{q.db, budget}) }

type limited struct {
	DBTX
	budget *Budget
}

func (l limited) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	rows, err := l.DBTX.Query(ctx, sql, args...) //nolint:rowserrcheck,forbidigo // it is a DBTX itself; the caller checks
	if err != nil {
		cancel(nil)
		return nil, err
	}
	return &limitedRows{Rows: rows, budget: l.budget, cancel: cancel}, nil
}

type limitedRows struct {
	pgx.Rows
	budget *Budget
	cancel context.CancelCauseFunc
	count  int
}

// Next reports false where the next row exceeds the budget.
func (r *limitedRows) Next() bool {
	if !r.Rows.Next() {
		return false
	}
	for _, value := range r.RawValues() {
		r.budget.Left -= jsonLength(value)
	}
	r.count++
	r.budget.Exceeded = r.budget.Left < 0 && r.count > 1
	return !r.budget.Exceeded
}

// jsonLength is about how many bytes a value has in JSON: a control character has six.
func jsonLength(value []byte) int {
	length := len(value)
	for _, c := range value {
		if c < ' ' {
			length += 5
		}
	}
	return length
}

// Err returns no error for a list that ended early.
func (r *limitedRows) Err() error {
	if r.budget.Exceeded {
		return nil
	}
	return r.Rows.Err()
}

// Close has PostgreSQL end a list of which no more is read: otherwise it would send the rest.
func (r *limitedRows) Close() {
	if r.budget.Exceeded {
		r.cancel(errBudget)
	}
	r.Rows.Close()
	r.cancel(nil)
}

// errBudget is why the context of a list is canceled that exceeded its budget.
var errBudget = errors.New("the budget is exceeded")
