// Package benchledger is the client of a BenchLedger server. api.gen.go, with its
// operations and types, is generated from openapi.yaml; this file is what a user
// needs beside it.
package benchledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// New returns a client of the server at address, like http://127.0.0.1:8787, that
// sends key where it is not empty. Writes need one.
func New(address, key string, options ...ClientOption) (*ClientWithResponses, error) {
	parsed, err := url.Parse(address)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return nil, fmt.Errorf("%q is no address of a server: write it like https://benchledger.example", address)
	}
	if key != "" {
		options = append([]ClientOption{WithRequestEditorFn(func(_ context.Context, request *http.Request) error {
			request.Header.Set("Authorization", "Bearer "+key)
			return nil
		})}, options...)
	}
	return NewClientWithResponses(address, options...)
}

// FromEnvironment returns the address and the key that the environment says:
// BENCHLEDGER_URL and BENCHLEDGER_API_KEY, else ZE_BENCHMARKS_WORKER_URL and
// ZE_BENCHMARKS_API_KEY. The address is http://127.0.0.1:8787 where neither is set.
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

// Error is an answer other than a good one.
type Error struct {
	// Status is the HTTP status.
	Status int
	// Problem is what the server says; its fields are empty where something on the
	// way answered.
	Problem Problem
	// RetryAfter is how long the server asks to wait, 0 where it does not.
	RetryAfter time.Duration
}

// Error says what the server says.
func (e *Error) Error() string {
	if e.Problem.Detail == "" {
		return fmt.Sprintf("the server answers %d %s", e.Status, http.StatusText(e.Status))
	}
	text := fmt.Sprintf("%d %s: %s", e.Status, e.Problem.Title, e.Problem.Detail)
	if e.Problem.Errors != nil {
		for _, fault := range *e.Problem.Errors {
			text += fmt.Sprintf(" %s: %s.", fault.Location, fault.Message)
		}
	}
	if e.Problem.RequestId != "" {
		text += fmt.Sprintf(" (request %s)", e.Problem.RequestId)
	}
	return text
}

// Retriable reports whether the same request may succeed later: submissions may be
// repeated safely.
func (e *Error) Retriable() bool {
	return e.Status == http.StatusRequestTimeout || e.Status == http.StatusTooManyRequests || e.Status >= http.StatusInternalServerError
}

// Check returns the error that an answer is, as an *Error, nil for a good one. Give it
// the HTTPResponse and the Body of an operation's response.
func Check(response *http.Response, body []byte) error {
	if response.StatusCode < http.StatusBadRequest {
		return nil
	}
	failed := &Error{Status: response.StatusCode}
	_ = json.Unmarshal(body, &failed.Problem) // Something else may have answered.
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
		failed.RetryAfter = time.Duration(seconds) * time.Second
	}
	return failed
}

// SubmitLines submits runs, each a line of JSON, and returns a receipt for each.
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
		receipts = append(receipts, receipt)
	}
}

// EachRun returns all runs that params ask for, page by page. It ends after an error.
func (c *ClientWithResponses) EachRun(ctx context.Context, params ListRunsParams) iter.Seq2[Run, error] {
	return pages(func(cursor *string) ([]Run, *http.Response, error) {
		if cursor != nil {
			params.Cursor = cursor
		}
		page, err := c.ListRunsWithResponse(ctx, &params)
		if err == nil {
			err = Check(page.HTTPResponse, page.Body)
		}
		if err != nil {
			return nil, nil, err
		}
		return *page.JSON200, page.HTTPResponse, nil
	})
}

// EachBatch returns all batches, page by page. It ends after an error.
func (c *ClientWithResponses) EachBatch(ctx context.Context, params ListBatchesParams) iter.Seq2[Batch, error] {
	return pages(func(cursor *string) ([]Batch, *http.Response, error) {
		if cursor != nil {
			params.Cursor = cursor
		}
		page, err := c.ListBatchesWithResponse(ctx, &params)
		if err == nil {
			err = Check(page.HTTPResponse, page.Body)
		}
		if err != nil {
			return nil, nil, err
		}
		return *page.JSON200, page.HTTPResponse, nil
	})
}

func pages[T any](get func(cursor *string) ([]T, *http.Response, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var cursor *string
		for {
			page, response, err := get(cursor)
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

// nextCursor is that of the link to the next page, nil after the last one.
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
