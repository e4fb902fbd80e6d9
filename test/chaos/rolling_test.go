package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/benchledger/benchledger/internal/testdb"
)

// TestRollingRestart replaces the server again and again, as an orchestrator does: a
// new one is started, the old one told to stop while it is still sent requests, until
// the load balancer sees that it is not ready. No request fails, though none is
// repeated.
func TestRollingRestart(t *testing.T) { //nolint:paralleltest // it takes the whole machine
	begin(t)
	const requests = 10_000
	dir, err := testdb.TempDir()
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	c, err := newCluster(ctx, dir, rand.New(rand.NewPCG(1, 1)), "")
	defer func() {
		c.close()
		_ = os.RemoveAll(dir)
	}()
	if err != nil {
		t.Fatal(err)
	}
	start := func() *server {
		s, err := startServer(c.url(), filepath.Join(dir, "rolling.log"),
			"ENVIRONMENT=production", "SHUTDOWN_DELAY=1s")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	old := start()
	b := newReadyBalancer(ctx)
	b.add(old.URL)

	client := newClient(newLedger(), b.to)
	var sent, failed atomic.Int64
	var load sync.WaitGroup
	for range workers {
		load.Go(func() {
			for n := sent.Add(1); n <= requests; n = sent.Add(1) {
				if err := client.submit(ctx, fmt.Sprint("roll-", n), final); err != nil {
					failed.Add(1)
					t.Error(err)
				}
			}
		})
	}
	rolls := 0
	for ; sent.Load() < requests; rolls++ {
		next := start()
		b.add(next.URL)
		if err := old.Stop(); err != nil {
			t.Error(err)
		}
		old = next
	}
	load.Wait()
	if err := old.Stop(); err != nil {
		t.Error(err)
	}
	t.Logf("%d requests, %d rolling restarts, %d failed", requests, rolls, failed.Load())
}

// readyBalancer leads each request to a server that is ready, as far as it knows: it
// asks each ten times a second.
type readyBalancer struct {
	mu      sync.Mutex
	ready   []string
	changed *sync.Cond
	next    int
	ctx     context.Context //nolint:containedctx // that of the test
}

func newReadyBalancer(ctx context.Context) *readyBalancer {
	b := &readyBalancer{ctx: ctx}
	b.changed = sync.NewCond(&b.mu)
	return b
}

// add watches a server, from when it is ready until it is not.
func (b *readyBalancer) add(url string) {
	check := func() bool {
		request, err := http.NewRequestWithContext(b.ctx, http.MethodGet, url+"/readyz", nil)
		if err != nil {
			return false
		}
		request.Close = true
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	}
	go func() {
		for !check() {
			if !b.pause() {
				return
			}
		}
		b.mu.Lock()
		b.ready = append(b.ready, url)
		b.changed.Broadcast()
		b.mu.Unlock()
		for check() {
			if !b.pause() {
				return
			}
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		for i, ready := range b.ready {
			if ready == url {
				b.ready = append(b.ready[:i:i], b.ready[i+1:]...)
			}
		}
	}()
}

func (b *readyBalancer) pause() bool {
	select {
	case <-b.ctx.Done():
		return false
	case <-time.After(100 * time.Millisecond):
		return true
	}
}

func (b *readyBalancer) to() (string, func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.ready) == 0 {
		b.changed.Wait()
	}
	b.next++
	return b.ready[b.next%len(b.ready)], func() {}
}
