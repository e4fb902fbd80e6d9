// Package recorder writes down which queries the tests run, for the audit (audit.Entry,
// a separate module).
//
// Give New's tracer to the connections of each test's database. It writes only
// if the environment variable AUDIT_RECORD names a directory.
package recorder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Variable names the directory that the record goes to.
const Variable = "AUDIT_RECORD"

// Entry records that a test ran a query, called an operation, or violated a constraint.
type Entry struct {
	// Test is the name of the test, of its package's directory's last element.
	Package, Test string
	// Query is the name that sqlc leaves in the statement.
	Query string `json:",omitempty"`
	// Custom means that it had a custom plan, not a generic one.
	Custom bool `json:",omitempty"`
	// Operation is the API's operation under which it ran, or that was called; ""
	// where none was.
	Operation string `json:",omitempty"`
	// Constraint is the name of the constraint that the statement violated.
	Constraint string `json:",omitempty"`
}

var (
	mu   sync.Mutex
	file *os.File
	seen = map[Entry]bool{}
)

// New returns a tracer that records for a test, or nil if nothing is recorded.
// operation tells the operation that a context belongs to.
func New(pkg, test string, operation func(context.Context) string) pgx.QueryTracer {
	if os.Getenv(Variable) == "" {
		return nil
	}
	return tracer{Entry{Package: pkg, Test: test}, operation}
}

type tracer struct {
	entry     Entry
	operation func(context.Context) string
}

type queryKey struct{}

// TraceQueryStart notes the query, and whether it is sent without a name, by which
// PostgreSQL would keep its plan.
func (t tracer) TraceQueryStart(ctx context.Context, connection *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	named, ok := strings.CutPrefix(data.SQL, "-- name: ")
	if !ok {
		return ctx
	}
	var ran Entry // Of no test yet: another tracer may see the same query.
	ran.Query, _, _ = strings.Cut(named, " ")
	mode := connection.Config().DefaultQueryExecMode
	for _, arg := range data.Args {
		if given, ok := arg.(pgx.QueryExecMode); ok {
			mode = given
		}
	}
	ran.Custom = mode != pgx.QueryExecModeCacheStatement
	return context.WithValue(ctx, queryKey{}, ran)
}

// TraceQueryEnd records the query where it ran to its end, and the constraint that
// the statement violated.
func (t tracer) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	if entry, ok := ctx.Value(queryKey{}).(Entry); ok && data.Err == nil {
		entry.Package, entry.Test, entry.Operation = t.entry.Package, t.entry.Test, t.operation(ctx)
		write(entry)
	}
	var refused *pgconn.PgError
	if errors.As(data.Err, &refused) && refused.ConstraintName != "" {
		entry := t.entry
		entry.Constraint = refused.ConstraintName
		write(entry)
	}
}

// Operation records that a test called an operation, which need not reach a query.
func Operation(pkg, test, operation string) {
	if os.Getenv(Variable) != "" {
		write(Entry{Package: pkg, Test: test, Operation: operation})
	}
}

func write(entry Entry) {
	mu.Lock()
	defer mu.Unlock()
	if seen[entry] {
		return
	}
	seen[entry] = true
	if file == nil {
		var err error
		file, err = os.CreateTemp(os.Getenv(Variable), "record-*.ndjson")
		if err != nil {
			panic(fmt.Errorf("record queries: %w", err))
		}
	}
	line, err := json.Marshal(entry)
	if err == nil {
		_, err = file.Write(append(line, '\n'))
	}
	if err != nil {
		panic(fmt.Errorf("record queries: %w", err))
	}
}
