package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/benchledger/benchledger/api"
	"github.com/benchledger/benchledger/internal/testdb"
)

// TestCheckFindsFaults has clients submit to services that are broken on purpose, and
// sees that the check finds out, and what.
func TestCheckFindsFaults(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		spoil func(run map[string]any) bool // false acknowledges without storing
		want  string
	}{
		"none": {func(map[string]any) bool { return true }, ""},
		// As one that acknowledges before the commit, and is killed between them.
		"acknowledges what it does not store": {func(map[string]any) bool { return false }, "lost"},
		"acknowledges a change that it does not store": {func(run map[string]any) bool {
			return run["status"] == "running"
		}, "lost"},
		"stores no evaluations": {func(run map[string]any) bool {
			run["evaluations"] = nil
			return true
		}, "partial"},
		"stores no telemetry": {func(run map[string]any) bool {
			delete(run, "telemetry")
			return true
		}, "partial"},
		"stores another score": {func(run map[string]any) bool {
			run["totalScore"] = 0.5
			return true
		}, "partial"},
		"stores in another batch": {func(run map[string]any) bool {
			run["batchId"] = "another"
			return true
		}, "partial"},
		"stores evaluations twice": {func(run map[string]any) bool {
			if list, ok := run["evaluations"].([]any); ok {
				run["evaluations"] = append(list, list...)
			}
			return true
		}, "duplicated"},
		"stores under another id": {func(run map[string]any) bool {
			run["runId"] = fmt.Sprint(run["runId"], "-copy")
			return true
		}, "duplicated"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := testdb.New(t)
			service := api.New(api.Config{
				Pool: pool, APISecretKey: key, Logger: api.NewLogger(slog.DiscardHandler), Version: "test",
			})
			broken := httptest.NewServer(spoiled(service, test.spoil))
			defer broken.Close()
			l := newLedger()
			client := newClient(l, func() (string, func()) { return broken.URL, func() {} })
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var load sync.WaitGroup
			load.Go(func() { client.work(ctx, "run", rand.New(rand.NewPCG(1, 1))) })
			if err := until(t.Context(), "enough results", func() error {
				if l.acknowledged.Load() < 200 {
					return fmt.Errorf("%d are acknowledged", l.acknowledged.Load())
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			cancel()
			load.Wait()
			broken.Close() // What is under way still counts.

			connection, err := pool.Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer connection.Release()
			found, err := check(t.Context(), connection.Conn(), l)
			if err != nil {
				t.Fatal(err)
			}
			for kind, runs := range map[string][]string{"lost": found.lost, "duplicated": found.duplicated, "partial": found.partial} {
				if kind == test.want && len(runs) == 0 {
					t.Errorf("nothing is %s", kind)
				}
				// What is under another id is missing under its own.
				if kind != test.want && len(runs) > 0 && (kind != "lost" || test.want != "duplicated") {
					t.Errorf("%d are %s: %s", len(runs), kind, runs[0])
				}
			}
		})
	}
}

// TestChaosFindsLostCommits has a server acknowledge what PostgreSQL has not written
// yet, and kills PostgreSQL: the check finds what is lost.
func TestChaosFindsLostCommits(t *testing.T) { //nolint:paralleltest // it takes the whole machine
	begin(t)
	dir, err := testdb.TempDir()
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	c, err := newCluster(ctx, dir, rand.New(rand.NewPCG(1, 1)), "&synchronous_commit=off")
	defer func() {
		c.close()
		_ = os.RemoveAll(dir)
	}()
	if err != nil {
		t.Fatal(err)
	}
	l := newLedger()
	c.client = newClient(l, c.to)
	for kill := range 10 {
		loaded, stop := context.WithCancel(ctx)
		var load sync.WaitGroup
		for worker := range workers {
			load.Go(func() {
				c.client.work(loaded, fmt.Sprintf("run-%d-%d", kill, worker), rand.New(rand.NewPCG(1, uint64(worker))))
			})
		}
		c.hold(ctx, 2*time.Second)
		c.node().kill()
		stop()
		load.Wait()
		c.hold(ctx, time.Second) // Its processes leave their memory.
		if err := c.node().start(ctx); err != nil {
			t.Fatal(err)
		}
		connection, err := c.node().connect(ctx, role)
		if err != nil {
			t.Fatal(err)
		}
		found, err := check(ctx, connection, l)
		_ = connection.Close(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(found.lost) > 0 {
			t.Logf("%d of %d are lost", len(found.lost), l.acknowledged.Load())
			return
		}
	}
	t.Fatal("PostgreSQL was killed ten times, and nothing is found lost")
}

// spoiled spoils one in ten runs.
func spoiled(next http.Handler, spoil func(map[string]any) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		pass := func() {
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
			next.ServeHTTP(w, r)
		}
		if r.URL.Path != "/api/results" {
			pass()
			return
		}
		var run map[string]any
		decoder := json.NewDecoder(bytes.NewReader(body))
		decoder.UseNumber()
		if err := decoder.Decode(&run); err != nil {
			return
		}
		id := fmt.Sprint(run["runId"])
		if id[len(id)-1] == '7' {
			if !spoil(run) {
				w.WriteHeader(http.StatusCreated)
				return
			}
			if body, err = json.Marshal(run); err != nil {
				return
			}
		}
		pass()
	})
}
