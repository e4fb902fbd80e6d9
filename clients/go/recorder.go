package benchledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"
)

// RecorderOptions say where a recorder records. The zero value takes all from the
// environment.
type RecorderOptions struct {
	// URL and APIKey are the server's; where they are empty, as FromEnvironment.
	URL, APIKey string
	// RetryFor is how long the end of a run or batch is sent again where the server
	// cannot take it, before it waits in the spool; 0 is 5 minutes.
	RetryFor time.Duration
	// Spool is the directory for what is not delivered yet; where it is empty, SpoolDir.
	Spool string
	// HTTPClient sends the requests; nil is one that waits 30 s for an answer.
	HTTPClient *http.Client
	// Logger is told what could not be delivered; nil is slog.Default.
	Logger *slog.Logger
}

// Recorder records the runs and batches of a harness, any number at once, and loses
// none: the end of a run is on disk before it is sent, and stays there until the
// server has stored it.
type Recorder struct {
	client   *ClientWithResponses
	url      string
	retryFor time.Duration
	spool    *spool
	log      *slog.Logger
	// background ends with Close: announcements, and what earlier runs left.
	background sync.WaitGroup
	ctx        context.Context
	cancel     context.CancelFunc
}

// NewRecorder returns a recorder, and sends in the background what earlier ones left
// in the spool. Close it at the end.
func NewRecorder(options RecorderOptions) (*Recorder, error) {
	r, err := newRecorder(options)
	if err != nil {
		return nil, err
	}
	left, _, err := r.spool.list("")
	if err != nil {
		return nil, fmt.Errorf("read the spool: %w", err)
	}
	r.background.Go(func() {
		if _, err := r.flush(r.ctx, left); err != nil && r.ctx.Err() == nil {
			r.log.Warn("what earlier runs left stays in the spool", "spool", r.spool.dir, "error", err)
		}
	})
	return r, nil
}

