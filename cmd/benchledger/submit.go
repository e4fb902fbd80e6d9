package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	benchledger "github.com/benchledger/benchledger/clients/go"
	"github.com/benchledger/benchledger/internal/jsonlines"
)

// Limits of one request. A larger run is sent alone, and the server accepts or refuses it.
const (
	groupRuns  = 500
	groupBytes = 4 << 20
)

// Exit statuses of submit, beside 0.
const (
	exitUndelivered = 1
	exitRefused     = 2
)

type submitCommand struct {
	serverFlags `embed:""`
	Files       []string      `arg:"" name:"file" help:"Files of runs: one per line (NDJSON), a JSON array, or one object; optionally compressed with gzip. - is standard input."`
	Concurrency int           `default:"4" placeholder:"N" help:"Number of concurrent requests; ${default} by default."`
	RetryFor    time.Duration `default:"2m" placeholder:"DURATION" help:"How long to retry a request while the server is unavailable; 0 does not retry, ${default} by default."`
	Refused     string        `default:"refused.ndjson" placeholder:"FILE" help:"File for the runs that the server refuses, with the reasons; ${default} by default. Once the runs in it are corrected, submit that file."`
	Strict      bool          `help:"Refuse runs with unknown fields instead of warning about them."`
	Undelivered string        `default:"undelivered.ndjson" placeholder:"FILE" help:"File for the runs that could not be delivered; ${default} by default."`
}

func (submitCommand) Help() string {
	return "Submitting a run again is safe: a run that is already stored counts as a replay. To continue a stopped submission, run the same command again. " +
		"Lines with the same run ID are stored in order, across all files.\n\n" +
		"A file of refused runs can be submitted, too: the run in each line is submitted. Correct it first; it may be a JSON string or an object.\n\n" +
		"Exit status: 0 if all runs are stored, 1 if some could not be delivered or a file could not be read, 2 if all were delivered and some were refused."
}

// Validate checks the flags.
func (c *submitCommand) Validate() error {
	if c.Concurrency < 1 {
		return errors.New("--concurrency must be at least 1")
	}
	return checkRetryFor(c.RetryFor)
}

// source is a run, and its position in the files.
type source struct {
	// n is the number of the run across all files.
	n    int
	file string
	// line is the line in the file or, in an array, the element.
	line int
	raw  []byte
	// id is a hash of the run ID, 0 if the line has none.
	id uint64
	// size is the size of the run in the file, compressed if the file is.
	size int64
}

// String names the line.
func (s source) String() string {
	file := s.file
	if file == "-" {
		file = "standard input"
	}
	return fmt.Sprintf("line %d of %s", s.line, file)
}

// submission counts the outcomes of runs.
type submission struct {
	client  *benchledger.ClientWithResponses
	retrier *benchledger.Retrier
	strict  bool
	// stop ends the submission.
	stop context.CancelCauseFunc
	mu   sync.Mutex
	// total is the size of all files, -1 if unknown; done is the submitted part of it.
	total, done int64
	outcomes    map[benchledger.ReceiptOutcome]int
	// undelivered counts runs that could not be delivered; why is the last error.
	undelivered int
	why         error
	refused     *lineFile
	left        *lineFile
	// reasons are the reasons of the first refused runs.
	reasons []finding
	// warnings has at most keptWarnings texts; unkept counts the others.
	warnings map[string]*finding
	unkept   int
	bar      *progressbar.ProgressBar
}

// finding is a reason or a warning of the server, and its lines.
type finding struct {
	text  string
	first source
	lines int
}

// How many reasons and warnings are printed, and how many different warnings are counted.
const (
	maxReasons   = 3
	maxWarnings  = 10
	keptWarnings = 1000
)

// Run submits the files.
func (c *submitCommand) Run() error {
	interrupted, end := interruptible()
	defer end()
	ctx, stop := context.WithCancelCause(interrupted)
	defer stop(nil)
	client, err := c.connect()
	if err != nil {
		return err
	}
	total := c.size()
	s := &submission{
		client: client, retrier: &benchledger.Retrier{For: c.RetryFor}, strict: c.Strict, stop: stop,
		total: total, outcomes: map[benchledger.ReceiptOutcome]int{}, warnings: map[string]*finding{}, bar: newBar(total),
		refused: &lineFile{path: c.Refused}, left: &lineFile{path: c.Undelivered},
	}
	reported := s.report()
	groups := make([]chan []source, c.Concurrency)
	var workers sync.WaitGroup
	for i := range groups {
		groups[i] = make(chan []source, 1) // A waiting worker then does not block the others.
		workers.Go(func() { s.work(ctx, groups[i]) })
	}
	unreadable := c.read(ctx, groups)
	for _, each := range groups {
		close(each)
	}
	workers.Wait()
	if ctx.Err() == nil {
		_ = s.bar.Finish() // Only the progress bar.
	} else if onTerminal() {
		_ = s.bar.Exit()
	}
	reported()
	unwritten := errors.Join(s.refused.close(), s.left.close())
	err = s.result(ctx, unreadable)
	if unwritten != nil {
		return exitError{exitUndelivered, errors.Join(unwritten, err).Error()}
	}
	return err
}

