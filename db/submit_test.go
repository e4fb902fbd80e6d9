package db_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/benchledger/benchledger/db"
)

// deletesRuns is a pool that deletes all runs before the first transaction begins.
type deletesRuns struct {
	*pgxpool.Pool
	t    *testing.T
	done bool
}

func (p *deletesRuns) BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error) {
	if !p.done {
		p.done = true
		exec(p.t, p.Pool, "delete from benchmark_runs")
	}
	return p.Pool.BeginTx(ctx, options)
}

func TestSubmitRunThatIsDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	q, pool := setup(t)
	create(t, q, fullRun("run-1"))
	outcome, err := db.SubmitRun(t.Context(), db.New(&deletesRuns{Pool: pool, t: t}), fullRun("run-1"))
	wantNoError(t, err)
	wantEqual(t, outcome, db.Outcome{Result: db.Recorded})
	wantEqual(t, get(t, q, "run-1").BenchmarkRun.RunID, "run-1")
}
