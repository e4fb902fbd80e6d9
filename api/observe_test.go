package api_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/benchledger/benchledger/api"
	"github.com/benchledger/benchledger/db"
	"github.com/benchledger/benchledger/internal/testdb"
)

// observed is the service with its log, metrics and traces.
func observed(t *testing.T) (*service, *prometheus.Registry, *tracetest.SpanRecorder) {
	t.Helper()
	registry, log, spans := prometheus.NewRegistry(), &syncBuffer{}, tracetest.NewSpanRecorder()
	tracing := trace.NewTracerProvider(trace.WithSpanProcessor(spans))
	t.Cleanup(func() { _ = tracing.Shutdown(context.Background()) })
	logger := api.NewLogger(slog.NewJSONHandler(log, nil))
	pool := testdb.Pool(t, testdb.URL(t), db.MeasureQueries(registry), db.LogSlowQueries(logger, 0), db.TraceQueries(otelpgx.WithTracerProvider(tracing)))
	db.MeasurePool(registry, pool)
	handler := api.New(api.Config{Pool: pool, APISecretKey: key, Logger: logger, Metrics: registry})
	server := httptest.NewServer(api.TraceRequests(handler, tracing, func(*http.Request) bool { return false }))
	t.Cleanup(server.Close)
	return &service{t: t, url: server.URL, pool: pool, log: log}, registry, spans
}

func TestQueriesAreMeasured(t *testing.T) {
	t.Parallel()
	s, registry, _ := observed(t)
	s.submit(leastRun("run-1")).want(http.StatusCreated)
	s.submit(leastRun("run-1")).want(http.StatusOK)
	s.get("/api/runs/none").want(http.StatusNotFound)
	s.get("/nope").want(http.StatusNotFound)

	counts := map[string]uint64{}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			labels := []string{family.GetName()}
			for _, label := range metric.GetLabel() {
				labels = append(labels, label.GetValue())
			}
			counts[strings.Join(labels, " ")] = metric.GetHistogram().GetSampleCount()
		}
	}
	for name, want := range map[string]uint64{
		"benchledger_query_duration_seconds ok CreateRun":                2,
		"benchledger_query_duration_seconds ok ListRunStatusesForUpdate": 1,
		"benchledger_query_duration_seconds ok ListRunsDifferences":      1,
		"benchledger_query_duration_seconds ok GetRun":                   1,
		"benchledger_query_duration_seconds ok begin":                    1,
		"benchledger_query_duration_seconds ok commit":                   1,
		"benchledger_request_duration_seconds submit-run 201":            1,
		"benchledger_request_duration_seconds submit-run 200":            1,
		"benchledger_request_duration_seconds get-run 404":               1,
		"benchledger_request_duration_seconds none 404":                  1,
	} {
		if counts[name] != want {
			t.Errorf("%s: %d, want %d", name, counts[name], want)
		}
	}
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

// Whoever asks for readiness without end has the database asked a few times a second.
func TestReadinessIsCached(t *testing.T) {
	t.Parallel()
	s, registry, _ := observed(t)
	begun := time.Now()
	var asking sync.WaitGroup
	for range 10 {
		asking.Go(func() {
			for range 50 {
				s.get("/readyz").want(http.StatusOK)
			}
		})
	}
	asking.Wait()
	if n, most := queriesOf(t, registry, "GetReadiness"), 2+uint64(time.Since(begun)/(200*time.Millisecond)); n == 0 || n > most {
		t.Errorf("%d queries for 500 requests, want at most %d", n, most)
	}
	s.exec("update schema_migrations set version = 0, dirty = true")
	eventually(t, func() bool { return s.get("/readyz").status == http.StatusServiceUnavailable })
	first, second := s.get("/readyz"), s.get("/readyz")
	first.wantProblem(http.StatusServiceUnavailable) // Each with its own request id.
	second.wantProblem(http.StatusServiceUnavailable)
}

