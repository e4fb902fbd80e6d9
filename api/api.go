// Package api serves BenchLedger over HTTP: its operations, one file per
// resource, and what they share: admission.go, auth.go, checked.go, cursor.go, document.go,
// encode.go, errors.go, json.go, middleware.go, observe.go, values.go.
package api

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/cors"

	"github.com/benchledger/benchledger/db"
	"github.com/benchledger/benchledger/keys"
)

const (
	// maxBodyBytes is the largest request body: 8 MiB. huma refuses a body that
	// reaches its limit, hence the one byte more.
	maxBodyBytes = 8<<20 + 1
	// unreadTimeout is how long a body may take that no operation reads: net/http reads
	// it before it answers, so that the connection can be used again.
	unreadTimeout = time.Second
	// bodyReadTimeout is for a large body on a slow line.
	bodyReadTimeout = time.Minute
	// requestTimeout bounds the work of a request after its body was read, by default.
	requestTimeout = 10 * time.Second
	// connectionWait is how long a request waits for a connection, by default: so that
	// it has its answer within a second.
	connectionWait = 900 * time.Millisecond
	// spareConnections are left to what decides about requests: keys, readiness.
	spareConnections = 2
)

// huma has these settings once for the whole process: names of fields are
// case-sensitive, lists are never null, errors are ours.
func init() {
	huma.ValidateStrictCasing = true
	huma.DefaultArrayNullable = false
	huma.NewError = newProblem
}

// Config is what a server needs.
type Config struct {
	// Pool reaches the database; nil where the server is still starting: it is alive,
	// and everything else is answered 503.
	Pool *pgxpool.Pool
	// APISecretKey is a key that may do everything, beside those of the database.
	APISecretKey string
	// PrivateReads has reading need a key too.
	PrivateReads bool
	// RequestsPerKey and RequestsPerAddress are how many requests a second are
	// answered; 0 is any number.
	RequestsPerKey, RequestsPerAddress int
	// TrustedProxies are those whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	// AllowedOrigins are the origins whose pages may read answers; "*" is all.
	AllowedOrigins []string
	// Logger takes a line per request, and the details of errors; see NewLogger.
	Logger *slog.Logger
	// Metrics takes the figures of requests; nil keeps none.
	Metrics prometheus.Registerer
	// Version is the program's.
	Version string
	// ConnectionWait is how long a request waits for a connection of the pool
	// before it is answered 503; 0.9 seconds where it is 0.
	ConnectionWait time.Duration
	// RequestTimeout bounds the work of a request after its body was read; 10 seconds
	// where it is 0.
	RequestTimeout time.Duration
	// SchemaVersion is the oldest version of the schema that the server works with.
	SchemaVersion int64
	// Stopping is closed when the server is about to stop.
	Stopping <-chan struct{}
}

// server is what the handlers share.
type server struct {
	Config
	api huma.API
	// queries runs each statement on a connection of the pool.
	queries *db.Queries
	// connections has a place for each connection of the pool but the spare ones: a
	// request has one while it works, and no request waits long for one.
	connections chan struct{}
	keys        *keys.Cache
	readiness   readiness
	// keyLimit and addressLimit count requests; nil where there is no limit.
	keyLimit, addressLimit *rateLimit
	// submissions counts what became of runs and batches.
	submissions *prometheus.CounterVec
	// underWay counts the requests that need a connection.
	underWay atomic.Int64
	// bodyBytes is how large the bodies under way may be together.
	bodyBytes atomic.Int64
	// bulkRequests has a place for each bulk submission that is being read.
	bulkRequests chan struct{}
}

// New returns the service as a handler.
func New(config Config) http.Handler {
	router, s := newServer(config)
	clientAddress := clientAddresses(config.TrustedProxies)
	return limitUnreadBody(cors.New(cors.Options{
		AllowedOrigins: config.AllowedOrigins,
		// Without any, the library would allow all.
		AllowOriginFunc: denyAllUnless(config.AllowedOrigins),
		AllowedMethods:  []string{http.MethodGet, http.MethodPost},
		AllowedHeaders:  []string{"Authorization", "Content-Encoding", "Content-Type", "X-Request-Id"},
		ExposedHeaders:  []string{"Link", "Idempotent-Replayed", "Retry-After", "X-Request-Id", limitHeader, remainingHeader, resetHeader},
		MaxAge:          600,
	}).Handler(clientAddress(s.withRequestID(s.observeRequests(s.recoverPanics(secureHeaders(s.closeWhenStopping(router))))))))
}

func newServer(config Config) (*chi.Mux, *server) {
	router := chi.NewMux()
	config.ConnectionWait = cmp.Or(config.ConnectionWait, connectionWait)
	config.RequestTimeout = cmp.Or(config.RequestTimeout, requestTimeout)
	queries := db.New(config.Pool)
	s := &server{
		Config: config, queries: queries, submissions: countSubmissions(config.Metrics),
		keys:     keys.NewCache(queries, config.ConnectionWait, config.Logger),
		keyLimit: newRateLimit(config.RequestsPerKey), addressLimit: newRateLimit(config.RequestsPerAddress),
	}
	if config.Pool != nil { // The document needs none.
		s.connections = make(chan struct{}, max(1, config.Pool.Config().MaxConns-spareConnections))
	}
	router.Use(compressLarge, jsonByDefault, endReadDeadline, decompress(s), textIsUTF8(s))
	router.NotFound(s.notFound)
	router.MethodNotAllowed(s.methodNotAllowed(router))
	s.api = humachi.New(router, s.humaConfig())
	s.api.UseMiddleware(noteOperation, s.limitAddresses, s.refuseTooMany, s.requireKey, s.limitBodies)

	rulesOfRuns() // It panics here, not at the first run.
	s.registerHealth()
	s.registerResults()
	s.registerBulk()
	s.registerRuns()
	s.registerBatches()
	s.registerStats()
	registerDocs(router)
	completeDocument(s.api.OpenAPI())
	return router, s
}

// everywhere are the errors of all operations that need the database.
var everywhere = []int{
	http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusServiceUnavailable,
}

// register adds an operation that needs the database: its handler gets a deadline
// and a connection to itself, and its errors all become problem documents. What is
// invalid was refused before, and waits for nothing.
func register[I, O any](s *server, operation huma.Operation, handler func(context.Context, *I) (*O, error)) {
	operation.Errors = slices.Concat(operation.Errors, everywhere)
	operation.MaxBodyBytes = maxBodyBytes
	operation.BodyReadTimeout = bodyReadTimeout
	huma.Register(s.api, operation, func(ctx context.Context, input *I) (output *O, err error) {
		err = s.withConnection(ctx, s.RequestTimeout, func(ctx context.Context) error {
			output, err = handler(ctx, input)
			return err
		})
		if err != nil {
			return nil, s.problem(ctx, err)
		}
		return output, nil
	})
}

// withConnection does work that needs a connection, which it has to itself, within
// a time. Where all are taken it gives up after ConnectionWait.
func (s *server) withConnection(ctx context.Context, timeout time.Duration, work func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	select {
	case s.connections <- struct{}{}:
		defer func() { <-s.connections }()
	case <-time.After(s.ConnectionWait):
		return busy()
	case <-ctx.Done():
		return ctx.Err()
	}
	watched, notReplicated := db.WatchCommits(ctx)
	if err := work(watched); err != nil {
		return err
	}
	// A commit that waits for a standby succeeds at the deadline, without it.
	return cmp.Or(ctx.Err(), notReplicated())
}

func denyAllUnless(origins []string) func(string) bool {
	if len(origins) > 0 {
		return nil
	}
	return func(string) bool { return false }
}
