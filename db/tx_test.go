package db_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/benchledger/benchledger/db"
	"github.com/benchledger/benchledger/internal/testdb"
)

// waitUntilBlocked returns once a session of the database waits for a lock.
func waitUntilBlocked(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	waitUntil(t, pool, "exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')")
}

// waitUntil returns when a condition in SQL is true. If that takes a minute, it never will be:
// what should have led there has ended, or was not started.
func waitUntil(t testing.TB, pool *pgxpool.Pool, condition string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for tick := time.Tick(5 * time.Millisecond); !value[bool](t, pool, "select "+condition); {
		select {
		case <-tick:
		case <-ctx.Done():
			t.Fatalf("it does not come to pass that %s", condition)
		}
	}
}

// maxTries is how often a transaction runs at most: once, and 3 times again.
const maxTries = 4

func TestWithTx(t *testing.T) {
	t.Parallel()
	q, pool := setup(t)

	t.Run("commits what fn stored", func(t *testing.T) {
		var id int64
		err := db.WithTx(t.Context(), db.New(pool), pgx.TxOptions{}, func(q *db.Queries) (err error) {
			id = create(t, q, fullRun("committed"))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		wantRun(t, q, fullRun("committed"), id)
	})

	t.Run("has the options asked for", func(t *testing.T) {
		err := db.WithTx(t.Context(), db.New(pool), pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(q *db.Queries) error {
			_, err := db.CreateRuns(t.Context(), q, leastRun("run-1"))
			return err
		})
		if state := stateOf(err); state != "25006" {
			t.Errorf("a read-only transaction wrote: %v", err)
		}
	})

	t.Run("rolls back when fn fails, and gives its error", func(t *testing.T) {
		failure := errors.New("no")
		tries := 0
		err := db.WithTx(t.Context(), db.New(pool), pgx.TxOptions{}, func(q *db.Queries) error {
			tries++
			create(t, q, leastRun("failed"))
			return fmt.Errorf("wrapped: %w", failure)
		})
		if !errors.Is(err, failure) || err.Error() != "wrapped: no" || tries != 1 {
			t.Errorf("%d tries, error %v", tries, err)
		}
		wantNoRun(t, q, "failed")
	})

	t.Run("rolls back when the caller is gone, and the connection goes on", func(t *testing.T) {
		t.Parallel()
		q, pool := setupOne(t)
		before := value[int](t, pool, "select pg_backend_pid()")
		ctx, cancel := context.WithCancel(t.Context())
		err := db.WithTx(ctx, db.New(pool), pgx.TxOptions{}, func(q *db.Queries) error {
			create(t, q, leastRun("run-1"))
			cancel()
			return ctx.Err()
		})
		wantKind(t, err, db.Canceled)
		if after := value[int](t, pool, "select pg_backend_pid()"); after != before {
			t.Errorf("another connection: %d, then %d", before, after)
		}
		wantNoRun(t, q, "run-1")
	})

	t.Run("stores nothing when the caller is gone before the commit", func(t *testing.T) {
		t.Parallel()
		q, pool := setupOne(t)
		ctx, cancel := context.WithCancel(t.Context())
		err := db.WithTx(ctx, db.New(pool), pgx.TxOptions{}, func(q *db.Queries) error {
			create(t, q, leastRun("run-1"))
			cancel()
			return nil
		})
		wantKind(t, err, db.Canceled)
		wantNoRun(t, q, "run-1")
	})

	t.Run("rolls back when fn panics, and the connection goes on", func(t *testing.T) {
		t.Parallel()
		q, pool := setupOne(t)
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic is swallowed")
				}
			}()
			_ = db.WithTx(t.Context(), db.New(pool), pgx.TxOptions{}, func(q *db.Queries) error {
				create(t, q, leastRun("run-1"))
				panic("no")
			})
		}()
		wantNoRun(t, q, "run-1")
	})

	t.Run("fails when it cannot begin", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := db.WithTx(ctx, db.New(pool), pgx.TxOptions{}, func(*db.Queries) error {
			t.Error("fn ran")
			return nil
		})
		wantKind(t, err, db.Canceled)
	})

	// Each locks a run and then the other's, on its first try.
	t.Run("repeats the loser of a deadlock", func(t *testing.T) {
		t.Parallel()
		q, pool := setup(t)
		ids := []int64{create(t, q, openRun("run-0")), create(t, q, openRun("run-1"))}
		var (
			holding sync.WaitGroup
			tries   [2]int
		)
		holding.Add(2)
		_, errs := atOnce(2, func(i int) (any, error) {
			return nil, db.WithTx(t.Context(), db.New(pool), pgx.TxOptions{}, func(q *db.Queries) error {
				tries[i]++
				own, others := fmt.Sprint("run-", i), fmt.Sprint("run-", 1-i)
				if _, err := q.ListRunStatusesForUpdate(t.Context(), []string{own}); err != nil {
					return err
				}
				if tries[i] == 1 {
					holding.Done()
					holding.Wait()
				}
				if _, err := q.ListRunStatusesForUpdate(t.Context(), []string{others}); err != nil {
					wantState(t, err, "40P01")
					return err
				}
				return db.UpdateRuns(t.Context(), q, variant(own, i))
			})
		})
		for i := range 2 {
			if errs[i] != nil {
				t.Error(errs[i])
			}
			wantRun(t, q, variant(fmt.Sprint("run-", i), i), ids[i])
		}
		if tries[0]+tries[1] < 3 {
			t.Errorf("tries %v: there was no deadlock", tries)
		}
	})

	t.Run("repeats what loses against an update", func(t *testing.T) {
		id := create(t, q, openRun("late"))
		tries := 0
		err := db.WithTx(t.Context(), db.New(pool), pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(inside *db.Queries) error {
			tries++
			get(t, inside, "late")
			if tries < maxTries {
				update(t, q, variant("late", tries))
			}
			err := db.UpdateRuns(t.Context(), inside, variant("late", 100))
			if err != nil {
				wantState(t, err, "40001")
			}
			return err
		})
		if err != nil || tries != maxTries {
			t.Errorf("%d tries, error %v", tries, err)
		}
		wantRun(t, q, variant("late", 100), id)
	})

	t.Run("repeats what loses at its commit", func(t *testing.T) {
		t.Parallel()
		q, pool := setup(t)
		serializable := pgx.TxOptions{IsoLevel: pgx.Serializable}
		// Creates a run after having counted how many there are.
		count := func(id string, meanwhile func() error) error {
			return db.WithTx(t.Context(), db.New(pool), serializable, func(q *db.Queries) error {
				if _, err := q.GetStats(t.Context()); err != nil {
					return err
				}
				create(t, q, leastRun(id))
				return meanwhile()
			})
		}
		tries := 0
		err := count("run-1", func() error {
			if tries++; tries == 1 {
				return count("run-2", func() error { return nil })
			}
			return nil
		})
		if err != nil || tries != 2 {
			t.Errorf("%d tries, error %v", tries, err)
		}
		get(t, q, "run-1")
		get(t, q, "run-2")
	})

	t.Run("gives up on what loses every time", func(t *testing.T) {
		id := create(t, q, openRun("loser"))
		tries := 0
		err := db.WithTx(t.Context(), db.New(pool), pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(inside *db.Queries) error {
			tries++
			get(t, inside, "loser")
			update(t, q, variant("loser", tries))
			return db.UpdateRuns(t.Context(), inside, variant("loser", 100))
		})
		wantKind(t, err, db.Transient)
		wantState(t, err, "40001")
		if tries != maxTries {
			t.Errorf("%d tries", tries)
		}
		wantRun(t, q, variant("loser", tries), id)
	})
}

