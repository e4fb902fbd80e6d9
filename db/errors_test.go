package db_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/benchledger/benchledger/db"
	"github.com/benchledger/benchledger/internal/testdb"
)

func TestClassify(t *testing.T) {
	t.Parallel()

	for code, want := range map[string]db.Kind{
		"40001": db.Transient, // serialization_failure
		"40P01": db.Transient, // deadlock_detected
		"23505": db.Conflict,  // unique_violation
		"23502": db.Invalid,   // not_null_violation
		"23503": db.Transient, // foreign_key_violation
		"23514": db.Invalid,   // check_violation
		"22001": db.Invalid,   // string_data_right_truncation
		"22003": db.Invalid,   // numeric_value_out_of_range
		"22021": db.Invalid,   // character_not_in_repertoire
		"22P05": db.Invalid,   // untranslatable_character
		"54000": db.Invalid,   // program_limit_exceeded
		"08000": db.Unavailable,
		"08006": db.Unavailable, // connection_failure
		"53000": db.Unavailable, // insufficient_resources
		"53100": db.Unavailable, // disk_full
		"53300": db.Unavailable, // too_many_connections
		"55P03": db.Unavailable, // lock_not_available
		"57014": db.Unavailable, // query_canceled
		"57P01": db.Unavailable, // admin_shutdown
		"57P02": db.Unavailable, // crash_shutdown
		"57P03": db.Unavailable, // cannot_connect_now
		"57P04": db.Unavailable, // database_dropped
		"57P05": db.Unavailable, // idle_session_timeout
		"25P03": db.Unavailable, // idle_in_transaction_session_timeout
		"25P04": db.Unavailable, // transaction_timeout
		"26000": db.Unavailable, // invalid_sql_statement_name
		"25006": db.Unavailable, // read_only_sql_transaction
		"58030": db.Unavailable, // io_error
		"23000": db.Internal,    // another integrity constraint
		"0A000": db.Internal,    // feature_not_supported
		"25P02": db.Internal,    // in_failed_sql_transaction
		"40002": db.Internal,    // transaction_integrity_constraint_violation
		"42703": db.Internal,    // undefined_column
		"42501": db.Internal,    // insufficient_privilege
		"55000": db.Internal,    // object_not_in_prerequisite_state
		"57000": db.Internal,    // operator_intervention
		"XX000": db.Internal,    // internal_error
		"2":     db.Internal,    // no SQLSTATE
		"":      db.Internal,    // no SQLSTATE
	} {
		t.Run("SQLSTATE "+code, func(t *testing.T) {
			t.Parallel()
			wantKind(t, &pgconn.PgError{Code: code}, want)
			wantKind(t, fmt.Errorf("wrapped: %w", &pgconn.PgError{Code: code}), want)
		})
	}

	timeout := &net.OpError{Op: "read", Net: "tcp", Err: context.DeadlineExceeded}
	for name, c := range map[string]struct {
		err  error
		want db.Kind
	}{
		"no row":                   {pgx.ErrNoRows, db.NotFound},
		"the caller is gone":       {context.Canceled, db.Canceled},
		"out of time":              {context.DeadlineExceeded, db.Unavailable},
		"end of the stream":        {io.EOF, db.Unavailable},
		"end within a message":     {io.ErrUnexpectedEOF, db.Unavailable},
		"closed by this program":   {net.ErrClosed, db.Unavailable},
		"closed by the driver":     {pgconn.ErrConnClosed, db.Unavailable},
		"reset by the peer":        {&net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}, db.Unavailable},
		"a read that timed out":    {timeout, db.Unavailable},
		"a transaction that ended": {pgx.ErrTxClosed, db.Internal},
		"an error from elsewhere":  {errors.New("foreseen by nobody"), db.Internal},
		"none":                     {nil, db.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := db.Classify(c.err); got != c.want {
				t.Errorf("kind %d, want %d", got, c.want)
			}
			if c.err != nil {
				wantKind(t, fmt.Errorf("wrapped: %w", c.err), c.want)
			}
		})
	}
}

