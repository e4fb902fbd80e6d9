package api

import (
	"context"
	"crypto/rand"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/sync/singleflight"

	"github.com/benchledger/benchledger/db"
)

// Health is the response of a running server.
type Health struct {
	Status    string  `json:"status" enum:"ok"`
	Timestamp UTCTime `json:"timestamp" doc:"The time of the server's clock."`
}

type getHealthOutput struct {
	Body Health
}

// Readiness is the response of a server that is ready.
type Readiness struct {
	Status string `json:"status" enum:"ready"`
}

type getReadinessOutput struct {
	Body Readiness
}

const (
	// readinessTimeout is the timeout for the query to the database.
	readinessTimeout = 2 * time.Second
	// readinessAge is how long a result is reused, because the number of requests is not limited.
	readinessAge = 200 * time.Millisecond
)

// readiness caches the last result.
type readiness struct {
	asking singleflight.Group
	known  atomic.Pointer[knownReadiness]
}

type knownReadiness struct {
	at      time.Time
	problem *Problem // nil if the server is ready
}

func (s *server) registerHealth() {
	huma.Register(s.api, huma.Operation{
		OperationID: "get-health", Method: http.MethodGet, Path: "/health", Tags: []string{"Health"},
		Summary: "Check that the server runs", Description: "Responds while the server runs; does not query the database. Any query parameters are ignored.",
		Security: noSecurity, Errors: []int{http.StatusInternalServerError},
		Responses: map[string]*huma.Response{"200": {
			Description: "The server runs.", Content: example(Health{Status: "ok", Timestamp: exampleRun.StartedAt}),
		}},
	}, s.getHealth)
	huma.Register(s.api, huma.Operation{
		OperationID: "get-liveness", Method: http.MethodGet, Path: "/livez", Tags: []string{"Health"},
		Summary: "Check liveness", Description: "Same as `/health`. An orchestrator restarts a server that does not respond here.",
		Security: noSecurity, Errors: []int{http.StatusInternalServerError},
		Responses: map[string]*huma.Response{"200": {
			Description: "The server runs.", Content: example(Health{Status: "ok", Timestamp: exampleRun.StartedAt}),
		}},
	}, s.getLiveness)
	huma.Register(s.api, huma.Operation{
		OperationID: "get-readiness", Method: http.MethodGet, Path: "/readyz", Tags: []string{"Health"},
		Summary: "Check readiness",
		Description: "The server is ready when the database answers and accepts writes, its schema is current, and the server is not shutting down. " +
			"A load balancer sends requests elsewhere while the server is not ready.",
		Security: noSecurity, Errors: []int{http.StatusServiceUnavailable},
		Responses: map[string]*huma.Response{"200": {Description: "The server is ready.", Content: example(Readiness{Status: "ready"})}},
	}, s.getReadiness)
}

func (s *server) getHealth(context.Context, *struct{}) (*getHealthOutput, error) {
	return &getHealthOutput{Body: healthNow()}, nil
}

func healthNow() Health {
	return Health{Status: "ok", Timestamp: UTCTime{time.Now().Truncate(time.Millisecond)}}
}

func (s *server) getLiveness(ctx context.Context, input *struct{}) (*getHealthOutput, error) {
	return s.getHealth(ctx, input)
}

func (s *server) getReadiness(ctx context.Context, _ *struct{}) (*getReadinessOutput, error) {
	if s.isStopping() {
		return nil, notReady("The server is shutting down.")
	}
	known := s.readiness.known.Load()
	if known == nil || time.Since(known.at) > readinessAge {
		found, _, _ := s.readiness.asking.Do("", func() (any, error) {
			// The first caller may disconnect while the others wait.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readinessTimeout)
			defer cancel()
			found := &knownReadiness{problem: s.checkReadiness(ctx)}
			found.at = time.Now()
			s.readiness.known.Store(found)
			return found, nil
		})
		known = found.(*knownReadiness) // The function returns no other type.
	}
	if known.problem != nil {
		return nil, new(*known.problem) // A copy: it gets the request ID.
	}
	return &getReadinessOutput{Body: Readiness{Status: "ready"}}, nil
}

// checkReadiness queries the database, and returns why the server is not ready.
func (s *server) checkReadiness(ctx context.Context) *Problem {
	var database db.GetReadinessRow
	err := s.database.use(ctx, classControl, readinessTimeout, func(ctx context.Context, q *db.Queries) (err error) {
		database, err = q.GetReadiness(ctx)
		return err
	})
	switch {
	case db.Classify(err) == db.NotFound:
		return notReady("The database has no schema: run `benchledger migrate up`.")
	case db.LacksPrivilege(err):
		s.Logger.ErrorContext(ctx, "not ready", "error", err)
		return notReady("The database role of the server lacks privileges; grant SELECT on schema_migrations, and USAGE on its schema.")
	case err != nil:
		if problem := s.problem(ctx, err); problem.Status == http.StatusServiceUnavailable {
			return problem
		}
		return notReady("The database query failed; there may be no schema (`benchledger migrate status`). The server's log has the details.")
	case !database.IsWritable:
		s.database.pool.Reset() // Another may be writable by now.
		return notReady("The database does not accept writes: it is a standby, or read-only.")
	case s.database.isDiskFull():
		return notReady("The disk of the database is full: free some space. Nothing that was acknowledged is lost.")
	case database.SchemaDirty && database.SchemaVersion <= s.SchemaVersion: // A failed migration to a newer schema does no harm.
		return notReady("A migration of the database failed halfway: see `benchledger migrate status`.")
	case database.SchemaVersion < s.SchemaVersion:
		return notReady("The schema of the database is older than this server needs: run `benchledger migrate up`.")
	case len(database.MissingPrivileges) > 0:
		return notReady("The database role of the server lacks privileges; grant " + strings.Join(database.MissingPrivileges, ", ") + ".")
	}
	return nil
}

// Starting is the handler while there is no database yet: the server is alive, and all other
// requests get 503.
func Starting() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" || r.URL.Path == "/livez" {
			w.Header().Set("Content-Type", "application/json")
			_ = jsonFormat.Marshal(w, healthNow()) // The client may be gone.
			return
		}
		problem := notReady("The server is starting. Retrying is safe.")
		problem.RequestID = rand.Text()
		w.Header().Set("Content-Type", problem.ContentType(""))
		w.Header().Set("Retry-After", "1")
		w.Header().Set("X-Request-Id", problem.RequestID)
		w.WriteHeader(problem.GetStatus())
		_ = jsonFormat.Marshal(w, problem)
	})
}

func notReady(why string) *Problem {
	problem := problemOf(http.StatusServiceUnavailable, why)
	problem.headers = http.Header{"Retry-After": {"1"}}
	return problem
}

// isStopping reports whether the server is shutting down.
func (s *server) isStopping() bool {
	select {
	case <-s.Stopping:
		return true
	default:
		return false
	}
}

// closeWhenStopping makes clients open their next connection elsewhere, before this
// server closes idle connections.
func (s *server) closeWhenStopping(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.isStopping() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
