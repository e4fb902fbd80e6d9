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
	"math"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/google/uuid"
)

// RecorderOptions configure a recorder. The zero value uses the environment.
type RecorderOptions struct {
	// URL is the server address and APIKey the API key; FromEnvironment returns the defaults.
	URL, APIKey string
	// RetryFor is how long the recorder retries to send the ends of runs and batches while the
	// server is unavailable. After that it sends each once, and leaves it in the spool, until
	// the server is available again. 0 does not retry, nil is 5 minutes.
	RetryFor *time.Duration
	// Spool is the directory for undelivered submissions; SpoolDir if empty.
	Spool string
	// HTTPClient sends the requests; nil is a client with a timeout of 30 s.
	HTTPClient *http.Client
	// Logger receives warnings about undelivered submissions; nil is slog.Default.
	Logger *slog.Logger
}

// Recorder records the runs and batches of a harness, any number concurrently, and loses
// none: the end of a run is written to disk before it is sent, and stays there until the
// server has stored it.
type Recorder struct {
	client  *ClientWithResponses
	url     string
	retrier Retrier
	spool   *spool
	log     *slog.Logger
	mu      sync.Mutex
	// said has the warnings that are not repeated; those of receipts are counted in receiptWarnings.
	said            map[string]bool
	receiptWarnings int
	// background has the goroutines that Close ends: announcements, and submissions of earlier recorders.
	background sync.WaitGroup
	ctx        context.Context
	cancel     context.CancelFunc
}

// NewRecorder returns a recorder. In the background, it sends what earlier recorders left
// in the spool. Close it at the end.
func NewRecorder(options RecorderOptions) (*Recorder, error) {
	r, err := newRecorder(options)
	if err != nil {
		return nil, err
	}
	left, unreadable, err := r.spool.list("") // Before this recorder writes to it.
	if err != nil {
		r.say("the spool cannot be read: what earlier recorders left in it is not sent", "spool", r.spool.dir, "error", err)
	}
	r.background.Go(func() { r.sendEarlier(left, unreadable) })
	return r, nil
}

// sendEarlier sends what earlier recorders left in the spool.
func (r *Recorder) sendEarlier(names []string, unreadable []error) {
	entries, elsewhere, more := r.find(r.ctx, names, r.url)
	unreadable = append(unreadable, more...)
	if len(elsewhere) > 0 || len(unreadable) > 0 {
		r.say("the spool has files that this recorder does not send: see benchledger flush", "spool", r.spool.dir, "otherServers", elsewhere, "unreadable", len(unreadable), "files", some(unreadable))
	}
	flushed, err := r.flush(r.ctx, entries, nil)
	if len(flushed.Unreadable) > 0 {
		r.say("files in the spool are not submissions, or cannot be read", "spool", r.spool.dir, "files", some(flushed.Unreadable))
	}
	if err != nil && r.ctx.Err() == nil {
		r.say("submissions of earlier runs stay in the spool", "spool", r.spool.dir, "error", err)
	}
}

// some returns the first of many errors.
func some(errs []error) []error { return errs[:min(len(errs), 10)] }

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
	var noSpool error
	if options.Spool == "" {
		options.Spool, noSpool = SpoolDir()
	}
	client, err := New(address, key, WithHTTPClient(options.HTTPClient))
	if err != nil {
		return nil, err
	}
	r := &Recorder{
		client: client, url: normalize(address), retrier: Retrier{For: *options.RetryFor}, log: options.Logger,
		spool: &spool{dir: options.Spool, err: noSpool}, said: map[string]bool{},
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r, nil
}

// Close stops the background work: announcements, and sending what earlier recorders left.
// It does not concern the ends of runs: Complete and Fail wait until they are sent or spooled.
func (r *Recorder) Close() {
	r.cancel()
	r.background.Wait()
}

// Delivery says what happened to the end of a run or batch.
type Delivery string

// What becomes of the end of a run or batch.
const (
	// Delivered: the server has stored it.
	Delivered Delivery = "delivered"
	// Spooled: it is on disk; the next recorder or benchledger flush sends it.
	Spooled Delivery = "spooled"
	// Refused: the server does not accept it. It is on disk with the reason, which is also
	// the returned error.
	Refused Delivery = "refused"
)

