package api_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/benchledger/benchledger/api"
	"github.com/benchledger/benchledger/internal/contract"
	"github.com/benchledger/benchledger/internal/testdb"
)

func TestMain(m *testing.M) { testdb.Main(m) }

const (
	key    = "the-key"
	origin = "https://dashboard.example"
)

// service is the service on a database of the test's own, over real HTTP.
type service struct {
	t    testing.TB
	url  string
	pool *pgxpool.Pool
	log  *syncBuffer
}

func setup(t testing.TB) *service {
	t.Helper()
	return serve(t, testdb.New(t), patience)
}

// patience is for a machine that is busy with other tests: so long does a request wait and
// work there, and a test for what has to come.
const patience = time.Minute

func serve(t testing.TB, pool *pgxpool.Pool, connectionWait time.Duration) *service {
	t.Helper()
	return start(t, api.Config{Pool: pool, ConnectionWait: connectionWait})
}

// start starts the service with a configuration, completed by what all tests share.
func start(t testing.TB, config api.Config) *service {
	t.Helper()
	log := &syncBuffer{}
	config.RequestTimeout = cmp.Or(config.RequestTimeout, patience)
	config.APISecretKey, config.AllowedOrigins, config.Version = key, []string{origin}, "test"
	config.Logger = api.NewLogger(slog.NewJSONHandler(log, nil))
	server := httptest.NewServer(api.New(config))
	t.Cleanup(server.Close)
	return &service{t: t, url: server.URL, pool: config.Pool, log: log}
}

// answer is a response with its whole body.
type answer struct {
	t testing.TB
	// path is that of the request.
	path   string
	status int
	header http.Header
	body   string
	// closed says that the server ends the connection.
	closed bool
}

// document is the OpenAPI document, which every response must match.
var document = sync.OnceValues(func() (*contract.Contract, error) {
	text, err := api.OpenAPI("test")
	if err != nil {
		return nil, err
	}
	return contract.Parse(text)
})

// do sends a request: body is text as it is, or a value sent as JSON; headers are
// pairs of name and value. The response of a documented operation must conform to
// the document.
func (s *service) do(method, path string, body any, headers ...string) answer {
	s.t.Helper()
	var content io.Reader
	switch body := body.(type) {
	case nil:
	case string:
		content = strings.NewReader(body)
	default:
		encoded, err := json.Marshal(body)
		if err != nil {
			s.t.Fatal(err)
		}
		content = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, content)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	document, err := document()
	if err != nil {
		s.t.Fatal(err)
	}
	if operation := document.Operation(request); operation != "" {
		if response.StatusCode < http.StatusBadRequest { // Or it did not get that far.
			testdb.Called(s.t, operation)
		}
		if err := document.Check(request, response, text); err != nil {
			s.t.Error(err)
		}
	}
	return answer{t: s.t, path: request.URL.Path, status: response.StatusCode, header: response.Header, body: string(text), closed: response.Close}
}

// dial opens a connection, for requests that no client would send. It is closed at the end of the test.
func (s *service) dial() net.Conn {
	s.t.Helper()
	connection, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = connection.Close() })
	return connection
}

func (s *service) get(path string) answer {
	s.t.Helper()
	return s.do(http.MethodGet, path, nil)
}

// submit submits a run with the key.
func (s *service) submit(run any) answer {
	s.t.Helper()
	return s.do(http.MethodPost, "/api/results", run, "Authorization", "Bearer "+key)
}

// submitBatch submits a batch with the key.
func (s *service) submitBatch(batch any) answer {
	s.t.Helper()
	return s.do(http.MethodPost, "/api/results/batch", batch, "Authorization", "Bearer "+key)
}

// want fails the test unless the response has the status.
func (a answer) want(status int) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	return a
}

// decode reads the body, numbers to the digit.
func decode[T any](a answer) T {
	a.t.Helper()
	decoder := json.NewDecoder(strings.NewReader(a.body))
	decoder.UseNumber()
	var value T
	if err := decoder.Decode(&value); err != nil {
		a.t.Fatalf("%v in %s", err, a.body)
	}
	return value
}

// wantProblem fails the test unless the response is a valid problem document, and
// returns the locations of its errors.
func (a answer) wantProblem(status int) map[string]string {
	a.t.Helper()
	a.want(status)
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		a.t.Errorf("content type %q of a problem", got)
	}
	problem := decode[struct {
		Type, Title, Detail, RequestID string
		Status                         int
		Errors                         []struct{ Location, Message string }
	}](a)
	if problem.Type != "about:blank" || problem.Title != http.StatusText(status) || problem.Status != status || problem.Detail == "" {
		a.t.Errorf("incomplete problem: %s", a.body)
	}
	if problem.RequestID == "" || problem.RequestID != a.header.Get("X-Request-Id") {
		a.t.Errorf("requestId %q, header %q", problem.RequestID, a.header.Get("X-Request-Id"))
	}
	faults := map[string]string{}
	for _, e := range problem.Errors {
		if strings.Contains(faults[e.Location], e.Message) {
			a.t.Errorf("%s is said twice of %s", e.Message, e.Location)
		}
		faults[e.Location] += e.Message + "; "
	}
	return faults
}

type object = map[string]any

// leastRun is the least that is accepted, and fields that go over it.
func leastRun(id string, fields ...object) object {
	run := object{
		"runId": id, "suite": "suite-a", "scenario": "scenario-a", "tier": "L1", "agent": "agent-a",
		"status": "completed", "startedAt": "2025-11-17T10:00:00.000Z",
	}
	for _, more := range fields {
		for name, value := range more {
			if value == absent {
				delete(run, name)
			} else {
				run[name] = value
			}
		}
	}
	return run
}

// absent removes a field.
const absent = "\x00absent"

// fullRun says everything that can be said of a run.
func fullRun(id string) object {
	return leastRun(id, object{
		"batchId": "batch-a", "model": "model-a", "completedAt": "2025-11-17T10:05:00.000Z",
		"totalScore": 0.85, "weightedScore": 8.5, "isSuccessful": true, "successMetric": 0.9,
		"specialistEnabled": true, "specialistName": "nextjs", "specialistVersion": "0.0.5",
		"metadata": object{"packageManager": "pnpm", "big": json.Number("9007199254740993")},
		"evaluations": []object{
			{"evaluatorName": "install", "score": 1, "maxScore": 1, "details": "exited 0"},
			{"evaluatorName": "judge", "score": -2.5, "maxScore": 2},
			{"evaluatorName": "install", "score": 7, "maxScore": 5},
		},
		"telemetry": object{
			"toolCalls": 12, "tokensIn": 85000, "tokensOut": 2200, "costUsd": 0.0123, "durationMs": 300000,
			"workspaceDir": "results/x", "promptSent": "Update the dependencies.",
		},
	})
}

func runIDs(a answer) []string {
	a.t.Helper()
	ids := []string{}
	for _, run := range decode[[]struct{ RunID string }](a.want(http.StatusOK)) {
		ids = append(ids, run.RunID)
	}
	return ids
}

// syncBuffer is a buffer that many may write.
type syncBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}
