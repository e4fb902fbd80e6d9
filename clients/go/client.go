// Package benchledger is a client for BenchLedger servers. The operations and types in
// api.gen.go are generated from openapi.yaml. The other files add retries, paging, error
// handling and a recorder for harnesses.
package benchledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// New returns a client for the server at address, like http://127.0.0.1:8787, with or without
// /api at its end. It sends key with every request unless key is empty. Submitting needs a
// key. The client follows no redirects: a submission would become a GET.
func New(address, key string, options ...ClientOption) (*ClientWithResponses, error) {
	parsed, err := url.Parse(address)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return nil, fmt.Errorf("%q is not a server address: write it like https://benchledger.example", address)
	}
	if key != "" {
		options = append([]ClientOption{WithRequestEditorFn(func(_ context.Context, request *http.Request) error {
			request.Header.Set("Authorization", "Bearer "+key)
			return nil
		})}, options...)
	}
	return NewClientWithResponses(normalize(address), append(slices.Clip(options), withoutRedirects)...)
}

// withoutRedirects is the last option, and does not change the given HTTP client.
func withoutRedirects(c *Client) error {
	own := http.Client{}
	switch given := c.Client.(type) {
	case nil:
	case *http.Client:
		own = *given
	default:
		return nil
	}
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.Client = &own
	return nil
}

// normalize returns a server address without /api, which the paths of operations begin with,
// and without slashes at its end.
func normalize(address string) string {
	address = strings.TrimRight(address, "/")
	if parsed, err := url.Parse(address); err == nil && strings.HasSuffix(parsed.Path, "/api") { // A host may be called api, too.
		address = strings.TrimRight(strings.TrimSuffix(address, "/api"), "/")
	}
	return address
}

// FromEnvironment returns the server address and the API key from the environment:
// BENCHLEDGER_URL and BENCHLEDGER_API_KEY, or else ZE_BENCHMARKS_WORKER_URL and
// ZE_BENCHMARKS_API_KEY. The address is http://127.0.0.1:8787 if neither is set.
func FromEnvironment() (address, key string) {
	first := func(names ...string) string {
		for _, name := range names {
			if value := os.Getenv(name); value != "" {
				return value
			}
		}
		return ""
	}
	address = first("BENCHLEDGER_URL", "ZE_BENCHMARKS_WORKER_URL")
	if address == "" {
		address = "http://127.0.0.1:8787"
	}
	return address, first("BENCHLEDGER_API_KEY", "ZE_BENCHMARKS_API_KEY")
}

// Error is an error response of the server: a problem document.
type Error struct {
	// Status is the HTTP status.
	Status int
	// Problem is the problem document.
	Problem Problem
	// RetryAfter is how long the server asks to wait before a retry, 0 if it does not ask.
	RetryAfter time.Duration
	// advice says what to do.
	advice string
}

// Error returns the status, the message, the invalid fields, and what to do about the API key.
func (e *Error) Error() string {
	text := fmt.Sprintf("%d %s: %s", e.Status, e.Problem.Title, e.Problem.Detail)
	for _, fault := range e.Problem.Errors {
		text += fmt.Sprintf(" %s: %s.", fault.Location, fault.Message)
	}
	if e.Problem.RequestID != "" {
		text += fmt.Sprintf(" (request %s)", e.Problem.RequestID)
	}
	return text + e.advice
}

// Retriable reports whether the same request may succeed later. Retrying a submission is
// always safe.
func (e *Error) Retriable() bool { return retriableStatus(e.Status) }

func retriableStatus(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return status >= http.StatusInternalServerError
}

// isAboutKey reports whether the API key is missing, invalid, or lacks the scope.
func (e *Error) isAboutKey() bool {
	return e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden
}