func TestSlowQueriesAreLogged(t *testing.T) {
	t.Parallel()
	s, _, _ := observed(t)
	id := s.get("/api/stats").want(http.StatusOK).header.Get("X-Request-Id")
	for line := range strings.Lines(s.log.String()) {
		var entry struct{ Msg, Query, Operation, RequestID string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		if entry.Msg == "slow query" && entry.Query == "GetStats" && entry.Operation == "get-stats" && entry.RequestID == id {
			return
		}
	}
	t.Errorf("no line of the query: %s", s.log)
}

func TestQueriesAreTraced(t *testing.T) {
	t.Parallel()
	s, _, spans := observed(t)
	s.submit(leastRun("run-1", object{"metadata": object{"secret": "secret-value"}})).want(http.StatusCreated)
	var names []string
	for _, span := range spans.Ended() {
		names = append(names, span.Name())
		if span.Name() == "CreateRun" && !span.Parent().IsValid() {
			t.Error("the span of the query has no parent")
		}
		for _, attribute := range span.Attributes() {
			if strings.Contains(attribute.Value.String(), "secret-value") || strings.Contains(attribute.Value.String(), key) {
				t.Errorf("the trace shows %s", attribute.Value.String())
			}
		}
	}
	for _, want := range []string{"CreateRun", "submit-run"} {
		if !slices.Contains(names, want) {
			t.Errorf("spans %v, want %s", names, want)
		}
	}
}

func TestRequestsAreTraced(t *testing.T) {
	t.Parallel()
	s, _, spans := observed(t)
	s.get("/api/runs/none").want(http.StatusNotFound)
	s.pool.Close()
	s.get("/api/runs/none").want(http.StatusInternalServerError)
	var got []string
	for _, span := range spans.Ended() {
		if span.Name() != "get-run" {
			continue
		}
		attributes := map[string]string{}
		for _, attribute := range span.Attributes() {
			attributes[string(attribute.Key)] = attribute.Value.String()
		}
		if attributes["client.address"] != "127.0.0.1" {
			t.Errorf("it is from %q", attributes["client.address"])
		}
		got = append(got, strings.Join([]string{span.SpanKind().String(), attributes["http.request.method"], attributes["url.path"], attributes["http.response.status_code"], span.Status().Code.String()}, " "))
	}
	want := []string{"server GET /api/runs/none 404 Unset", "server GET /api/runs/none 500 Error"}
	if !slices.Equal(got, want) {
		t.Errorf("spans %q, want %q", got, want)
	}
}

// The address of the client is the one that a trusted proxy names, in any form.
func TestClientAddresses(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t)
	trusting := start(t, api.Config{Pool: pool, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("2001:db8:1::/48")}})
	other := start(t, api.Config{Pool: pool, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	for _, test := range []struct {
		s               *service
		forwarded, from string
	}{
		{trusting, "203.0.113.1", "203.0.113.1"},
		{trusting, "203.0.113.2:49152", "203.0.113.2"},
		{trusting, "[2001:db8::2]:443", "2001:db8::2"},
		{trusting, "[2001:db8::3]", "2001:db8::3"},
		{trusting, "2001:db8::4", "2001:db8::4"},
		{trusting, "[::ffff:203.0.113.5]:1", "203.0.113.5"},
		{trusting, "203.0.113.1:1, 203.0.113.6:2 , [2001:db8:1::1]:3", "203.0.113.6"},
		{trusting, "203.0.113.7:port", "127.0.0.1"},
		{other, "203.0.113.8:443", "127.0.0.1"},
	} {
		id := rand.Text()
		test.s.do(http.MethodGet, "/api/stats", nil, "X-Forwarded-For", test.forwarded, "X-Request-Id", id).want(http.StatusOK)
		line := regexp.MustCompile(`.*"` + id + `".*`)
		eventually(t, func() bool { return line.MatchString(test.s.log.String()) })
		if logged := line.FindString(test.s.log.String()); !strings.Contains(logged, `"from":"`+test.from+`"`) {
			t.Errorf("%s: %s, want %s", test.forwarded, logged, test.from)
		}
	}
}
