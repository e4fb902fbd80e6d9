package benchledger

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// RecorderOptions say where a recorder records. The zero value takes all from the
// environment.
type RecorderOptions struct {
	// URL and APIKey are the server's; where they are empty, as FromEnvironment.
	URL, APIKey string
	// RetryFor is how long the end of a run or batch is sent again where the server
	// cannot take it, before it waits in the spool: 0 is not again, nil is 5 minutes.
	RetryFor *time.Duration
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
	left, unreadable, err := r.spool.list("")
	if err != nil {
		return nil, fmt.Errorf("read the spool: %w", err)
	}
	left, elsewhere := of(left, r.url)
	if len(elsewhere) > 0 || unreadable > 0 {
		r.log.Warn("the spool has what is not sent: see benchledger flush", "spool", r.spool.dir, "otherServers", elsewhere, "unreadable", unreadable)
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
	if options.RetryFor == nil {
		options.RetryFor = new(5 * time.Minute)
	}
	if *options.RetryFor < 0 {
		return nil, fmt.Errorf("RetryFor is %s: it must not be negative; 0 does not retry", *options.RetryFor)
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
		client: client, url: strings.TrimRight(address, "/"), retryFor: *options.RetryFor, log: options.Logger,
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
	// announced stops announcing.
	announced context.CancelFunc
	mu        sync.Mutex
	run       RunSubmission
	ended     bool
}

// StartRun starts a run, now, and announces it as running in the background. run has
// to say suite, scenario, tier and agent; its ID is made where it has none.
func (r *Recorder) StartRun(run RunSubmission) *RunRecorder {
	if run.RunID == "" {
		run.RunID = newID()
	}
	if run.StartedAt == nil {
		run.StartedAt = now()
	}
	run.Evaluations = slices.Clone(run.Evaluations) // Evaluate appends to it.
	run.Status = RunStatusRunning
	return &RunRecorder{recorder: r, run: run, announced: r.announce(submitRun, run)}
}

// ID names the run.
func (r *RunRecorder) ID() string { return r.run.RunID }

// Evaluate adds the score of an evaluator. details may be empty.
func (r *RunRecorder) Evaluate(evaluator string, score, maxScore float64, details string) {
	evaluation := EvaluationSubmission{EvaluatorName: evaluator, Score: score, MaxScore: maxScore}
	if details != "" {
		evaluation.Details = &details
	}
	r.change(func(run *RunSubmission) { run.Evaluations = append(run.Evaluations, evaluation) })
}

// Telemetry says what the run used. What is said last stands.
func (r *RunRecorder) Telemetry(telemetry TelemetrySubmission) {
	r.change(func(run *RunSubmission) { run.Telemetry = &telemetry })
}

func (r *RunRecorder) change(change func(*RunSubmission)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		r.recorder.log.Warn("said of a run that has ended, and not recorded", "run", r.run.RunID)
		return
	}
	change(&r.run)
}

// RunResult is how a run ended. All of it is optional.
type RunResult struct {
	TotalScore, WeightedScore, SuccessMetric *float64
	IsSuccessful                             *bool
	Metadata                                 map[string]any
}

// Complete records the run as completed. It returns when the server has stored it;
// when RetryFor or ctx ended, it stays in the spool. The error is an *Error where the
// server refuses the run, else one of the disk, or of a run that has ended before.
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

// Fail records the run as failed; its metadata say why, beside what StartRun said. It
// returns as Complete does.
func (r *RunRecorder) Fail(ctx context.Context, why error, kind ErrorType) (Delivery, error) {
	if why == nil {
		why = errors.New("no error was given")
	}
	metadata := map[string]any{}
	maps.Copy(metadata, r.run.Metadata) // Never changed after StartRun: no lock is needed.
	metadata["error"], metadata["errorType"] = why.Error(), cmp.Or(kind, FailedUnknown)
	return r.end(ctx, RunStatusFailed, RunResult{IsSuccessful: new(false), Metadata: metadata})
}

// errEnded is the error of a run or batch that ends twice.
func errEnded(what, id string) error { return fmt.Errorf("the %s %s has ended", what, id) }

func (r *RunRecorder) end(ctx context.Context, status RunStatus, result RunResult) (Delivery, error) {
	r.mu.Lock()
	run, ended := r.run, r.ended
	r.ended = true
	r.mu.Unlock()
	if ended {
		return "", errEnded("run", run.RunID)
	}
	r.announced()
	run.Status, run.CompletedAt = status, now()
	run.TotalScore, run.WeightedScore, run.SuccessMetric = result.TotalScore, result.WeightedScore, result.SuccessMetric
	run.IsSuccessful = result.IsSuccessful
	if result.Metadata != nil {
		run.Metadata = result.Metadata
	}
	return r.recorder.deliver(ctx, submitRun, run)
}

// BatchRecorder records one batch.
type BatchRecorder struct {
	recorder  *Recorder
	batch     BatchSubmission
	announced context.CancelFunc
	ended     atomic.Bool
}

// StartBatch starts a batch, now, and announces it in the background.
func (r *Recorder) StartBatch() *BatchRecorder {
	batch := BatchSubmission{BatchID: newID(), CreatedAt: now()}
	return &BatchRecorder{recorder: r, batch: batch, announced: r.announce(submitBatch, batch)}
}

// ID names the batch.
func (b *BatchRecorder) ID() string { return b.batch.BatchID }

// StartRun starts a run of the batch, as Recorder.StartRun does.
func (b *BatchRecorder) StartRun(run RunSubmission) *RunRecorder {
	run.BatchID = new(b.ID())
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
	if b.ended.Swap(true) {
		return "", errEnded("batch", b.ID())
	}
	b.announced()
	batch := b.batch
	batch.CompletedAt = now()
	batch.TotalRuns, batch.SuccessfulRuns = summary.TotalRuns, summary.SuccessfulRuns
	batch.AvgScore, batch.AvgWeightedScore = summary.AvgScore, summary.AvgWeightedScore
	batch.Metadata = summary.Metadata
	return b.recorder.deliver(ctx, submitBatch, batch)
}

// announce submits what has started, until it is stopped: the end says all of it again.
func (r *Recorder) announce(operation string, submission any) context.CancelFunc {
	ctx, stop := context.WithCancel(r.ctx)
	body, _ := encode(submission)
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
	body, faults := encode(submission)
	e := entry{URL: r.url, Operation: operation, SpooledAt: time.Now().UTC(), Body: body}
	name, spoolErr := r.spool.put(e)
	defer r.spool.release(name)
	var err error
	if len(faults) > 0 {
		err = refused(http.StatusUnprocessableEntity, "It was not sent: JSON has no form for parts of it, which were left out.", faults)
	} else {
		err = r.send(ctx, operation, body)
	}
	var answered *Error
	switch {
	case spoolErr != nil:
		if err != nil {
			return "", errors.Join(err, spoolErr) // It is nowhere.
		}
		return Delivered, nil
	case err == nil:
		return Delivered, r.spool.remove(name)
	case errors.As(err, &answered) && !answered.Retriable():
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
	return Retry(ctx, r.retryFor, func() error { return r.post(ctx, operation, body) })
}

// post submits a body. Only a receipt for it says that it is stored: something on the way
// may have answered.
func (r *Recorder) post(ctx context.Context, operation string, body []byte) error {
	var sent, stored struct{ RunID, BatchID string }
	_ = json.Unmarshal(body, &sent) // An entry of the spool may be anything: the server judges it.
	submit := r.client.SubmitRunWithBody
	if operation == submitBatch {
		submit = r.client.SubmitBatchWithBody
	}
	response, content, err := read(submit(ctx, "application/json", bytes.NewReader(body))) //nolint:bodyclose // read closes it
	if err == nil {
		err = Check(response, content)
	}
	if err != nil {
		return err
	}
	if json.Unmarshal(content, &stored) != nil || operation == submitRun && stored.RunID != sent.RunID || operation == submitBatch && stored.BatchID != sent.BatchID {
		return fmt.Errorf("%s answers without a receipt: is there something before the server?", r.url)
	}
	return nil
}

// FlushOptions say what to flush, and where to.
type FlushOptions struct {
	RecorderOptions
	// Refused sends what the server refused before, instead of what it never had.
	Refused bool
	// From sends what is for the server at this address instead, as after a move.
	From string
}

// Flushed counts what became of the submissions in a spool.
type Flushed struct {
	Delivered, Refused int
	// Elsewhere are for other servers, by their address; Unreadable are no submissions.
	// They stay as they are.
	Elsewhere  map[string]int
	Unreadable int
	// Left could not be delivered.
	Left int
}

// Flush sends what recorders left in the spool for the server.
func Flush(ctx context.Context, options FlushOptions) (Flushed, error) {
	r, err := newRecorder(options.RecorderOptions)
	if err != nil {
		return Flushed{}, err
	}
	defer r.Close()
	folder := ""
	if options.Refused {
		folder = refusedDir
	}
	entries, unreadable, err := r.spool.list(folder)
	if err != nil {
		return Flushed{}, fmt.Errorf("read the spool: %w", err)
	}
	entries, elsewhere := of(entries, cmp.Or(strings.TrimRight(options.From, "/"), r.url))
	flushed, err := r.flush(ctx, entries)
	flushed.Elsewhere, flushed.Unreadable = elsewhere, unreadable
	return flushed, err
}

// of returns the entries for a server, and counts those for others.
func of(entries []entry, url string) (its []entry, elsewhere map[string]int) {
	elsewhere = map[string]int{}
	for _, e := range entries {
		if e.URL == url {
			its = append(its, e)
		} else {
			elsewhere[e.URL]++
		}
	}
	return its, elsewhere
}

// What a request of Flush takes at most.
const (
	flushRuns  = 500
	flushBytes = 4 << 20
)

// flush sends batches, so that they are created when they say, then runs, many in a
// request.
func (r *Recorder) flush(ctx context.Context, entries []entry) (Flushed, error) {
	flushed := Flushed{Left: len(entries)}
	note := func(e entry, why *Error) error {
		flushed.Left--
		if why != nil {
			flushed.Refused++
			e.URL = r.url
			return r.spool.refuse(e.name, e, why)
		}
		flushed.Delivered++
		return r.spool.remove(e.name)
	}
	alone := func(group []entry) error {
		for _, e := range group {
			err := r.send(ctx, e.Operation, e.Body)
			var answered *Error
			if err != nil && (!errors.As(err, &answered) || !answered.ofContent()) {
				return err
			}
			if err := note(e, answered); err != nil {
				return err
			}
		}
		return nil
	}
	runs, batches := partition(entries, func(e entry) bool { return e.Operation == submitRun })
	if err := alone(batches); err != nil {
		return flushed, err
	}
	for len(runs) > 0 {
		var lines bytes.Buffer
		group := runs[:0:0]
		for len(runs) > 0 && len(group) < flushRuns && (len(group) == 0 || lines.Len()+len(runs[0].Body) <= flushBytes) {
			lines.Write(runs[0].Body)
			lines.WriteByte('\n')
			group, runs = append(group, runs[0]), runs[1:]
		}
		var receipts []Receipt
		err := Retry(ctx, r.retryFor, func() (err error) {
			receipts, err = r.client.SubmitLines(ctx, bytes.NewReader(lines.Bytes()))
			if err == nil && len(receipts) != len(group) {
				err = fmt.Errorf("%d receipts for %d runs", len(receipts), len(group))
			}
			return err
		})
		var answered *Error
		if errors.As(err, &answered) && answered.ofContent() {
			err = alone(group) // One of them is at fault, as by its size.
			receipts = nil
		}
		if err != nil {
			return flushed, err
		}
		for i, receipt := range receipts {
			if err := note(group[i], receipt.refusal()); err != nil {
				return flushed, err
			}
		}
	}
	return flushed, nil
}

func partition(entries []entry, is func(entry) bool) (those, others []entry) {
	for _, e := range entries {
		if is(e) {
			those = append(those, e)
		} else {
			others = append(others, e)
		}
	}
	return those, others
}

// ofContent reports whether what was sent is at fault, and not the key or the moment.
func (e *Error) ofContent() bool {
	return !e.Retriable() && e.Status != http.StatusUnauthorized && e.Status != http.StatusForbidden
}

// refusal is the error that a receipt stands for, nil where the run is stored.
func (r Receipt) refusal() *Error {
	switch r.Outcome {
	case ReceiptOutcomeRecorded, ReceiptOutcomeReplayed:
		return nil
	case ReceiptOutcomeConflict:
		return refused(http.StatusConflict, "The run was not stored.", r.Errors)
	case ReceiptOutcomeRefused:
	}
	return refused(http.StatusUnprocessableEntity, "The run was not stored.", r.Errors)
}

func refused(status int, detail string, faults []FieldError) *Error {
	return &Error{Status: status, Problem: Problem{
		Status: int32(status), Title: http.StatusText(status), Type: "about:blank", Detail: detail, Errors: faults,
	}}
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }

// now is the current time in the form that the API takes, to the millisecond.
func now() *Timestamp {
	var timestamp Timestamp
	if err := timestamp.FromTimestamp0(time.Now().UTC().Truncate(time.Millisecond)); err != nil {
		panic(err) // It fails only for years that JSON cannot write.
	}
	return &timestamp
}