// size is the size of all files, -1 if unknown.
func (c *submitCommand) size() int64 {
	total := int64(0)
	for _, file := range c.Files {
		switch info, err := os.Stat(file); {
		case file == "-":
			return -1
		case err != nil || info.IsDir(): // It cannot be read.
		case !info.Mode().IsRegular():
			return -1
		default:
			total += info.Size()
		}
	}
	return total
}

// newBar returns a progress bar by the size of the files. It is drawn on a terminal.
func newBar(total int64) *progressbar.ProgressBar {
	return progressbar.NewOptions64(
		total, progressbar.OptionSetDescription("0 runs"), progressbar.OptionSetWriter(os.Stderr),
		progressbar.OptionSetVisibility(onTerminal()),
		progressbar.OptionShowBytes(true), progressbar.OptionShowTotalBytes(true), progressbar.OptionFullWidth(),
		progressbar.OptionThrottle(65*time.Millisecond), progressbar.OptionSetRenderBlankState(true),
		progressbar.OptionSpinnerType(14), progressbar.OptionSetSpinnerChangeInterval(0), // Otherwise the bar also draws by a timer.
		progressbar.OptionOnCompletion(func() { fmt.Fprintln(os.Stderr) }),
	)
}

func onTerminal() bool { return term.IsTerminal(int(os.Stderr.Fd())) }

// report prints the progress every few seconds if there is no bar, until end is called. It prints
// nothing while nothing changes: then the submission waits for the server, and has said so.
func (s *submission) report() (end func()) {
	if onTerminal() {
		return func() {}
	}
	done := make(chan struct{})
	var reporting sync.WaitGroup
	reporting.Go(func() {
		printed := s.counts()
		for tick := time.Tick(3 * time.Second); ; {
			select {
			case <-tick:
				if counts := s.counts(); counts != printed {
					fmt.Fprintln(stderr, "progress:", counts)
					printed = counts
				}
			case <-done:
				return
			}
		}
	})
	return func() { close(done); reporting.Wait() }
}

func (s *submission) counts() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("%d recorded, %d replayed, %d refused, %d undelivered",
		s.outcomes["recorded"], s.outcomes["replayed"], s.outcomes["refused"]+s.outcomes["conflict"], s.undelivered)
}

// result prints the outcomes of all runs, and how to continue.
func (s *submission) result(ctx context.Context, unreadable error) error {
	refused := s.outcomes["refused"] + s.outcomes["conflict"]
	printf("%s\n", s.counts())
	if refused > 0 {
		printf("refused runs, with the reasons: %s\n", s.refused.path)
		for _, reason := range s.reasons {
			printf("  %s: %s\n", reason.first, shown(reason.text))
		}
	}
	s.printWarnings()
	if s.undelivered > 0 {
		printf("undelivered runs: %s (%v); submit that file when the server is available again\n", s.left.path, withHint(s.why))
		unreadable = errors.Join(unreadable, fmt.Errorf("%d runs could not be delivered", s.undelivered))
	}
	var failed *benchledger.Error
	switch {
	case errors.As(context.Cause(ctx), &failed):
		return exitError{exitUndelivered, failed.Error()}
	case ctx.Err() != nil:
		return exitError{exitUndelivered, fmt.Sprintf("stopped at %s; run the same command again", s.position())}
	}
	switch {
	case unreadable != nil:
		return exitError{exitUndelivered, unreadable.Error()}
	case refused > 0:
		return exitError{exitRefused, fmt.Sprintf("%d runs were refused", refused)}
	}
	return nil
}

// printWarnings prints the warnings of the server in the order of their first lines.
func (s *submission) printWarnings() {
	warnings := slices.SortedFunc(maps.Values(s.warnings), func(a, b *finding) int { return a.first.n - b.first.n })
	for i, warning := range warnings {
		if i == maxWarnings {
			printf("and %d more warnings\n", len(warnings)-maxWarnings+s.unkept)
			break
		}
		printf("warning: %s (%d lines, the first is %s)\n", shown(warning.text), warning.lines, warning.first)
	}
}

