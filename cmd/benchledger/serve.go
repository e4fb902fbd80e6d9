package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/benchledger/benchledger/api"
	"github.com/benchledger/benchledger/db"
)

const (
	// localKey is public, so it is only valid on a loopback address.
	localKey = "dev-local-key"
	// shortestKey is the length of the shortest shared key that is accepted where others can reach the server.
	shortestKey = 16
	// rateLimit is the default limit of requests per second, for each key and for each address.
	rateLimit, maxRateLimit = 1000, 1_000_000
	// databaseWait is how long a starting server waits for the database.
	databaseWait = time.Minute
	// memoryShare is the part of the memory limit of a container that Go uses: near its limit, it collects
	// garbage more often. The rest is for what Go does not count. GOMEMLIMIT takes precedence.
	memoryShare = 0.9
	// shutdownWait is how long running requests may take to finish: longer than the
	// timeouts of the API for reading a body and handling it.
	shutdownWait = 75 * time.Second
)

type serveCommand struct {
	Addr               string        `env:"ADDR" default:"127.0.0.1:8787" placeholder:"HOST:PORT" help:"Listen address; ${default} by default."`
	DatabaseURL        string        `env:"DATABASE_URL" placeholder:"URL" help:"PostgreSQL connection string of the database. With ENVIRONMENT=local it is optional: the server then starts its own PostgreSQL."`
	DatabaseMigrateURL string        `env:"DATABASE_MIGRATE_URL" placeholder:"URL" help:"A direct connection to the same database for migrations, if DATABASE_URL goes through a pooler."`
	Environment        string        `env:"ENVIRONMENT" enum:"local,dev,staging,production" default:"local" placeholder:"NAME" help:"One of ${enum}; ${default} by default."`
	APISecretKey       string        `name:"api-secret-key" env:"API_SECRET_KEY" placeholder:"KEY" help:"A shared API key with all permissions. Flags are visible in the process list: prefer the variable, or API_SECRET_KEY_FILE. 16 characters or more; with ENVIRONMENT=local on a loopback address it is optional, and dev-local-key by default."`
	PublicReads        bool          `env:"PUBLIC_READS" default:"true" negatable:"" help:"Allow reading without a key; ${default} by default."`
	RateLimitPerKey    *int          `env:"RATE_LIMIT_PER_KEY" placeholder:"N" help:"Maximum requests per second of each key; 0 is no limit. 1000 by default, with ENVIRONMENT=local no limit."`
	RateLimitPerAddr   *int          `name:"rate-limit-per-address" env:"RATE_LIMIT_PER_ADDRESS" placeholder:"N" help:"Maximum requests per second of each client address; the same defaults."`
	TrustedProxies     []string      `env:"TRUSTED_PROXIES" placeholder:"CIDR" help:"Proxies whose X-Forwarded-For is trusted, as networks (10.0.0.0/8) or addresses. None by default."`
	AllowedOrigins     []string      `env:"ALLOWED_ORIGINS" placeholder:"ORIGIN" help:"Origins whose web pages may use the API (CORS), or * for all. With ENVIRONMENT=local http://localhost:3000 and http://localhost:5173 by default, otherwise none."`
	MetadataAsText     bool          `env:"METADATA_AS_TEXT" default:"false" negatable:"" help:"Return metadata as a JSON string instead of an object, as the worker that BenchLedger replaces did; ${default} by default."`
	DataDir            string        `env:"DATA_DIR" default:"${data_dir}" placeholder:"DIR" help:"Directory for the data of the server's own PostgreSQL; ${default} by default."`
	MetricsAddr        string        `env:"METRICS_ADDR" placeholder:"HOST:PORT" help:"Address for Prometheus metrics (/metrics) and profiles (/debug/pprof/); off by default. Do not expose it to the public."`
	ShutdownDelay      time.Duration `env:"SHUTDOWN_DELAY" default:"2s" placeholder:"DURATION" help:"How long the server reports that it is not ready, but still accepts requests, before it stops; ${default} by default, 0 with ENVIRONMENT=local."`
	SlowQuery          time.Duration `env:"SLOW_QUERY" default:"500ms" placeholder:"DURATION" help:"Log queries that take longer; ${default} by default."`
}

// Help describes the start and the shutdown.
func (serveCommand) Help() string {
	return "Migrates the database schema, prints the addresses, and logs to standard error: in a readable form on a terminal, " +
		"otherwise as structured lines (JSON; key=value with ENVIRONMENT=local). On SIGTERM or Ctrl-C, finishes running requests; a second signal stops the server immediately."
}

