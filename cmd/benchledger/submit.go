package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
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

// What a request takes at most. A run that is larger goes alone, for the server to
// judge.
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
	Files       []string      `arg:"" name:"file" help:"Files of runs: one per line (NDJSON), a JSON array, or one object; optionally compressed by gzip. - is standard input."`
	Concurrency int           `default:"4" placeholder:"N" help:"Number of concurrent requests; ${default} by default."`
	RetryFor    time.Duration `default:"2m" placeholder:"DURATION" help:"How long to retry a request while the server is unavailable; 0 does not retry, ${default} by default."`
	Refused     string        `default:"refused.ndjson" placeholder:"FILE" help:"File for the runs that the server refuses, with the reasons; ${default} by default."`
	Undelivered string        `default:"undelivered.ndjson" placeholder:"FILE" help:"File for the runs that could not be delivered; ${default} by default."`
}

func (submitCommand) Help() string {
	return "Submitting a run again is safe: what is already stored counts as a replay. To continue a submission that was stopped, run the same command again.\n\n" +
		"Exit status: 0 when all runs are stored, 1 when some could not be delivered, 2 when all were delivered and some refused."
}

// Validate refuses what means nothing.
func (c *submitCommand) Validate() error {
	if c.Concurrency < 1 {
		return errors.New("--concurrency must be at least 1")
	}
	return checkRetryFor(c.RetryFor)
}

// source is where a run comes from.
type source struct {
	file string
	// line is that of the file; of an array, the element.
	line int
	raw  []byte
}

// group is what a request submits. size is how much of the files it is, compressed
// where they are.
type group struct {
	runs []source
	size int64
}

// submission counts what becomes of runs.
type submission struct {
	retryFor time.Duration
	mu       sync.Mutex
	outcomes map[benchledger.ReceiptOutcome]int
	// undelivered counts runs that did not reach the server, and why says the reason.
	undelivered int
	why         error
	// away says that the server has not answered for retryFor: then one attempt is enough,
	// until it does again.
	away    bool
	refused *lineFile
	left    *lineFile
	bar     *progressbar.ProgressBar
}

// Run submits.
func (c *submitCommand) Run() error {
	ctx, stop := interruptible()
	defer stop()
	client, err := c.connect()
	if err != nil {
		return err
	}
	s := &submission{
		retryFor: c.RetryFor, outcomes: map[benchledger.ReceiptOutcome]int{}, bar: c.bar(),
		refused: &lineFile{path: c.Refused}, left: &lineFile{path: c.Undelivered},
	}
	reported := s.report()
	groups := make(chan group)
	var workers sync.WaitGroup
	for range c.Concurrency {
		workers.Go(func() {
			for group := range groups {
				s.send(ctx, client, group)
			}
		})
	}
	readErr := c.read(ctx, groups)
	close(groups)
	workers.Wait()
	_ = s.bar.Finish() // Only the progress bar.
	reported()
	if err := errors.Join(s.refused.close(), s.left.close()); err != nil {
		return err
	}
	return s.result(ctx, readErr)
}

// bar is drawn on a terminal, by the bytes of the files.
func (c *submitCommand) bar() *progressbar.ProgressBar {
	total := int64(0)
	for _, file := range c.Files {
		info, err := os.Stat(file)
		if file == "-" || err != nil || !info.Mode().IsRegular() {
			total = -1
			break
		}
		total += info.Size()
	}
	return progressbar.NewOptions64(
		total, progressbar.OptionSetDescription("submitting"), progressbar.OptionSetWriter(os.Stderr),
		progressbar.OptionSetVisibility(onTerminal()),
		progressbar.OptionShowBytes(true), progressbar.OptionShowTotalBytes(true), progressbar.OptionFullWidth(),
		progressbar.OptionThrottle(65*time.Millisecond), progressbar.OptionSetRenderBlankState(true),
		progressbar.OptionSpinnerType(14), progressbar.OptionSetSpinnerChangeInterval(0), // It would draw at a time of its own.
		progressbar.OptionOnCompletion(func() { fmt.Fprintln(os.Stderr) }),
	)
}

func onTerminal() bool { return term.IsTerminal(int(os.Stderr.Fd())) }

