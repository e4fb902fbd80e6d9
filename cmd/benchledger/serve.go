package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/benchledger/benchledger/api"
	"github.com/benchledger/benchledger/db"
	"github.com/benchledger/benchledger/internal/localpg"
)

const (
	// localKey is everyone's, so it holds only where no one else reaches the server.
	localKey = "dev-local-key"
	// databaseWait is how long a server waits for a database that is not there yet.
	databaseWait = time.Minute
	// shutdownWait is how long requests in flight may take to finish.
	shutdownWait = 30 * time.Second
)

type serveCommand struct {
	Addr               string        `env:"ADDR" default:"127.0.0.1:8787" placeholder:"HOST:PORT" help:"Where to listen (${default})."`
	DatabaseURL        string        `env:"DATABASE_URL" placeholder:"URL" help:"The database, as a PostgreSQL connection string. Without it, in local, a PostgreSQL of the server's own."`
	DatabaseMigrateURL string        `env:"DATABASE_MIGRATE_URL" placeholder:"URL" help:"The database by another way, for migrations, where the server's leads through a pooler."`
	Environment        string        `env:"ENVIRONMENT" enum:"local,dev,staging,production" default:"local" help:"One of ${enum} (${default})."`
	APISecretKey       string        `name:"api-secret-key" env:"API_SECRET_KEY" placeholder:"KEY" help:"The key that writes need. Without it, in local and on loopback, dev-local-key."`
	AllowedOrigins     []string      `env:"ALLOWED_ORIGINS" placeholder:"ORIGIN" help:"Origins whose pages may read answers. Without it, in local, http://localhost:3000 and http://localhost:5173; elsewhere none."`
	MetricsAddr        string        `env:"METRICS_ADDR" placeholder:"HOST:PORT" help:"Where to serve /metrics for Prometheus; without it, nowhere. Keep it off the public address."`
	SlowQuery          time.Duration `env:"SLOW_QUERY" default:"500ms" placeholder:"DURATION" help:"Queries that take longer are logged (${default})."`
	DataDir            string        `env:"DATA_DIR" default:"${data_dir}" placeholder:"DIR" help:"Where the server's own PostgreSQL keeps its data (${default})."`
}

// Run serves until it is told to stop.
func (c *serveCommand) Run() (err error) {
	if err := c.complete(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	logger := c.logger()

	// A port that is taken is said at once.
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	defer listener.Close()

	databaseEnded := (<-chan struct{})(nil)
	where := "the database of DATABASE_URL"
	if c.DatabaseURL == "" {
		local, err := localpg.Start(ctx, localpg.Options{DataDir: c.DataDir, Progress: func(step string) { logger.Info(step) }})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, local.Stop()) }()
		c.DatabaseURL, databaseEnded, where = local.URL(), local.Exited(), c.DataDir
	}
	if err := c.migrate(ctx, logger); err != nil {
		return err
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
	db.MeasurePool(metrics, pool)
	stopMetrics, err := serveMetrics(ctx, c.MetricsAddr, metrics, logger)
	if err != nil {
		return err
	}
	defer stopMetrics()

	server := &http.Server{
		Handler: tracing.wrap(api.New(api.Config{
			Pool: pool, APISecretKey: c.APISecretKey, AllowedOrigins: c.AllowedOrigins, Logger: logger, Metrics: metrics,
			Version: version,
		})),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	at := "http://" + listener.Addr().String()
	fmt.Printf("BenchLedger %s: data in %s, API at %s/api, spec at %s/openapi.yaml, docs at %s/docs\n", version, where, at, at, at)

	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-databaseEnded:
		err = fmt.Errorf("the database ended; %s/postgres.log says why", c.DataDir)
	case <-ctx.Done():
		stop() // A second signal ends the program at once.
	}
	logger.Info("stopping")
	shutdown, cancel := context.WithTimeout(context.Background(), shutdownWait)
	defer cancel()
	return errors.Join(err, server.Shutdown(shutdown))
}

// complete fills in what depends on the environment, and refuses what is unsafe.
func (c *serveCommand) complete() error {
	local := c.Environment == "local"
	if c.APISecretKey == "" {
		if !local || !isLoopback(c.Addr) {
			return fmt.Errorf("a key is needed: set API_SECRET_KEY or --api-secret-key. Only in the environment local, "+
				"listening on loopback, is there a default; this is %s on %s", c.Environment, c.Addr)
		}
		c.APISecretKey = localKey
	}
	if c.DatabaseURL == "" && !local {
		return fmt.Errorf("a database is needed: set DATABASE_URL or --database-url. "+
			"Only in the environment local does the server start one of its own; this is %s", c.Environment)
	}
	if len(c.AllowedOrigins) == 0 && local {
		c.AllowedOrigins = []string{"http://localhost:3000", "http://localhost:5173"}
	}
	return nil
}

func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// logger writes lines for people in local, and JSON elsewhere.
func (c *serveCommand) logger() *slog.Logger {
	if c.Environment == "local" {
		return api.NewLogger(slog.NewTextHandler(os.Stderr, nil))
	}
	return api.NewLogger(slog.NewJSONHandler(os.Stderr, nil))
}

// migrate brings the schema up to date, and waits for a database that is still
// starting.
func (c *serveCommand) migrate(ctx context.Context, logger *slog.Logger) error {
	url := c.DatabaseMigrateURL
	if url == "" {
		url = c.DatabaseURL
	}
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := migrateUp(url)
		if err != nil && db.Classify(err) != db.Unavailable {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithMaxElapsedTime(databaseWait), backoff.WithNotify(func(err error, wait time.Duration) {
		logger.Warn("the database is not there yet", "error", err, "retry", wait)
	}))
	return err
}

func migrateUp(url string) (err error) {
	migrations, err := db.OpenMigrations(url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, migrations.Close()) }()
	return migrations.Up()
}
