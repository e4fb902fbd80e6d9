package db

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrNotReplicated means that a commit did not wait for its synchronous standby: what
// it stored is lost if the primary is.
var ErrNotReplicated = errors.New("committed without the synchronous standby")

// DetectUnreplicated returns a context for some work, and a function that reports after it
// whether all commits waited for the synchronous standby. If that wait is canceled, at a
// deadline or by an administrator, PostgreSQL reports success, and only adds a warning.
func DetectUnreplicated(ctx context.Context) (context.Context, func() error) {
	commits := &commitState{}
	return context.WithValue(ctx, commitState{}, commits), func() error {
		if commits.canceled {
			return ErrNotReplicated
		}
		return nil
	}
}

// commitState is the state of some work, which uses one connection at a time.
type commitState struct{ canceled bool }

// commitTracer tells each connection which context it works for.
type commitTracer struct{}

// TraceQueryStart records the context.
func (commitTracer) TraceQueryStart(ctx context.Context, connection *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	connection.PgConn().CustomData()[workKey], _ = ctx.Value(commitState{}).(*commitState)
	return ctx
}

// TraceQueryEnd does nothing.
func (commitTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

const workKey = "work"

// onNotice records the warning. Its SQLSTATE is not unique, and its text is translated:
// only the routine of PostgreSQL that reports it identifies it.
func onNotice(connection *pgconn.PgConn, notice *pgconn.Notice) {
	if commits, _ := connection.CustomData()[workKey].(*commitState); commits != nil && notice.Routine == "SyncRepWaitForLSN" {
		commits.canceled = true
	}
}
