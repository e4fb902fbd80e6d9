package attack

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/benchledger/benchledger/db"
	"github.com/benchledger/benchledger/internal/testdb"
	"github.com/benchledger/benchledger/internal/testserver"
	"github.com/benchledger/benchledger/keys"
)

// memoryLimit is what the server may use.
const memoryLimit = 512 << 20

// sharedKey is the configured key, which may do everything.
const sharedKey = "a-shared-key-for-tests"

// victim is the program under a memory limit, as it is deployed, on a database of its own.
type victim struct {
	t testing.TB
	*testserver.Server
	// good and bad are keys of the scope submit.
	good, bad string
	log       string
	next      atomic.Int64
}

func start(t testing.TB) *victim {
	t.Helper()
	url := testdb.URL(t)
	v := &victim{t: t, log: filepath.Join(t.TempDir(), "server.log")}
	queries := db.New(testdb.Pool(t, url))
	for name, key := range map[string]*string{"good": &v.good, "bad": &v.bad} {
		text, hash := keys.New()
		if err := queries.CreateKey(t.Context(), db.CreateKeyParams{Name: name, Hash: hash, Scope: string(keys.ScopeSubmit)}); err != nil {
			t.Fatal(err)
		}
		*key = text
	}
	cmd, err := testserver.Command("serve", "--addr=127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(cmd.Env, "ENVIRONMENT=dev", "DATABASE_URL="+strings.ReplaceAll(url, "&lock_timeout=1min", ""), "API_SECRET_KEY="+sharedKey)
	if group := memoryGroup(t); group != "" {
		cmd.Args = append([]string{"sh", "-c", `echo $$ >"$0/cgroup.procs" && exec "$@"`, group}, cmd.Args...)
		if cmd.Path, err = exec.LookPath("sh"); err != nil {
			t.Fatal(err)
		}
	} else {
		t.Log("no cgroup can be made: only the peak of memory is checked")
		cmd.Env = append(cmd.Env, fmt.Sprint("GOMEMLIMIT=", memoryLimit*9/10))
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := os.Create(v.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stderr = log
	if v.Server, err = testserver.Start(cmd); err != nil {
		text, _ := os.ReadFile(v.log)
		t.Fatalf("%v: %s", err, text)
	}
	t.Cleanup(v.Kill)
	return v
}

// memoryGroup makes a cgroup with the memory limit, and returns its folder, "" where that is not
// possible.
func memoryGroup(t testing.TB) string {
	t.Helper()
	for parent, file := range map[string]string{"/sys/fs/cgroup/memory": "memory.limit_in_bytes", "/sys/fs/cgroup": "memory.max"} {
		group, err := os.MkdirTemp(parent, "benchledger-attack-")
		if err != nil {
			continue
		}
		t.Cleanup(func() { _ = os.Remove(group) }) // Registered before Kill, so it runs after it.
		if os.WriteFile(filepath.Join(group, file), []byte(strconv.Itoa(memoryLimit)), 0o600) == nil {
			return group
		}
	}
	return ""
}

// memory returns a size of the process in bytes; see testserver.Server.Memory.
func (v *victim) memory(name string) int {
	v.t.Helper()
	size, err := v.Memory(name)
	if err != nil {
		v.t.Fatal(err)
	}
	return int(size)
}

// isAlive reports whether the process runs.
func (v *victim) isAlive() bool {
	select {
	case <-v.Ended:
		return false
	default:
		return true
	}
}

// attacker sends from another address of this machine than the good client.
var attacker = &http.Client{
	Timeout:   time.Minute,
	Transport: &http.Transport{DialContext: dialFrom("127.0.0.2"), MaxIdleConnsPerHost: 100, DisableCompression: true},
}

func dialFrom(address string) func(context.Context, string, string) (net.Conn, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	return dialer.DialContext
}

// response is what is kept of one.
type response struct {
	status int
	size   int64
	body   []byte // its beginning
}

// send sends a request as the attacker. Headers are pairs of name and value.
func (v *victim) send(ctx context.Context, method, path, key string, body []byte, headers ...string) (response, error) {
	request, err := http.NewRequestWithContext(ctx, method, v.URL+path, bytes.NewReader(body))
	if err != nil {
		return response{}, err
	}
	if key != "" {
		request.Header.Set("Authorization", "Bearer "+key)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	answer, err := attacker.Do(request)
	if err != nil {
		return response{}, err
	}
	defer answer.Body.Close()
	start, err := io.ReadAll(io.LimitReader(answer.Body, 2000))
	if err != nil {
		return response{}, err
	}
	rest, err := io.Copy(io.Discard, answer.Body)
	return response{answer.StatusCode, int64(len(start)) + rest, start}, err
}

// must sends a request that has to succeed, while nothing else happens.
func (v *victim) must(method, path, key string, body []byte, headers ...string) {
	v.t.Helper()
	got, err := v.send(v.t.Context(), method, path, key, body, headers...)
	if err != nil || got.status >= http.StatusBadRequest {
		v.t.Fatalf("%s %s: %d %s, %v", method, path, got.status, got.body, err)
	}
}

// dial opens a connection as the attacker, and writes the beginning of a request.
func (v *victim) dial(ctx context.Context, text string) (net.Conn, error) {
	connection, err := dialFrom("127.0.0.2")(ctx, "tcp", strings.TrimPrefix(v.URL, "http://"))
	if err != nil {
		return nil, err
	}
	_, err = io.WriteString(connection, text)
	return connection, err
}

// run is the text of a run with a new ID. more are further members.
func (v *victim) run(more string) []byte {
	return fmt.Appendf(nil, `{"runId":"run-%d","suite":"suite-a","scenario":"scenario-a","tier":"L1","agent":"agent-a","status":"completed"%s}`,
		v.next.Add(1), more)
}

// lines is so many runs.
func (v *victim) lines(n int, more string) []byte {
	var text []byte
	for range n {
		text = append(append(text, v.run(more)...), '\n')
	}
	return text
}

// compress compresses a text.
func compress(text string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text)
	_ = w.Close() // A buffer takes everything.
	return b.Bytes()
}

// gz is the header of a compressed body.
var gz = []string{"Content-Encoding", "gzip"}

// rate returns how many submissions and reads of a well-behaved client succeed per second. It
// has four requests under way, and waits when it is told to.
func (v *victim) rate(ctx context.Context, during time.Duration) float64 {
	ctx, cancel := context.WithTimeout(ctx, during)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}}
	defer client.CloseIdleConnections()
	one := func(method, path string, body []byte) bool {
		request, err := http.NewRequestWithContext(ctx, method, v.URL+path, bytes.NewReader(body))
		if err != nil {
			return false
		}
		request.Header.Set("Authorization", "Bearer "+v.good)
		answer, err := client.Do(request)
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		_, err = io.Copy(io.Discard, answer.Body)
		return err == nil && answer.StatusCode < http.StatusBadRequest
	}
	var succeeded atomic.Int64
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for ctx.Err() == nil {
				body := v.run("")
				id := strings.Split(string(body), `"`)[3]
				ok := one(http.MethodPost, "/api/results", body)
				for _, path := range []string{"/api/runs/" + id, "/api/runs?limit=20", "/api/runs?limit=1&scenario=scenario-b"} {
					if ok {
						succeeded.Add(1)
						ok = one(http.MethodGet, path, nil)
					}
				}
				if !ok {
					time.Sleep(50 * time.Millisecond) // As long as a client waits at least.
				}
			}
		})
	}
	workers.Wait()
	return float64(succeeded.Load()) / during.Seconds()
}

// watch asks /livez until the context ends, as an orchestrator does, and returns the longest time
// that an answer took; an answer other than 200 counts as an hour.
func (v *victim) watch(ctx context.Context) (worst time.Duration) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	for ctx.Err() == nil {
		begin := time.Now()
		answer, err := client.Get(v.URL + "/livez")
		took := time.Since(begin)
		if err != nil || answer.StatusCode != http.StatusOK {
			took = time.Hour
		}
		if err == nil {
			_ = answer.Body.Close()
		}
		worst = max(worst, took)
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	return worst
}
