package db

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

// maxConnections is the size of the pool unless pool_max_conns says otherwise.
const maxConnections = 20

const (
	// statementTimeout is longer than any request.
	statementTimeout = "15s"
	// maxLockWait is how long a statement waits for a row that another transaction has locked:
	// while a large submission stores a batch, those that wait for it keep few connections.
	maxLockWait = "2s"
	// cancelWait is how long a canceled statement may take to end before the connection is
	// closed.
	cancelWait = time.Second
	// connectTimeout is how long connecting may take, unless connect_timeout sets another
	// limit.
	connectTimeout = 2 * time.Second
)

// ErrEncoding is the error of a database that cannot store every text.
var ErrEncoding = errors.New("the encoding of the database has to be UTF8")

func checkEncoding(connection *pgx.Conn) error {
	// A pooler may not pass it on.
	if encoding := connection.PgConn().ParameterStatus("server_encoding"); encoding != "" && encoding != "UTF8" {
		return fmt.Errorf("%w, and is %s: create another one with createdb --encoding=UTF8 --template=template0", ErrEncoding, encoding)
	}
	return nil
}

// Open returns a pool of connections to the database at url, a PostgreSQL
// connection string whose pool_… parameters apply. It does not wait for the
// database: a server may start before it. The tracers see every statement.
func Open(ctx context.Context, url string, tracers ...pgx.QueryTracer) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("database url: %w", err)
	}
	if !strings.Contains(url, "pool_max_conns") {
		config.MaxConns = maxConnections
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectTimeout
	}
	if _, named := config.ConnConfig.RuntimeParams["application_name"]; !named {
		config.ConnConfig.RuntimeParams["application_name"] = "benchledger"
	}
	// What defaults of the database or its roles would change: texts are UTF-8, and values
	// come in binary form, in which extra_float_digits, datestyle and bytea_output play no
	// part; a query that makes JSON of numbers sets extra_float_digits. In the modes for poolers pgx would ask for
	// values as text; this one works behind a pooler as well.
	config.ConnConfig.RuntimeParams["client_encoding"] = "UTF8"
	if mode := config.ConnConfig.DefaultQueryExecMode; mode == pgx.QueryExecModeExec || mode == pgx.QueryExecModeSimpleProtocol {
		config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	// A statement ends with its context, and also where its client is gone. A pooler
	// that shares sessions refuses the settings.
	config.ConnConfig.BuildContextWatcherHandler = func(connection *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: connection, DeadlineDelay: cancelWait}
	}
	for name, value := range map[string]string{"statement_timeout": statementTimeout, "lock_timeout": maxLockWait} {
		if _, set := config.ConnConfig.RuntimeParams[name]; !set && config.ConnConfig.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
			config.ConnConfig.RuntimeParams[name] = value
		}
	}
	config.ConnConfig.OnNotice = onNotice
	config.ConnConfig.Tracer = multitracer.New(append([]pgx.QueryTracer{commitTracer{}}, tracers...)...)
	config.AfterConnect = func(_ context.Context, connection *pgx.Conn) error {
		if err := checkEncoding(connection); err != nil {
			return err
		}
		for _, jsonType := range jsonTypes {
			connection.TypeMap().RegisterType(jsonType)
		}
		return nil
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	return pool, nil
}

// customPlan has PostgreSQL plan each query for the values it is called with, where a
// plan for all values would read far too many rows. Use it as New(customPlan{connection}).
type customPlan struct{ DBTX }

// Query sends the statement without a name, so that PostgreSQL does not keep its plan.
func (d customPlan) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return d.DBTX.Query(ctx, sql, append([]any{pgx.QueryExecModeCacheDescribe}, args...)...)
}

// QueryRow does the same.
func (d customPlan) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return d.DBTX.QueryRow(ctx, sql, append([]any{pgx.QueryExecModeCacheDescribe}, args...)...)
}

// jsonTypes read JSON as the text that it is: pgx would parse it first.
var jsonTypes = func() []*pgtype.Type {
	unmarshal := func(text []byte, v any) error {
		if raw, ok := v.(*json.RawMessage); ok {
			*raw = bytes.Clone(text)
			return nil
		}
		return json.Unmarshal(text, v)
	}
	codec := &pgtype.JSONCodec{Marshal: json.Marshal, Unmarshal: unmarshal}
	return []*pgtype.Type{
		{Name: "json", OID: pgtype.JSONOID, Codec: codec},
		{Name: "jsonb", OID: pgtype.JSONBOID, Codec: &pgtype.JSONBCodec{Marshal: json.Marshal, Unmarshal: unmarshal}},
	}
}()