// position describes the progress.
func (s *submission) position() string {
	if s.total > 0 {
		return fmt.Sprintf("%d %%", min(100, 100*s.done/s.total))
	}
	return fmt.Sprintf("%d runs", s.submitted())
}

// submitted counts the runs with a known outcome.
func (s *submission) submitted() int {
	n := s.undelivered
	for _, runs := range s.outcomes {
		n += runs
	}
	return n
}

// exitError ends the program with the given status.
type exitError struct {
	status  int
	message string
}

func (e exitError) Error() string { return e.message }

// work submits groups, one after the other.
func (s *submission) work(ctx context.Context, groups <-chan []source) {
	w := worker{submission: s, behind: map[uint64]bool{}}
	for group := range groups {
		if !w.submit(ctx, group) {
			return
		}
	}
}

// worker submits the lines of some run IDs. After a run could not be delivered, its later lines
// are not sent either: they would be stored before it.
type worker struct {
	*submission
	// behind has the IDs of undelivered runs; cause is the error of the last one.
	behind map[uint64]bool
	cause  error
	// failures counts the requests in a row that failed and were not split.
	failures int
}

// submit submits a group, and reports whether to continue.
func (w *worker) submit(ctx context.Context, group []source) bool {
	var next, overtaking []source
	for _, run := range group {
		switch {
		case beginsArray(run.raw):
			w.note([]source{run}, []benchledger.Receipt{refusal(benchledger.FieldError{Location: "body", Message: "expected a JSON object"})}, nil)
		case run.id != 0 && w.behind[run.id]:
			overtaking = append(overtaking, run)
		default:
			next = append(next, run)
		}
	}
	receipts, err := w.send(ctx, next)
	var failed *benchledger.Error
	if errors.As(err, &failed) {
		switch failed.Status {
		case http.StatusUnauthorized, http.StatusForbidden:
			w.stop(failed)
			return false
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
			if len(next) > 1 { // Maybe only one of them is not valid.
				return w.submitEach(ctx, slices.Concat(next, overtaking))
			}
			faults := failed.Problem.Errors
			if len(faults) == 0 {
				faults = []benchledger.FieldError{{Location: "body", Message: failed.Problem.Detail}}
			}
			receipts, err = []benchledger.Receipt{refusal(faults...)}, nil
		}
	}
	if err != nil {
		if ctx.Err() != nil {
			return false
		}
		w.cause = err
		if len(next) > 1 && w.failures < maxFailures { // Maybe the server fails because of one of them.
			return w.submitEach(ctx, slices.Concat(next, overtaking))
		}
		w.failures++
		w.giveUp(next)
	} else if len(next) > 0 {
		w.failures = 0
		w.note(next, receipts, nil)
	}
	w.note(overtaking, nil, w.cause)
	return true
}

// submitEach submits runs one by one. When several in a row have failed, it gives up the rest: the
// server is not available.
func (w *worker) submitEach(ctx context.Context, runs []source) bool {
	for i, run := range runs {
		if w.failures >= maxFailures {
			w.giveUp(runs[i:])
			return true
		}
		if !w.submit(ctx, []source{run}) {
			return false
		}
	}
	return true
}

// giveUp notes runs as undelivered.
func (w *worker) giveUp(runs []source) {
	for _, run := range runs {
		if run.id != 0 {
			w.behind[run.id] = true
		}
	}
	w.note(runs, nil, w.cause)
}

// maxFailures is how many runs in a row may fail alone, until a worker no longer splits requests.
const maxFailures = 5

// beginsArray reports whether a line starts with "[": a body or a file that starts with it would be
// read as an array. Such a line is not a run.
func beginsArray(line []byte) bool {
	return bytes.HasPrefix(bytes.TrimSpace(bytes.TrimPrefix(line, []byte("\ufeff"))), []byte("["))
}

func refusal(faults ...benchledger.FieldError) benchledger.Receipt {
	return benchledger.Receipt{Outcome: benchledger.ReceiptOutcomeRefused, Errors: faults}
}

