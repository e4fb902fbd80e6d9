package db

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// QueryName returns the name that sqlc writes into a statement. For other statements
// (begin, commit, …) it returns the first word.
func QueryName(sql string) string {
	if named, ok := strings.CutPrefix(sql, "-- name: "); ok {
		name, _, _ := strings.Cut(named, " ")
		return name
	}
	word, _, _ := strings.Cut(strings.TrimSpace(sql), " ")
	return strings.ToLower(word)
}

// afterQuery is a tracer that is called after each statement.
type afterQuery func(ctx context.Context, name string, took time.Duration, err error)

type startedQuery struct {
	name string
	at   time.Time
}

type startedQueryKey struct{}

// TraceQueryStart remembers the name and the start time.
func (afterQuery) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	return context.WithValue(ctx, startedQueryKey{}, startedQuery{QueryName(data.SQL), time.Now()})
}

// TraceQueryEnd calls the function.
func (f afterQuery) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	if started, ok := ctx.Value(startedQueryKey{}).(startedQuery); ok {
		if errors.Is(context.Cause(ctx), errBudget) { // The page is full.
			data.Err = nil
		}
		f(ctx, started.name, time.Since(started.at), data.Err)
	}
}

// MeasureQueries records the duration of each query in seconds, by query name.
func MeasureQueries(registry prometheus.Registerer) pgx.QueryTracer {
	durations := promauto.With(registry).NewHistogramVec(prometheus.HistogramOpts{
		Name:    "benchledger_query_duration_seconds",
		Help:    "Duration of queries, from the call to the last row.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 2.5, 12), // 0.1 ms to 2.4 s
	}, []string{"query", "outcome"})
	return afterQuery(func(_ context.Context, name string, took time.Duration, err error) {
		outcome := "ok"
		if err != nil {
			outcome = "error"
		}
		durations.WithLabelValues(name, outcome).Observe(took.Seconds())
	})
}

// LogSlowQueries logs the queries that take longer than the threshold.
func LogSlowQueries(logger *slog.Logger, threshold time.Duration) pgx.QueryTracer {
	return afterQuery(func(ctx context.Context, name string, took time.Duration, err error) {
		if took < threshold {
			return
		}
		attrs := []slog.Attr{slog.String("query", name), slog.Float64("durationMs", float64(took.Microseconds())/1e3)}
		if err != nil {
			attrs = append(attrs, slog.Any("error", err))
		}
		logger.LogAttrs(ctx, slog.LevelWarn, "slow query", attrs...)
	})
}

// TraceQueries creates a span for each query, with its name and without its values.
func TraceQueries(options ...otelpgx.Option) pgx.QueryTracer {
	return otelpgx.NewTracer(append([]otelpgx.Option{
		otelpgx.WithSpanNameFunc(QueryName),
		otelpgx.WithDisableConnectionDetailsInAttributes(),
	}, options...)...)
}

// MeasurePool exports the state of a pool's connections as metrics.
func MeasurePool(registry prometheus.Registerer, pool *pgxpool.Pool) {
	metrics := promauto.With(registry)
	for state, count := range map[string]func(*pgxpool.Stat) int32{
		"idle":         (*pgxpool.Stat).IdleConns,
		"acquired":     (*pgxpool.Stat).AcquiredConns,
		"constructing": (*pgxpool.Stat).ConstructingConns,
	} {
		metrics.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "benchledger_pool_connections", Help: "Connections to the database, by state.",
			ConstLabels: prometheus.Labels{"state": state},
		}, func() float64 { return float64(count(pool.Stat())) })
	}
	metrics.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "benchledger_pool_connections_max", Help: "Maximum number of connections of the pool.",
	}, func() float64 { return float64(pool.Stat().MaxConns()) })
	metrics.NewCounterFunc(prometheus.CounterOpts{
		Name: "benchledger_pool_waits_total", Help: "Number of requests that waited for a connection.",
	}, func() float64 { return float64(pool.Stat().EmptyAcquireCount()) })
	metrics.NewCounterFunc(prometheus.CounterOpts{
		Name: "benchledger_pool_wait_seconds_total", Help: "Total time that requests waited for a connection.",
	}, func() float64 { return pool.Stat().EmptyAcquireWaitTime().Seconds() })
}