func newRecorder(options RecorderOptions) (*Recorder, error) {
	address, key := FromEnvironment()
	if options.URL != "" {
		address = options.URL
	}
	if options.APIKey != "" {
		key = options.APIKey
	}
	if options.RetryFor == 0 {
		options.RetryFor = 5 * time.Minute
	}
	if options.HTTPClient == nil {
		options.HTTPClient = &http.Client{Timeout: 30 * time.Second}
	}
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	if options.Spool == "" {
		dir, err := SpoolDir()
		if err != nil {
			return nil, err
		}
		options.Spool = dir
	}
	client, err := New(address, key, WithHTTPClient(options.HTTPClient))
	if err != nil {
		return nil, err
	}
	r := &Recorder{
		client: client, url: strings.TrimRight(address, "/"), retryFor: options.RetryFor, log: options.Logger,
		spool: &spool{dir: options.Spool, delivering: map[string]bool{}},
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r, nil
}

// Close ends what is under way in the background: announcements, and sending what
// earlier recorders left. Ends of runs are not among it: Complete and Fail wait for them.
func (r *Recorder) Close() {
	r.cancel()
	r.background.Wait()
}

// Delivery is what became of the end of a run or batch.
type Delivery string

// What becomes of the end of a run or batch.
const (
	// Delivered: the server has stored it.
	Delivered Delivery = "delivered"
	// Spooled: it is on disk; the next recorder sends it, or benchledger flush.
	Spooled Delivery = "spooled"
	// Refused: the server does not take it as it is. It is on disk, with the reason,
	// which is the error too.
	Refused Delivery = "refused"
)

// RunRecorder records one run. It may be used by several goroutines.
type RunRecorder struct {
	recorder *Recorder
	mu       sync.Mutex
	run      RunSubmission
	// announced stops announcing.
	announced context.CancelFunc
}

// StartRun starts a run, now, and announces it as running in the background. run has
// to say suite, scenario, tier and agent; its ID is made where it has none.
func (r *Recorder) StartRun(run RunSubmission) *RunRecorder {
	if run.RunId == "" {
		run.RunId = newID()
	}
	if run.StartedAt == nil {
		run.StartedAt = moment(time.Now())
	}
	run.Status = RunStatusRunning
	return &RunRecorder{recorder: r, run: run, announced: r.announce(submitRun, run)}
}

// ID names the run.
func (r *RunRecorder) ID() string { return r.run.RunId }

// Evaluate adds the score of an evaluator. details may be empty.
func (r *RunRecorder) Evaluate(evaluator string, score, maxScore float64, details string) {
	evaluation := EvaluationSubmission{EvaluatorName: evaluator, Score: score, MaxScore: maxScore}
	if details != "" {
		evaluation.Details = &details
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.run.Evaluations == nil {
		r.run.Evaluations = &[]EvaluationSubmission{}
	}
	*r.run.Evaluations = append(*r.run.Evaluations, evaluation)
}

// Telemetry says what the run used. What is said last stands.
func (r *RunRecorder) Telemetry(telemetry TelemetrySubmission) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.run.Telemetry = &telemetry
}

// RunResult is how a run ended. All of it is optional.
type RunResult struct {
	TotalScore, WeightedScore, SuccessMetric *float64
	IsSuccessful                             *bool
	Metadata                                 map[string]any
}

// Complete records the run as completed. It returns when the server has stored it;
// when RetryFor or ctx ended, it stays in the spool. The error is an *Error where the
// server refuses the run, else one of the disk.
func (r *RunRecorder) Complete(ctx context.Context, result RunResult) (Delivery, error) {
	return r.end(ctx, RunStatusCompleted, result)
}

// ErrorType says what failed.
type ErrorType string

// What fails in a run.
const (
	FailedWorkspace  ErrorType = "workspace"
	FailedPrompt     ErrorType = "prompt"
	FailedAgent      ErrorType = "agent"
	FailedEvaluation ErrorType = "evaluation"
	FailedUnknown    ErrorType = "unknown"
)

// Fail records the run as failed; its metadata say why. It returns as Complete does.
func (r *RunRecorder) Fail(ctx context.Context, why error, kind ErrorType) (Delivery, error) {
	if kind == "" {
		kind = FailedUnknown
	}
	return r.end(ctx, RunStatusFailed, RunResult{
		IsSuccessful: new(false), Metadata: map[string]any{"error": why.Error(), "errorType": kind},
	})
}

func (r *RunRecorder) end(ctx context.Context, status RunStatus, result RunResult) (Delivery, error) {
	r.announced()
	r.mu.Lock()
	run := r.run
	r.mu.Unlock()
	run.Status, run.CompletedAt = status, moment(time.Now())
	run.TotalScore, run.WeightedScore, run.SuccessMetric = result.TotalScore, result.WeightedScore, result.SuccessMetric
	run.IsSuccessful = result.IsSuccessful
	if result.Metadata != nil {
		run.Metadata = &result.Metadata
	}
	return r.recorder.deliver(ctx, submitRun, run)
}

// BatchRecorder records one batch.
type BatchRecorder struct {
	recorder  *Recorder
	batch     BatchSubmission
	announced context.CancelFunc
}

// StartBatch starts a batch, now, and announces it in the background.
func (r *Recorder) StartBatch() *BatchRecorder {
	batch := BatchSubmission{BatchId: newID(), CreatedAt: moment(time.Now())}
	return &BatchRecorder{recorder: r, batch: batch, announced: r.announce(submitBatch, batch)}
}

// ID names the batch.
func (b *BatchRecorder) ID() string { return b.batch.BatchId }

// StartRun starts a run of the batch, as Recorder.StartRun does.
func (b *BatchRecorder) StartRun(run RunSubmission) *RunRecorder {
	run.BatchId = new(b.ID())
	return b.recorder.StartRun(run)
}

// BatchSummary is what a batch came to. What it leaves out, the server computes from
// the runs.
type BatchSummary struct {
	TotalRuns, SuccessfulRuns  *int64
	AvgScore, AvgWeightedScore *float64
	Metadata                   map[string]any
}

// Complete records the batch as completed. It returns as RunRecorder.Complete does.
func (b *BatchRecorder) Complete(ctx context.Context, summary BatchSummary) (Delivery, error) {
	b.announced()
	batch := b.batch
	batch.CompletedAt = moment(time.Now())
	batch.TotalRuns, batch.SuccessfulRuns = summary.TotalRuns, summary.SuccessfulRuns
	batch.AvgScore, batch.AvgWeightedScore = summary.AvgScore, summary.AvgWeightedScore
	if summary.Metadata != nil {
		batch.Metadata = &summary.Metadata
	}
	return b.recorder.deliver(ctx, submitBatch, batch)
}

// announce submits what has started, until it is stopped: the end says all of it again.
func (r *Recorder) announce(operation string, submission any) context.CancelFunc {
	ctx, stop := context.WithCancel(r.ctx)
	body, err := json.Marshal(submission)
	if err != nil {
		r.log.Warn("not announced", "error", err)
		return stop
	}
	r.background.Go(func() {
		if err := r.send(ctx, operation, body); err != nil && ctx.Err() == nil {
			r.log.Warn("not announced; its end is recorded all the same", "error", err)
		}
	})
	return stop
}

// deliver stores a submission in the spool, sends it, and forgets it when the server
// has stored it.
func (r *Recorder) deliver(ctx context.Context, operation string, submission any) (Delivery, error) {
	body, err := json.Marshal(submission)
	if err != nil {
		return "", fmt.Errorf("submission: %w", err)
	}
	e := entry{URL: r.url, Operation: operation, SpooledAt: time.Now().UTC(), Body: body}
	name, spoolErr := r.spool.put(e)
	defer r.spool.release(name)
	err = r.send(ctx, operation, body)
	var answered *Error
	refused := errors.As(err, &answered) && !answered.Retriable()
	switch {
	case spoolErr != nil:
		if err != nil {
			return "", errors.Join(err, spoolErr) // It is nowhere.
		}
		return Delivered, nil
	case err == nil:
		return Delivered, r.spool.remove(name)
	case refused:
		if moved := r.spool.refuse(name, e, answered); moved != nil {
			return Refused, errors.Join(err, moved)
		}
		return Refused, fmt.Errorf("%w (kept in %s)", err, filepath.Join(r.spool.dir, refusedDir, name))
	}
	r.log.Warn("not delivered yet: it stays in the spool", "spool", r.spool.dir, "error", err)
	return Spooled, nil
}

// send submits a body, again where the server cannot take it, for RetryFor.
func (r *Recorder) send(ctx context.Context, operation string, body []byte) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		return struct{}{}, retriable(r.post(ctx, operation, body))
	}, backoff.WithMaxElapsedTime(r.retryFor), pauses())
	return err
}

