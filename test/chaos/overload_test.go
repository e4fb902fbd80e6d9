package chaos

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/benchledger/benchledger/internal/testdb"
)

// TestOverload sends twice as many submissions as the service can take. The way to
// the database is slow, so that the database is what limits it, as elsewhere, and
// not the load, which here has to share the machine.
func TestOverload(t *testing.T) { //nolint:paralleltest // it takes the whole machine
	begin(t)
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
	if err := c.toxic("latency", "downstream", `{"latency":20}`); err != nil {
		t.Fatal(err)
	}
	url, _ := c.to()
	attempt := 0
	// attack submits runs: as fast as so many clients can, or at a rate.
	attack := func(rate vegeta.Rate, clients uint64, duration time.Duration) outcome {
		attempt++
		attacker := vegeta.NewAttacker(vegeta.Workers(min(clients, 64)), vegeta.MaxWorkers(clients), vegeta.Connections(int(clients)),
			vegeta.MaxConnections(int(clients)), vegeta.Timeout(15*time.Second))
		return measure(attacker.Attack(runs(t, url, attempt), rate, duration, "overload"))
	}
	attack(vegeta.Rate{}, 32, 2*time.Second) // Caches, connections.
	peak := attack(vegeta.Rate{}, 32, 5*time.Second)
	overload := attack(vegeta.Rate{Freq: int(2 * peak.rate), Per: time.Second}, 4000, 10*time.Second)
	memory, err := c.now.Memory("VmRSS")
	if err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	after := attack(vegeta.Rate{Freq: int(peak.rate / 4), Per: time.Second}, 64, 2*time.Second)

	t.Logf("peak      %s", peak)
	t.Logf("overload  %s, server %d MiB", overload, memory>>20)
	t.Logf("after     %s", after)
	if peak.others > 0 || overload.others > 0 {
		t.Errorf("answers other than 201, 429 and 503 with Retry-After: %v", append(peak.odd, overload.odd...))
	}
	least := 0.8
	if *short {
		least = 0.2
	}
	if overload.rate < least*peak.rate {
		t.Errorf("under twice the load %.0f/s succeed, of %.0f/s at the peak", overload.rate, peak.rate)
	}
	if memory > 500<<20 {
		t.Errorf("the server takes %d MiB", memory>>20)
	}
	if after.refused+after.others > 0 || after.slowest > patience(2*time.Second) {
		t.Errorf("%v after the load it is not normal: %s", time.Since(started), after)
	}
}

// outcome is what an attack had for answers.
type outcome struct {
	// rate is how many succeeded a second.
	rate                    float64
	stored, refused, others int
	odd                     []string
	p99, slowest            time.Duration
}

func (o outcome) String() string {
	return fmt.Sprintf("%5.0f/s stored (%d), %d refused, %d others, p99 %v", o.rate, o.stored, o.refused, o.others, o.p99.Round(time.Millisecond))
}

func measure(results <-chan *vegeta.Result) outcome {
	var (
		o       outcome
		metrics vegeta.Metrics
	)
	for result := range results {
		switch {
		case result.Code == http.StatusCreated:
			o.stored++
			o.slowest = max(o.slowest, result.Latency)
			metrics.Add(result)
		case (result.Code == http.StatusServiceUnavailable || result.Code == http.StatusTooManyRequests) && result.Headers.Get("Retry-After") != "":
			o.refused++
			metrics.Add(result)
		default:
			o.others++
			if len(o.odd) < 5 {
				o.odd = append(o.odd, fmt.Sprintf("%d %s %.200s", result.Code, result.Error, result.Body))
			}
		}
	}
	metrics.Close()
	o.rate = float64(o.stored) / (metrics.Duration + metrics.Wait).Seconds()
	o.p99 = metrics.Latencies.P99
	return o
}

// runs makes a run per request: the same but for its id, so that making it takes
// little of the machine.
func runs(t *testing.T, url string, attempt int) vegeta.Targeter {
	t.Helper()
	const id = "the-id-of-a-run"
	encoded, err := json.Marshal(makeRun(id, final))
	if err != nil {
		t.Fatal(err)
	}
	before, after, _ := strings.Cut(string(encoded), id)
	var n atomic.Int64
	return func(target *vegeta.Target) error {
		target.Method, target.URL = http.MethodPost, url+"/api/results"
		target.Body = fmt.Appendf(nil, "%sload-%d-%d%s", before, attempt, n.Add(1), after)
		target.Header = http.Header{"Authorization": {"Bearer " + key}, "Content-Type": {"application/json"}}
		return nil
	}
}
