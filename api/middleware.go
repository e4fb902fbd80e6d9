package api

import (
	"bufio"
	"compress/gzip"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/klauspost/compress/gzhttp"
)

// clientRequestID is the form of an id that a client may give its request.
var clientRequestID = regexp.MustCompile(`^[A-Za-z0-9._:/+=-]{1,128}$`)

// withRequestID gives each request an id, the client's X-Request-Id if it is valid, and
// sends it with the response.
func (s *server) withRequestID(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("X-Request-Id")
		if !clientRequestID.MatchString(id) {
			id = rand.Text()
		}
		w.Header().Set("X-Request-Id", id)
		info := &requestInfo{id: id}
		ctx := context.WithValue(r.Context(), requestInfoKey{}, info)
		defer func() {
			if info.counted > 0 {
				s.responses.give(senderOf(ctx), int64(info.counted))
			}
		}()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// clientAddresses determines the client address of a request: the one that connected or, if
// that is a trusted proxy, the one that the proxy names.
func clientAddresses(trustedProxies []netip.Prefix) func(http.Handler) http.Handler {
	if len(trustedProxies) == 0 {
		return middleware.ClientIPFromRemoteAddr
	}
	prefixes := make([]string, len(trustedProxies))
	for i, prefix := range trustedProxies {
		prefixes[i] = prefix.String()
	}
	forwarded := middleware.ClientIPFromXFF(prefixes...)
	// If the proxy names none, the request is from the proxy.
	return func(next http.Handler) http.Handler {
		return middleware.ClientIPFromRemoteAddr(withoutPorts(forwarded(next)))
	}
}

// withoutPorts removes the ports in X-Forwarded-For, which some proxies (such as Azure's) add, and
// the brackets around IPv6 addresses. ClientIPFromXFF takes neither for an address.
func withoutPorts(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for i, value := range r.Header["X-Forwarded-For"] {
			entries := strings.Split(value, ",")
			for j, entry := range entries {
				entry = strings.TrimSpace(entry)
				if strings.HasPrefix(entry, "[") && strings.HasSuffix(entry, "]") {
					entry += ":0"
				}
				if address, err := netip.ParseAddrPort(entry); err == nil {
					entries[j] = address.Addr().String()
				}
			}
			r.Header["X-Forwarded-For"][i] = strings.Join(entries, ",")
		}
		next.ServeHTTP(w, r)
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

// limitUnreadBody sets a short timeout for the body, because net/http reads it even if no
// operation does. An operation that reads its body sets a longer one.
func limitUnreadBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(unreadTimeout)) // Without a connection, there is no deadline.
		}
		next.ServeHTTP(w, r)
	})
}

const (
	// pieceBytes of a response must be sent within pieceTimeout, and all of it within
	// responseTimeout, or the connection is closed: a client that reads nothing, or slowly, does
	// not keep the memory of its response.
	pieceBytes      = 64 << 10
	pieceTimeout    = 10 * time.Second
	responseTimeout = 3 * time.Minute
)

// requireProgress closes connections whose client does not read.
func requireProgress(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(&pieceWriter{ResponseWriter: w, connection: http.NewResponseController(w)}, r)
	})
}

type pieceWriter struct {
	http.ResponseWriter
	connection *http.ResponseController
	end        time.Time
}

func (w *pieceWriter) Write(text []byte) (written int, err error) {
	if w.end.IsZero() {
		w.end = time.Now().Add(responseTimeout)
	}
	for {
		piece := text[written:min(len(text), written+pieceBytes)]
		deadline := time.Now().Add(pieceTimeout)
		if deadline.After(w.end) {
			deadline = w.end
		}
		_ = w.connection.SetWriteDeadline(deadline) // Without a connection, there is none.
		n, err := w.ResponseWriter.Write(piece)
		written += n
		if err != nil || written == len(text) {
			return written, err
		}
	}
}

// Unwrap gives http.ResponseController the connection.
func (w *pieceWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// requireLocalHost refuses requests by another name than this machine's own, if the server's key is
// the one that everybody knows.
func (s *server) requireLocalHost(next http.Handler) http.Handler {
	if !s.LocalOnly {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		if address, err := netip.ParseAddr(strings.Trim(host, "[]")); !strings.EqualFold(host, "localhost") && (err != nil || !address.IsLoopback()) {
			s.writeProblem(w, r, problemOf(http.StatusMisdirectedRequest,
				"With its default key, the server only answers as localhost, 127.0.0.1 or [::1]. To use another name, set API_SECRET_KEY."))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// secureHeaders tells browsers not to embed, sniff or execute a response.
func secureHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		w.Header().Set("Referrer-Policy", "no-referrer")
		if strings.HasPrefix(r.URL.Path, "/api/") {
			w.Header().Set("Cache-Control", "no-store") // The data changes, and may be private.
		}
		next.ServeHTTP(w, r)
	})
}

// minCompressedBytes is the size from which responses are compressed: about what fits into
// one packet.
const minCompressedBytes = 1 << 10

// compressLarge compresses large responses for clients that accept it.
func compressLarge(next http.Handler) http.Handler {
	wrap, err := gzhttp.NewWrapper(gzhttp.MinSize(minCompressedBytes), gzhttp.CompressionLevel(gzip.BestSpeed))
	if err != nil {
		panic(err) // The options are valid.
	}
	return wrap(next)
}

// jsonByDefault treats a body as JSON if it has no content type, or text/plain, which fetch
// sends by default.
func jsonByDefault(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		declared := r.Header.Get("Content-Type")
		if mediaType, _, _ := mime.ParseMediaType(declared); declared == "" || mediaType == "text/plain" {
			r.Header.Set("Content-Type", "application/json")
		}
		next.ServeHTTP(w, r)
	})
}

