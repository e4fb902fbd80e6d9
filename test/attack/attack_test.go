// Package attack has one bad client try what makes a server use too much memory or time, while
// a good one works: `make attack` runs it.
package attack

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/benchledger/benchledger/internal/testdb"
	"github.com/benchledger/benchledger/internal/testdb/recorder"
	"github.com/benchledger/benchledger/internal/testserver"
)

var (
	attacks = flag.Bool("attacks", false, "run the attacks; without it, none")
	brief   = flag.Bool("brief", false, "take a tenth of the time, and widen the limits of time, as in CI")
	only    = flag.String("attack", "", "run only the attacks whose names contain this")
)

func TestMain(m *testing.M) {
	// What is met by chance is no test of a query.
	if err := os.Unsetenv(recorder.Variable); err != nil {
		panic(err)
	}
	testdb.Main(m, testserver.Remove)
}

// attack is what a bad client does.
type attack struct {
	name string
	// prepare stores what it needs.
	prepare func(v *victim)
	// senders is how many send at the same time.
	senders int
	// holds is true if it does not read answers to their end.
	holds bool
	// step is one attempt of a sender. It returns an error if the server did what it should not.
	step func(ctx context.Context, v *victim) error
}

// batches counts those that are stored as a whole: what is submitted to the last one waits for it.
// storing is locked while there is one.
var (
	batches atomic.Int64
	storing sync.Mutex
)

// answers counts those of the attack's requests.
var answers atomic.Int64

// request is a step that sends a request, whose response must have one of the statuses and at
// most so many bytes.
func request(most int64, statuses string, send func(ctx context.Context, v *victim) (response, error)) func(context.Context, *victim) error {
	return func(ctx context.Context, v *victim) error {
		got, err := send(ctx, v)
		if err == nil {
			answers.Add(1)
		}
		switch {
		case err != nil:
			return nil //nolint:nilerr // the attacker is cut off, or the attack has ended
		case !strings.Contains(statuses+" 429 503", fmt.Sprint(got.status)):
			return fmt.Errorf("status %d, want %s: %s", got.status, statuses, got.body)
		case got.size > most:
			return fmt.Errorf("a response of %d bytes", got.size)
		}
		return nil
	}
}

// hold is a step that writes the beginning of a request, and then neither reads nor writes until
// the attack or the connection ends.
func hold(text func(v *victim) string) func(context.Context, *victim) error {
	return func(ctx context.Context, v *victim) error {
		connection, err := v.dial(ctx, text(v))
		if err != nil {
			return nil
		}
		defer connection.Close()
		select {
		case <-ctx.Done():
		case <-time.After(30 * time.Second):
		}
		return nil
	}
}

// once returns a function that compresses a text, once: the attacker spends no time on it.
func once(text func() string) func() []byte {
	return sync.OnceValue(func() []byte { return compress(text()) })
}

// invalid is a run that is refused, with the beginning of its last member.
func invalid(member string) string {
	return `{"runId":"invalid","suite":"s","scenario":"c","tier":"t","agent":"a","status":"completed",` + member
}

var (
	emptyEvaluations = once(func() string { return invalid(`"evaluations":[{}`) + strings.Repeat(",{}", 2_790_000) + "]}" })
	faultyLines      = once(func() string {
		return strings.Repeat(`{"telemetry":{"toolCalls":-1,"tokensIn":-1,"tokensOut":-1},"a":1,"b":2,"c":3}`+"\n", 10_000)
	})
	largeExponents = once(func() string {
		return invalid(`"startedAt":"9999-01-01T00:00:00Z","metadata":{"a":[1`) + strings.Repeat(",1e308", 1_300_000) + "]}}"
	})
	longNumber = once(func() string { return invalid(`"telemetry":{"toolCalls":1.`) + strings.Repeat("0", 8_200_000) + "}}" })
	newlines   = once(func() string { return strings.Repeat("\n", 256<<20) })
	prompt     = strings.Repeat("x", 8_000_000)
)

// largeRuns stores runs of a batch with a megabyte of metadata each.
func largeRuns(n int) func(v *victim) {
	return func(v *victim) {
		for range n {
			v.must(http.MethodPost, "/api/results", sharedKey, v.run(`,"batchId":"batch-a","metadata":{"log":"`+strings.Repeat("x", 1<<20)+`"}`))
		}
	}
}