// Real errors of the driver and of the database.
func TestClassifyRealErrors(t *testing.T) {
	t.Parallel()
	q, pool := setup(t)
	create(t, q, leastRun("run-1"))

	t.Run("nothing listens", func(t *testing.T) {
		t.Parallel()
		pool := testdb.Pool(t, closedPort)
		_, err := db.New(pool).GetStats(t.Context())
		if connect := new(pgconn.ConnectError); !errors.As(err, &connect) {
			t.Errorf("not an error of connecting: %v", err)
		}
		wantKind(t, err, db.Unavailable)
		wantKind(t, db.WithTx(t.Context(), db.New(pool), pgx.TxOptions{}, func(*db.Queries) error { return nil }), db.Unavailable)
	})

	t.Run("there is no such database", func(t *testing.T) {
		t.Parallel()
		address, err := url.Parse(testdb.URL(t))
		wantNoError(t, err)
		address.Path = "/no-such-database"
		_, err = db.New(testdb.Pool(t, address.String())).GetStats(t.Context())
		wantState(t, err, "3D000")
		wantKind(t, err, db.Unavailable)
	})

	t.Run("the time is up before the query", func(t *testing.T) {
		ctx, cancel := context.WithDeadline(t.Context(), time.Now())
		defer cancel()
		_, err := q.GetStats(ctx)
		wantKind(t, err, db.Unavailable)
	})

	t.Run("the caller is gone before the query", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := q.GetStats(ctx)
		wantKind(t, err, db.Canceled)
	})

	t.Run("the caller goes during the query, which PostgreSQL ends", func(t *testing.T) {
		hold(t, pool, "run-1")
		var err error
		for range 10 { // On a busy machine PostgreSQL needs more than the allowed second.
			ctx, cancel := context.WithCancel(t.Context())
			failed := make(chan error)
			go func() {
				_, err := q.ListRunStatusesForUpdate(ctx, []string{"run-1"})
				failed <- err
			}()
			waitUntilBlocked(t, pool)
			cancel()
			if err = <-failed; db.Classify(err) == db.Unavailable {
				return
			}
			waitUntil(t, pool, "not exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')")
		}
		wantKind(t, err, db.Unavailable)
	})

	t.Run("no connection of the pool is free in time", func(t *testing.T) {
		t.Parallel()
		q, pool := setupOne(t)
		begin(t, pool)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := q.GetStats(ctx)
		wantKind(t, err, db.Unavailable)
	})

	t.Run("a lock is not to be had in time", func(t *testing.T) {
		hold(t, pool, "run-1")
		for setting, state := range map[string]string{"lock_timeout": "55P03", "statement_timeout": "57014"} {
			q, tx := begin(t, pool)
			exec(t, tx, "set local "+setting+" = '1ms'")
			_, err := q.ListRunStatusesForUpdate(t.Context(), []string{"run-1"})
			wantState(t, err, state)
			wantKind(t, err, db.Unavailable)
		}
	})

	t.Run("the server ends the connection", func(t *testing.T) {
		conn, err := pool.Acquire(t.Context())
		wantNoError(t, err)
		defer conn.Release()
		exec(t, pool, "select pg_terminate_backend($1)", int32(conn.Conn().PgConn().PID()))
		_, err = db.New(conn).GetRun(t.Context(), "run-1")
		wantKind(t, err, db.Unavailable)
		if !db.IsServerLost(err) {
			t.Errorf("the server is not taken for lost: %v", err)
		}
		_, err = db.New(conn).GetRun(t.Context(), "run-1")
		wantKind(t, err, db.Unavailable)
		get(t, q, "run-1") // The pool has other connections.
	})

	t.Run("the server only reads", func(t *testing.T) {
		q, tx := begin(t, pool)
		exec(t, tx, "set transaction read only")
		_, err := db.CreateRuns(t.Context(), q, leastRun("run-2"))
		wantKind(t, err, db.Unavailable)
		if !db.IsServerLost(err) {
			t.Errorf("connections to a standby are kept: %v", err)
		}
	})

	t.Run("a value is refused", func(t *testing.T) {
		for name, run := range map[string]db.Submission{
			"NUL in a text":           with(leastRun("r"), func(r *db.Submission) { r.Agent = "a\x00b" }),
			"NUL in metadata":         with(leastRun("r"), func(r *db.Submission) { r.MetadataText = []byte(`{"a": "\u0000"}`) }),
			"a number out of range":   with(leastRun("r"), func(r *db.Submission) { r.MetadataText = []byte(`{"a": 1e200000}`) }),
			"a status that is none":   with(leastRun("r"), func(r *db.Submission) { r.Status = "done" }),
			"an evaluation of nobody": with(leastRun("r"), func(r *db.Submission) { r.Evaluations = []db.EvaluationResult{{}} }),
		} {
			_, err := db.CreateRuns(t.Context(), q, run)
			if got := db.Classify(err); got != db.Invalid {
				t.Errorf("%s is of kind %d: %v", name, got, err)
			}
		}
	})
}

