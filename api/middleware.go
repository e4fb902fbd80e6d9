package api

import (
	"compress/gzip"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"runtime/debug"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/klauspost/compress/gzhttp"
)

// clientRequestID is what a client may name its request.
var clientRequestID = regexp.MustCompile(`^[A-Za-z0-9._:/+=-]{1,128}$`)

// withRequestID names each request, by the client's X-Request-Id where it is
// sound, and says so in the answer.
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

// clientAddresses finds out whom a request is from: who connected, or, where that is a
// trusted proxy, whom it says.
func clientAddresses(trustedProxies []netip.Prefix) func(http.Handler) http.Handler {
	if len(trustedProxies) == 0 {
		return middleware.ClientIPFromRemoteAddr
	}
	prefixes := make([]string, len(trustedProxies))
	for i, prefix := range trustedProxies {
		prefixes[i] = prefix.String()
	}
	forwarded := middleware.ClientIPFromXFF(prefixes...)
	// Where the proxy does not say whom it is from, it is from the proxy.
	return func(next http.Handler) http.Handler { return middleware.ClientIPFromRemoteAddr(forwarded(next)) }
}

// recoverPanics answers 500 where a handler panics, and logs where.
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

// secureHeaders has browsers take an answer for what it is, and nothing more.
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

// minCompressedBytes is the least that an answer has to have to be compressed: below,
// a millisecond of the processor would save less than that on most lines.
const minCompressedBytes = 64 << 10

// compressLarge compresses large answers for clients that say they take that.
func compressLarge(next http.Handler) http.Handler {
	wrap, err := gzhttp.NewWrapper(gzhttp.MinSize(minCompressedBytes), gzhttp.CompressionLevel(gzip.BestSpeed))
	if err != nil {
		panic(err) // The options are sound.
	}
	return wrap(next)
}

// jsonByDefault reads a body without a type, or as text/plain (what fetch sends
// unasked), as JSON.
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

// notEOF keeps a body that breaks off before it begins from being an empty one.
func notEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// textIsUTF8 refuses paths and queries that are not UTF-8 text, or contain NUL,
// before they reach a query.
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

// methodNotAllowed says which methods the path has.
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