// Run serves until a signal stops it.
func (c *serveCommand) Run() (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // A second signal ends the program immediately.
	if os.Getenv("GOGC") == "" {
		tuneGC()
	}
	logger := c.logger()

	// Fail early if the port is in use.
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Addr)
	if err != nil {
		return fmt.Errorf("%w: choose another address with --addr or ADDR", err)
	}
	defer listener.Close()
	if err := c.complete(listener.Addr()); err != nil {
		return err
	}
	limitMemory(logger)

	// While it starts, the server is alive but not ready.
	server := startServer(listener, api.Starting(), logger)
	defer func() { _ = server.Close() }() // After a shutdown there is nothing to close.

	// Without DATABASE_URL, the server starts its own PostgreSQL.
	where, databaseEnded := "", (<-chan struct{})(nil)
	if c.DatabaseURL == "" {
		local, err := startLocal(ctx, c.DataDir, func(step string) { logger.Info(step) })
		if err != nil {
			return ignoreIfStopping(ctx, logger, err)
		}
		defer func() { err = errors.Join(err, local.Stop()) }()
		c.DatabaseURL, where, databaseEnded = local.URL(), c.DataDir, local.Exited()
	}
	if err := c.migrate(ctx, logger); err != nil {
		if databaseEnded != nil {
			err = withDiskHint(err, c.DataDir)
		}
		return ignoreIfStopping(ctx, logger, err)
	}

	metrics := prometheus.NewRegistry()
	tracers := []pgx.QueryTracer{db.MeasureQueries(metrics), db.LogSlowQueries(logger, c.SlowQuery)}
	tracing, err := startTracing(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tracing.stop()) }()
	if tracing.on() {
		tracers = append(tracers, db.TraceQueries())
	}
	pool, err := db.Open(ctx, c.DatabaseURL, tracers...)
	if err != nil {
		return err
	}
	defer pool.Close()
	if where == "" {
		database := pool.Config().ConnConfig
		where = fmt.Sprintf("%s at %s:%d", database.Database, database.Host, database.Port)
	}
	db.MeasurePool(metrics, pool)
	stopMetrics, err := serveMetrics(ctx, c.MetricsAddr, metrics, logger)
	if err != nil {
		return err
	}
	defer stopMetrics()

	handler, err := c.handler(ctx, pool, metrics, tracing, logger)
	if err != nil {
		return err
	}
	server.handler.Store(&handler) // Now the server is ready.
	c.printReady("http://"+address(listener.Addr()), where)

	select {
	case err := <-server.ended:
		return fmt.Errorf("serve: %w", err)
	case <-databaseEnded:
		err = withDiskHint(fmt.Errorf("the database stopped; see %s", filepath.Join(c.DataDir, "postgres.log")), c.DataDir)
	case <-ctx.Done():
	}
	stop() // From now on a signal ends the program, even if AfterFunc has not run yet.
	logger.Info("stopping")
	if err == nil && c.Environment != "local" {
		select { // Load balancers see that it is not ready while it still accepts requests.
		case <-time.After(c.ShutdownDelay):
		case err = <-server.ended:
		}
	}
	shutdown, cancel := context.WithTimeout(context.Background(), shutdownWait)
	defer cancel()
	if shutdownErr := server.Shutdown(shutdown); shutdownErr != nil {
		err = errors.Join(err, fmt.Errorf("aborted requests that were not finished after %s", shutdownWait))
	}
	return err
}

// limitMemory sets Go's memory limit from that of the container (cgroup), unless GOMEMLIMIT sets it.
func limitMemory(logger *slog.Logger) {
	limit, err := memlimit.Set(memlimit.WithRatio(memoryShare))
	switch {
	case errors.Is(err, memlimit.ErrNoCgroup) || errors.Is(err, memlimit.ErrCgroupsNotSupported):
	case err != nil:
		logger.Warn("the memory limit of the container is unknown: set GOMEMLIMIT", "error", err)
	case limit < math.MaxInt64:
		logger.Info("memory limit of Go", "limit", bytesOf(uint64(limit)))
	}
}