var all = []attack{
	{
		name: "millions of invalid evaluations", senders: 4,
		step: request(100_000, "400 422", func(ctx context.Context, v *victim) (response, error) {
			return v.send(ctx, http.MethodPost, "/api/results", v.bad, emptyEvaluations(), gz...)
		}),
	},
	{
		name: "invalid evaluations in bulk", senders: 4,
		step: request(1<<20, "200 413", func(ctx context.Context, v *victim) (response, error) {
			return v.send(ctx, http.MethodPost, "/api/results/bulk", v.bad, emptyEvaluations(), gz...)
		}),
	},
	{
		name: "thousands of faulty lines", senders: 4,
		step: request(8<<20, "200", func(ctx context.Context, v *victim) (response, error) {
			return v.send(ctx, http.MethodPost, "/api/results/bulk", v.bad, faultyLines(), gz...)
		}),
	},
	{
		name: "unknown parameters", senders: 8,
		step: request(10_000, "200 422", func(ctx context.Context, v *victim) (response, error) {
			return v.send(ctx, http.MethodGet, "/api/runs?"+strings.Repeat("aaa&", 3_500), "", nil)
		}),
	},
	{
		name: "parameters of health checks", senders: 8,
		step: request(10_000, "200", func(ctx context.Context, v *victim) (response, error) {
			return v.send(ctx, http.MethodGet, "/health?"+strings.Repeat("aaa&", 3_500), "", nil)
		}),
	},
	{
		name: "large pages", senders: 6, prepare: largeRuns(100),
		step: request(20<<20, "200", func(ctx context.Context, v *victim) (response, error) {
			return v.send(ctx, http.MethodGet, "/api/runs?limit=10000", "", nil)
		}),
	},
	{
		name: "large batches", senders: 6, prepare: largeRuns(100),
		step: request(20<<20, "200", func(ctx context.Context, v *victim) (response, error) {
			return v.send(ctx, http.MethodGet, "/api/batches/batch-a", "", nil)
		}),
	},
	{
		name: "readers that do not read", holds: true, senders: 448, prepare: largeRuns(30),
		step: hold(func(*victim) string {
			return "GET /api/runs?limit=10000 HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n"
		}),
	},
	{
		name: "readers that read slowly", holds: true, senders: 64, prepare: largeRuns(30),
		step: func(ctx context.Context, v *victim) error {
			connection, err := v.dial(ctx, "GET /api/runs?limit=10000 HTTP/1.1\r\nHost: x\r\n\r\n")
			if err != nil {
				return nil
			}
			defer connection.Close()
			defer context.AfterFunc(ctx, func() { _ = connection.Close() })()
			for ctx.Err() == nil {
				if _, err := io.CopyN(io.Discard, connection, 64<<10); err != nil {
					return nil
				}
				select {
				case <-ctx.Done():
				case <-time.After(time.Second):
				}
			}
			return nil
		},
	},
	{
		name: "receipts that nobody reads", holds: true, senders: 256,
		step: hold(func(v *victim) string {
			body := faultyLines()
			return fmt.Sprintf("POST /api/results/bulk HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s",
				v.bad, len(body), body)
		}),
	},
	{
		name: "bodies that do not arrive", holds: true, senders: 600,
		step: hold(func(v *victim) string {
			return "POST /api/results HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + v.bad + "\r\nContent-Length: 8000000\r\n\r\n{"
		}),
	},
	{
		name: "bulk submissions that do not arrive", holds: true, senders: 16,
		step: hold(func(v *victim) string {
			return "POST /api/results/bulk?mode=atomic HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + v.bad + "\r\nTransfer-Encoding: chunked\r\n\r\n"
		}),
	},
	{
		name: "large bodies that stop before their end", holds: true, senders: 40,
		step: hold(func(v *victim) string {
			return "POST /api/results HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + v.bad + "\r\nContent-Length: 8000000\r\n\r\n" + strings.Repeat(" ", 7_900_000)
		}),
	},
	{
		name: "large bodies", senders: 8,
		step: request(10_000, "201", func(ctx context.Context, v *victim) (response, error) {
			return v.send(ctx, http.MethodPost, "/api/results", v.bad, v.run(`,"telemetry":{"promptSent":"`+prompt+`"}`))
		}),
	},
	{
		name: "large submissions that are stored as a whole", senders: 4,
		step: request(4<<20, "200", func(ctx context.Context, v *victim) (response, error) {
			return v.send(ctx, http.MethodPost, "/api/results/bulk?mode=atomic", v.bad, v.lines(15, `,"telemetry":{"promptSent":"`+prompt[:1_000_000]+`"}`))
		}),
	},
	{
		name: "large exponents", senders: 4,
		step: request(10_000, "201 422", func(ctx context.Context, v *victim) (response, error) {
			return v.send(ctx, http.MethodPost, "/api/results", v.bad, largeExponents(), gz...)
		}),
	},
	{
		name: "long numbers", senders: 4,
		step: request(10_000, "422", func(ctx context.Context, v *victim) (response, error) {
			return v.send(ctx, http.MethodPost, "/api/results", v.bad, longNumber(), gz...)
		}),
	},
	{
		name: "a batch that is locked", senders: 41, // one stores the batch as a whole, the others wait for it
		step: request(4<<20, "200 201", func(ctx context.Context, v *victim) (response, error) {
			if !storing.TryLock() {
				batch := fmt.Sprintf(`,"batchId":"locked-%d"`, batches.Load())
				return v.send(ctx, http.MethodPost, "/api/results", v.bad, v.run(batch))
			}
			defer storing.Unlock()
			batch := fmt.Sprintf(`,"batchId":"locked-%d"`, batches.Add(1))
			return v.send(ctx, http.MethodPost, "/api/results/bulk?mode=atomic", v.bad, v.lines(10_000, batch))
		}),
	},
	{
		name: "long paths", senders: 8,
		step: request(10_000, "404", func(ctx context.Context, v *victim) (response, error) {
			return v.send(ctx, http.MethodGet, "/"+strings.Repeat("x", 15_000), "", nil)
		}),
	},
	{
		name: "guesses of keys", senders: 8,
		step: request(10_000, "403", func(ctx context.Context, v *victim) (response, error) {
			return v.send(ctx, http.MethodPost, "/api/results", strings.Replace(v.bad, v.bad[len(v.bad)-4:], "aaaa", 1), nil)
		}),
	},
	{
		name: "white space", senders: 4,
		step: request(10_000, "400", func(ctx context.Context, v *victim) (response, error) {
			return v.send(ctx, http.MethodPost, "/api/results/bulk", v.bad, newlines(), gz...)
		}),
	},
}

func TestAttacks(t *testing.T) { //nolint:paralleltest // each takes the whole machine
	if !*attacks {
		t.Skip("make attack runs this")
	}
	period, slowest, least := 10*time.Second, time.Second, 1./3
	if *brief {
		period, slowest, least = time.Second, 10*time.Second, 1./50
	}
	for _, a := range all {
		if !strings.Contains(a.name, *only) {
			continue
		}
		t.Run(a.name, func(t *testing.T) {
			v := start(t)
			if a.prepare != nil {
				a.prepare(v)
			}
			v.rate(t.Context(), period/4) // Connections, caches.
			before := v.rate(t.Context(), period)

			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			end := v.attack(a)
			var watching sync.WaitGroup
			var worst time.Duration
			watching.Go(func() { worst = v.watch(ctx) })
			during := v.rate(ctx, period)
			stop()
			watching.Wait()
			if faults := end(); faults != "" {
				t.Error(faults)
			}

			if !v.isAlive() {
				t.Fatal("the server is dead")
			}
			peak := v.memory("VmHWM")
			t.Logf("%-45s %6.0f/s before, %6.0f/s during (%.0f %%), /livez at most %s, peak %d MiB",
				a.name, before, during, 100*during/before, worst.Round(time.Millisecond), peak>>20)
			if during < least*before {
				t.Errorf("a good client's %.0f requests per second are %.0f during the attack", before, during)
			}
			if worst > slowest {
				t.Errorf("/livez took %s", worst)
			}
			if peak > memoryLimit {
				t.Errorf("the server took %d MiB", peak>>20)
			}
			if log, err := os.ReadFile(v.log); err != nil || strings.Contains(string(log), "panic") {
				t.Errorf("the log has a panic, or cannot be read: %v", err)
			}
		})
	}
}

// attack has another process attack the server, so that it has processor time of its own, as
// a client on another machine. It returns when the attack has begun. end ends it, and returns
// what the server did that it should not.
func (v *victim) attack(a attack) (end func() string) {
	v.t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestAttacker$", "-attacks")
	cmd.Env = append(os.Environ(), "ATTACK="+a.name, "ATTACK_URL="+v.URL, "ATTACK_KEY="+v.bad)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	input, err := cmd.StdinPipe()
	if err != nil {
		v.t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		v.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		v.t.Fatal(err)
	}
	lines := bufio.NewScanner(output)
	lines.Scan() // It begins.
	return func() string {
		_ = input.Close()
		var faults []string
		for lines.Scan() {
			if line, found := strings.CutPrefix(lines.Text(), "fault: "); found {
				faults = append(faults, line)
			}
			if lines.Text() == "answers: 0" && !a.holds && !*brief { // One may take longer than that.
				faults = append(faults, "no request of the attack was answered")
			}
		}
		if err := cmd.Wait(); err != nil {
			faults = append(faults, err.Error())
		}
		return strings.Join(faults, "; ")
	}
}

// TestAttacker is the process of an attack.
func TestAttacker(t *testing.T) { //nolint:paralleltest // it is alone in its process
	i := slices.IndexFunc(all, func(a attack) bool { return a.name == os.Getenv("ATTACK") })
	if i < 0 {
		t.Skip("TestAttacks runs this")
	}
	v := &victim{t: t, Server: &testserver.Server{URL: os.Getenv("ATTACK_URL")}, bad: os.Getenv("ATTACK_KEY")}
	v.next.Store(1 << 40) // The IDs of the good client are lower.
	ctx, stop := context.WithCancel(t.Context())
	context.AfterFunc(ctx, attacker.CloseIdleConnections)
	fmt.Println("begin")
	var senders sync.WaitGroup
	for range all[i].senders {
		senders.Go(func() {
			for ctx.Err() == nil {
				if err := all[i].step(ctx, v); err != nil && ctx.Err() == nil {
					fmt.Println("fault:", err)
					return
				}
			}
		})
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // Until the attack has to end.
	stop()
	senders.Wait()
	fmt.Println("answers:", answers.Load())
}