// RunRecorder records one run. It is safe for concurrent use.
type RunRecorder struct {
	recorder *Recorder
	// stopAnnouncing ends the announcement if it is not sent yet.
	stopAnnouncing context.CancelFunc
	mu             sync.Mutex
	run            RunSubmission
	ended          bool
}

// StartRun starts a run now, and announces it as running in the background. run must have
// Suite, Scenario, Tier and Agent; without a RunID it gets a new one.
func (r *Recorder) StartRun(run RunSubmission) *RunRecorder {
	if run.RunID == "" {
		run.RunID = newID()
	}
	if run.StartedAt == nil {
		run.StartedAt = now()
	}
	run.Evaluations = slices.Clone(run.Evaluations) // Evaluate appends to it.
	run.Status = RunStatusRunning
	return &RunRecorder{recorder: r, run: run, stopAnnouncing: r.announce(submitRun, run)}
}

// ID returns the run ID.
func (r *RunRecorder) ID() string { return r.run.RunID }

// Evaluate adds the score of an evaluator, NaN if it could not score. details may be empty.
func (r *RunRecorder) Evaluate(evaluator string, score, maxScore float64, details string) {
	evaluation := EvaluationSubmission{EvaluatorName: evaluator, MaxScore: maxScore}
	if !math.IsNaN(score) {
		evaluation.Score = &score
	}
	if details != "" {
		evaluation.Details = &details
	}
	r.change(func(run *RunSubmission) { run.Evaluations = append(run.Evaluations, evaluation) })
}

// Telemetry sets the telemetry of the run. The last call wins.
func (r *RunRecorder) Telemetry(telemetry TelemetrySubmission) {
	r.change(func(run *RunSubmission) { run.Telemetry = &telemetry })
}

func (r *RunRecorder) change(change func(*RunSubmission)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		r.recorder.say("the run has already ended: this is not recorded", "run", r.run.RunID)
		return
	}
	change(&r.run)
}

// RunResult is the result of a run. All fields are optional.
type RunResult struct {
	TotalScore, WeightedScore, SuccessMetric *float64
	IsSuccessful                             *bool
	Metadata                                 map[string]any
}

// Complete records the run as completed. It returns when the server has stored the run. If
// RetryFor or ctx ends first, the run stays in the spool. The error is an *Error if the
// server refuses the run; other errors come from the disk, or from a run that has already ended.
func (r *RunRecorder) Complete(ctx context.Context, result RunResult) (Delivery, error) {
	return r.end(ctx, RunStatusCompleted, result)
}

// ErrorType is the part of a run that failed. Statistics count FailedAgent and FailedUnknown as failed
// attempts of the agent. All others are errors of the infrastructure, which they leave out.
type ErrorType string

// The parts of a run that can fail. Fail also takes other types, such as "SandboxTimeout", as errors of the
// infrastructure.
const (
	FailedWorkspace  ErrorType = "workspace"
	FailedPrompt     ErrorType = "prompt"
	FailedAgent      ErrorType = "agent"
	FailedEvaluation ErrorType = "evaluation"
	FailedUnknown    ErrorType = "unknown"
)

// Fail records the run as failed, and adds the error to the metadata given to StartRun. It
// returns like Complete.
func (r *RunRecorder) Fail(ctx context.Context, why error, kind ErrorType) (Delivery, error) {
	if why == nil {
		why = errors.New("no error was given")
	}
	metadata := map[string]any{}
	maps.Copy(metadata, r.run.Metadata) // Never changed after StartRun: no lock is needed.
	metadata["error"], metadata["errorType"] = why.Error(), cmp.Or(kind, FailedUnknown)
	return r.end(ctx, RunStatusFailed, RunResult{IsSuccessful: new(false), Metadata: metadata})
}

// errEnded is the error when a run or batch ends twice.
func errEnded(what, id string) error { return fmt.Errorf("the %s %s has already ended", what, id) }

func (r *RunRecorder) end(ctx context.Context, status RunStatus, result RunResult) (Delivery, error) {
	r.mu.Lock()
	run, ended := r.run, r.ended
	r.ended = true
	r.mu.Unlock()
	if ended {
		return "", errEnded("run", run.RunID)
	}
	r.stopAnnouncing()
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
	recorder       *Recorder
	batch          BatchSubmission
	stopAnnouncing context.CancelFunc
	ended          atomic.Bool
}