// printReady prints the addresses, the data directory, and an example request. It ends with an empty line.
func (c *serveCommand) printReady(address, where string) {
	ready := section{}
	ready.add("API", address+"/api")
	ready.add("docs", address+"/docs")
	ready.add("data", where)
	if c.APISecretKey == localKey {
		ready.add("key", localKey+" (valid on this machine only)")
	}
	ready.add("try", "curl "+address+"/api/runs")
	printf("BenchLedger %s is ready at %s\n", version, address)
	ready.print()
	printf("\n")
}

// httpServer serves a handler that can be replaced while it runs.
type httpServer struct {
	*http.Server
	handler atomic.Pointer[http.Handler]
	// ended receives the error when the server has stopped.
	ended chan error
}

func startServer(listener net.Listener, handler http.Handler, logger *slog.Logger) *httpServer {
	s := &httpServer{ended: make(chan error, 1)}
	s.handler.Store(&handler)
	s.Server = &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*s.handler.Load()).ServeHTTP(w, r) }),
		ReadHeaderTimeout: 10 * time.Second,
		// Operations with large bodies set their own timeout.
		ReadTimeout: time.Minute,
		// The time for a slow client to send a body and to read the response.
		WriteTimeout:   3 * time.Minute,
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	go func() { s.ended <- s.Serve(listener) }()
	return s
}

// handler returns the API for a migrated database. When ctx ends, the API reports that it is not ready.
func (c *serveCommand) handler(ctx context.Context, pool *pgxpool.Pool, metrics prometheus.Registerer, tracing tracing, logger *slog.Logger) (http.Handler, error) {
	proxies, err := trustedProxies(c.TrustedProxies)
	if err != nil {
		return nil, err
	}
	schemaVersion, err := db.LatestSchemaVersion()
	if err != nil {
		return nil, err
	}
	memoryLimit := debug.SetMemoryLimit(-1) // It only reads it.
	if memoryLimit == math.MaxInt64 {
		memoryLimit = 0
	}
	return tracing.wrap(api.New(api.Config{
		MemoryLimit: memoryLimit, LocalOnly: c.APISecretKey == localKey,
		Pool: pool, APISecretKey: c.APISecretKey, PrivateReads: !c.PublicReads, TrustedProxies: proxies,
		RequestsPerKey: *c.RateLimitPerKey, RequestsPerAddress: *c.RateLimitPerAddr, AllowedOrigins: c.AllowedOrigins, Logger: logger, Metrics: metrics,
		Version: version, MetadataAsText: c.MetadataAsText, SchemaVersion: int64(schemaVersion), Stopping: ctx.Done(),
	}), proxies), nil
}

// ignoreIfStopping returns the error of a start, or nil if a signal stopped the server, which
// then caused the error.
func ignoreIfStopping(ctx context.Context, logger *slog.Logger, err error) error {
	if ctx.Err() == nil {
		return err
	}
	logger.Info("stopped before the server was ready")
	return nil
}

// complete sets defaults that depend on the environment, and rejects unsafe or contradictory
// settings.
func (c *serveCommand) complete(addr net.Addr) (err error) {
	local := c.Environment == "local"
	private := local && isLoopback(addr)
	switch {
	case private:
		c.APISecretKey = cmp.Or(c.APISecretKey, localKey)
	case c.APISecretKey == "" || c.APISecretKey == localKey:
		return fmt.Errorf("an API key is required: set API_SECRET_KEY, for example to the output of `openssl rand -hex 24`. Only the environment local "+
			"on a loopback address has a default, %s, which is public; this is %s on %s", localKey, c.Environment, c.Addr)
	case len(c.APISecretKey) < shortestKey:
		return fmt.Errorf("API_SECRET_KEY has %d characters, which can be guessed: use %d or more, for example the output of `openssl rand -hex 24`",
			len(c.APISecretKey), shortestKey)
	}
	if strings.ContainsFunc(c.APISecretKey, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return errors.New("API_SECRET_KEY must be printable ASCII without spaces")
	}
	if c.DatabaseURL == "" && !local {
		return fmt.Errorf("a database is required: set DATABASE_URL or --database-url. "+
			"Only in the environment local, the server starts its own; this is %s", c.Environment)
	}
	if c.DatabaseURL == "" && c.DatabaseMigrateURL != "" {
		return errors.New("DATABASE_MIGRATE_URL is set, but DATABASE_URL is not: set both, or none to use the server's own database")
	}
	if len(c.AllowedOrigins) == 0 && local {
		c.AllowedOrigins = []string{"http://localhost:3000", "http://localhost:5173"}
	}
	for i, origin := range c.AllowedOrigins {
		c.AllowedOrigins[i] = strings.TrimSpace(origin)
		if !origins.MatchString(c.AllowedOrigins[i]) {
			return fmt.Errorf("ALLOWED_ORIGINS: %q is not an origin: use the form that browsers send, such as https://dashboard.example:8443. "+
				"A * stands for all subdomains (https://*.example.com), all ports (http://localhost:*), or all origins (*)", origin)
		}
	}
	for name, limit := range map[string]**int{"RATE_LIMIT_PER_KEY": &c.RateLimitPerKey, "RATE_LIMIT_PER_ADDRESS": &c.RateLimitPerAddr} {
		switch {
		case *limit == nil && local:
			*limit = new(0)
		case *limit == nil:
			*limit = new(rateLimit)
		case **limit < 0 || **limit > maxRateLimit:
			return fmt.Errorf("%s is %d: set a number of requests per second, or 0 for no limit", name, **limit)
		}
	}
	if _, err := trustedProxies(c.TrustedProxies); err != nil {
		return err
	}
	if err := checkTracing(); err != nil {
		return err
	}
	if c.DataDir, err = filepath.Abs(c.DataDir); err != nil {
		return fmt.Errorf("DATA_DIR: %w", err)
	}
	return nil
}

