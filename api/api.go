// Package api serves BenchLedger over HTTP: its operations, one file per
// resource, and what they share: errors.go, auth.go, limits.go, json.go, encode.go, values.go, cursor.go,
// middleware.go, observe.go.
package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/cors"

	"github.com/benchledger/benchledger/db"
)

const (
	// maxBodyBytes is the largest request body: 8 MiB. huma refuses a body that
	// reaches its limit, hence the one byte more.
	maxBodyBytes = 8<<20 + 1
	// unreadTimeout is how long a body may take that no operation reads: net/http reads
	// it before it answers, so that the connection can be used again.
	unreadTimeout = time.Second
	// maxBodies is how large all bodies that are under way may be together.
	maxBodies = 256 << 20
	// bodyReadTimeout is for a large body on a slow line.
	bodyReadTimeout = time.Minute
	// requestTimeout bounds the work of a request after its body was read, by default.
	requestTimeout = 10 * time.Second
	// maxWaiting is how many requests may wait for each connection. What comes on top
	// would wait for too long, and is refused before it costs anything.
	maxWaiting = 32
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

// Config is the configuration of a server.
type Config struct {
	// Pool is the pool of database connections; nil while the server is starting: then only
	// health checks work, and all other requests get 503.
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

// server is what the handlers share.
type server struct {
	Config
	api huma.API
	// queries runs each statement on a connection of the pool.
	queries *db.Queries
	// connections has a place for each connection of the pool but the spare ones: a
	// request has one while it works, and no request waits long for one.
	connections chan struct{}
	keys        *keyring
	readiness   readiness
	// keyLimit and addressLimit count requests; nil where there is no limit.
	keyLimit, addressLimit *limit
	// submissions counts what became of runs and batches.
	submissions *prometheus.CounterVec
	// underWay counts the requests that need a connection.
	underWay atomic.Int64
	// bodyBytes is how large the bodies under way may be together.
	bodyBytes atomic.Int64
	// bulkRequests has a place for each bulk submission that is being read.
	bulkRequests chan struct{}
}

// New returns the HTTP handler of the service.
func New(config Config) http.Handler {
	router, s := newServer(config)
	clientAddress := clientAddresses(config.TrustedProxies)
	return expectBody(cors.New(cors.Options{
		AllowedOrigins: config.AllowedOrigins,
		// Without any, the library would allow all.
		AllowOriginFunc: denyAllUnless(config.AllowedOrigins),
		AllowedMethods:  []string{http.MethodGet, http.MethodPost},
		AllowedHeaders:  []string{"Authorization", "Content-Encoding", "Content-Type", "X-Request-Id"},
		ExposedHeaders:  []string{"Link", "Idempotent-Replayed", "Retry-After", "X-Request-Id", limitHeader, remainingHeader, resetHeader},
		MaxAge:          600,
	}).Handler(clientAddress(s.withRequestID(s.observeRequests(s.recoverPanics(secureHeaders(s.closeWhenStopping(router))))))))
}

// OpenAPI returns the OpenAPI document of the service, as YAML.
func OpenAPI(version string) ([]byte, error) {
	_, s := newServer(Config{Version: version})
	document, err := s.api.OpenAPI().YAML()
	if err != nil {
		return nil, fmt.Errorf("print openapi: %w", err)
	}
	return document, nil
}

func newServer(config Config) (*chi.Mux, *server) {
	router := chi.NewMux()
	config.ConnectionWait = cmp.Or(config.ConnectionWait, connectionWait)
	config.RequestTimeout = cmp.Or(config.RequestTimeout, requestTimeout)
	queries := db.New(config.Pool)
	s := &server{
		Config: config, queries: queries, submissions: countSubmissions(config.Metrics),
		keys:     &keyring{queries: queries, wait: config.ConnectionWait, logger: config.Logger, used: map[string]time.Time{}},
		keyLimit: newLimit(config.RequestsPerKey), addressLimit: newLimit(config.RequestsPerAddress),
	}
	if config.Pool != nil { // The document needs none.
		s.connections = make(chan struct{}, max(1, config.Pool.Config().MaxConns-spareConnections))
	}
	router.Use(compressLarge, jsonByDefault, endReadDeadline, decompress(s), textIsUTF8(s))
	router.NotFound(s.notFound)
	router.MethodNotAllowed(s.methodNotAllowed(router))
	s.api = humachi.New(router, s.humaConfig())
	s.api.UseMiddleware(noteOperation, s.limitAddresses, s.refuseTooMany, s.requireKey, s.limitBodies)

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

func (s *server) humaConfig() huma.Config {
	config := huma.DefaultConfig("BenchLedger", s.Version)
	config.Info.Description = "Stores the results of AI-agent benchmarks and answers questions about them.\n\n" +
		"A **run** is one attempt of an agent at a scenario of a suite. It has **evaluations**, the scores that " +
		"evaluators gave it, and **telemetry**: tokens, cost, duration. A **batch** groups runs.\n\n" +
		"Submitting needs an API key with the scope `submit`. Reading needs one with the scope `read` only where the server is configured so " +
		"(`PUBLIC_READS=false`). Retrying a submission is safe: the same content again is answered as a replay. " +
		"Every error is a problem document (RFC 9457); the server's log has the details under its `requestId`."
	config.Info.License = &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"}
	config.Servers = []*huma.Server{{URL: "/", Description: "The server that sent this document"}}
	config.Tags = []*huma.Tag{
		{Name: "Results", Description: "Submit runs and batches."},
		{Name: "Runs", Description: "Read runs, with their evaluations and telemetry."},
		{Name: "Batches", Description: "Read batches, with their runs."},
		{Name: "Stats", Description: "Statistics over all runs."},
		{Name: "Health", Description: "Check the state of the server."},
	}
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"bearer": {Type: "http", Scheme: "bearer", Description: "`Authorization: Bearer KEY`"},
	}
	// "json" is the suffix of application/problem+json.
	config.Formats = map[string]huma.Format{"application/json": jsonFormat, "json": jsonFormat}
	config.RejectUnknownQueryParameters = true
	config.Transformers = []huma.Transformer{addRequestID}
	config.DocsPath, config.SchemasPath, config.CreateHooks = "", "", nil
	return config
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

// example is a body's example. It goes through the API's own encoder, so that it
// shows what is really sent.
func example(v any) map[string]*huma.MediaType {
	var encoded bytes.Buffer
	if err := jsonFormat.Marshal(&encoded, v); err != nil {
		panic(err)
	}
	return map[string]*huma.MediaType{"application/json": {Example: json.RawMessage(encoded.Bytes())}}
}

// exampleProblem is the example of a problem document.
func exampleProblem(status int, meaning string) any {
	problem := problemOf(status, meaning)
	problem.RequestID = "NQ3XC5TUKWOFLJRBXBLLAZYR2Y"
	switch status {
	case http.StatusUnprocessableEntity:
		problem.Errors = []FieldError{{"body.evaluations[0].maxScore", "expected number > 0"}}
	case http.StatusConflict:
		problem.Errors = []FieldError{{"body.totalScore", "differs from what is stored"}}
	}
	return example(problem)["application/json"].Example
}

// completeDocument says in the document what huma has no words for.
func completeDocument(document *huma.OpenAPI) {
	for _, schema := range document.Components.Schemas.Map() {
		// Unknown fields are ignored, hence neither refused nor typed.
		schema.AdditionalProperties = nil
		for _, property := range schema.Properties {
			// huma's own, not JSON Schema's; its messages are made by now.
			property.PatternDescription = ""
		}
	}
	requestID := &huma.Param{
		Description: "The request ID; every line of the server's log about the request has it.",
		Schema:      &huma.Schema{Type: huma.TypeString},
	}
	retryAfter := &huma.Param{
		Description: "Seconds to wait before retrying.",
		Schema:      &huma.Schema{Type: huma.TypeInteger, Format: "int32"},
	}
	authenticate := &huma.Param{Schema: &huma.Schema{Type: huma.TypeString}}
	limits := map[string]*huma.Param{
		limitHeader:     {Description: "How many requests may be sent at once.", Schema: &huma.Schema{Type: huma.TypeInteger, Format: "int32"}},
		remainingHeader: {Description: "How many more requests may be sent now.", Schema: &huma.Schema{Type: huma.TypeInteger, Format: "int32"}},
		resetHeader:     {Description: "Seconds until the full limit is available again.", Schema: &huma.Schema{Type: huma.TypeInteger, Format: "int32"}},
	}
	for _, path := range document.Paths {
		for _, operation := range []*huma.Operation{path.Get, path.Post} {
			if operation == nil {
				continue
			}
			for _, parameter := range operation.Parameters {
				parameter.Schema.PatternDescription = ""
			}
			for status, response := range operation.Responses {
				if response.Headers == nil {
					response.Headers = map[string]*huma.Param{}
				}
				response.Headers["X-Request-Id"] = requestID
				switch status {
				case strconv.Itoa(http.StatusTooManyRequests):
					response.Headers["Retry-After"] = retryAfter
					maps.Copy(response.Headers, limits)
				case strconv.Itoa(http.StatusServiceUnavailable):
					response.Headers["Retry-After"] = retryAfter
				case strconv.Itoa(http.StatusUnauthorized):
					response.Headers["WWW-Authenticate"] = authenticate
				}
				code, _ := strconv.Atoi(status)
				if meaning, ok := problemMeanings[code]; ok {
					response.Description = meaning
					response.Content["application/problem+json"].Example = exampleProblem(code, meaning)
				}
			}
		}
	}
}

func denyAllUnless(origins []string) func(string) bool {
	if len(origins) > 0 {
		return nil
	}
	return func(string) bool { return false }
}
