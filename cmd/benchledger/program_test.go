package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/benchledger/benchledger/internal/contract"
	"github.com/benchledger/benchledger/internal/testdb"
)

// asProgram makes this test binary run the program: it is built once, and with the race detector if
// the tests are.
const asProgram = "BENCHLEDGER_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	testdb.Main(m)
}

// patience is how long a test waits for an expected event. A busy machine is slow.
const patience = time.Minute

// program is a benchledger in its own process.
type program struct {
	t              *testing.T
	cmd            *exec.Cmd
	stdout, stderr syncBuffer
	exited         chan struct{}
	// url and dir are from what it prints when it serves.
	url, dir string
}

// command prepares the program, without the settings of the user who runs the tests.
func command(t *testing.T, env []string, args ...string) *program {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, cmd: exec.Command(self, args...), exited: make(chan struct{})}
	p.cmd.Env = append([]string{asProgram + "=1", "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	return p
}

// start starts the program, which ends with the test.
func (p *program) start() *program {
	p.t.Helper()
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // The state has it.
		close(p.exited)
	}()
	p.t.Cleanup(func() {
		if p.t.Failed() {
			p.t.Logf("%s\n%s%s", p.cmd, p.stdout.String(), p.stderr.String())
		}
		p.signal(syscall.SIGTERM)
		select {
		case <-p.exited:
		case <-time.After(patience):
			p.signal(syscall.SIGKILL)
		}
	})
	return p
}

func (p *program) signal(signal syscall.Signal) { _ = p.cmd.Process.Signal(signal) }

// wait returns the exit code.
func (p *program) wait() int {
	p.t.Helper()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		p.t.Fatalf("%s does not end", p.cmd)
		return 0
	}
}

// run runs the program to its end, and returns its exit code and what it printed.
func run(t *testing.T, env []string, args ...string) (int, string, string) {
	t.Helper()
	p := command(t, env, args...).start()
	return p.wait(), p.stdout.String(), p.stderr.String()
}

var readyLine = regexp.MustCompile(`^BenchLedger \S+ is ready at (http://\S+)\n(?:  .*\n)*  data  (.+)\n(?:  .*\n)*\n$`)

// ready waits until the program says that it serves.
func (p *program) ready() *program {
	p.t.Helper()
	eventually(p.t, "the program serves", func() bool {
		select {
		case <-p.exited:
			p.t.Fatal("the program ended instead of serving")
		default:
		}
		match := readyLine.FindStringSubmatch(p.stdout.String())
		if match == nil {
			return false
		}
		p.url, p.dir = match[1], match[2]
		return true
	})
	return p
}

// serve serves with the program's own database in dir.
func serve(t *testing.T, dir string) *program {
	t.Helper()
	return command(t, nil, "serve", "--addr=127.0.0.1:0", "--data-dir="+dir).start().ready()
}

// serveDatabase serves on the database at url.
func serveDatabase(t *testing.T, url string, env ...string) *program {
	t.Helper()
	return command(t, append(env, "DATABASE_URL="+url), "serve", "--addr=127.0.0.1:0").start().ready()
}

// terminate tells the program to stop, and checks that it does so cleanly.
func (p *program) terminate() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	if code := p.wait(); code != 0 {
		p.t.Errorf("SIGTERM: exit code %d, want 0", code)
	}
}

// request sends a request and returns the response with its whole body.
func (p *program) request(method, path, body string) (*http.Response, string) {
	p.t.Helper()
	request, err := http.NewRequestWithContext(p.t.Context(), method, p.url+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+localKey)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	conforms(p.t, request, response, content)
	return response, string(content)
}

// document is openapi.yaml.
var document = sync.OnceValues(func() (*contract.Contract, error) {
	text, err := os.ReadFile("../../openapi.yaml")
	if err != nil {
		return nil, err
	}
	return contract.Parse(text)
})