// pauses grow to 10 seconds: a server that was away is met soon after it is back.
func pauses() backoff.RetryOption {
	growing := backoff.NewExponentialBackOff()
	growing.MaxInterval = 10 * time.Second
	return backoff.WithBackOff(growing)
}

func (r *Recorder) post(ctx context.Context, operation string, body []byte) error {
	if operation == submitBatch {
		response, err := r.client.SubmitBatchWithBodyWithResponse(ctx, "application/json", bytes.NewReader(body))
		if err != nil {
			return err
		}
		return Check(response.HTTPResponse, response.Body)
	}
	response, err := r.client.SubmitRunWithBodyWithResponse(ctx, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	return Check(response.HTTPResponse, response.Body)
}

// retriable tells backoff what an error means: wait as long as the server says, or do
// not try again.
func retriable(err error) error {
	var answered *Error
	switch {
	case !errors.As(err, &answered):
		return err
	case !answered.Retriable():
		return backoff.Permanent(err)
	case answered.RetryAfter > 0:
		return errors.Join(backoff.RetryAfter(int(answered.RetryAfter.Seconds())), err)
	}
	return err
}

// Flushed counts what became of the submissions in a spool.
type Flushed struct {
	Delivered, Refused int
	// Elsewhere are for other servers, Unreadable no submissions. They stay as they are.
	Elsewhere, Unreadable int
	// Left could not be delivered.
	Left int
}

// Flush sends what recorders left in the spool for the server. With refused, it sends
// what the server refused before instead.
func Flush(ctx context.Context, options RecorderOptions, refused bool) (Flushed, error) {
	r, err := newRecorder(options)
	if err != nil {
		return Flushed{}, err
	}
	defer r.Close()
	folder := ""
	if refused {
		folder = refusedDir
	}
	entries, unreadable, err := r.spool.list(folder)
	if err != nil {
		return Flushed{}, fmt.Errorf("read the spool: %w", err)
	}
	flushed, err := r.flush(ctx, entries)
	flushed.Unreadable = unreadable
	return flushed, err
}

// What a request of Flush takes at most.
const (
	flushRuns  = 500
	flushBytes = 4 << 20
)

// flush sends batches, so that they are created when they say, then runs, many in a
// request.
func (r *Recorder) flush(ctx context.Context, entries []entry) (Flushed, error) {
	var flushed Flushed
	var runs, batches []entry
	for _, e := range entries {
		switch {
		case e.URL != r.url:
			flushed.Elsewhere++
		case e.Operation == submitBatch:
			batches = append(batches, e)
		default:
			runs = append(runs, e)
		}
	}
	flushed.Left = len(runs) + len(batches)
	note := func(e entry, why *Error) error {
		flushed.Left--
		if why != nil {
			flushed.Refused++
			return r.spool.refuse(e.name, e, why)
		}
		flushed.Delivered++
		return r.spool.remove(e.name)
	}
	for _, e := range batches {
		err := r.send(ctx, e.Operation, e.Body)
		var answered *Error
		if errors.As(err, &answered) && !answered.Retriable() && answered.Status != http.StatusUnauthorized && answered.Status != http.StatusForbidden {
			err = nil
		} else if answered = nil; err != nil {
			return flushed, err
		}
		if err := note(e, answered); err != nil {
			return flushed, err
		}
	}
	for len(runs) > 0 {
		var lines bytes.Buffer
		group := runs[:0:0]
		for len(runs) > 0 && len(group) < flushRuns && (len(group) == 0 || lines.Len()+len(runs[0].Body) <= flushBytes) {
			lines.Write(runs[0].Body)
			lines.WriteByte('\n')
			group, runs = append(group, runs[0]), runs[1:]
		}
		receipts, err := backoff.Retry(ctx, func() ([]Receipt, error) {
			receipts, err := r.client.SubmitLines(ctx, bytes.NewReader(lines.Bytes()))
			return receipts, retriable(err)
		}, backoff.WithMaxElapsedTime(r.retryFor), pauses())
		if err != nil {
			return flushed, err
		}
		if len(receipts) != len(group) {
			return flushed, fmt.Errorf("%d receipts for %d runs", len(receipts), len(group))
		}
		for i, e := range group {
			if err := note(e, receipts[i].refusal()); err != nil {
				return flushed, err
			}
		}
	}
	return flushed, nil
}

// refusal is the error that a receipt stands for, nil where the run is stored.
func (r Receipt) refusal() *Error {
	status := http.StatusUnprocessableEntity
	switch r.Outcome {
	case ReceiptOutcomeRecorded, ReceiptOutcomeReplayed:
		return nil
	case ReceiptOutcomeConflict:
		status = http.StatusConflict
	}
	return &Error{Status: status, Problem: Problem{
		Status: int32(status), Title: http.StatusText(status), Type: "about:blank",
		Detail: "The run was not stored.", Errors: r.Errors,
	}}
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }

// moment is a time as the server takes it, to the millisecond.
func moment(t time.Time) *Timestamp {
	var moment Timestamp
	if err := moment.FromTimestamp0(t.UTC().Truncate(time.Millisecond)); err != nil {
		panic(err) // Every time of now has a text.
	}
	return &moment
}