// endReadDeadline removes the deadline of a body from the connection when the body has
// arrived. Otherwise it would pass later, as if the client had left.
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
		_ = b.connection.SetReadDeadline(time.Time{}) // Without a deadline, there is nothing to remove.
	}
	return n, err
}

// decompress unpacks a body that is compressed by gzip. The operation that reads it limits
// its size.
func decompress(s *server) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			encoding := strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Encoding")))
			switch {
			case encoding == "", encoding == "identity", r.Body == http.NoBody:
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

// gzipBody unpacks a body only when it is read: its reader sets the deadline. It unpacks a large
// one in turn.
type gzipBody struct {
	compressed io.ReadCloser
	unpacked   *gzip.Reader
	size       int
}

func (b *gzipBody) Read(p []byte) (n int, err error) {
	if b.unpacked == nil {
		if b.unpacked, err = gzip.NewReader(bufio.NewReader(gzipInput{b})); err != nil {
			b.unpacked = nil
			return 0, notEOF(err)
		}
	}
	inTurnIfLarge(b.size, func() { n, err = b.unpacked.Read(p) })
	b.size += n
	return n, err
}

// gzipInput is what a body is unpacked from. While it waits for the client, others have a turn.
type gzipInput struct{ *gzipBody }

func (i gzipInput) Read(p []byte) (int, error) {
	if i.size > heavyBytes { // It has a turn.
		<-turns
		defer func() { turns <- struct{}{} }()
	}
	return i.compressed.Read(p)
}

func (b *gzipBody) Close() error { return b.compressed.Close() }

// notEOF makes an empty compressed body an incomplete one.
func notEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// isText reports whether PostgreSQL can store the text.
func isText(text string) bool { return utf8.ValidString(text) && !strings.Contains(text, "\x00") }

// requireTextPath rejects paths that are not UTF-8, or contain NUL, before they reach the
// database.
func requireTextPath(s *server) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !isText(r.URL.Path) {
				s.writeProblem(w, r, invalid(FieldError{"path", "expected percent-encoded UTF-8 without NUL"}))
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// checkQuery refuses a query with a parameter that the operation does not have, or with one
// that is repeated and may not be. Health checks may have any query.
func (s *server) checkQuery(ctx huma.Context, next func(huma.Context)) {
	address := ctx.URL()
	if r, _ := humachi.Unwrap(ctx); address.RawQuery == "" || isHealth(r) {
		next(ctx)
		return
	}
	if strings.Count(address.RawQuery, "&") >= maxParameters {
		s.refuse(ctx, invalid(FieldError{"query", fmt.Sprintf("expected at most %d parameters", maxParameters)}))
		return
	}
	query, err := url.ParseQuery(address.RawQuery)
	text, unescapeErr := url.QueryUnescape(address.RawQuery)
	switch {
	case unescapeErr != nil || !isText(text):
		s.refuse(ctx, invalid(FieldError{"query", "expected percent-encoded UTF-8 without NUL"}))
		return
	case err != nil:
		s.refuse(ctx, invalid(FieldError{"query", "expected & between parameters, not ;"}))
		return
	}
	var known, repeatable []string
	var fields []FieldError
	for _, parameter := range ctx.Operation().Parameters {
		if parameter.In != "query" {
			continue
		}
		known = append(known, parameter.Name)
		if parameter.Schema.Type == huma.TypeArray {
			repeatable = append(repeatable, parameter.Name)
		}
		// huma takes NaN for a number within any bounds.
		if number, err := strconv.ParseFloat(query.Get(parameter.Name), 64); err == nil && parameter.Schema.Type == huma.TypeNumber &&
			(math.IsNaN(number) || math.IsInf(number, 0)) {
			fields = append(fields, FieldError{"query." + parameter.Name, "expected finite number"})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		_, isMetadata := metadataKey(name)
		switch {
		case isMetadata && slices.Contains(known, "metadata"):
		case slices.Contains(repeatable, name):
			if len(query[name]) > 1 && slices.Contains(query[name], "") {
				fields = append(fields, FieldError{"query." + name, "expected no empty value beside others"})
			}
		case !slices.Contains(known, name) || name == "metadata":
			fields = append(fields, FieldError{parameterLocation(name), unknownParameter(known)})
		case len(query[name]) > 1:
			fields = append(fields, FieldError{"query." + name, fmt.Sprintf("expected one value, not %d", len(query[name]))})
		}
	}
	if fields != nil {
		s.refuse(ctx, invalid(cutErrors("query", fields, maxErrors)...))
		return
	}
	next(ctx)
}

// maxParameters is more than an operation has.
const maxParameters = 100

var plainParameter = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,50}$`)

// parameterLocation names a parameter if it may be a misspelt one: an error does not repeat
// other input.
func parameterLocation(name string) string {
	if plainParameter.MatchString(name) {
		return "query." + name
	}
	return "query"
}

func unknownParameter(known []string) string {
	if len(known) == 0 {
		return "unknown query parameter; this operation has none"
	}
	names := strings.Join(known, ", ")
	return "unknown query parameter; this operation has " + strings.ReplaceAll(names, "metadata", "metadata.KEY")
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
		var allowed []string
		if router.Match(chi.NewRouteContext(), http.MethodGet, path) {
			allowed = append(allowed, http.MethodGet, http.MethodHead)
		}
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
			if router.Match(chi.NewRouteContext(), method, path) {
				allowed = append(allowed, method)
			}
		}
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		s.writeProblem(w, r, problemOf(http.StatusMethodNotAllowed,
			"This path does not support this method; the Allow header lists those it supports."))
	}
}
