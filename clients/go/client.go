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
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// New returns a client for the server at address, like http://127.0.0.1:8787. It sends
// key with every request unless key is empty. Submitting needs a key.
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
	return NewClientWithResponses(address, options...)
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

// Error is an error response of the server.
type Error struct {
	// Status is the HTTP status.
	Status int
	// Problem is the problem document; its fields are empty if a proxy answered instead
	// of the server.
	Problem Problem
	// RetryAfter is how long the server asks to wait before a retry, 0 if it does not ask.
	RetryAfter time.Duration
}

// Error returns the status, the message and the invalid fields.
func (e *Error) Error() string {
	if e.Problem.Detail == "" {
		return fmt.Sprintf("the server answered %d %s", e.Status, http.StatusText(e.Status))
	}
	text := fmt.Sprintf("%d %s: %s", e.Status, e.Problem.Title, e.Problem.Detail)
	for _, fault := range e.Problem.Errors {
		text += fmt.Sprintf(" %s: %s.", fault.Location, fault.Message)
	}
	if e.Problem.RequestID != "" {
		text += fmt.Sprintf(" (request %s)", e.Problem.RequestID)
	}
	return text
}

// Retriable reports whether the same request may succeed later. Retrying a submission is
// always safe.
func (e *Error) Retriable() bool {
	return e.Status == http.StatusRequestTimeout || e.Status == http.StatusTooManyRequests || e.Status >= http.StatusInternalServerError
}

// Check returns nil for a successful response, an *Error for an error response, and another
// error for a response that does not come from a BenchLedger server, like the page of a
// proxy. Call it with the HTTPResponse and the Body of an operation's response.
func Check(response *http.Response, body []byte) error {
	status, contentType := response.StatusCode, response.Header.Get("Content-Type")
	if status == http.StatusOK || status == http.StatusCreated && response.Request.Method == http.MethodPost {
		if strings.Contains(contentType, "json") {
			return nil
		}
		return fmt.Errorf("%s answered with %q instead of JSON: is a proxy in front of the server?", response.Request.URL.Redacted(), contentType)
	}
	if status < http.StatusBadRequest {
		return fmt.Errorf("%s answered %d %s: is a proxy in front of the server?", response.Request.URL.Redacted(), status, http.StatusText(status))
	}
	failed := &Error{Status: status, RetryAfter: retryAfter(response.Header.Get("Retry-After"))}
	_ = json.Unmarshal(body, &failed.Problem) // A proxy may have answered, without a problem document.
	return failed
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

// Retry calls attempt until it succeeds, returns an *Error that is not Retriable, maxDuration
// has passed (0 allows one attempt), or ctx ends. It returns the last error. Between attempts
// it waits as long as the server asks, plus a random part, so that clients do not all return
// at once. Otherwise the wait grows to 10 seconds at most.
func Retry(ctx context.Context, maxDuration time.Duration, attempt func() error) error {
	const longest = 10 * time.Second
	end := time.Now().Add(maxDuration)
	for growing := 400 * time.Millisecond; ; growing = min(growing*3/2, longest) {
		err := attempt()
		pause := growing/2 + jitter(growing/2)
		var answered *Error
		if errors.As(err, &answered) {
			if !answered.Retriable() {
				return err
			}
			if answered.RetryAfter > 0 {
				pause = answered.RetryAfter + jitter(min(answered.RetryAfter, longest)/2)
			}
		}
		if err == nil || time.Now().Add(pause).After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

func jitter(most time.Duration) time.Duration {
	return rand.N(most + 1) //nolint:gosec // G404: not a secret
}

// SubmitLines submits runs, one JSON object per line, and returns one receipt per run.
func (c *ClientWithResponses) SubmitLines(ctx context.Context, lines io.Reader) ([]Receipt, error) {
	response, err := c.SubmitRunsWithBodyWithResponse(ctx, &SubmitRunsParams{}, "application/x-ndjson", lines)
	if err != nil {
		return nil, err
	}
	if err := Check(response.HTTPResponse, response.Body); err != nil {
		return nil, err
	}
	var receipts []Receipt
	decoder := json.NewDecoder(bytes.NewReader(response.Body))
	for {
		var receipt Receipt
		if err := decoder.Decode(&receipt); errors.Is(err, io.EOF) {
			return receipts, nil
		} else if err != nil {
			return nil, fmt.Errorf("read receipts: %w", err)
		}
		if !receipt.Outcome.Valid() || int(receipt.Line) != len(receipts)+1 {
			return nil, errors.New("the response has no receipts: is a proxy in front of the server?")
		}
		receipts = append(receipts, receipt)
	}
}

// EachRun returns all runs that match params, page by page. It stops after an error.
func (c *ClientWithResponses) EachRun(ctx context.Context, params ListRunsParams) iter.Seq2[Run, error] {
	return EachRunAs[Run](ctx, c, params)
}

// EachRunAs is EachRun with another type for a run. json.RawMessage keeps all digits of numbers.
func EachRunAs[T any](ctx context.Context, c *ClientWithResponses, params ListRunsParams) iter.Seq2[T, error] {
	return pages[T](func(cursor *string) (*http.Response, []byte, error) {
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
	return pages[T](func(cursor *string) (*http.Response, []byte, error) {
		if cursor != nil {
			params.Cursor = cursor
		}
		return read(c.ListBatches(ctx, &params))
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

func pages[T any](get func(cursor *string) (*http.Response, []byte, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var cursor *string
		for {
			response, content, err := get(cursor) //nolint:bodyclose // read to its end, and closed
			var page []T
			if err == nil {
				err = Check(response, content)
			}
			if err == nil {
				err = json.Unmarshal(content, &page)
			}
			if err != nil {
				yield(*new(T), err)
				return
			}
			for _, item := range page {
				if !yield(item, nil) {
					return
				}
			}
			if cursor = nextCursor(response.Header.Get("Link")); cursor == nil {
				return
			}
		}
	}
}

// nextCursor returns the cursor in a Link header, nil on the last page.
func nextCursor(link string) *string {
	target, relation, found := strings.Cut(link, ";")
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
