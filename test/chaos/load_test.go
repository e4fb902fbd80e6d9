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

// key is the server's.
const key = "the-key-of-the-chaos"

// ledger is what clients sent, and what was acknowledged of it.
type ledger struct {
	mu      sync.Mutex
	entries map[string]*entry
	// batches are those that were sent as complete, and whether that was acknowledged.
	batches map[string]bool
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
	return &ledger{entries: map[string]*entry{}, batches: map[string]bool{}, refused: map[int]string{}}
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

func (l *ledger) acknowledge(id string, version int) {
	l.note(id, func(e *entry) {
		if e.acknowledged < 0 {
			l.acknowledged.Add(1)
		}
		e.acknowledged = max(e.acknowledged, version)
	})
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
	status, _, err := c.send(ctx, "/api/results", makeRun(id, version))
	if err != nil {
		return fmt.Errorf("%s version %d: %w", id, version, err)
	}
	if status == http.StatusOK {
		c.ledger.replayed.Add(1)
	}
	c.ledger.acknowledge(id, version)
	return nil
}

// submitBulk sends runs at once, and notes what of them was acknowledged. In the mode
// each they are announced and finished: repeated, the announcement is a conflict.
func (c *client) submitBulk(ctx context.Context, mode string, ids []string) error {
	var (
		lines    []testRun
		versions []int
	)
	for _, id := range ids {
		c.ledger.note(id, func(e *entry) { e.sent = final })
		if mode == "each" {
			lines, versions = append(lines, makeRun(id, open)), append(versions, open)
		}
		lines, versions = append(lines, makeRun(id, final)), append(versions, final)
	}
	_, text, err := c.send(ctx, "/api/results/bulk?mode="+mode, lines)
	if err != nil {
		return fmt.Errorf("bulk submission from %s on: %w", ids[0], err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	for i := range lines {
		var receipt struct{ RunID, Outcome string }
		switch err := decoder.Decode(&receipt); {
		case err != nil || receipt.RunID != lines[i].RunID:
			return fmt.Errorf("%w: receipt %d of %s: %w", errRefused, i, text, err)
		case receipt.Outcome == "recorded", receipt.Outcome == "replayed":
			c.ledger.acknowledge(receipt.RunID, versions[i])
		case receipt.Outcome == "conflict" && versions[i] == open: // It was finished before.
		default:
			return c.refuse(http.StatusOK, string(text))
		}
	}
	return nil
}

// submitBatch sends a batch as complete.
func (c *client) submitBatch(ctx context.Context, id string) error {
	note := func(acknowledged bool) {
		c.ledger.mu.Lock()
		defer c.ledger.mu.Unlock()
		c.ledger.batches[id] = c.ledger.batches[id] || acknowledged
	}
	note(false)
	_, _, err := c.send(ctx, "/api/results/batch", map[string]any{
		"batchId": id, "completedAt": "2025-11-17T10:00:00Z", "totalRuns": 7, "metadata": map[string]string{"marker": id},
	})
	if err == nil {
		note(true)
	}
	return err
}

// send sends a submission once. It fails unless that was acknowledged.
func (c *client) send(ctx context.Context, path string, submission any) (status int, text []byte, err error) {
	body, err := json.Marshal(submission)
	if err != nil {
		return 0, nil, err
	}
	url, done := c.to()
	defer done()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Authorization", "Bearer "+key)
	request.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(request)
	if err != nil {
		c.ledger.broken.Add(1)
		return 0, nil, fmt.Errorf("%w: %w", errUnavailable, err)
	}
	defer response.Body.Close()
	text, err = io.ReadAll(response.Body)
	switch {
	case err != nil:
		c.ledger.broken.Add(1)
		return 0, nil, fmt.Errorf("%w: %w", errUnavailable, err)
	case response.StatusCode == http.StatusCreated, response.StatusCode == http.StatusOK:
		return response.StatusCode, text, nil
	case response.StatusCode == http.StatusServiceUnavailable, response.StatusCode == http.StatusTooManyRequests:
		c.ledger.unavailable.Add(1)
		return 0, nil, fmt.Errorf("%w: %s", errUnavailable, text)
	}
	return 0, nil, c.refuse(response.StatusCode, string(text))
}

// refuse notes an answer that no submission deserves here.
func (c *client) refuse(status int, text string) error {
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	c.ledger.refused[status] = text
	return fmt.Errorf("%w: %d %s", errRefused, status, text)
}

// persist sends until it is acknowledged, or ctx ends.
func (c *client) persist(ctx context.Context, id string, version int) {
	persist(ctx, func() error { return c.submit(ctx, id, version) })
}

func persist(ctx context.Context, submit func() error) {
	for ctx.Err() == nil {
		if err := submit(); !errors.Is(err, errUnavailable) {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// work submits runs until ctx ends: most once, some twice at the same time, some
// announced first and finished later, some again long after, some given up, some many
// at a time, and batches between them.
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
		case 7, 8: // many at a time
			ids := make([]string, 1+random.IntN(9))
			for i := range ids {
				ids[i] = fmt.Sprintf("%s-%d", id, i)
			}
			mode := []string{"each", "atomic"}[random.IntN(2)]
			persist(ctx, func() error { return c.submitBulk(ctx, mode, ids) })
		case 9: // a batch
			persist(ctx, func() error { return c.submitBatch(ctx, id) })
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
