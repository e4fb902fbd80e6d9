package api

import (
	"compress/gzip"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"
	"github.com/klauspost/compress/gzhttp"
)

// clientRequestID matches the request IDs that a client may choose.
var clientRequestID = regexp.MustCompile(`^[A-Za-z0-9._:/+=-]{1,128}$`)

// withRequestID gives each request an ID: the client's X-Request-Id if it is valid,
// or else a new one. The response returns it.
func (s *server) withRequestID(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("X-Request-Id")
		if !clientRequestID.MatchString(id) {
			id = rand.Text()
		}
		w.Header().Set("X-Request-Id", id)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestInfoKey{}, &requestInfo{id: id})))
	})
}

// recoverPanics responds with 500 if a handler panics, and logs the stack.
func (s *server) recoverPanics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { //nolint:contextcheck // the request has it
			failure := recover()
			if failure == nil {
				return
			}
			if err, ok := failure.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(failure)
			}
			s.Logger.ErrorContext(r.Context(), "panic", "error", failure, "stack", string(debug.Stack()))
			s.writeProblem(w, r, problemOf(http.StatusInternalServerError,
				"The server failed; its log has the details under this request ID."))
		}()
		next.ServeHTTP(w, r)
	})
}

// expectBody gives a body the time that one has which is not read. An operation that
// reads it gives it more.
func expectBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(unreadTimeout)) // Where there is none, it waits.
		}
		next.ServeHTTP(w, r)
	})
}

// secureHeaders sets headers that restrict what browsers do with a response.
func secureHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		w.Header().Set("Referrer-Policy", "no-referrer")
		if strings.HasPrefix(r.URL.Path, "/api/") {
			w.Header().Set("Cache-Control", "no-store") // What is stored changes, and may be private.
		}
		next.ServeHTTP(w, r)
	})
}

// refuseTooMany responds with 503 at once if more requests are in flight than the server
// can answer soon. Health checks are always answered.
func (s *server) refuseTooMany(ctx huma.Context, next func(huma.Context)) {
	if isHealth(ctx.Operation()) {
		next(ctx)
		return
	}
	if s.Pool == nil {
		s.refuse(ctx, starting())
		return
	}
	defer s.underWay.Add(-1)
	if s.underWay.Add(1) > int64(cap(s.connections)*maxWaiting) {
		s.refuse(ctx, busy())
		return
	}
	next(ctx)
}

// limitBodies responds with 503 at once if the bodies in flight could need more memory
// than maxBodies. A body without a length, or a compressed one, counts as the largest
// possible body.
func (s *server) limitBodies(ctx huma.Context, next func(huma.Context)) {
	r, _ := humachi.Unwrap(ctx)
	size, most := r.ContentLength, int64(maxBodyBytes)
	if ctx.Operation().OperationID == submitRuns {
		most = maxLineBytes + chunkBytes // As much as it keeps.
		if ctx.Query("mode") == "atomic" {
			most = maxAtomicBytes
		}
	}
	if size < 0 || size > most {
		size = most
	}
	defer s.bodyBytes.Add(-size)
	if s.bodyBytes.Add(size) > maxBodies {
		s.refuse(ctx, busy())
		return
	}
	next(ctx)
}

func isHealth(operation *huma.Operation) bool { return slices.Contains(operation.Tags, "Health") }

// minCompressedBytes is the least that an answer has to have to be compressed: below,
// a millisecond of the processor would save less than that on most lines.
const minCompressedBytes = 64 << 10

// compressLarge compresses large responses for clients that accept it.
func compressLarge(next http.Handler) http.Handler {
	wrap, err := gzhttp.NewWrapper(gzhttp.MinSize(minCompressedBytes), gzhttp.CompressionLevel(gzip.BestSpeed))
	if err != nil {
		panic(err) // The options are valid.
	}
	return wrap(next)
}

// jsonByDefault reads a body as JSON if its type is missing, or text/plain (the default
// of fetch).
func jsonByDefault(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		declared := r.Header.Get("Content-Type")
		if mediaType, _, _ := mime.ParseMediaType(declared); declared == "" || mediaType == "text/plain" {
			r.Header.Set("Content-Type", "application/json")
		}
		next.ServeHTTP(w, r)
	})
}

// endReadDeadline takes the deadline of a body off the connection when the body has
// arrived: passed later, it would count as the client's leaving.
func endReadDeadline(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != http.NoBody {
			r.Body = &timedBody{r.Body, http.NewResponseController(w)}
		}
		next.ServeHTTP(w, r)
	})
}

type timedBody struct {
	io.ReadCloser
	connection *http.ResponseController
}

func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		_ = b.connection.SetReadDeadline(time.Time{}) // Where there is none, there is nothing to end.
	}
	return n, err
}

// decompress unpacks a body that is compressed by gzip. What it becomes is bounded
// by the limits of the operation that reads it.
func decompress(s *server) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			encoding := strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Encoding")))
			switch {
			case encoding == "", encoding == "identity", r.Body == http.NoBody: // What is not there has no form.
			case encoding == "gzip", encoding == "x-gzip":
				r.Body = &gzipBody{compressed: r.Body}
				r.Header.Del("Content-Length")
				r.ContentLength = -1
			default:
				w.Header().Set("Accept-Encoding", "gzip")
				s.writeProblem(w, r, problemOf(http.StatusUnsupportedMediaType, "Send the body uncompressed, or compressed by gzip."))
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// gzipBody unpacks a body when it is read: not before its reader has set a deadline.
type gzipBody struct {
	compressed io.ReadCloser
	unpacked   *gzip.Reader
}

func (b *gzipBody) Read(p []byte) (n int, err error) {
	if b.unpacked == nil {
		if b.unpacked, err = gzip.NewReader(b.compressed); err != nil {
			b.unpacked = nil
			return 0, notEOF(err)
		}
	}
	return b.unpacked.Read(p)
}

func (b *gzipBody) Close() error { return b.compressed.Close() }

// notEOF distinguishes a body that ends before its first byte from an empty body.
func notEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// textIsUTF8 rejects paths and queries that are not UTF-8, or contain NUL, before they
// reach the database.
func textIsUTF8(s *server) func(http.Handler) http.Handler {
	sound := func(text string) bool { return utf8.ValidString(text) && !strings.Contains(text, "\x00") }
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			query, err := url.QueryUnescape(r.URL.RawQuery)
			var fields []FieldError
			if err != nil || !sound(query) {
				fields = append(fields, FieldError{"query", "expected percent-encoded UTF-8 without NUL"})
			}
			if !sound(r.URL.Path) {
				fields = append(fields, FieldError{"path", "expected percent-encoded UTF-8 without NUL"})
			}
			if fields != nil {
				s.writeProblem(w, r, problemOf(http.StatusUnprocessableEntity, "The request is not valid.", fields...))
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

func (s *server) notFound(w http.ResponseWriter, r *http.Request) {
	s.writeProblem(w, r, problemOf(http.StatusNotFound, "No operation has this path; /docs lists all operations."))
}

// methodNotAllowed responds with the methods that the path supports.
func (s *server) methodNotAllowed(router *chi.Mux) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.RawPath
		if path == "" {
			path = r.URL.Path
		}
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			if router.Match(chi.NewRouteContext(), method, path) {
				w.Header().Add("Allow", method)
			}
		}
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		s.writeProblem(w, r, problemOf(http.StatusMethodNotAllowed,
			"This path does not support this method; the Allow header lists those it supports."))
	}
}