// StartBatch starts a batch now, and announces it in the background.
func (r *Recorder) StartBatch() *BatchRecorder {
	batch := BatchSubmission{BatchID: newID(), CreatedAt: now()}
	return &BatchRecorder{recorder: r, batch: batch, stopAnnouncing: r.announce(submitBatch, batch)}
}

// ID returns the batch ID.
func (b *BatchRecorder) ID() string { return b.batch.BatchID }

// StartRun starts a run of the batch; see Recorder.StartRun.
func (b *BatchRecorder) StartRun(run RunSubmission) *RunRecorder {
	run.BatchID = new(b.ID())
	return b.recorder.StartRun(run)
}

// BatchSummary is the result of a batch. The server computes absent fields from the runs.
type BatchSummary struct {
	TotalRuns, SuccessfulRuns  *int64
	AvgScore, AvgWeightedScore *float64
	Metadata                   map[string]any
}

// Complete records the batch as completed. It returns like RunRecorder.Complete.
func (b *BatchRecorder) Complete(ctx context.Context, summary BatchSummary) (Delivery, error) {
	if b.ended.Swap(true) {
		return "", errEnded("batch", b.ID())
	}
	b.stopAnnouncing()
	batch := b.batch
	batch.CompletedAt = now()
	batch.TotalRuns, batch.SuccessfulRuns = summary.TotalRuns, summary.SuccessfulRuns
	batch.AvgScore, batch.AvgWeightedScore = summary.AvgScore, summary.AvgWeightedScore
	batch.Metadata = summary.Metadata
	return b.recorder.deliver(ctx, submitBatch, batch)
}

// announce submits a started run or batch until it is stopped. A failure does no harm: the
// end repeats everything.
func (r *Recorder) announce(operation string, submission any) context.CancelFunc {
	ctx, stop := context.WithCancel(r.ctx)
	body, _ := r.encode(submission)
	r.background.Go(func() {
		if err := r.send(ctx, operation, body, nil); err != nil && ctx.Err() == nil && r.first("announcement") {
			r.say("the start could not be announced; the end will still be recorded", "error", err)
		}
	})
	return stop
}

// encode returns a submission as JSON whose texts the server can store.
func (r *Recorder) encode(submission any) (body []byte, faults []FieldError) {
	body, faults = encode(submission)
	body, id, field := replaceInvalidText(body)
	if field != "" && r.first("text") {
		r.say(fmt.Sprintf("a text had a NUL or half a character (%s, %s): replaced by U+FFFD", id, field))
	}
	return body, faults
}

// deliver writes a submission to the spool, sends it, and removes it from the spool when the
// server has stored it.
func (r *Recorder) deliver(ctx context.Context, operation string, submission any) (Delivery, error) {
	body, faults := r.encode(submission)
	e := entry{URL: r.url, Operation: operation, SpooledAt: time.Now().UTC(), Body: body}
	name, spoolErr := r.spool.put(e)
	safe := "; the run is safe in " + r.spool.dir
	if spoolErr != nil {
		safe = ""
		if r.first("spool") {
			r.say("the spool cannot be written: a run that the server does not store is lost", "spool", r.spool.dir, "error", spoolErr)
		}
	}
	var err error
	if len(faults) > 0 {
		err = refused(http.StatusUnprocessableEntity, "It was not sent: it has values that JSON cannot represent. They were left out.", faults)
	} else {
		err = r.send(ctx, operation, body, r.noResponse(safe))
	}
	var answered *Error
	again, _ := retriable(err)
	switch {
	case spoolErr != nil:
		if err != nil {
			return "", errors.Join(err, spoolErr) // It is neither stored nor spooled.
		}
		return Delivered, nil
	case err == nil:
		if err := r.spool.remove(name); err != nil && r.first("remove") {
			r.say("a delivered run cannot be removed from the spool: the next recorder sends it again, which does no harm", "spool", r.spool.dir, "error", err)
		}
		return Delivered, nil
	case errors.As(err, &answered) && answered.isAboutContent():
		if moved := r.spool.refuse(name, e, answered); moved != nil {
			return Refused, errors.Join(err, moved)
		}
		return Refused, fmt.Errorf("%w (kept in %s)", err, filepath.Join(r.spool.dir, refusedDir, name))
	case again && ctx.Err() == nil: // noResponse has said it.
	case r.first("undelivered"):
		r.say(fmt.Sprintf(`not delivered: %v%s. "benchledger flush" sends it later.`, err, safe))
	}
	return Spooled, nil
}

