package api

import (
	"cmp"
	"context"
	"net/http"
	"reflect"
	"slices"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/benchledger/benchledger/db"
)

// class says how an operation uses the database. Each class has a share of the connections
// and a queue, so that reads and submissions cannot starve each other.
type class int

const (
	// classControl decides about requests: keys, readiness.
	classControl class = iota
	// classSubmit stores.
	classSubmit
	// classBulk stores many runs at once, on at most half the connections of classSubmit.
	classBulk
	// classRead looks up rows by keys and indexes.
	classRead
	// classAnalyse computes over many rows.
	classAnalyse
)

const (
	// connectionWait is how long a request waits for a connection, by default: the client
	// then gets a response within a second.
	connectionWait = 900 * time.Millisecond
	// controlConnections are reserved for classControl.
	controlConnections = 2
	// maxWaiting is how many requests may wait for each connection. Further
	// requests would wait for too long, and are refused before they cost anything.
	maxWaiting = 32
)

// database is how all operations access PostgreSQL.
type database struct {
	pool   *pgxpool.Pool
	wait   time.Duration
	shares map[class]*share
}

// share is the share of a class.
type share struct {
	// connections has a place for each request that may work at the same time.
	connections chan struct{}
	// underWay counts the requests that are running or waiting.
	underWay atomic.Int64
	// within is the share of which this is a part, nil if there is none.
	within *share
}

// newDatabase shares out the connections of the pool: half for submissions, three eighths
// for reading, an eighth for analysing, at least one each. If there are too few
// connections, all classes use one share.
func newDatabase(pool *pgxpool.Pool, wait time.Duration) *database {
	d := &database{pool: pool, wait: wait, shares: map[class]*share{}}
	if pool == nil { // The OpenAPI document is made without one.
		return d
	}
	if all := int(pool.Config().MaxConns); all < controlConnections+3 {
		one := &share{connections: make(chan struct{}, all)}
		d.shares = map[class]*share{classControl: one, classSubmit: one, classBulk: one, classRead: one, classAnalyse: one}
		return d
	}
	total := int(pool.Config().MaxConns) - controlConnections
	readConnections, analyseConnections := max(1, total*3/8), max(1, total/8)
	for class, connections := range map[class]int{
		classControl: controlConnections, classRead: readConnections, classAnalyse: analyseConnections,
		classSubmit: total - readConnections - analyseConnections,
	} {
		d.shares[class] = &share{connections: make(chan struct{}, connections)}
	}
	submit := d.shares[classSubmit]
	d.shares[classBulk] = &share{connections: make(chan struct{}, max(1, cap(submit.connections)/2)), within: submit}
	return d
}

// isFull reports whether so many requests are running that another one would wait too long.
func (d *database) isFull(class class) bool {
	share := d.shares[class]
	return share.underWay.Load() >= int64(cap(share.connections)*maxWaiting)
}

// use runs work on the database with a timeout, and at most one connection at a time. It
// returns an error if no connection of the class becomes free in time. If the server has
// stopped or is no longer writable, it closes all connections.
func (d *database) use(ctx context.Context, class class, timeout time.Duration, work func(context.Context, *db.Queries) error) error {
	if d.isFull(class) {
		return busy()
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	waited := time.After(d.wait)
	for share := d.shares[class]; share != nil; share = share.within {
		share.underWay.Add(1)
		defer share.underWay.Add(-1)
		select {
		case share.connections <- struct{}{}:
			defer func() { <-share.connections }()
		case <-waited:
			return busy()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	watched, notReplicated := db.DetectUnreplicated(ctx)
	if err := work(watched, db.New(d.pool)); err != nil {
		if db.IsServerLost(err) {
			d.pool.Reset()
		}
		return err
	}
	// A commit that waits for a standby succeeds at the deadline, without it.
	return cmp.Or(ctx.Err(), notReplicated())
}

// commonErrors are the errors of all operations that need the database.
var commonErrors = []int{
	http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusServiceUnavailable,
}

// register adds an operation of a class: its handler gets the database for a limited
// time, its response is encoded and counted, and its errors all become problem documents. Invalid requests are
// refused before they wait for a connection.
func register[I, O any](s *server, operation huma.Operation, class class, handler func(context.Context, *db.Queries, *I) (*O, error)) {
	operation.Errors = slices.Concat(operation.Errors, commonErrors)
	operation.MaxBodyBytes = maxBodyBytes
	operation.BodyReadTimeout = bodyReadTimeout
	operation.Metadata = map[string]any{classKey: class}
	huma.Register(s.api, operation, func(ctx context.Context, input *I) (output *O, err error) {
		err = s.database.use(ctx, class, s.RequestTimeout, func(ctx context.Context, q *db.Queries) error {
			output, err = handler(ctx, q, input)
			return err
		})
		if err == nil {
			err = s.encodeBody(ctx, reflect.ValueOf(output).Elem().FieldByName("Body"))
		}
		if err != nil {
			return nil, s.problem(ctx, err)
		}
		return output, nil
	})
}

// classKey is the key of the class in the metadata of an operation. Operations without a class
// do not use the database.
const classKey = "class"

// refuseTooMany responds with 503 at once if so many requests are running that this one
// would wait too long, so that the others get a response in time. It is counted when it begins to
// use the database: a body that is slow to arrive takes no place.
func (s *server) refuseTooMany(ctx huma.Context, next func(huma.Context)) {
	if class, ok := ctx.Operation().Metadata[classKey].(class); ok && s.database.isFull(class) {
		s.refuse(ctx, busy())
		return
	}
	next(ctx)
}