// report prints how far it is, every few seconds where there is no bar, until it is ended.
func (s *submission) report() (end func()) {
	if onTerminal() {
		return func() {}
	}
	done := make(chan struct{})
	var reporting sync.WaitGroup
	reporting.Go(func() {
		for tick := time.Tick(3 * time.Second); ; {
			select {
			case <-tick:
				fmt.Fprintln(os.Stderr, "progress:", s.counts())
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

// result says what became of all runs, and how to go on.
func (s *submission) result(ctx context.Context, readErr error) error {
	refused := s.outcomes["refused"] + s.outcomes["conflict"]
	fmt.Println(s.counts())
	if refused > 0 {
		fmt.Printf("refused runs, with the reasons: %s\n", s.refused.path)
	}
	if s.undelivered > 0 {
		fmt.Printf("undelivered runs: %s (%v); submit that file when the server is available again\n", s.left.path, withHint(s.why))
	}
	switch {
	case ctx.Err() != nil:
		return exitError{exitUndelivered, "stopped before the end: run the same command again; retrying is safe"}
	case readErr != nil:
		return readErr
	case s.undelivered > 0:
		return exitError{exitUndelivered, fmt.Sprintf("%d runs could not be delivered", s.undelivered)}
	case refused > 0:
		return exitError{exitRefused, fmt.Sprintf("%d runs were refused", refused)}
	}
	return nil
}

// exitError ends the program with a status of its own.
type exitError struct {
	status  int
	message string
}

func (e exitError) Error() string { return e.message }

// send submits a group, again where the server cannot take it, and notes what became
// of it.
func (s *submission) send(ctx context.Context, client *benchledger.ClientWithResponses, group group) {
	var body bytes.Buffer
	for _, run := range group.runs {
		body.Write(run.raw)
		body.WriteByte('\n')
	}
	s.mu.Lock()
	retryFor := s.retryFor
	if s.away {
		retryFor = 0
	}
	s.mu.Unlock()
	var receipts []benchledger.Receipt
	err := benchledger.Retry(ctx, retryFor, func() (err error) {
		receipts, err = client.SubmitLines(ctx, bytes.NewReader(body.Bytes()))
		if err == nil && len(receipts) != len(group.runs) {
			err = fmt.Errorf("%d receipts for %d runs", len(receipts), len(group.runs))
		}
		return err
	})

	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = err != nil
	for i, run := range group.runs {
		if err != nil {
			s.undelivered++
			s.why = err
			s.left.write(jsontext.Value(run.raw))
			continue
		}
		outcome := receipts[i].Outcome
		s.outcomes[outcome]++
		if outcome == "refused" || outcome == "conflict" {
			s.refused.write(refusedRun{File: run.file, Line: run.line, Outcome: string(outcome), Errors: receipts[i].Errors, Run: string(run.raw)})
		}
	}
	_ = s.bar.Add64(group.size) // Only the progress bar.
}

// refusedRun is a line of the file of what was refused. Run is its text, which may be
// no JSON.
type refusedRun struct {
	File    string                   `json:"file"`
	Line    int                      `json:"line"`
	Outcome string                   `json:"outcome"`
	Errors  []benchledger.FieldError `json:"errors,omitempty"`
	Run     string                   `json:"run"`
}

// lineFile is a file that is made when there is something to write. A file of that name
// that is there already, as of an earlier submission, stays as it is: path is changed then.
type lineFile struct {
	path string
	file *os.File
	err  error
}

func (f *lineFile) write(line any) {
	if f.file == nil && f.err == nil {
		f.create()
	}
	if f.err == nil {
		if f.err = json.MarshalWrite(f.file, line, jsontext.AllowInvalidUTF8(true)); f.err == nil {
			_, f.err = f.file.WriteString("\n")
		}
	}
}

// create finds a free name: undelivered.ndjson, undelivered-2.ndjson, …
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

// read groups the runs of all files.
func (c *submitCommand) read(ctx context.Context, groups chan<- group) error {
	var next group
	size := 0
	flush := func() error {
		if len(next.runs) == 0 {
			return nil
		}
		select {
		case groups <- next:
			next, size = group{}, 0
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for _, file := range c.Files {
		err := readFile(file, &next.size, func(line int, raw []byte) error {
			if len(next.runs) == groupRuns || size+len(raw) > groupBytes {
				if err := flush(); err != nil {
					return err
				}
			}
			next.runs, size = append(next.runs, source{file, line, raw}), size+len(raw)
			return nil
		})
		if err != nil {
			if named := (*fs.PathError)(nil); errors.As(err, &named) {
				err = named.Err
			}
			return errors.Join(fmt.Errorf("%s: %w", file, err), flush())
		}
	}
	return flush()
}

// countingReader adds up how much is read.
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

// readFile calls yield for each run of a file, and adds to size what it reads.
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
	buffered := bufio.NewReaderSize(countingReader{input, size}, 64<<10)
	if magic, _ := buffered.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		unpacked, err := gzip.NewReader(buffered)
		if err != nil {
			return err
		}
		buffered = bufio.NewReaderSize(unpacked, 64<<10)
	}
	const mark = "\ufeff" // What some editors begin a file with.
	if start, _ := buffered.Peek(len(mark)); string(start) == mark {
		_, _ = buffered.Discard(len(mark))
	}
	return readRuns(buffered, yield)
}

// readRuns calls yield for each run, as a text of one line.
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
		raw := jsontext.Value(run.Text)
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
