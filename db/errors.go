package db

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Kind is the meaning of an error for the caller.
type Kind int

const (
	// Internal is an unexpected error.
	Internal Kind = iota
	// Invalid is a value that the database rejects.
	Invalid
	// NotFound is a missing row.
	NotFound
	// Conflict is a key that already exists.
	Conflict
	// Transient is a transaction that lost against another one; a retry may succeed.
	Transient
	// Unavailable is a database that cannot be reached or cannot work now. The statement
	// may still have been executed.
	Unavailable
	// Canceled means that the caller has canceled the request.
	Canceled
)

// Classify returns the kind of an error of a query or of the pool. It decides by type and
// SQLSTATE, never by text.
func Classify(err error) Kind {
	var (
		connect *pgconn.ConnectError // may hold an error of the server, such as a wrong password
		pg      *pgconn.PgError
	)
	switch {
	case errors.Is(err, context.Canceled):
		return Canceled
	case errors.Is(err, ErrNotReplicated):
		return Unavailable
	case errors.As(err, &connect):
		return Unavailable
	case errors.As(err, &pg):
		if pg.Routine == "RevalidateCachedQuery" { // A migration changed the columns of a prepared statement.
			return Unavailable
		}
		return classifyState(pg.Code)
	case errors.Is(err, pgx.ErrNoRows):
		return NotFound
	case errors.Is(err, errDeleted):
		return Transient
	case isConnectionError(err):
		return Unavailable
	}
	return Internal
}

func classifyState(code string) Kind {
	switch code {
	case "40001", "40P01", // serialization_failure, deadlock_detected
		"23503": // foreign_key_violation: the batch was deleted while the run was stored
		return Transient
	case "23505": // unique_violation
		return Conflict
	case "23502", "23514": // not_null, check
		return Invalid
	case "55P03", // lock_not_available
		"57P01", "57P02", "57P03", "57P04", // shutdown, crash, cannot connect now, database dropped
		"57014", "57P05", "25P03", "25P04", // timeouts of a statement, an idle session, an idle transaction, a transaction
		"26000", // invalid_sql_statement_name: prepared in another session, behind a pooler
		"25006", // read_only_sql_transaction: a standby
		"58030": // io_error
		return Unavailable
	}
	switch code[:min(2, len(code))] { // a proxy may leave it empty
	case "22", "54": // data exception, program limit exceeded
		return Invalid
	case "08", "53": // connection exception, insufficient resources
		return Unavailable
	}
	return Internal
}

// isConnectionError reports whether the connection failed, or the database did not respond
// in time.
func isConnectionError(err error) bool {
	var network net.Error // context.DeadlineExceeded is one
	return errors.As(err, &network) || pgconn.SafeToRetry(err) || isBroken(err)
}

// isBroken reports whether the connection broke during a statement.
func isBroken(err error) bool {
	var network *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, pgconn.ErrConnClosed) ||
		errors.As(err, &network)
}

// IsServerLost reports whether the server behind a connection is gone, restarting, or no
// longer accepts writes. The other connections of the pool are useless then, too.
func IsServerLost(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code {
		case "57P01", "57P02", "57P03", "25006":
			return true
		}
		return false
	}
	return isBroken(err)
}

// IsDiskFull reports whether the database has no space left for a write.
func IsDiskFull(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "53100" // disk_full
}

// IsOldSchema reports whether a query needs a table or a column that a later migration adds.
func IsOldSchema(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "42P01" || pg.Code == "42703") // undefined_table, undefined_column
}

// LacksPrivilege reports whether the role of the connection may not do it.
func LacksPrivilege(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "42501" // insufficient_privilege
}

// ConstraintName returns the name of the violated constraint, "" for other errors.
func ConstraintName(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.ConstraintName
	}
	return ""
}
