package fuzz

import (
	"cmp"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/benchledger/benchledger/api"
)

// service is the service over HTTP, whose every answer is checked and counted.
type service struct {
	spec    *spec
	url     *url.URL
	figures *figures
	// broken says that answers of 500 and 503 are what is looked for.
	broken bool
}

// patience is how long a request waits for a connection on a busy machine.
const patience = 30 * time.Second

// serve serves on a database; wrap stands between the service and its clients.
func serve(t testing.TB, s *spec, f *figures, pool *pgxpool.Pool, wrap func(http.Handler) http.Handler) *service {
	t.Helper()
	return serveWith(t, s, f, api.Config{Pool: pool}, wrap)
}

// serveWith serves with settings that are not the usual ones.
func serveWith(t testing.TB, s *spec, f *figures, config api.Config, wrap func(http.Handler) http.Handler) *service {
	t.Helper()
	config.APISecretKey, config.AllowedOrigins, config.ConnectionWait = key, []string{"*"}, patience
	config.Logger, config.Version = api.NewLogger(slog.DiscardHandler), "test"
	handler := api.New(config)
	if wrap != nil {
		handler = wrap(handler)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return &service{spec: s, url: at, figures: f}
}

// answer is a response, read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

// client follows nothing and undoes nothing.
var client = &http.Client{
	Transport:     &http.Transport{MaxIdleConnsPerHost: 100, DisableCompression: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Timeout:       2 * time.Minute,
}

// send sends a request. The error says what is wrong with the answer.
func (s *service) send(q request) (answer, error) {
	target, err := s.target(q.target)
	if err != nil {
		return answer{}, err
	}
	sent, err := http.NewRequestWithContext(context.Background(), q.method, s.url.String(), nil)
	if err != nil {
		return answer{}, err
	}
	sent.URL, sent.Header = target, q.header
	if q.body != nil {
		sent.Body, sent.ContentLength = io.NopCloser(strings.NewReader(*q.body)), int64(len(*q.body))
		sent.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(*q.body)), nil }
	}
	response, err := client.Do(sent)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	plain := io.Reader(response.Body)
	if response.Header.Get("Content-Encoding") == "gzip" { // A large one, to who asked for that.
		if plain, err = gzip.NewReader(response.Body); err != nil {
			return answer{}, fmt.Errorf("unpack the answer: %w", err)
		}
	}
	body, err := io.ReadAll(plain)
	if err != nil {
		return answer{}, fmt.Errorf("read the answer: %w", err)
	}
	a := answer{response.StatusCode, response.Header, string(body)}
	operation := s.spec.Operation(sent)
	s.figures.count(operation, a.status)
	if err := s.check(q, a, operation, sent, response); err != nil {
		return a, fmt.Errorf("%w\n%s", err, q.describe(a))
	}
	return a, nil
}

// target makes a URL of a path and a query that need not be sound.
func (s *service) target(target string) (*url.URL, error) {
	path, query, _ := strings.Cut(target, "?")
	made := *s.url
	made.RawQuery = query
	var err error
	if made.Path, err = url.PathUnescape(path); err != nil {
		return nil, err
	}
	made.RawPath = path
	return &made, nil
}

// check returns what is wrong with an answer: a failure of the server, what is not
// documented, or what the request does not deserve.
func (s *service) check(q request, a answer, operation string, sent *http.Request, response *http.Response) error {
	if a.status >= http.StatusInternalServerError && !s.broken {
		return fmt.Errorf("the server fails: %d", a.status)
	}
	if a.header.Get("X-Request-Id") == "" {
		return fmt.Errorf("%d without X-Request-Id", a.status)
	}
	if operation != "" {
		if err := s.spec.Check(sent, response, []byte(a.body)); err != nil {
			return err
		}
	}
	if a.status >= http.StatusBadRequest && q.method != http.MethodHead {
		if err := a.checkProblem(); err != nil {
			return err
		}
	}
	if len(q.want) > 0 && !slices.Contains(q.want, a.status) {
		return fmt.Errorf("status %d, want one of %v", a.status, q.want)
	}
	return nil
}

// checkProblem returns what is wrong with a problem document, beyond its schema.
func (a answer) checkProblem() error {
	problem, err := decode[struct {
		Status    int    `json:"status"`
		RequestID string `json:"requestId"`
		Detail    string `json:"detail"`
	}](a.body)
	switch {
	case err != nil:
		return fmt.Errorf("%d is no problem document: %w", a.status, err)
	case a.header.Get("Content-Type") != "application/problem+json":
		return fmt.Errorf("%d as %s", a.status, a.header.Get("Content-Type"))
	case problem.Status != a.status || problem.Detail == "" || problem.RequestID != a.header.Get("X-Request-Id"):
		return fmt.Errorf("%d: the problem document says something else: %s", a.status, a.body)
	case (a.status == http.StatusServiceUnavailable || a.status == http.StatusTooManyRequests) && a.header.Get("Retry-After") == "":
		return fmt.Errorf("%d without Retry-After", a.status)
	case a.status == http.StatusUnauthorized && a.header.Get("WWW-Authenticate") == "":
		return fmt.Errorf("%d without WWW-Authenticate", a.status)
	}
	return nil
}

func (q request) describe(a answer) string {
	const most = 2000
	body := "nothing"
	if q.body != nil {
		body = fmt.Sprintf("%d bytes: %.*q", len(*q.body), most, *q.body)
	}
	return fmt.Sprintf("%s %.*s\n%.*s\nsent %s\nanswer %d: %.*s",
		q.method, most, q.target, most, fmt.Sprint(q.header), body, a.status, most, a.body)
}

// figures are how often each operation answered with each status.
type figures struct {
	mu      sync.Mutex
	answers map[string]map[int]int
}

func newFigures() *figures { return &figures{answers: map[string]map[int]int{}} }

func (f *figures) count(operation string, status int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.answers[operation] == nil {
		f.answers[operation] = map[int]int{}
	}
	f.answers[operation][status]++
}

// String is a table: a line for each operation.
func (f *figures) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var table strings.Builder
	for _, operation := range slices.Sorted(maps.Keys(f.answers)) {
		sum, line := 0, ""
		for _, status := range slices.Sorted(maps.Keys(f.answers[operation])) {
			sum += f.answers[operation][status]
			line += fmt.Sprintf("  %d: %d", status, f.answers[operation][status])
		}
		fmt.Fprintf(&table, "%-20s %7d %s\n", cmp.Or(operation, "(none)"), sum, line)
	}
	fmt.Fprintf(&table, "%-20s %7d\n", "all", f.sum())
	return table.String()
}

// total is how many answers there were.
func (f *figures) total() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sum()
}

func (f *figures) sum() int {
	sum := 0
	for _, answers := range f.answers {
		for _, n := range answers {
			sum += n
		}
	}
	return sum
}

// missing returns the documented statuses that no answer had.
func (f *figures) missing(s *spec) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var missing []string
	for _, operation := range s.operations {
		for _, status := range operation.statuses {
			if f.answers[operation.id][status] == 0 {
				missing = append(missing, fmt.Sprint(operation.id, " ", status))
			}
		}
	}
	return missing
}
