package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/benchledger/benchledger/db"
)

// Problem is the body of every error: a problem document (RFC 9457).
type Problem struct {
	Type      string       `json:"type" format:"uri-reference" doc:"Always about:blank: the status tells the kind of problem." example:"about:blank"`
	Title     string       `json:"title" doc:"The HTTP status as text." example:"Unprocessable Entity"`
	Status    int32        `json:"status" doc:"The HTTP status." example:"422"`
	Detail    string       `json:"detail" doc:"What went wrong and what to do about it, for people." example:"The request is not valid."`
	Errors    []FieldError `json:"errors,omitempty" doc:"The fields that are invalid, or that differ from what is stored."`
	RequestID string       `json:"requestId" doc:"The request ID; the server's log has the details under it." example:"NQ3XC5TUKWOFLJRBXBLLAZYR2Y"`
	headers   http.Header
}

// FieldError describes one invalid part of a request.
type FieldError struct {
	Location string `json:"location" doc:"Where the field is: body, path, query or header, then its path." example:"body.evaluations[0].maxScore"`
	Message  string `json:"message" doc:"What is wrong with the field." example:"expected number > 0"`
}

// maxErrors is how many faults of a query, of a line or of unknown fields are named.
const maxErrors = 20

// cut shortens a text of the caller to a number of characters, so that an error does not
// repeat a long one.
func cut(text string, most int) string {
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	return string([]rune(text)[:most]) + "…"
}

// Error returns the detail.
func (p *Problem) Error() string { return p.Detail }

// GetStatus returns the HTTP status.
func (p *Problem) GetStatus() int { return int(p.Status) }

// GetHeaders returns the response headers of the problem.
func (p *Problem) GetHeaders() http.Header { return p.headers }

// ContentType returns the content type of problem documents.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// problemMeanings describes the error statuses in the OpenAPI document.
var problemMeanings = map[int]string{
	http.StatusBadRequest:            "The body is not valid JSON, or is incomplete.",
	http.StatusUnauthorized:          "An API key is required, and none was sent.",
	http.StatusForbidden:             "The API key is invalid, or lacks the required scope.",
	http.StatusNotFound:              "Not found.",
	http.StatusRequestTimeout:        "The body did not arrive in time.",
	http.StatusConflict:              "The run is finished, and its content differs; `errors` lists the fields that differ.",
	http.StatusRequestEntityTooLarge: "The body is too large.",
	http.StatusUnsupportedMediaType:  "The content type is not JSON, or the content encoding is not gzip.",
	http.StatusUnprocessableEntity:   "The request is not valid; `errors` lists what is wrong.",
	http.StatusTooManyRequests:       "The rate limit of this API key or address is exceeded.",
	http.StatusInternalServerError:   "The server failed; its log has the details.",
	http.StatusServiceUnavailable:    "The server is overloaded, or the database is unavailable; retrying is safe.",
}

// statusClientGone is logged if the client disconnected before the response.
const statusClientGone = 499

func problemOf(status int, detail string, fields ...FieldError) *Problem {
	return &Problem{
		Type: "about:blank", Title: http.StatusText(status), Status: int32(status),
		Detail: detail, Errors: fields,
	}
}

// newProblem turns huma's own errors into problem documents that repeat no value.
func newProblem(status int, message string, causes ...error) huma.StatusError {
	for _, cause := range causes {
		var problem *Problem
		if errors.As(cause, &problem) { // of a body that could not be read
			return problem
		}
	}
	fields := fieldErrors(causes)
	switch status {
	case http.StatusBadRequest:
		return problemOf(status, "The body must be a JSON object.", fields...)
	case http.StatusUnprocessableEntity:
		return invalid(fields...)
	case http.StatusRequestEntityTooLarge:
		return problemOf(status, "The body is larger than 8 MiB.")
	case http.StatusRequestTimeout:
		return problemOf(status, "The body did not arrive in time.")
	case http.StatusUnsupportedMediaType:
		return problemOf(status, "Send JSON, with Content-Type: application/json.")
	case http.StatusInternalServerError:
		// huma itself uses this status only for a body that ended early; errors of
		// handlers are already problems.
		return problemOf(http.StatusBadRequest, "The body ended too early, or is not valid gzip.")
	}
	return problemOf(status, message, fields...)
}

// problem is the only place where the error of a handler becomes a response. Internal
// details go to the log.
func (s *server) problem(ctx context.Context, err error) *Problem {
	var problem *Problem
	if errors.As(err, &problem) {
		return problem
	}
	if errors.Is(err, db.ErrTooManyRuns) {
		return tooManyRuns()
	}
	kind := db.Classify(err)
	switch gone := errors.Is(ctx.Err(), context.Canceled); {
	case gone:
		kind = db.Canceled // Regardless of how the statement ended.
	case kind == db.Canceled:
		kind = db.Internal
	}
	level := slog.LevelError
	switch kind {
	case db.NotFound:
		return problemOf(http.StatusNotFound, "Not found.")
	case db.Canceled:
		level, problem = slog.LevelInfo, problemOf(statusClientGone, "The client closed the request.")
	case db.Invalid:
		level = slog.LevelWarn
		problem = problemOf(http.StatusUnprocessableEntity, "The database rejected a value of the request"+constraint(err)+".")
	case db.Conflict:
		level = slog.LevelWarn
		problem = problemOf(http.StatusConflict, "The request conflicts with what is stored"+constraint(err)+".")
	case db.Transient, db.Unavailable:
		problem = problemOf(http.StatusServiceUnavailable,
			"The database is unavailable; retrying is safe, even if the submission was stored.")
		problem.headers = http.Header{"Retry-After": {"1"}}
	case db.Internal:
		problem = problemOf(http.StatusInternalServerError, "The server failed; its log has the details under this request ID.")
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

// invalid is the response to a request with faults.
func invalid(fields ...FieldError) *Problem {
	return problemOf(http.StatusUnprocessableEntity, "The request is not valid.", cutErrors("body", fields, maxFaults)...)
}

// tooManyRuns is the response to filters that match more runs than a statistic reads.
func tooManyRuns() *Problem {
	return invalid(FieldError{"query", fmt.Sprintf(
		"the filters match more than %d runs (%d for a list that is sorted by a figure), or too many scenarios, entries or evaluations: "+
			"narrow them, for example with since and until, tier, agent or batchId", db.MaxRuns, db.MaxSorted)})
}

// busy is the response of an overloaded server.
func busy() *Problem {
	problem := problemOf(http.StatusServiceUnavailable, "The server is overloaded; retrying is safe.")
	problem.headers = http.Header{"Retry-After": {"1"}}
	return problem
}

// notFound is the response to an ID that nothing has.
func notFound(what string, id ID) *Problem {
	return problemOf(http.StatusNotFound, fmt.Sprintf("No %s has the ID %q.", what, id))
}

// writeProblem responds to a request that reached no operation.
func (s *server) writeProblem(w http.ResponseWriter, r *http.Request, problem *Problem) {
	problem.RequestID = requestID(r.Context())
	for name, values := range problem.headers {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", problem.ContentType(""))
	w.WriteHeader(problem.GetStatus())
	if err := jsonFormat.Marshal(w, problem); err != nil {
		s.Logger.InfoContext(r.Context(), "answer not sent", "error", err)
	}
}
