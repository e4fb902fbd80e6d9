package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// key is the server's in the environment local.
const key = "dev-local-key"

// ledger is what clients sent, and what was acknowledged of it.
type ledger struct {
	mu      sync.Mutex
	entries map[string]*entry
	// refused are answers that no submission deserves here, by status.
	refused map[int]string

	acknowledged, replayed, unavailable, broken atomic.Int64
}

// entry is what became of a run.
type entry struct {
	sent         int // the newest version sent
	acknowledged int // the newest version acknowledged, -1 for none
}

func newLedger() *ledger {
	return &ledger{entries: map[string]*entry{}, refused: map[int]string{}}
}

func (l *ledger) note(id string, fn func(*entry)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entries[id]
	if e == nil {
		e = &entry{acknowledged: -1}
		l.entries[id] = e
	}
	fn(e)
}

// failed is how many requests were not acknowledged.
func (l *ledger) failed() int64 { return l.unavailable.Load() + l.broken.Load() }

// client submits runs, as a harness does: it repeats what was not acknowledged.
type client struct {
	ledger *ledger
	// to returns where to send a request, and what to call after it.
	to   func() (url string, done func())
	http *http.Client
}

func newClient(l *ledger, to func() (string, func())) *client {
	return &client{l, to, &http.Client{
		Timeout:   20 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: 100},
	}}
}

var (
	errUnavailable = errors.New("unavailable")
	errRefused     = errors.New("refused")
)

// submit sends a version of a run once, and returns whether it was acknowledged.
func (c *client) submit(ctx context.Context, id string, version int) error {
	c.ledger.note(id, func(e *entry) { e.sent = max(e.sent, version) })
	body, err := json.Marshal(makeRun(id, version))
	if err != nil {
		return err
	}
	url, done := c.to()
	defer done()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/api/results", bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+key)
	request.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(request)
	if err != nil {
		c.ledger.broken.Add(1)
		return fmt.Errorf("%w: %w", errUnavailable, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		c.ledger.broken.Add(1)
		return fmt.Errorf("%w: %w", errUnavailable, err)
	case response.StatusCode == http.StatusCreated:
		c.ledger.note(id, func(e *entry) {
			if e.acknowledged < 0 {
				c.ledger.acknowledged.Add(1)
			}
			e.acknowledged = max(e.acknowledged, version)
		})
		return nil
	case response.StatusCode == http.StatusOK:
		c.ledger.replayed.Add(1)
		c.ledger.note(id, func(e *entry) {
			if e.acknowledged < 0 {
				c.ledger.acknowledged.Add(1)
			}
			e.acknowledged = max(e.acknowledged, version)
		})
		return nil
	case response.StatusCode == http.StatusServiceUnavailable, response.StatusCode == http.StatusTooManyRequests:
		c.ledger.unavailable.Add(1)
		return fmt.Errorf("%w: %s", errUnavailable, text)
	}
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	c.ledger.refused[response.StatusCode] = fmt.Sprintf("%s version %d: %s", id, version, text)
	return fmt.Errorf("%w: %d %s", errRefused, response.StatusCode, text)
}

// persist sends until it is acknowledged, or ctx ends.
func (c *client) persist(ctx context.Context, id string, version int) {
	for ctx.Err() == nil {
		if err := c.submit(ctx, id, version); !errors.Is(err, errUnavailable) {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// work submits runs until ctx ends: most once, some twice at the same time, some
// announced first and finished later, some again long after, some given up.
func (c *client) work(ctx context.Context, name string, random *rand.Rand) {
	for n := 0; ctx.Err() == nil; n++ {
		id := fmt.Sprintf("%s-%d", name, n)
		switch random.IntN(20) {
		case 0, 1: // announced, then finished
			c.persist(ctx, id, open)
			c.persist(ctx, id, final)
		case 2, 3: // two at once
			var both sync.WaitGroup
			for range 2 {
				both.Go(func() { c.persist(ctx, id, final) })
			}
			both.Wait()
		case 4: // given up when it is not acknowledged
			_ = c.submit(ctx, id, final)
		case 5: // given up by the client itself, while it is under way
			short, cancel := context.WithTimeout(ctx, time.Duration(random.IntN(5000))*time.Microsecond)
			_ = c.submit(short, id, final)
			cancel()
		case 6: // again
			c.persist(ctx, id, final)
			c.persist(ctx, fmt.Sprintf("%s-%d", name, random.IntN(n+1)), final)
		default:
			c.persist(ctx, id, final)
		}
	}
}

// The versions of a run: as announced, and as finished.
const (
	open  = 0
	final = 1
)

// testRun is a run as it is sent and as it has to be stored: all of it follows from
// its id and version.
type testRun struct {
	RunID       string           `json:"runId"`
	BatchID     string           `json:"batchId"`
	Suite       string           `json:"suite"`
	Scenario    string           `json:"scenario"`
	Tier        string           `json:"tier"`
	Agent       string           `json:"agent"`
	Status      string           `json:"status"`
	StartedAt   time.Time        `json:"startedAt"`
	TotalScore  float64          `json:"totalScore"`
	Metadata    map[string]any   `json:"metadata"`
	Evaluations []testEvaluation `json:"evaluations"`
	Telemetry   *testTelemetry   `json:"telemetry"`
}

type testEvaluation struct {
	EvaluatorName string  `json:"evaluatorName"`
	Score         float64 `json:"score"`
	MaxScore      float64 `json:"maxScore"`
	Details       string  `json:"details"`
}

type testTelemetry struct {
	ToolCalls  int64   `json:"toolCalls"`
	CostUSD    float64 `json:"costUsd"`
	PromptSent string  `json:"promptSent"`
}

func makeRun(id string, version int) testRun {
	var seed [32]byte
	copy(seed[:], fmt.Sprintf("%d %s", version, id))
	random := rand.New(rand.NewChaCha8(seed))
	made := testRun{
		RunID: id, BatchID: fmt.Sprint("batch-", random.IntN(50)), Suite: "suite", Scenario: fmt.Sprint("scenario-", random.IntN(9)),
		Tier: "L1", Agent: fmt.Sprint("agent-", random.IntN(5)), Status: "completed",
		StartedAt:  time.Date(2025, 11, 17, 10, 0, 0, 0, time.UTC).Add(time.Duration(random.IntN(1e9)) * time.Microsecond),
		TotalScore: random.Float64(), Metadata: map[string]any{"marker": fmt.Sprintf("%s/%d", id, version)},
	}
	if version == open {
		made.Status = "running"
	}
	for range random.IntN(6) {
		made.Evaluations = append(made.Evaluations, testEvaluation{
			EvaluatorName: fmt.Sprint("evaluator-", random.IntN(3)), Score: random.Float64(), MaxScore: 1, Details: fmt.Sprint(random.Uint64()),
		})
	}
	if random.IntN(4) > 0 {
		made.Telemetry = &testTelemetry{ToolCalls: random.Int64(), CostUSD: random.Float64(), PromptSent: fmt.Sprint("prompt ", random.Uint64())}
	}
	return made
}