// send submits a group, and retries while the server is unavailable.
func (s *submission) send(ctx context.Context, group []source) (receipts []benchledger.Receipt, err error) {
	if len(group) == 0 {
		return nil, nil
	}
	var body bytes.Buffer
	for _, run := range group {
		body.Write(run.raw)
		body.WriteByte('\n')
	}
	params := &benchledger.SubmitRunsParams{}
	if s.strict { // An older server does not know the parameter.
		params.Strict = &s.strict
	}
	err = s.retrier.Do(ctx, func() (err error) {
		receipts, err = s.client.SubmitLines(ctx, params, bytes.NewReader(body.Bytes()))
		return err
	}, s.waiting)
	return receipts, err
}

// waiting prints that the server is unavailable.
func (s *submission) waiting(why error, until time.Time) {
	if until.IsZero() {
		return // The result reports it.
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if onTerminal() {
		_ = s.bar.Clear()
	}
	fmt.Fprintf(stderr, "waiting for %s: %v\n", serverOf(s.client), why)
}

// note records the outcome of a group.
func (s *submission) note(group []source, receipts []benchledger.Receipt, err error) {
	if len(group) == 0 {
		return // Otherwise a complete bar is drawn again.
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, run := range group {
		s.done += run.size
		if err != nil {
			s.undelivered++
			s.why = err
			s.left.write(run.raw) // Unchanged: it may not be JSON.
			continue
		}
		receipt := receipts[i]
		s.outcomes[receipt.Outcome]++
		if receipt.Outcome == "refused" || receipt.Outcome == "conflict" {
			line, err := json.Marshal(refusedRun{
				File: run.file, Line: run.line, Outcome: string(receipt.Outcome), Errors: receipt.Errors, Run: string(run.raw),
			}, jsontext.AllowInvalidUTF8(true))
			s.refused.err = errors.Join(s.refused.err, err)
			s.refused.write(line)
			s.noteReason(run, receipt)
		}
		for _, text := range receipt.Warnings {
			s.noteWarning(run, text)
		}
	}
	s.bar.Describe(fmt.Sprintf("%d runs", s.submitted()))
	_ = s.bar.Set64(s.done) // Only the progress bar.
}

// noteReason keeps the reasons of the first refused runs.
func (s *submission) noteReason(run source, receipt benchledger.Receipt) {
	text := string(receipt.Outcome)
	if len(receipt.Errors) > 0 {
		text = receipt.Errors[0].Location + ": " + receipt.Errors[0].Message
	}
	s.reasons = append(s.reasons, finding{text: text, first: run.where()})
	slices.SortFunc(s.reasons, func(a, b finding) int { return a.first.n - b.first.n })
	s.reasons = s.reasons[:min(maxReasons, len(s.reasons))]
}

func (s *submission) noteWarning(run source, text string) {
	warning := s.warnings[text]
	if warning == nil {
		if len(s.warnings) == keptWarnings {
			s.unkept++
			return
		}
		warning = &finding{text: text, first: run.where()}
		s.warnings[text] = warning
	}
	warning.lines++
	if run.n < warning.first.n {
		warning.first = run.where()
	}
}

// where returns the source without the text.
func (s source) where() source {
	s.raw = nil
	return s
}

// refusedRun is a line of the file of refused runs. Run is the text of the run, which may not be
// JSON.
type refusedRun struct {
	File    string                   `json:"file"`
	Line    int                      `json:"line"`
	Outcome string                   `json:"outcome"`
	Errors  []benchledger.FieldError `json:"errors,omitempty"`
	Run     string                   `json:"run"`
}

// lineFile is a file that is created with the first line. If the file already exists, for example
// from an earlier submission, it is kept, and path changes.
type lineFile struct {
	path string
	file *os.File
	err  error
}

func (f *lineFile) write(line []byte) {
	if f.file == nil && f.err == nil {
		f.create()
	}
	if f.err == nil {
		_, f.err = f.file.Write(append(slices.Clip(line), '\n')) // Clip: append must not overwrite the rest of the buffer.
	}
}

// create uses the first free name: undelivered.ndjson, undelivered-2.ndjson, …
func (f *lineFile) create() {
	flags := os.O_CREATE | os.O_WRONLY | os.O_EXCL
	if info, err := os.Stat(f.path); err == nil && !info.Mode().IsRegular() {
		flags = os.O_WRONLY // Like /dev/null.
	}
	ending := filepath.Ext(f.path)
	name := strings.TrimSuffix(f.path, ending)
	for n := 2; ; n++ {
		f.file, f.err = os.OpenFile(f.path, flags, 0o600)
		if !errors.Is(f.err, fs.ErrExist) {
			return
		}
		f.path = fmt.Sprintf("%s-%d%s", name, n, ending)
	}
}

func (f *lineFile) close() error {
	if f.file != nil {
		f.err = errors.Join(f.err, f.file.Close())
	}
	return f.err
}

// read groups the runs of all files. Lines with the same run ID go to the same channel, so that
// they stay in order. It returns the errors of files that could not be read.
func (c *submitCommand) read(ctx context.Context, to []chan []source) error {
	groups, sizes := make([][]source, len(to)), make([]int, len(to))
	flush := func(i int) error {
		if len(groups[i]) == 0 {
			return nil
		}
		select {
		case to[i] <- groups[i]:
			groups[i], sizes[i] = nil, 0
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	seed := maphash.MakeSeed()
	n := 0
	var unreadable []error
	for _, file := range c.Files {
		var read, before int64
		err := readFile(file, &read, func(line int, raw []byte) error {
			n++
			// Up to buffered bytes may be read ahead; anything beyond them was space between runs.
			unused := read - before
			run := source{n: n, file: file, line: line, size: max(min(unused, int64(len(raw))+1), unused-buffered)}
			before += run.size
			var id string
			if run.raw, id = submittedRun(raw); id != "" {
				run.id = maphash.String(seed, id)
			}
			i := int(run.id % uint64(len(to)))
			if len(groups[i]) == groupRuns || sizes[i]+len(run.raw) > groupBytes {
				if err := flush(i); err != nil {
					return err
				}
			}
			groups[i], sizes[i] = append(groups[i], run), sizes[i]+len(run.raw)
			return nil
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if named := (*fs.PathError)(nil); errors.As(err, &named) {
			err = named.Err
		}
		if err != nil {
			unreadable = append(unreadable, fmt.Errorf("%s: %w", file, err))
		}
	}
	for i := range groups {
		if err := flush(i); err != nil {
			return err
		}
	}
	return errors.Join(unreadable...)
}

// submittedRun returns the text of a run, and its ID if it has one. The line may be from a file of
// refused runs.
func submittedRun(line []byte) (raw []byte, id string) {
	var fields struct {
		RunID   string         `json:"runId"`
		Outcome jsontext.Value `json:"outcome"`
		Run     jsontext.Value `json:"run"`
	}
	anyText := json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if json.Unmarshal(line, &fields, anyText) != nil || fields.RunID != "" {
		return line, fields.RunID // If it is not valid, the server says so.
	}
	var text string
	switch {
	case fields.Outcome.Kind() != '"':
		return line, ""
	case fields.Run.Kind() == '{':
		text = string(fields.Run)
	case json.Unmarshal(fields.Run, &text, anyText) != nil:
		return line, ""
	}
	if raw = bytes.TrimSpace([]byte(strings.NewReplacer("\n", " ", "\r", " ").Replace(text))); len(raw) == 0 {
		return line, ""
	}
	_ = json.Unmarshal(raw, &fields, anyText)
	return raw, fields.RunID
}

// buffered is the maximum that is read ahead in a file.
const buffered = 256 << 10

// countingReader counts the bytes read.
type countingReader struct {
	io.Reader
	size *int64
}

// Read reads.
func (c countingReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	*c.size += int64(n)
	return n, err
}

// readFile calls yield for each run of a file, and adds the bytes read to size.
func readFile(path string, size *int64, yield func(line int, raw []byte) error) error {
	input := io.Reader(os.Stdin)
	if path != "-" {
		file, err := os.Open(path) //nolint:gosec // G304: the file that the user names
		if err != nil {
			return err
		}
		defer file.Close()
		input = file
	}
	counted := bufio.NewReaderSize(countingReader{input, size}, 64<<10)
	if magic, _ := counted.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		unpacked, err := gzip.NewReader(counted)
		if err != nil {
			return err
		}
		return readRuns(unpacked, yield)
	}
	return readRuns(counted, yield)
}

// readRuns calls yield for each run, as one line.
func readRuns(r io.Reader, yield func(line int, raw []byte) error) error {
	runs, err := jsonlines.NewFileReader(r)
	if errors.Is(err, io.EOF) {
		return nil
	} else if err != nil {
		return err
	}
	for {
		run, err := runs.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && !runs.ByLine:
			return fmt.Errorf("neither lines of JSON nor a JSON array: %w", err)
		case err != nil:
			return err
		}
		raw := jsontext.Value(bytes.Clone(run.Text))
		if bytes.IndexByte(raw, '\n') >= 0 {
			if err := raw.Compact(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)); err != nil {
				return err
			}
		}
		if err := yield(run.Number, raw); err != nil {
			return err
		}
	}
}
