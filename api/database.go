package api

import (
	"cmp"
	"context"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/benchledger/benchledger/db"
)

// class says how an operation uses the database. Each class has a share of the connections
// and a queue, so that reads and submissions cannot starve each other. Within a share, one sender
// leaves a quarter of the connections to the others.
type class int

const (
	// classControl decides about requests: keys, readiness.
	classControl class = iota
	// classSubmit stores.
	classSubmit
	// classBulk stores many runs at once, or a large one, on at most half the connections of
	// classSubmit.
	classBulk
	// classRead looks up rows by keys and indexes.
	classRead
	// classReadMany reads many rows, on at most half the connections of classRead.
	classReadMany
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
	// fullTime is how long the disk of the database counts as full after a write that failed.
	fullTime = 10 * time.Second
)

// database is how all operations access PostgreSQL.
type database struct {
	pool   *pgxpool.Pool
	wait   time.Duration
	shares map[class]*share
	// fullAt is when a write last failed because the disk of the database is full, nil if one has
	// succeeded since.
	fullAt atomic.Pointer[time.Time]
}

// share is the share of a class.
type share struct {
	// connections has a place for each request that may work at the same time.
	connections chan struct{}
	// each is how many of the connections one sender may have.
	each int
	// underWay limits the requests that are running or waiting.
	underWay *usageLimit
	// within is the share of which this is a part, nil if there is none.
	within *share

	mu sync.Mutex
	// senders has the places of each sender with requests under way. One sender cannot have all
	// connections, for example while all that it sends waits for a lock.
	senders map[string]*places
}

// places are those of one sender.
type places struct {
	connections chan struct{}
	requests    int
}

func newShare(connections int, within *share) *share {
	each := max(1, connections*3/4)
	return &share{
		connections: make(chan struct{}, connections), each: each, within: within, senders: map[string]*places{},
		underWay: newUsageLimit(int64(connections*maxWaiting), int64(each*maxWaiting)),
	}
}

// enter returns the places of a sender, until leave is called.
func (s *share) enter(sender string) (connections chan struct{}, leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.senders[sender]
	if of == nil {
		of = &places{connections: make(chan struct{}, s.each)}
		s.senders[sender] = of
	}
	of.requests++
	return of.connections, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if of.requests--; of.requests == 0 {
			delete(s.senders, sender)
		}
	}
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
		one := newShare(all, nil)
		d.shares = map[class]*share{classControl: one, classSubmit: one, classBulk: one, classRead: one, classReadMany: one, classAnalyse: one}
		return d
	}
	total := int(pool.Config().MaxConns) - controlConnections
	readConnections, analyseConnections := max(1, total*3/8), max(1, total/8)
	for class, connections := range map[class]int{
		classControl: controlConnections, classRead: readConnections, classAnalyse: analyseConnections,
		classSubmit: total - readConnections - analyseConnections,
	} {
		d.shares[class] = newShare(connections, nil)
	}
	for part, class := range map[class]class{classBulk: classSubmit, classReadMany: classRead} {
		whole := d.shares[class]
		d.shares[part] = newShare(max(1, cap(whole.connections)/2), whole)
	}
	return d
}

// use runs work on the database with a timeout, and at most one connection at a time. It
// returns an error if no connection of the class becomes free in time. If the server has
// stopped or is no longer writable, it closes all connections.
func (d *database) use(ctx context.Context, class class, timeout time.Duration, work func(context.Context, *db.Queries) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	sender, waited := senderOf(ctx), time.After(d.wait)
	for share := d.shares[class]; share != nil; share = share.within {
		if !share.underWay.take(sender, 1) {
			return busy()
		}
		defer share.underWay.give(sender, 1)
		own, leave := share.enter(sender)
		defer leave()
		for _, connections := range []chan struct{}{own, share.connections} {
			select {
			case connections <- struct{}{}:
				defer func() { <-connections }()
			case <-waited:
				return busy()
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	watched, notReplicated := db.DetectUnreplicated(ctx)
	err := work(watched, db.New(d.pool))
	switch {
	case class != classSubmit && class != classBulk:
	case err == nil:
		d.fullAt.Store(nil)
	case db.IsDiskFull(err):
		d.fullAt.Store(new(time.Now()))
	}
	if err != nil {
		if db.IsServerLost(err) {
			d.pool.Reset()
		}
		return err
	}
	// A commit that waits for a standby succeeds at the deadline, without it.
	return cmp.Or(ctx.Err(), notReplicated())
}

// isDiskFull reports whether the last write failed a short time ago because the disk was full.
func (d *database) isDiskFull() bool {
	at := d.fullAt.Load()
	return at != nil && time.Since(*at) < fullTime
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
	if field, ok := reflect.TypeFor[I]().FieldByName("Metadata"); ok && field.Type == reflect.TypeFor[metadataFilters]() {
		operation.Parameters = append(operation.Parameters, metadataParameter())
	}
	huma.Register(s.api, operation, func(ctx context.Context, input *I) (output *O, err error) {
		err = s.database.use(ctx, classOf(ctx, class, input), s.RequestTimeout, func(ctx context.Context, q *db.Queries) error {
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

// classOf returns the class of a request: large ones have fewer connections.
func classOf(ctx context.Context, usual class, input any) class {
	if body := requestInfoFrom(ctx).received; usual == classSubmit && body != nil && body.size > heavyBytes {
		return classBulk
	}
	if many, ok := input.(interface{ readsMany() bool }); ok && many.readsMany() {
		return classReadMany
	}
	return usual
}

// manyRows is the limit from which a page has many rows.
const manyRows = 1000

// classKey is the key of the class in the metadata of an operation. Operations without a class
// do not use the database.
const classKey = "class"

// refuseTooMany responds with 503 at once if so many requests are running that this one
// would wait too long, so that the others get a response in time. It is counted when it begins to
// use the database: a body that is slow to arrive takes no place.
func (s *server) refuseTooMany(ctx huma.Context, next func(huma.Context)) {
	if class, ok := ctx.Operation().Metadata[classKey].(class); ok && s.database.shares[class].underWay.isFull() {
		s.refuse(ctx, busy())
		return
	}
	next(ctx)
}
