// Package fuzz sends the service requests made from its own OpenAPI document: sound
// ones, ones at the edge, and ones with every fault that we could think of. No answer
// may be a failure of the server, none may differ from the document, and every
// documented status of every operation has to be reached.
package fuzz

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"pgregory.net/rapid"

	"github.com/benchledger/benchledger/api"
	"github.com/benchledger/benchledger/internal/testdb"
	"github.com/benchledger/benchledger/internal/testdb/recorder"
)

const (
	// defaultCases is for `go test ./...`; `make fuzz` runs more.
	defaultCases = 5000
	// allStatuses is from how many cases on every status has to be reached; the
	// answer to a body that does not arrive takes a minute alone.
	allStatuses = 100_000

	// perCheck is how many requests for each operation one check of rapid makes.
	perCheck = 8
)

var cases = flag.Int("cases", defaultCases, "how many requests to send at least (FUZZ_CASES)")

func TestMain(m *testing.M) {
	flag.Parse()
	if given := os.Getenv("FUZZ_CASES"); given != "" {
		if err := flag.Set("cases", given); err != nil {
			fmt.Fprintln(os.Stderr, "FUZZ_CASES:", err)
			os.Exit(2)
		}
	}
	set := func(name, value string) {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	if flag.Lookup("rapid.seed").Value.String() == "0" {
		set("rapid.seed", strconv.FormatUint(rand.Uint64()>>1, 10))
	}
	set("rapid.nofailfile", "true") // The seed says it all.
	// What is met by chance is no test of a query.
	if err := os.Unsetenv(recorder.Variable); err != nil {
		panic(err)
	}
	testdb.Main(m)
}

func TestFuzz(t *testing.T) {
	s, err := readSpec()
	if err != nil {
		t.Fatal(err)
	}
	f, start := newFigures(), time.Now()
	// One check of each property makes this many requests, about.
	setChecks(t, 1+*cases/((len(s.operations)+1)*perCheck+perSequence))
	t.Run("all", func(t *testing.T) {
		for _, o := range s.operations {
			t.Run(o.id, func(t *testing.T) {
				t.Parallel()
				fuzzOperation(t, serve(t, s, f, testdb.New(t), nil), &o)
			})
		}
		t.Run("no operation", func(t *testing.T) {
			t.Parallel()
			service := serve(t, s, f, testdb.New(t), nil)
			rapid.Check(t, func(t *rapid.T) {
				for range perCheck {
					must(t)(service.send(requests{values: values{t, s}}.unrouted()))
				}
			})
		})
		t.Run("sequences", func(t *testing.T) {
			t.Parallel()
			service := serve(t, s, f, testdb.New(t), nil)
			rapid.Check(t, func(t *rapid.T) { runSequence(t, service) })
		})
		t.Run("no database", func(t *testing.T) {
			t.Parallel()
			gone, err := pgxpool.New(context.Background(), "postgres://127.0.0.1:1/gone")
			if err != nil {
				t.Fatal(err)
			}
			defer gone.Close()
			service := serve(t, s, f, gone, nil)
			service.broken = true
			wantEach(t, service, http.StatusServiceUnavailable, nil)
		})
		t.Run("no schema", func(t *testing.T) {
			t.Parallel()
			service := serve(t, s, f, testdb.Pool(t, testdb.Empty(t)), panicsElsewhere)
			service.broken = true
			wantEach(t, service, http.StatusInternalServerError, nil)
		})
		t.Run("private reads", func(t *testing.T) {
			t.Parallel()
			service := serveWith(t, s, f, api.Config{Pool: testdb.New(t), PrivateReads: true}, nil)
			wantEach(t, service, http.StatusUnauthorized, func(q *request) { q.header.Del("Authorization") })
			wantEach(t, service, http.StatusForbidden, func(q *request) { q.header.Set("Authorization", "Bearer wrong") })
		})
		t.Run("a rate limit", func(t *testing.T) {
			t.Parallel()
			service := serveWith(t, s, f, api.Config{Pool: testdb.New(t), RequestsPerAddress: 1}, nil)
			wantEach(t, service, http.StatusTooManyRequests, nil)
		})
		for _, o := range s.operations {
			if slices.Contains(o.statuses, http.StatusRequestTimeout) && *cases >= allStatuses {
				t.Run("slow "+o.id, func(t *testing.T) {
					t.Parallel()
					service := serve(t, s, f, testdb.New(t), nil)
					if got := sendHalf(t, service, o.path); got != http.StatusRequestTimeout {
						t.Errorf("half a body: %d", got)
					}
					f.count(o.id, http.StatusRequestTimeout)
				})
			}
		}
	})
	t.Logf("seed %s, %s\n%s", flag.Lookup("rapid.seed").Value, time.Since(start).Round(time.Second), f)
	if f.total() < *cases {
		t.Errorf("%d requests, want %d", f.total(), *cases)
	}
	if missing := f.missing(s); *cases >= allStatuses && len(missing) > 0 {
		t.Errorf("never answered, though documented: %s", strings.Join(missing, ", "))
	}
}

func setChecks(t *testing.T, checks int) {
	t.Helper()
	if err := flag.Set("rapid.checks", strconv.Itoa(checks)); err != nil {
		t.Fatal(err)
	}
}

// must fails the check on an answer that is wrong.
func must(t rapid.TB) func(answer, error) answer {
	return func(a answer, err error) answer {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
}

// fuzzOperation sends an operation requests of all kinds, to a service that knows a
// few runs and batches.
func fuzzOperation(t rapid.TB, s *service, o *operation) {
	t.Helper()
	known := store(t, s)
	rapid.Check(t, func(t *rapid.T) {
		r := requests{values{t, s.spec}, known}
		for range perCheck {
			must(t)(s.send(r.one(o)))
		}
	})
}

// store submits some runs, each in a batch of its own name, and returns their ids.
func store(t rapid.TB, s *service) []string {
	t.Helper()
	o := s.spec.operation("submit-run")
	sound := example(s.spec, func(r requests) request {
		id := r.text(sub(s.spec.resolve(o.body).properties()["runId"]))
		made := r.sound(o)
		return made.with(r.with(o.body, nil, map[string]string{"runId": quote(id), "batchId": quote(id)}))
	})
	var ids []string
	for seed := range 20 {
		q := sound(seed)
		if must(t)(s.send(q)).status != http.StatusCreated {
			continue // The id was there already.
		}
		run, err := decode[struct{ RunID string }](*q.body)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, run.RunID)
	}
	return ids
}

// example makes requests outside of a check, the same for the same seed.
func example(s *spec, maker func(requests) request) func(seed int) request {
	made := rapid.Custom(func(t *rapid.T) request {
		rapid.Bool().Draw(t, "") // It wants at least one draw.
		return maker(requests{values: values{t, s}})
	})
	return func(seed int) request { return made.Example(seed) }
}

// wantEach sends each operation that documents the status a sound request, on a
// service on which, and after a change with which, this is the answer.
func wantEach(t *testing.T, s *service, status int, change func(*request)) {
	t.Helper()
	for _, o := range s.spec.operations {
		if !slices.Contains(o.statuses, status) {
			continue
		}
		sound := example(s.spec, func(r requests) request { return r.sound(&o) })
		reached := false
		for seed := 0; seed < 50 && !reached; seed++ { // An empty list needs no database.
			q := sound(seed)
			q.want = nil
			if change != nil {
				change(&q)
			}
			reached = must(t)(s.send(q)).status == status
		}
		if !reached {
			t.Errorf("%s does not answer %d", o.id, status)
		}
	}
}

// panicsElsewhere breaks what no database can.
func panicsElsewhere(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/api/") {
			w = &panickingWriter{ResponseWriter: w}
		}
		next.ServeHTTP(w, r)
	})
}

// panickingWriter panics once, as soon as the service has the request.
type panickingWriter struct {
	http.ResponseWriter
	panicked bool
}

func (w *panickingWriter) Header() http.Header {
	header := w.ResponseWriter.Header()
	if header.Get("X-Request-Id") != "" && !w.panicked {
		w.panicked = true
		panic("a failure nobody foresaw")
	}
	return header
}

// sendHalf sends half of a body and waits for the answer.
func sendHalf(t *testing.T, s *service, path string) int {
	t.Helper()
	connection, err := net.Dial("tcp", s.url.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	fmt.Fprintf(connection, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", path, key)
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}
