package api

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// maxLoggedPath is how many characters of a path, or of a header, are logged.
const maxLoggedPath = 300

// requestInfo is in the context of a request, for its log lines, metrics and spans.
type requestInfo struct {
	id        string
	operation string
	key       string // the name of the API key
	isAdmin   bool   // whether the key has the scope admin
	// received is the body of the request, nil if it has none.
	received *countedBody
	// body is the encoded body of the response, nil if the operation did not end. counted is how
	// many bytes of it are counted until it is sent.
	body    []byte
	counted int
}

type requestInfoKey struct{}

func requestInfoFrom(ctx context.Context) *requestInfo {
	info, ok := ctx.Value(requestInfoKey{}).(*requestInfo)
	if !ok {
		return &requestInfo{}
	}
	return info
}

func requestID(ctx context.Context) string { return requestInfoFrom(ctx).id }

// OperationID returns the ID of the operation of a context, "" outside of an operation.
func OperationID(ctx context.Context) string { return requestInfoFrom(ctx).operation }

// noteOperation stores the operation ID in the context and the span of the request.
func noteOperation(ctx huma.Context, next func(huma.Context)) {
	id := ctx.Operation().OperationID
	requestInfoFrom(ctx.Context()).operation = id
	trace.SpanFromContext(ctx.Context()).SetName(id)
	next(ctx)
}

// NewLogger returns a logger that adds the request ID, the operation and the name of the API key to each line about a request.
func NewLogger(handler slog.Handler) *slog.Logger {
	return slog.New(requestHandler{handler})
}

type requestHandler struct{ slog.Handler }

// Handle adds the attributes of the request.
func (h requestHandler) Handle(ctx context.Context, record slog.Record) error {
	if info := requestInfoFrom(ctx); info.id != "" {
		record.AddAttrs(slog.String("requestId", info.id))
		if info.operation != "" {
			record.AddAttrs(slog.String("operation", info.operation))
		}
		if info.key != "" {
			record.AddAttrs(slog.String("key", info.key))
		}
	}
	return h.Handler.Handle(ctx, record)
}

// WithAttrs returns a handler with further attributes.
func (h requestHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return requestHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup returns a handler with a group.
func (h requestHandler) WithGroup(name string) slog.Handler {
	return requestHandler{h.Handler.WithGroup(name)}
}

// TraceRequests makes a span of each request, which is named after its operation. It continues the trace of a trusted
// caller, and only links to that of anyone else. otelhttp does the same, and takes longer to build than the OpenTelemetry SDK.
func TraceRequests(next http.Handler, provider trace.TracerProvider, isTrusted func(*http.Request) bool) http.Handler {
	tracer := provider.Tracer("github.com/benchledger/benchledger/api")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := otel.GetTextMapPropagator().Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
			attribute.String("http.request.method", r.Method), attribute.String("url.path", cut(r.URL.Path, maxLoggedPath)),
			attribute.String("server.address", cut(r.Host, maxLoggedPath)), attribute.String("user_agent.original", cut(r.UserAgent(), maxLoggedPath)),
		)}
		if !isTrusted(r) {
			options = append(options, trace.WithNewRoot())
			if caller := trace.SpanContextFromContext(ctx); caller.IsValid() {
				options = append(options, trace.WithLinks(trace.Link{SpanContext: caller}))
			}
		}
		ctx, span := tracer.Start(ctx, "request", options...)
		defer span.End()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// observeRequests logs, measures and describes each request.
func (s *server) observeRequests(next http.Handler) http.Handler {
	durations := promauto.With(s.Metrics).NewHistogramVec(prometheus.HistogramOpts{
		Name:    "benchledger_request_duration_seconds",
		Help:    "Duration of requests, by operation (none: unknown path) and status.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 2.5, 11), // 0.5 ms to 4.8 s
	}, []string{"operation", "status"})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start, from := time.Now(), middleware.GetClientIP(r.Context())
		wrapped := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
		next.ServeHTTP(wrapped, r)
		took := time.Since(start)
		operation := requestInfoFrom(r.Context()).operation
		if operation == "" {
			operation = "none"
		}
		span := trace.SpanFromContext(r.Context())
		span.SetAttributes(attribute.String("client.address", from), attribute.Int("http.response.status_code", wrapped.Status()))
		if wrapped.Status() >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, "")
		}
		s.countSubmission(operation, wrapped.Status())
		durations.WithLabelValues(operation, strconv.Itoa(wrapped.Status())).Observe(took.Seconds())
		level := slog.LevelInfo
		if isHealth(r) && wrapped.Status() < http.StatusBadRequest {
			level = slog.LevelDebug // They come every few seconds, and have no limit.
		}
		s.Logger.LogAttrs(r.Context(), level, "request",
			slog.String("method", r.Method), slog.String("path", cut(r.URL.Path, maxLoggedPath)), slog.Int("status", wrapped.Status()),
			slog.String("from", from), slog.Int("bytes", wrapped.BytesWritten()), slog.Float64("durationMs", float64(took.Microseconds())/1e3))
	})
}

// countSubmissions returns a counter of runs and batches by outcome.
func countSubmissions(registry prometheus.Registerer) *prometheus.CounterVec {
	return promauto.With(registry).NewCounterVec(prometheus.CounterOpts{
		Name: "benchledger_submissions_total",
		Help: "Runs and batches submitted, by outcome: recorded, replayed, conflict, refused (invalid), failed (not stored, or unknown).",
	}, []string{"kind", "outcome"})
}

// countSubmission counts the run or batch of a request. The runs of a bulk submission are
// counted by their receipts or, without receipts, by the status of the request.
func (s *server) countSubmission(operation string, status int) {
	kind, ok := map[string]string{"submit-run": "run", "submit-batch": "batch"}[operation]
	if !ok {
		return
	}
	s.submissions.WithLabelValues(kind, outcomeForStatus(status)).Inc()
}

// outcomeForStatus returns the outcome of a submission from the status of its response.
func outcomeForStatus(status int) string {
	switch {
	case status == http.StatusCreated:
		return recorded
	case status == http.StatusOK:
		return replayed
	case status == http.StatusConflict:
		return conflict
	case status >= http.StatusInternalServerError, status == statusClientGone:
		return "failed"
	}
	return refused
}