// keyAdvice says which API key a request needs.
func keyAdvice(request *http.Request) string {
	scope := "read"
	switch {
	case strings.HasSuffix(request.URL.Path, "/void") || strings.HasSuffix(request.URL.Path, "/restore"):
		scope = "admin"
	case request.Method == http.MethodPost || request.Method == http.MethodPut || request.Method == http.MethodDelete:
		scope = "submit"
	}
	advice := "; set BENCHLEDGER_API_KEY (or APIKey, --api-key) to a key with the scope " + scope
	if host := request.URL.Hostname(); host == "localhost" || net.ParseIP(host).IsLoopback() {
		advice += "; a local server (`benchledger serve`) accepts the key dev-local-key"
	}
	return advice
}

// ForeignError is a response that does not come from BenchLedger, but from another web server
// or from a proxy. It says nothing about what was submitted.
type ForeignError struct {
	// Server is the server address.
	Server string
	// Status is the HTTP status, and ContentType the media type, which may be empty.
	Status      int
	ContentType string
	// Location is where a redirect leads to.
	Location string
	// RetryAfter is how long to wait before a retry, 0 if the response does not say it.
	RetryAfter time.Duration
}

// Error returns the server address, the status, and what may be wrong.
func (e *ForeignError) Error() string {
	if e.Location != "" {
		return fmt.Sprintf("%s redirects to %s: set the server address to where BenchLedger is", e.Server, e.Location)
	}
	answer := strings.TrimSpace(fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status)))
	if e.ContentType != "" {
		answer += fmt.Sprintf(" (%s)", e.ContentType)
	}
	return fmt.Sprintf("%s answered %s, which is not a response of BenchLedger: is the address right, or is a proxy in front of the server?", e.Server, answer)
}

// Retriable reports whether the same request may succeed later.
func (e *ForeignError) Retriable() bool { return retriableStatus(e.Status) }

// Check returns nil for a successful response, an *Error for an error response, and a
// *ForeignError for a response that does not come from BenchLedger. Call it with the
// HTTPResponse and the Body of an operation's response. A successful response must have the
// members, if it is an object, and if it is an array, its first element must.
func Check(response *http.Response, body []byte, members ...string) error {
	status := response.StatusCode
	if status == http.StatusOK || status == http.StatusCreated && response.Request.Method == http.MethodPost {
		if !strings.Contains(response.Header.Get("Content-Type"), "json") || !hasMembers(body, members) {
			return foreign(response)
		}
		return nil
	}
	problem, isOurs := readProblem(response, body)
	if !isOurs {
		return foreign(response)
	}
	failed := &Error{Status: status, Problem: problem, RetryAfter: retryAfter(response.Header.Get("Retry-After"))}
	if failed.isAboutKey() {
		failed.advice = keyAdvice(response.Request)
	}
	return failed
}

// readProblem reads a problem document, and reports whether it is one of BenchLedger.
func readProblem(response *http.Response, body []byte) (problem Problem, isOurs bool) {
	var has struct {
		Title, Detail, RequestID *string
		Status                   int
	}
	if mediaType(response) != "application/problem+json" || json.Unmarshal(body, &has) != nil || json.Unmarshal(body, &problem) != nil {
		return Problem{}, false
	}
	return problem, has.Title != nil && has.Detail != nil && has.RequestID != nil && has.Status == response.StatusCode
}

func mediaType(response *http.Response) string {
	name, _, _ := strings.Cut(response.Header.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(name))
}