// conforms checks a response of an operation against openapi.yaml.
func conforms(t *testing.T, request *http.Request, response *http.Response, body []byte) {
	t.Helper()
	c, err := document()
	if err != nil {
		t.Fatal(err)
	}
	if c.Operation(request) == "" {
		return
	}
	if err := c.Check(request, response, body); err != nil {
		t.Error(err)
	}
}

// submitted is a run as it is sent.
func submitted(runID string) string {
	return fmt.Sprintf(`{"runId":%q,"suite":"s","scenario":"c","tier":"L1","agent":"a","status":"completed"}`, runID)
}

// submit submits a run, and checks that it was acknowledged.
func (p *program) submit(runID string) {
	p.t.Helper()
	if response, body := p.request(http.MethodPost, "/api/results", submitted(runID)); response.StatusCode != http.StatusCreated {
		p.t.Fatalf("submit %s: %d %s", runID, response.StatusCode, body)
	}
}

// wantRuns checks which runs are stored.
func (p *program) wantRuns(want ...string) {
	p.t.Helper()
	_, body := p.request(http.MethodGet, "/api/runs", "")
	var runs []struct{ RunID string }
	if err := json.Unmarshal([]byte(body), &runs); err != nil {
		p.t.Fatalf("%v: %s", err, body)
	}
	got := make([]string, 0, len(runs))
	for _, run := range runs {
		got = append(got, run.RunID)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		p.t.Errorf("runs %v, want %v", got, want)
	}
}

// newDir returns a directory that a database which runs as another user reaches.
func newDir(t *testing.T) string {
	t.Helper()
	dir, err := testdb.TempDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		eventually(t, "nothing uses the test's directory", func() bool { return len(processes(t, dir)) == 0 })
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// processes returns the processes, except the test's own, with dir in their command line or as
// their working directory.
func processes(t *testing.T, dir string) map[int]string {
	t.Helper()
	found := map[int]string{}
	if runtime.GOOS != "linux" {
		output, err := exec.Command("ps", "-axo", "pid=,args=").Output()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(output)) {
			fields := strings.Fields(line)
			if pid, err := strconv.Atoi(fields[0]); err == nil && strings.Contains(line, dir) {
				found[pid] = strings.Join(fields[1:], " ")
			}
		}
		return found
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		// Where these fail, the process has ended, or belongs to someone else.
		args, _ := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		cwd, _ := os.Readlink(filepath.Join("/proc", entry.Name(), "cwd"))
		if bytes.Contains(args, []byte(dir)) || strings.HasPrefix(cwd, dir) {
			found[pid] = string(bytes.ReplaceAll(args, []byte{0}, []byte{' '}))
		}
	}
	return found
}

// wantNothingRunning checks that all processes of dir end.
func wantNothingRunning(t *testing.T, dir string) {
	t.Helper()
	eventually(t, "nothing runs any more", func() bool { return len(processes(t, dir)) == 0 })
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	eventuallyEvery(t, 20*time.Millisecond, what, holds)
}

// eventuallyEvery is like eventually, with another interval.
func eventuallyEvery(t *testing.T, interval time.Duration, what string, holds func() bool) {
	t.Helper()
	// Not the test's context, which has ended when it cleans up.
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for tick := time.Tick(interval); !holds(); {
		select {
		case <-tick:
		case <-ctx.Done():
			t.Fatalf("it does not come to pass that %s", what)
		}
	}
}

// exists reports whether a path matches the pattern.
func exists(t *testing.T, pattern string) bool {
	t.Helper()
	matches, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return len(matches) > 0
}

// syncBuffer is a buffer that is read while it is written to.
type syncBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

// Write appends.
func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

// String returns what was written so far.
func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// wantOutput checks an exit code, and that the output is text.
func wantOutput(t *testing.T, code int, output string, wantCode int, want ...string) {
	t.Helper()
	if code != wantCode {
		t.Errorf("exit code %d, want %d", code, wantCode)
	}
	for _, text := range want {
		if !strings.Contains(output, text) {
			t.Errorf("the output lacks %q:\n%s", text, output)
		}
	}
}