func TestRetry(t *testing.T) {
	t.Parallel()
	deadlock := &pgconn.PgError{Code: "40P01"}
	for _, c := range []struct {
		name string
		errs []error // one per try
		want error
	}{
		{"what passes runs once", []error{nil}, nil},
		{"what loses runs until it passes", []error{deadlock, deadlock, deadlock, nil}, nil},
		{"what loses every time ends", []error{deadlock, deadlock, deadlock, deadlock}, deadlock},
		{"what fails otherwise runs once", []error{pgx.ErrNoRows}, pgx.ErrNoRows},
		{"what fails otherwise in the end ends with that", []error{deadlock, deadlock, deadlock, pgx.ErrNoRows}, pgx.ErrNoRows},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tries := 0
			err := db.Retry(t.Context(), func() error {
				tries++
				return c.errs[tries-1]
			})
			if tries != len(c.errs) || err != c.want { //nolint:errorlint // the very error, not wrapped
				t.Errorf("%d tries, want %d; error %v, want %v", tries, len(c.errs), err, c.want)
			}
		})
	}

	t.Run("does not go on for a caller who is gone", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		tries := 0
		err := db.Retry(ctx, func() error {
			tries++
			cancel()
			return deadlock
		})
		wantKind(t, err, db.Canceled)
		if tries != 1 {
			t.Errorf("%d tries", tries)
		}
	})
}

// setupOne returns the queries on a database of the test's own, and a pool that
// has one connection.
func setupOne(t testing.TB) (*db.Queries, *pgxpool.Pool) {
	t.Helper()
	pool := testdb.Pool(t, testdb.URL(t)+"&pool_max_conns=1")
	return db.New(pool), pool
}

func wantNoRun(t testing.TB, q *db.Queries, id string) {
	t.Helper()
	_, err := q.GetRun(t.Context(), id)
	wantKind(t, err, db.NotFound)
}

// stateOf returns the SQLSTATE of err, or "".
func stateOf(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

func wantState(t testing.TB, err error, want string) {
	t.Helper()
	if got := stateOf(err); got != want {
		t.Errorf("SQLSTATE %q, want %q: %v", got, want, err)
	}
}