// hold locks a run until the test ends.
func hold(t testing.TB, pool *pgxpool.Pool, id string) {
	t.Helper()
	q, _ := begin(t, pool)
	_, err := q.ListRunStatusesForUpdate(t.Context(), []string{id})
	wantNoError(t, err)
}

func TestIsServerLost(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"shutdown":             &pgconn.PgError{Code: "57P01"},
		"crash":                &pgconn.PgError{Code: "57P02"},
		"starting":             &pgconn.PgError{Code: "57P03"},
		"standby":              &pgconn.PgError{Code: "25006"},
		"end of the stream":    io.EOF,
		"end within a message": fmt.Errorf("wrapped: %w", io.ErrUnexpectedEOF),
		"reset":                &net.OpError{Op: "write", Net: "tcp", Err: syscall.ECONNRESET},
		"closed":               pgconn.ErrConnClosed,
	} {
		if !db.IsServerLost(err) {
			t.Errorf("not after %s", name)
		}
	}
	for name, err := range map[string]error{
		"nothing":       nil,
		"no row":        pgx.ErrNoRows,
		"a timeout":     &pgconn.PgError{Code: "57014"},
		"a lost race":   &pgconn.PgError{Code: "40001"},
		"a full disk":   &pgconn.PgError{Code: "53100"},
		"a caller gone": context.Canceled,
		"out of time":   context.DeadlineExceeded,
	} {
		if db.IsServerLost(err) {
			t.Errorf("after %s", name)
		}
	}
}

func TestConstraintName(t *testing.T) {
	t.Parallel()
	violated := &pgconn.PgError{Code: "23514", ConstraintName: "batch_runs_summary_check"}
	for name, err := range map[string]error{
		"batch_runs_summary_check": fmt.Errorf("wrapped: %w", violated),
		"":                         pgx.ErrNoRows,
	} {
		if got := db.ConstraintName(err); got != name {
			t.Errorf("%q, want %q", got, name)
		}
	}
	if got := db.ConstraintName(nil); got != "" {
		t.Errorf("%q of no error", got)
	}
}

// A migration may change what a statement gives that a connection has prepared: it
// fails once.
func TestChangedResult(t *testing.T) {
	t.Parallel()
	q, pool := setupOne(t)
	list := func() error {
		_, err := q.ListRuns(t.Context(), db.ListRunsParams{BeforeStartedAt: beyondEveryTime, RowLimit: 1})
		return err
	}
	wantNoError(t, list())
	exec(t, pool, "alter table benchmark_runs alter column specialist_name type varchar(100)")
	err := list()
	wantState(t, err, "0A000")
	wantKind(t, err, db.Unavailable)
	wantNoError(t, list())
}
