// Package api serves BenchLedger over HTTP: the operations, one file per
// resource, and shared code: admission.go, auth.go, bounds.go, cells.go (the runs of statistics), checked.go and plain.go
// (validation of runs), database.go, document.go, encode.go, errors.go, filters.go, json.go,
// middleware.go, observe.go, page.go, values.go.
package api

import (
	"cmp"
	"context"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
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
	// unreadTimeout limits how long a body that no operation reads may take: net/http reads
	// it before it responds, so that the connection can be reused.
	unreadTimeout = time.Second
	// bodyReadTimeout is for a large body on a slow connection.
	bodyReadTimeout = time.Minute
	// requestTimeout limits the work of a request after its body was read, by default.
	requestTimeout = 10 * time.Second
)

// huma has these settings for the whole process: names of fields are
// case-sensitive, lists are never null, errors are ours.
func init() {
	huma.ValidateStrictCasing = true
	huma.DefaultArrayNullable = false
	huma.NewError = newProblem
}

// Config is the configuration of a server.
type Config struct {
	// MetadataAsText returns metadata as a JSON string instead of an object.
	MetadataAsText bool
	// Pool has the connections to the database.
	Pool *pgxpool.Pool
	// APISecretKey is a key that may do everything, in addition to those in the database.
	APISecretKey string
	// PrivateReads requires a key for reading, too.
	PrivateReads bool
	// RequestsPerKey and RequestsPerAddress are the maximum number of requests per
	// second; 0 is no limit.
	RequestsPerKey, RequestsPerAddress int
	// TrustedProxies are the proxies whose X-Forwarded-For is trusted.
	TrustedProxies []netip.Prefix
	// LocalOnly refuses requests whose Host is not a name of this machine: a web page cannot
	// reach the server by a name of its own (DNS rebinding).
	LocalOnly bool
	// MemoryLimit is how much memory the server may use, in bytes; 0 is no limit.
	MemoryLimit int64
	// AllowedOrigins are the origins whose web pages may use the API; "*" is all.
	AllowedOrigins []string
	// Logger receives one line per request, and the details of errors; see NewLogger.
	Logger *slog.Logger
	// Metrics registers the metrics of requests; nil for none.
	Metrics prometheus.Registerer
	// Version is the version of the program.
	Version string
	// ConnectionWait is how long a request waits for a connection of the pool
	// before it gets 503; 0 is 0.9 seconds.
	ConnectionWait time.Duration
	// RequestTimeout limits the work of a request after its body was read; 0 is 10
	// seconds.
	RequestTimeout time.Duration
	// SchemaVersion is the oldest schema version that the server works with.
	SchemaVersion int64
	// Stopping is closed when the server begins to shut down.
	Stopping <-chan struct{}
}

// server has the shared state of the handlers.
type server struct {
	Config
	api       huma.API
	database  *database
	keys      *keys.Cache
	readiness readiness
	// keyLimit and addressLimit count requests; nil if there is no limit.
	keyLimit, addressLimit *rateLimit
	// submissions counts runs and batches by outcome.
	submissions *prometheus.CounterVec
	// addresses and keyRequests limit the requests that are under way, by address and by key.
	addresses, keyRequests *usageLimit
	// bulks limits the bulk submissions that are under way.
	bulks *usageLimit
	// bodies and responses limit the bytes of both.
	bodies, responses *usageLimit
}

// New returns the HTTP handler of the service.
func New(config Config) http.Handler {
	router, s := newServer(config)
	clientAddress := clientAddresses(config.TrustedProxies)
	return requireProgress(limitUnreadBody(cors.New(cors.Options{
		AllowedOrigins: config.AllowedOrigins,
		// Without any, the library would allow all.
		AllowOriginFunc: denyAllUnless(config.AllowedOrigins),
		AllowedMethods:  []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete},
		AllowedHeaders:  []string{"Authorization", "Content-Encoding", "Content-Type", "X-Request-Id"},
		ExposedHeaders:  []string{"Link", "Idempotent-Replayed", "Retry-After", "X-Request-Id", limitHeader, remainingHeader, resetHeader},
		MaxAge:          86_400, // The longest that a browser accepts.
	}).Handler(clientAddress(s.withRequestID(s.observeRequests(s.recoverPanics(secureHeaders(s.closeWhenStopping(s.requireLocalHost(s.limitAddresses(router)))))))))))
}

func newServer(config Config) (*chi.Mux, *server) {
	router := chi.NewMux()
	config.ConnectionWait = cmp.Or(config.ConnectionWait, connectionWait)
	config.RequestTimeout = cmp.Or(config.RequestTimeout, requestTimeout)
	s := &server{
		Config: config, database: newDatabase(config.Pool, config.ConnectionWait), submissions: countSubmissions(config.Metrics),
		keyLimit: newRateLimit(config.RequestsPerKey), addressLimit: newRateLimit(config.RequestsPerAddress),
		addresses: newUsageLimit(math.MaxInt64, requestsOfAddress), keyRequests: newUsageLimit(math.MaxInt64, requestsOfKey),
		bulks:  newUsageLimit(maxBulks, bulksOfOne),
		bodies: bodyLimit(config.MemoryLimit), responses: bodyLimit(config.MemoryLimit),
	}
	s.keys = keys.NewCache(func(ctx context.Context, work func(context.Context, *db.Queries) error) error {
		return s.database.use(ctx, classControl, config.ConnectionWait, work)
	}, config.Logger)
	router.Use(middleware.GetHead, compressLarge, jsonByDefault, endReadDeadline, decompress(s), requireTextPath(s))
	router.NotFound(s.notFound)
	router.MethodNotAllowed(s.methodNotAllowed(router))
	s.api = humachi.New(router, s.humaConfig())
	s.api.UseMiddleware(noteOperation, s.refuseTooMany, s.requireKey, s.limitKeys, s.checkQuery, s.limitBodies)

	rulesOfRuns() // It panics here, not at the first run.
	s.registerHealth()
	s.registerResults()
	s.registerBulk()
	s.registerRuns()
	s.registerBatches()
	s.registerStats()
	s.registerLeaderboard()
	s.registerComparison()
	s.registerDetails()
	s.registerPower()
	s.registerScenarios()
	s.registerEvaluators()
	s.registerDays()
	s.registerCorrections()
	s.registerBaselines()
	registerDocs(router)
	completeDocument(s.api.OpenAPI())
	return router, s
}

func denyAllUnless(origins []string) func(string) bool {
	if len(origins) > 0 {
		return nil
	}
	return func(string) bool { return false }
}
