package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/propagators/autoprop"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/benchledger/benchledger/api"
)

// serveMetrics serves /metrics and /debug/pprof/ on addr until the returned function is called. If addr
// is empty, it does nothing.
func serveMetrics(ctx context.Context, addr string, registry *prometheus.Registry, logger *slog.Logger) (func(), error) {
	if addr == "" {
		return func() {}, nil
	}
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second, // Profiles add their duration to it.
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	go func() { _ = server.Serve(listener) }() // It ends with Close.
	if isPublic(addr) {
		logger.Warn("metrics and profiles are served without a key on all addresses of this machine: choose an address in METRICS_ADDR that only Prometheus can reach")
	}
	logger.Info("metrics", "url", "http://"+listener.Addr().String()+"/metrics")
	return func() { _ = server.Close() }, nil
}

// tracing sends traces as configured by OpenTelemetry's standard environment variables. Without them,
// it is off.
type tracing struct{ provider *trace.TracerProvider }

// spanExporter returns the configured exporter, nil if there is none.
func spanExporter() (trace.SpanExporter, error) {
	exporter := os.Getenv("OTEL_TRACES_EXPORTER")
	if _, endpoint := otlpVariable("ENDPOINT"); exporter == "" && endpoint != "" {
		exporter = "otlp"
	}
	switch exporter {
	case "", "none":
		return nil, nil
	case "console":
		return stdouttrace.New()
	case "otlp":
		client, err := newOTLPClient()
		if err != nil {
			return nil, err
		}
		return otlptrace.NewUnstarted(client), nil // The client needs no start.
	default:
		return nil, fmt.Errorf("OTEL_TRACES_EXPORTER: %q is not supported: set it to otlp, console or none", exporter)
	}
}

// checkTracing rejects invalid and unsupported variables.
func checkTracing() error {
	_, err := spanExporter()
	return err
}

func startTracing(ctx context.Context) (tracing, error) {
	exporter, err := spanExporter()
	if err != nil || exporter == nil {
		return tracing{}, err
	}
	described, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "benchledger"), attribute.String("service.version", version)),
		resource.WithFromEnv(), resource.WithTelemetrySDK())
	if err != nil {
		return tracing{}, fmt.Errorf("traces: %w", err)
	}
	provider := trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithResource(described))
	otel.SetTracerProvider(provider)
	otel.SetTextMapPropagator(autoprop.NewTextMapPropagator())
	return tracing{provider}, nil
}

func (t tracing) on() bool { return t.provider != nil }

// wrap starts a span for each request. It continues the trace of a trusted proxy; the trace of any
// other client is only linked.
func (t tracing) wrap(handler http.Handler, trustedProxies []netip.Prefix) http.Handler {
	if !t.on() {
		return handler
	}
	return api.TraceRequests(handler, t.provider, func(r *http.Request) bool {
		peer, err := netip.ParseAddrPort(r.RemoteAddr)
		address := peer.Addr().Unmap().WithZone("")
		return err == nil && slices.ContainsFunc(trustedProxies, func(proxies netip.Prefix) bool { return proxies.Contains(address) })
	})
}

// stop sends the remaining spans.
func (t tracing) stop() error {
	if !t.on() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("send the last traces: %w", err)
	}
	return nil
}
