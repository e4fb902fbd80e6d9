package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/benchledger/benchledger/db"
)

// Problem is every error's body: a problem document (RFC 9457).
type Problem struct {
	Type      string       `json:"type" format:"uri-reference" doc:"Always about:blank: the status says the kind of problem." example:"about:blank"`
	Title     string       `json:"title" doc:"The status in words." example:"Unprocessable Entity"`
	Status    int32        `json:"status" doc:"The HTTP status." example:"422"`
	Detail    string       `json:"detail" doc:"What went wrong and what to do, a sentence for people." example:"The request is not valid."`
	Errors    []FieldError `json:"errors,omitempty" doc:"Each part of the request at fault."`
	RequestID string       `json:"requestId" doc:"Finds the request in the server's log." example:"NQ3XC5TUKWOFLJRBXBLLAZYR2Y"`
	headers   http.Header
}

// FieldError is one part of a request at fault.
type FieldError struct {
	Location string `json:"location" doc:"Where: body, path, query or header, then the field." example:"body.evaluations[0].maxScore"`
	Message  string `json:"message" doc:"Why." example:"expected number > 0"`
}

// Error returns the detail.
func (p *Problem) Error() string { return p.Detail }

// GetStatus returns the HTTP status.
func (p *Problem) GetStatus() int { return int(p.Status) }

// GetHeaders returns the headers that go with the problem.
func (p *Problem) GetHeaders() http.Header { return p.headers }

// ContentType is that of problem documents.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// problemMeanings says in the OpenAPI document when a status is answered.
var problemMeanings = map[int]string{
	http.StatusBadRequest:            "The body is not JSON, or broke off.",
	http.StatusUnauthorized:          "A key is needed, and none was sent.",
	http.StatusForbidden:             "The key does not hold, or not for this.",
	http.StatusNotFound:              "There is no such thing.",
	http.StatusRequestTimeout:        "The body did not arrive in time.",
	http.StatusConflict:              "The run is finished, and this is something else; `errors` lists the fields that differ.",
	http.StatusRequestEntityTooLarge: "The body is larger than the operation takes.",
	http.StatusUnsupportedMediaType:  "The body is declared as something other than JSON, or compressed other than by gzip.",
	http.StatusUnprocessableEntity:   "Parts of the request are not valid; `errors` lists them.",
	http.StatusTooManyRequests:       "There are too many requests, of this key or from this address.",
	http.StatusInternalServerError:   "The server failed; its log says why.",
	http.StatusServiceUnavailable:    "The database cannot answer now. The request may be repeated safely.",
}

// statusClientGone is what is logged where nobody waits for the answer any more.
const statusClientGone = 499

func problemOf(status int, detail string, fields ...FieldError) *Problem {
	return &Problem{
		Type: "about:blank", Title: http.StatusText(status), Status: int32(status),
		Detail: detail, Errors: fields,
	}
}

// newProblem makes huma's own errors problem documents that echo no value.
func newProblem(status int, message string, causes ...error) huma.StatusError {
	fields := fieldErrors(causes)
	switch status {
	case http.StatusBadRequest:
		return problemOf(status, "The body has to be a JSON object.", fields...)
	case http.StatusUnprocessableEntity:
		return problemOf(status, "The request is not valid.", fields...)
	case http.StatusRequestEntityTooLarge:
		return problemOf(status, "The body is larger than 8 MiB.")
	case http.StatusRequestTimeout:
		return problemOf(status, "The body did not arrive in time.")
	case http.StatusUnsupportedMediaType:
		return problemOf(status, "Send JSON, as Content-Type: application/json.")
	case http.StatusInternalServerError:
		// With this status huma itself says only that the body broke off; the
		// errors of handlers are problems already.
		return problemOf(http.StatusBadRequest, "The body broke off before its end, or is not compressed as it says.")
	}
	return problemOf(status, message, fields...)
}

// problem is the one place where the error of a handler becomes an answer. What
// the caller need not know goes to the log.
func (s *server) problem(ctx context.Context, err error) *Problem {
	var problem *Problem
	if errors.As(err, &problem) {
		return problem
	}
	kind := db.Classify(err)
	switch gone := errors.Is(ctx.Err(), context.Canceled); {
	case gone:
		kind = db.Canceled // However the statement ended.
	case kind == db.Canceled:
		kind = db.Internal
	}
	s.database.resetIfLost(err)
	level := slog.LevelError
	switch kind {
	case db.NotFound:
		return problemOf(http.StatusNotFound, "There is no such thing.")
	case db.Canceled:
		level, problem = slog.LevelInfo, problemOf(statusClientGone, "The client closed the request.")
	case db.Invalid:
		level = slog.LevelWarn
		problem = problemOf(http.StatusUnprocessableEntity, "The database refuses a value of the request"+constraint(err)+".")
	case db.Conflict:
		level = slog.LevelWarn
		problem = problemOf(http.StatusConflict, "The request conflicts with what is stored"+constraint(err)+".")
	case db.Transient, db.Unavailable:
		problem = problemOf(http.StatusServiceUnavailable,
			"The database cannot answer now. Repeat the request: that is safe, even where a submission has been stored.")
		problem.headers = http.Header{"Retry-After": {"1"}}
	case db.Internal:
		problem = problemOf(http.StatusInternalServerError, "The server failed. Its log has the details, by request id.")
	}
	s.Logger.LogAttrs(ctx, level, "request failed", slog.Int("status", problem.GetStatus()), slog.Any("error", err))
	return problem
}

func constraint(err error) string {
	if name := db.ConstraintName(err); name != "" {
		return fmt.Sprintf(" (%s)", name)
	}
	return ""
}

// busy is the answer when all connections of the pool are taken.
func busy() *Problem {
	problem := problemOf(http.StatusServiceUnavailable, "The server has too much to do. Repeat the request after a moment: that is safe.")
	problem.headers = http.Header{"Retry-After": {"1"}}
	return problem
}

// notFound is the answer to an id that nothing has.
func notFound(what string) *Problem {
	return problemOf(http.StatusNotFound, "There is no such "+what+".")
}

// addRequestID puts the request's id into a problem document.
func addRequestID(ctx huma.Context, _ string, body any) (any, error) {
	if problem, ok := body.(*Problem); ok {
		problem.RequestID = requestID(ctx.Context())
	}
	return body, nil
}

// writeProblem answers a request that reached no operation.
func (s *server) writeProblem(w http.ResponseWriter, r *http.Request, problem *Problem) {
	problem.RequestID = requestID(r.Context())
	w.Header().Set("Content-Type", problem.ContentType(""))
	w.WriteHeader(problem.GetStatus())
	if err := jsonFormat.Marshal(w, problem); err != nil {
		s.Logger.InfoContext(r.Context(), "answer not sent", "error", err)
	}
}
