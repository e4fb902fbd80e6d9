// Package operate does with the program what those do who operate it: they look at it
// with Prometheus, put a pooler before its database, back it up, and deploy it. It
// needs their programs, and without one its test is skipped, except in CI.
package operate

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/benchledger/benchledger/internal/localpg"
	"github.com/benchledger/benchledger/internal/testdb"
	"github.com/benchledger/benchledger/internal/testserver"
)

const (
	root     = "../.."
	key      = "a-key-for-the-tests-of-operation"
	patience = time.Minute
)

func TestMain(m *testing.M) {
	code := m.Run()
	testserver.Remove()
	os.Exit(code)
}

// needs skips the test where a program is missing; CI installs them all.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
}

// newDir returns a directory that other users reach.
func newDir(t *testing.T) string {
	t.Helper()
	dir, err := testdb.TempDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// startDatabase starts a PostgreSQL of the test's own on the data in dir.
func startDatabase(t *testing.T, dir string, settings map[string]string) *localpg.Server {
	t.Helper()
	database, err := localpg.Start(t.Context(), localpg.Options{DataDir: dir, Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = database.Stop() }) // It may have been stopped.
	return database
}

// server is the program as it serves.
type server struct {
	t    *testing.T
	url  string
	key  string
	log  *bytes.Buffer
	stop func()
}

// serve serves until the test ends, or before.
func serve(t *testing.T, env ...string) *server {
	t.Helper()
	cmd, err := testserver.Command("serve", "--addr=127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, key: key, log: &bytes.Buffer{}}
	cmd.Env = append([]string{"ENVIRONMENT=production", "API_SECRET_KEY=" + key, "SHUTDOWN_DELAY=0s", "RATE_LIMIT_PER_KEY=0", "RATE_LIMIT_PER_ADDRESS=0"}, env...)
	cmd.Stderr = s.log
	started, err := testserver.Start(cmd)
	if err != nil {
		t.Fatalf("%v\n%s", err, s.log)
	}
	s.url = started.URL
	s.stop = sync.OnceFunc(func() {
		if err := started.Stop(); err != nil {
			t.Errorf("%v\n%s", err, s.log)
		}
	})
	t.Cleanup(s.stop)
	return s
}

// request returns the status and the body of an answer.
func (s *server) request(method, path, body string) (int, string) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+s.key)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response.StatusCode, string(content)
}

// submitWith returns the status of a submission with another key.
func (s *server) submitWith(key, id string) int {
	s.t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, s.url+"/api/results", strings.NewReader(run(id)))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+key)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}

// want fails the test unless a request is answered with the status; it returns the body.
func (s *server) want(status int, method, path, body string) string {
	s.t.Helper()
	got, content := s.request(method, path, body)
	if got != status {
		s.t.Fatalf("%s %s: %d, want %d: %s\n%s", method, path, got, status, content, s.log)
	}
	return content
}

// run is a run as it is submitted.
func run(id string) string {
	return fmt.Sprintf(`{"runId":%q,"batchId":"b","suite":"s","scenario":"c","tier":"L1","agent":"a","status":"completed","weightedScore":7.5,
		"metadata":{"n":9007199254740993},"evaluations":[{"evaluatorName":"e","score":1,"maxScore":1}],"telemetry":{"tokensIn":5}}`, id)
}

// submit submits runs, each of which has to be acknowledged.
func (s *server) submit(ids ...string) {
	s.t.Helper()
	for _, id := range ids {
		s.want(http.StatusCreated, http.MethodPost, "/api/results", run(id))
	}
}

// wantRuns checks that the runs, and no others, are stored whole.
func (s *server) wantRuns(ids ...string) {
	s.t.Helper()
	var stored []struct{ RunID string }
	if err := json.Unmarshal([]byte(s.want(http.StatusOK, http.MethodGet, "/api/runs?limit=10000", "")), &stored); err != nil {
		s.t.Fatal(err)
	}
	if len(stored) != len(ids) {
		s.t.Errorf("%d runs are stored, want %d", len(stored), len(ids))
	}
	for _, id := range ids { // The same again: a replay, when all of it is there.
		s.want(http.StatusOK, http.MethodPost, "/api/results", run(id))
	}
}

// freePort returns a port on which nothing listens.
func freePort(t *testing.T) int {
	t.Helper()
	port, err := testserver.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// eventually waits until a condition holds, which else says why not.
func eventually(t *testing.T, what string, holds func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	for tick := time.Tick(100 * time.Millisecond); ; {
		err := holds()
		if err == nil {
			return
		}
		select {
		case <-tick:
		case <-ctx.Done():
			t.Fatalf("it does not come to pass that %s: %v", what, err)
		}
	}
}

// asOwner has a command run as the user that a directory belongs to.
func asOwner(t *testing.T, cmd *exec.Cmd, dir string) {
	t.Helper()
	if os.Geteuid() != 0 || dir == "" {
		return
	}
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}}
}

// get returns the status and the body of an answer.
func get(t *testing.T, at string) (int, string) {
	t.Helper()
	response, err := http.Get(at)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}