// hasMembers reports whether a text begins with an object that has the members, or is an
// array that does.
func hasMembers(body []byte, members []string) bool {
	if len(members) == 0 {
		return true
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	if bytes.HasPrefix(bytes.TrimSpace(body), []byte("[")) {
		if _, err := decoder.Token(); err != nil || !decoder.More() {
			return err == nil
		}
	}
	var object map[string]json.RawMessage
	if decoder.Decode(&object) != nil {
		return false
	}
	for _, member := range members {
		if _, found := object[member]; !found {
			return false
		}
	}
	return true
}

func foreign(response *http.Response) *ForeignError {
	e := &ForeignError{
		Server: serverOf(response.Request), Status: response.StatusCode,
		ContentType: mediaType(response), RetryAfter: retryAfter(response.Header.Get("Retry-After")),
	}
	if to, err := response.Location(); err == nil && response.StatusCode < http.StatusBadRequest {
		e.Location = to.Redacted()
	}
	return e
}

// serverOf returns the server address that a request was sent to.
func serverOf(request *http.Request) string {
	address := *request.URL
	address.RawQuery = ""
	text := address.Redacted()
	end := strings.LastIndex(text, "/api/")
	if end < 0 {
		end = strings.LastIndex(text, "/") // Like /health.
	}
	return text[:end]
}

// retryAfter parses a Retry-After header: seconds, or a date.
func retryAfter(header string) time.Duration {
	if seconds, err := strconv.Atoi(header); err == nil {
		return max(0, time.Duration(seconds)*time.Second)
	}
	if date, err := http.ParseTime(header); err == nil {
		return max(0, time.Until(date))
	}
	return 0
}

// SubmitLines submits runs, one JSON object per line, and returns one receipt per run.
func (c *ClientWithResponses) SubmitLines(ctx context.Context, params *SubmitRunsParams, lines io.Reader) ([]Receipt, error) {
	sent, err := io.ReadAll(lines)
	if err != nil {
		return nil, fmt.Errorf("read the runs: %w", err)
	}
	count := 0
	for line := range bytes.Lines(sent) {
		if len(bytes.TrimSpace(line)) > 0 {
			count++
		}
	}
	response, content, err := read(c.SubmitRunsWithBody(ctx, params, "application/x-ndjson", bytes.NewReader(sent))) //nolint:bodyclose // read closes it
	if err == nil {
		err = Check(response, content)
	}
	if err != nil {
		return nil, err
	}
	receipts := make([]Receipt, 0, count)
	for decoder := json.NewDecoder(bytes.NewReader(content)); decoder.More(); {
		var receipt Receipt
		if err := decoder.Decode(&receipt); err != nil || !receipt.Outcome.Valid() || int(receipt.Line) != len(receipts)+1 {
			return nil, foreign(response)
		}
		receipts = append(receipts, receipt)
	}
	if len(receipts) != count {
		return nil, foreign(response)
	}
	return receipts, nil
}

// EachRun returns all runs that match params, page by page. It stops after an error.
func (c *ClientWithResponses) EachRun(ctx context.Context, params ListRunsParams) iter.Seq2[Run, error] {
	return EachRunAs[Run](ctx, c, params)
}

// EachRunAs is EachRun with another type for a run. json.RawMessage keeps all digits of numbers.
// A server with METADATA_AS_TEXT=true returns metadata as a string, which Run cannot represent.
func EachRunAs[T any](ctx context.Context, c *ClientWithResponses, params ListRunsParams) iter.Seq2[T, error] {
	return pages[T]("runId", func(cursor *string) (*http.Response, []byte, error) {
		if cursor != nil {
			params.Cursor = cursor
		}
		return read(c.ListRuns(ctx, &params))
	})
}

// EachBatch returns all batches, page by page. It stops after an error.
func (c *ClientWithResponses) EachBatch(ctx context.Context, params ListBatchesParams) iter.Seq2[Batch, error] {
	return EachBatchAs[Batch](ctx, c, params)
}

// EachBatchAs is EachBatch with another type for a batch; see EachRunAs.
func EachBatchAs[T any](ctx context.Context, c *ClientWithResponses, params ListBatchesParams) iter.Seq2[T, error] {
	return pages[T]("batchId", func(cursor *string) (*http.Response, []byte, error) {
		if cursor != nil {
			params.Cursor = cursor
		}
		return read(c.ListBatches(ctx, &params))
	})
}

// EachRunOfBatch returns all runs of a batch, page by page, oldest first. It stops after an error.
func (c *ClientWithResponses) EachRunOfBatch(ctx context.Context, batchID string, params GetBatchParams) iter.Seq2[Run, error] {
	return EachRunOfBatchAs[Run](ctx, c, batchID, params)
}

// EachRunOfBatchAs is EachRunOfBatch with another type for a run; see EachRunAs.
func EachRunOfBatchAs[T any](ctx context.Context, c *ClientWithResponses, batchID string, params GetBatchParams) iter.Seq2[T, error] {
	return pages[T]("runId", func(cursor *string) (*http.Response, []byte, error) {
		if cursor != nil {
			params.Cursor = cursor
		}
		response, content, err := read(c.GetBatch(ctx, batchID, &params))
		var batch struct {
			Runs json.RawMessage `json:"runs"`
		}
		if err == nil && json.Unmarshal(content, &batch) == nil && batch.Runs != nil {
			content = batch.Runs
		}
		return response, content, err
	})
}

// EachCorrection returns all corrections that match params, page by page. It stops after an error.
func (c *ClientWithResponses) EachCorrection(ctx context.Context, params ListCorrectionsParams) iter.Seq2[Correction, error] {
	return EachCorrectionAs[Correction](ctx, c, params)
}

// EachCorrectionAs is EachCorrection with another type for a correction; see EachRunAs.
func EachCorrectionAs[T any](ctx context.Context, c *ClientWithResponses, params ListCorrectionsParams) iter.Seq2[T, error] {
	return pages[T]("runId", func(cursor *string) (*http.Response, []byte, error) {
		if cursor != nil {
			params.Cursor = cursor
		}
		return read(c.ListCorrections(ctx, &params))
	})
}

// EachBaseline returns all baselines by name, page by page. It stops after an error.
func (c *ClientWithResponses) EachBaseline(ctx context.Context, params ListBaselinesParams) iter.Seq2[Baseline, error] {
	return EachBaselineAs[Baseline](ctx, c, params)
}

// EachBaselineAs is EachBaseline with another type for a baseline; see EachRunAs.
func EachBaselineAs[T any](ctx context.Context, c *ClientWithResponses, params ListBaselinesParams) iter.Seq2[T, error] {
	return pages[T]("batchId", func(cursor *string) (*http.Response, []byte, error) {
		if cursor != nil {
			params.Cursor = cursor
		}
		return read(c.ListBaselines(ctx, &params))
	})
}

// read reads the whole response body and closes it.
func read(response *http.Response, err error) (*http.Response, []byte, error) {
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	return response, content, err
}

// pages returns the items of all pages. Each has the member.
func pages[T any](member string, get func(cursor *string) (*http.Response, []byte, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var cursor *string
		for {
			response, content, err := get(cursor) //nolint:bodyclose // read to its end, and closed
			var page []json.RawMessage
			if err == nil {
				err = Check(response, content, member)
			}
			if err == nil && json.Unmarshal(content, &page) != nil {
				err = foreign(response)
			}
			if err != nil {
				yield(*new(T), err)
				return
			}
			for _, text := range page {
				item, err := decode[T](response, text, member)
				if !yield(item, err) || err != nil {
					return
				}
			}
			if cursor = NextCursor(response); cursor == nil {
				return
			}
		}
	}
}

// decode decodes an item of a page, which has the member if it is one of BenchLedger.
func decode[T any](response *http.Response, text []byte, member string) (item T, err error) {
	if !hasMembers(text, []string{member}) {
		return item, foreign(response)
	}
	if err = json.Unmarshal(text, &item); err == nil {
		return item, nil
	}
	var members map[string]any
	_ = json.Unmarshal(text, &members) // hasMembers has read it.
	name := fmt.Sprintf("%s %v", strings.TrimSuffix(member, "Id"), members[member])
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) && wrong.Field != "" {
		return item, fmt.Errorf("%s cannot be read: %s is a %s, not a %s", name, wrong.Field, wrong.Value, wrong.Type)
	}
	return item, fmt.Errorf("%s cannot be read: %w", name, err)
}

// NextCursor returns the cursor in the Link header of a response, nil on the last page.
func NextCursor(response *http.Response) *string {
	target, relation, found := strings.Cut(response.Header.Get("Link"), ";")
	if !found || !strings.Contains(relation, `rel="next"`) {
		return nil
	}
	next, err := url.Parse(strings.Trim(strings.TrimSpace(target), "<>"))
	if err != nil {
		return nil
	}
	cursor := next.Query().Get("cursor")
	return &cursor
}