// trustedProxies parses networks and addresses.
func trustedProxies(texts []string) ([]netip.Prefix, error) {
	prefixes := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		text = strings.TrimSpace(text)
		if address, err := netip.ParseAddr(text); err == nil {
			prefixes[i] = netip.PrefixFrom(address.Unmap().WithZone(""), address.Unmap().BitLen())
			continue
		}
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("TRUSTED_PROXIES: %q is neither a network (10.0.0.0/8) nor an address", text)
		}
		if prefix.Addr().Is4In6() && prefix.Bits() >= 96 {
			prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
		}
		shortest := 8 // The largest private networks are 10.0.0.0/8 and fc00::/7.
		if prefix.Addr().Is6() {
			shortest = 7
		}
		if prefix.Bits() < shortest {
			return nil, fmt.Errorf("TRUSTED_PROXIES: %s contains clients, too, which could then name any address as theirs: "+
				"set the addresses or networks of your proxies", text)
		}
		prefixes[i] = prefix
	}
	return prefixes, nil
}

// origins matches "*", or a scheme and a host with an optional port. The first label of the host or the
// port may be "*". More would allow origins of others: https://*example.com allows https://evilexample.com.
var origins = regexp.MustCompile(`^(\*|[a-z][a-z0-9+.-]*://((\*\.)?[^/?#@\s*]+|[^/?#@\s*]+:\*))$`)

// isPublic reports whether a server listens at addr on all addresses of the machine.
func isPublic(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	ip := net.ParseIP(host)
	return err == nil && (host == "" || ip != nil && ip.IsUnspecified())
}

func isLoopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// address is the address of the listener for clients on this machine.
func address(addr net.Addr) string {
	if tcp, ok := addr.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return fmt.Sprintf("localhost:%d", tcp.Port)
	}
	return addr.String()
}

// migrate migrates the schema to the latest version. It waits for a database that is still starting.
func (c *serveCommand) migrate(ctx context.Context, logger *slog.Logger) error {
	url := c.DatabaseMigrateURL
	if url == "" {
		url = c.DatabaseURL
	}
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := migrateUp(ctx, url, logger)
		if db.IsDiskFull(err) {
			err = fmt.Errorf("the disk of the database is full: free some space: %w", err)
		}
		if err != nil && db.Classify(err) != db.Unavailable {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithMaxElapsedTime(databaseWait), backoff.WithNotify(func(err error, wait time.Duration) {
		logger.Warn("the database is not available yet", "error", err, "retry", wait)
	}))
	return err
}

// migrateUp does nothing if the schema is as new as this server, or newer. So it does not wait
// for a newer server that is migrating.
func migrateUp(ctx context.Context, url string, logger *slog.Logger) (err error) {
	state, err := db.ReadSchemaVersion(ctx, url)
	if err != nil {
		return err
	}
	if state.Current > state.Latest || state.Current == state.Latest && !state.Dirty {
		return nil
	}
	logger.Info("migrating the database schema", "from", state.Current, "to", state.Latest)
	migrations, err := db.OpenMigrations(url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, migrations.Close()) }()
	return migrations.Up()
}