// noResponse returns a function that says that the server does not respond, and where the
// run is.
func (r *Recorder) noResponse(safe string) func(why error, until time.Time) {
	return func(why error, until time.Time) {
		text := fmt.Sprintf("no response from %s (%v)%s", redacted(r.url), why, safe)
		if !until.IsZero() {
			text += "; trying again until " + until.Format(time.TimeOnly)
		}
		if safe != "" {
			text += `. "benchledger flush" sends it later.`
		}
		r.say(text)
	}
}

// say logs a warning. It may contain texts of the server or of the spool, which must not control
// the user's terminal.
func (r *Recorder) say(text string, args ...any) { r.log.Warn(printable(text), args...) }

// printable returns a text with an escape sequence of JSON for each control character, and for each
// character that changes the direction of text.
func printable(text string) string {
	var b strings.Builder
	for _, char := range text {
		if unicode.IsControl(char) || unicode.Is(unicode.Bidi_Control, char) {
			fmt.Fprintf(&b, `\u%04x`, char)
		} else {
			b.WriteRune(char)
		}
	}
	return b.String()
}

// redacted returns a server address without its password.
func redacted(address string) string {
	parsed, err := url.Parse(address)
	if err != nil {
		return address
	}
	return parsed.Redacted()
}

// first reports whether a warning was not given before, or not since forget.
func (r *Recorder) first(warning string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	said := r.said[warning]
	r.said[warning] = true
	return !said
}

func (r *Recorder) forget(warnings ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, warning := range warnings {
		delete(r.said, warning)
	}
}

// send submits a body, and retries for RetryFor while the server is unavailable. notify is
// that of Retrier.Do.
func (r *Recorder) send(ctx context.Context, operation string, body []byte, notify func(why error, until time.Time)) error {
	err := r.retrier.Do(ctx, func() error { return r.post(ctx, operation, body) }, notify)
	if err == nil {
		r.forget("announcement", "undelivered")
	}
	return err
}

// post submits a body once. Only a receipt for it proves that it is stored: a proxy may have
// answered.
func (r *Recorder) post(ctx context.Context, operation string, body []byte) error {
	type receipt struct {
		RunID, BatchID string
		Warnings       []string
	}
	var sent, stored receipt
	_ = json.Unmarshal(body, &sent) // A spool entry may hold anything: the server validates it.
	submit := func() (*http.Response, error) {
		if operation == submitBatch {
			return r.client.SubmitBatchWithBody(ctx, &SubmitBatchParams{}, "application/json", bytes.NewReader(body))
		}
		return r.client.SubmitRunWithBody(ctx, &SubmitRunParams{}, "application/json", bytes.NewReader(body))
	}
	response, content, err := read(submit()) //nolint:bodyclose // read closes it
	if err == nil {
		err = Check(response, content)
	}
	if err != nil {
		return err
	}
	if json.Unmarshal(content, &stored) != nil || operation == submitRun && stored.RunID != sent.RunID || operation == submitBatch && stored.BatchID != sent.BatchID {
		return foreign(response)
	}
	r.warn(stored.Warnings)
	return nil
}

// maxReceiptWarnings is how many different warnings of receipts a recorder logs.
const maxReceiptWarnings = 1000

// warn logs the warnings in a receipt, each once.
func (r *Recorder) warn(warnings []string) {
	for _, warning := range warnings {
		if r.firstOfReceipts(warning) {
			r.say("the server stored a submission with a warning: " + warning)
		}
	}
}

func (r *Recorder) firstOfReceipts(warning string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := "receipt: " + warning
	if r.said[key] || r.receiptWarnings == maxReceiptWarnings {
		return false
	}
	r.said[key] = true
	r.receiptWarnings++
	return true
}

// isAboutContent reports whether the submission is at fault, and not the API key, the
// address or the state of the server.
func (e *Error) isAboutContent() bool {
	isAddress := e.Status == http.StatusNotFound || e.Status == http.StatusMethodNotAllowed
	return !e.Retriable() && !e.isAboutKey() && !isAddress
}

// refusal returns the error in a receipt, nil if the run is stored.
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

// now is the current time as the API accepts it, to the millisecond.
func now() *Timestamp {
	var timestamp Timestamp
	if err := timestamp.FromTimestamp0(time.Now().UTC().Truncate(time.Millisecond)); err != nil {
		panic(err) // It fails only for years that JSON cannot write.
	}
	return &timestamp
}
