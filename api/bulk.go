package api

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/benchledger/benchledger/db"
	"github.com/benchledger/benchledger/internal/jsonlines"
	"github.com/benchledger/benchledger/keys"
)

const (
	// maxLines is how many runs one request may have.
	maxLines = 10_000
	// maxEachBytes limits a request whose runs are stored separately, while it is read. A
	// request that is stored as a whole is kept in memory until its end.
	maxEachBytes   = 256 << 20
	maxAtomicBytes = 16 << 20
	// maxLineBytes is the largest run, as for a single submission.
	maxLineBytes = maxBodyBytes - 1
	// chunkRuns and chunkBytes limit what one statement stores.
	chunkRuns  = 250
	chunkBytes = 2 << 20
	// maxBulks and bulksOfOne are how many requests, and how many of one sender, may be under way:
	// each has a chunk and its receipts in memory.
	maxBulks, bulksOfOne = 32, 16
	// maxReceiptErrors is how many errors and warnings the receipts of a request have in all, and
	// one more for each further line.
	maxReceiptErrors = 10_000
	// bulkTimes limits a whole request, and atomicTimes the transaction of an atomic
	// request, as multiples of RequestTimeout.
	bulkTimes, atomicTimes = 60, 6
)

// submitRuns is the operation's name.
const submitRuns = "submit-runs"

// Receipt is the outcome of a line of a bulk submission.
type Receipt struct {
	Line     int32        `json:"line" doc:"The number of the line, from 1; in a JSON array, of the element."`
	RunID    string       `json:"runId,omitempty" doc:"The run ID, if the line has one."`
	Outcome  string       `json:"outcome" enum:"recorded,replayed,conflict,refused" doc:"recorded: stored. replayed: the same content was stored before. conflict: the run is finished, and its content differs. refused: the line is not valid. After conflict and refused, nothing of the line is stored."`
	Errors   []FieldError `json:"errors,omitempty" doc:"The fields that are invalid, or that differ from what is stored; at most 20."`
	Warnings []string     `json:"warnings,omitempty" doc:"The fields that are unknown, and therefore not stored; at most 20."`
}

const (
	recorded = string(db.Recorded)
	replayed = string(db.Replayed)
	conflict = string(db.Conflicted)
	refused  = string(db.Refused)
)

type submitRunsInput struct {
	Strictness
	Mode string `query:"mode" enum:"each,atomic" default:"each" doc:"each: every line is stored or refused on its own. atomic: all lines are stored, or none."`
	// request is kept to read the body as it arrives.
	request huma.Context
}

// Resolve keeps the request.
func (i *submitRunsInput) Resolve(ctx huma.Context) []error {
	i.request = ctx
	return nil
}

type submitRunsOutput struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

func (s *server) registerBulk() {
	receipts := []Receipt{
		{Line: 1, RunID: "run-a1", Outcome: recorded},
		{Line: 2, RunID: "run-a2", Outcome: refused, Errors: []FieldError{{"body.agent", "expected required property agent to be present"}}},
	}
	var lines bytes.Buffer
	for _, receipt := range receipts {
		_ = jsonFormat.Marshal(&lines, receipt) // A struct of strings.
		lines.WriteByte('\n')
	}
	var oneRun bytes.Buffer
	_ = jsonFormat.Marshal(&oneRun, exampleSubmission)
	schemas := s.api.OpenAPI().Components.Schemas
	receipt := schemas.Schema(reflect.TypeFor[Receipt](), true, "Receipt")
	run := schemas.Schema(reflect.TypeFor[RunSubmission](), true, "RunSubmission")
	// Not with register: this operation stores while it reads its body, and uses the database
	// for one chunk at a time.
	huma.Register(s.api, huma.Operation{
		OperationID: submitRuns, Method: http.MethodPost, Path: "/api/results/bulk", Tags: []string{"Results"},
		Summary: "Submit many runs",
		Description: fmt.Sprintf("Accepts up to %d runs, one per line (NDJSON) or as a JSON array, each in the form that `submit-run` accepts. "+
			"The body may be compressed (`Content-Encoding: gzip`). The limits are 8 MiB per run and %d MiB per request, in the mode `atomic` %d MiB per request.\n\n"+
			"In the mode `each` (the default), every line is stored or refused on its own, and the answer has one receipt per line, "+
			"in the same order. After any other answer, some lines may have been stored; retrying is safe.\n\n"+
			"In the mode `atomic`, all lines are stored, or none: then the answer is a problem whose `errors` name the lines at fault.",
			maxLines, maxEachBytes>>20, maxAtomicBytes>>20),
		Security: submitSecurity, Metadata: map[string]any{classKey: classBulk},
		Errors: append([]int{
			http.StatusBadRequest, http.StatusRequestTimeout, http.StatusConflict,
			http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
		}, commonErrors...),
		Responses: map[string]*huma.Response{"200": {
			Description: "One receipt per line.",
			Content: map[string]*huma.MediaType{"application/x-ndjson": {
				Schema:  linesOf(receipt, "One receipt per line."),
				Example: lines.String(),
			}},
		}},
	}, s.submitRuns)
	// Set after registration: otherwise huma reads the whole body.
	s.api.OpenAPI().Paths["/api/results/bulk"].Post.RequestBody = &huma.RequestBody{Description: "The runs.", Required: true, Content: map[string]*huma.MediaType{
		"application/x-ndjson": {
			Schema:  linesOf(run, "One run per line."),
			Example: oneRun.String() + "\n",
		},
		"application/json": {
			Schema:  &huma.Schema{Type: huma.TypeArray, Items: run, MaxItems: new(maxLines)},
			Example: []any{example(exampleSubmission)["application/json"].Example},
		},
	}}
}

// linesOf is the schema of a text whose lines are JSON.
func linesOf(line *huma.Schema, description string) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeString, Description: description,
		Extensions: map[string]any{"contentMediaType": "application/x-ndjson", "contentSchema": line},
	}
}

func (s *server) submitRuns(ctx context.Context, input *submitRunsInput) (*submitRunsOutput, error) {
	sender := senderOf(ctx)
	if !s.bulks.take(sender, 1) {
		return nil, busy()
	}
	defer s.bulks.give(sender, 1)
	ctx, cancel := context.WithTimeout(ctx, bulkTimes*s.RequestTimeout)
	defer cancel()
	store := s.submitRunsEach
	if input.Mode == "atomic" {
		store = s.submitRunsAtomically
	}
	receipts, err := store(ctx, input)
	if err != nil {
		problem := s.problem(ctx, err)
		for _, receipt := range receipts { // Some have no outcome.
			s.submissions.WithLabelValues("run", cmp.Or(receipt.Outcome, outcomeForStatus(problem.GetStatus()))).Inc()
		}
		return nil, problem
	}
	var body bytes.Buffer
	for _, receipt := range receipts {
		s.submissions.WithLabelValues("run", receipt.Outcome).Inc()
		if err := jsonFormat.Marshal(&body, receipt); err != nil {
			return nil, s.problem(ctx, err)
		}
		body.WriteByte('\n')
	}
	if err := s.countResponse(ctx, body.Len()); err != nil {
		return nil, err // Retrying is safe: then all are replays.
	}
	return &submitRunsOutput{ContentType: "application/x-ndjson", Body: body.Bytes()}, nil
}

// submitRunsEach stores lines while it reads. With an error, it returns the receipts of the
// lines that were read; those whose outcome is unknown have none.
func (s *server) submitRunsEach(ctx context.Context, input *submitRunsInput) ([]Receipt, error) {
	lines, err := readLines(ctx, input, maxEachBytes)
	if err != nil {
		return nil, err
	}
	var all []Receipt
	for {
		chunk, err := s.readChunk(ctx, lines)
		if err == nil {
			err = s.storeEach(ctx, input, chunk)
		}
		lines.release()
		all = append(all, chunk.receipts...)
		if err != nil {
			return all, err
		}
		if chunk.last {
			return all, nil
		}
	}
}

// storeEach stores a chunk, each of its runs independently of the others.
func (s *server) storeEach(ctx context.Context, input *submitRunsInput, chunk *chunk) error {
	if len(chunk.runs) == 0 {
		return nil
	}
	if err := s.checkKeyAgain(ctx, input); err != nil {
		return err
	}
	var outcomes []db.Outcome
	err := s.database.use(ctx, classBulk, s.RequestTimeout, func(ctx context.Context, q *db.Queries) (err error) {
		outcomes, err = db.SubmitRuns(ctx, q, chunk.runs)
		return err
	})
	for i, outcome := range outcomes {
		chunk.runReceipts[i].set(outcome)
	}
	return err
}

// checkKeyAgain refuses to go on with a key that was revoked while the body was read, which
// may take minutes.
func (s *server) checkKeyAgain(ctx context.Context, input *submitRunsInput) error {
	if _, problem := s.identify(ctx, input.request.Header("Authorization"), keys.ScopeSubmit); problem != nil {
		return problem
	}
	return nil
}

// set records the outcome of a run.
func (r *Receipt) set(outcome db.Outcome) {
	r.Outcome = string(outcome.Result)
	switch outcome.Result { //nolint:exhaustive // the others have no errors
	case db.Conflicted:
		r.Errors = cutErrors("body", differenceErrors(outcome.Differences), maxErrors)
	case db.Refused:
		r.Errors = []FieldError{{"body", "the database rejected a value" + constraint(outcome.Err)}}
	}
}

// submitRunsAtomically reads all lines before it stores any. With an error, it returns
// receipts without an outcome for the lines that were read.
func (s *server) submitRunsAtomically(ctx context.Context, input *submitRunsInput) ([]Receipt, error) {
	lines, err := readLines(ctx, input, maxAtomicBytes)
	if err != nil {
		return nil, err
	}
	var chunks []*chunk
	read := 0
	for {
		chunk, err := s.readChunk(ctx, lines)
		read += len(chunk.receipts)
		if err != nil {
			return make([]Receipt, read), err
		}
		chunks = append(chunks, chunk)
		if chunk.last {
			break
		}
	}
	if err := faults(chunks, refused, http.StatusUnprocessableEntity, "Nothing was stored: some lines are not valid"); err != nil {
		return make([]Receipt, read), err
	}
	if err := s.checkKeyAgain(ctx, input); err != nil {
		return make([]Receipt, read), err
	}
	var groups [][]db.Submission
	var runReceipts []*Receipt
	for _, chunk := range chunks {
		groups = append(groups, chunk.runs)
		runReceipts = append(runReceipts, chunk.runReceipts...)
	}
	err = s.database.use(ctx, classBulk, atomicTimes*s.RequestTimeout, func(ctx context.Context, q *db.Queries) error {
		outcomes, err := db.SubmitRunsAtomically(ctx, q, groups)
		for i, outcome := range outcomes {
			runReceipts[i].set(outcome)
		}
		return err
	})
	if err == nil {
		err = faults(chunks, conflict, http.StatusConflict, "Nothing was stored: some runs are finished, and their content differs")
	}
	if err != nil {
		return make([]Receipt, read), err
	}
	var all []Receipt
	for _, chunk := range chunks {
		all = append(all, chunk.receipts...)
	}
	return all, nil
}

// faults returns a problem that names the lines with an outcome, nil if there
// are none.
func faults(chunks []*chunk, outcome string, status int, detail string) error {
	const most = 1000
	problem, count := problemOf(status, ""), 0
	for _, chunk := range chunks {
		for _, receipt := range chunk.receipts {
			if receipt.Outcome != outcome {
				continue
			}
			count++
			for _, field := range receipt.Errors {
				if len(problem.Errors) < most {
					problem.Errors = append(problem.Errors, FieldError{fmt.Sprintf("line %d: %s", receipt.Line, field.Location), field.Message})
				}
			}
		}
	}
	if count == 0 {
		return nil
	}
	problem.Detail = fmt.Sprintf("%s (%d; errors lists them).", detail, count)
	return problem
}

// chunk is what is stored together: the receipts of some lines, and the runs of those
// that are valid. Their ids differ.
type chunk struct {
	receipts []Receipt
	runs     []db.Submission
	// runReceipts are the receipts of the runs.
	runReceipts []*Receipt
	last        bool
}

// readChunk reads lines until the chunk is full; with an error, it returns the lines that it
// has read.
func (s *server) readChunk(ctx context.Context, lines *lineReader) (*chunk, error) {
	c := &chunk{receipts: make([]Receipt, 0, chunkRuns)} // It must not be reallocated.
	ids, size := map[string]bool{}, 0
	lines.extend()
	for len(c.receipts) < chunkRuns && size < chunkBytes {
		raw, err := lines.peek()
		if errors.Is(err, io.EOF) {
			c.last = true
			break
		}
		var faulty lineError
		if err != nil && !errors.As(err, &faulty) {
			return c, err
		}
		receipt := Receipt{Line: int32(lines.number)}
		var run *RunSubmission
		if faulty != "" {
			receipt.Errors = []FieldError{{"body", string(faulty)}}
		} else {
			var read checkedRun
			read.read(raw)
			run, receipt.RunID, receipt.Errors = read.run, read.id, fieldErrors(read.faults)
			if run != nil && receipt.Errors == nil {
				receipt.Errors = run.futureTimes(ctx)
			}
			if lines.strict {
				receipt.Errors = append(receipt.Errors, read.unknown...)
			} else {
				receipt.Warnings = warnings(lines.cut(read.unknown))
			}
			receipt.Errors = lines.cut(receipt.Errors)
		}
		if ids[receipt.RunID] && receipt.Errors == nil {
			break // Another run with the same ID is in this chunk.
		}
		lines.advance()
		size += len(raw)
		c.receipts = append(c.receipts, receipt)
		if receipt.Errors != nil {
			c.receipts[len(c.receipts)-1].Outcome = refused
			continue
		}
		ids[receipt.RunID] = true
		c.runs = append(c.runs, submissionOf(run, keyName(ctx)))
		c.runReceipts = append(c.runReceipts, &c.receipts[len(c.receipts)-1])
	}
	return c, nil
}

// lineError is the error of a line that could not be read.
type lineError string

func (e lineError) Error() string { return string(e) }

// lineReader reads the runs of a body, one by one.
type lineReader struct {
	*jsonlines.Reader
	// strict refuses unknown fields.
	strict bool
	// number is that of the line that peek returns.
	number int
	peeked bool
	raw    []byte
	err    error
	extend func()
	// release ends the counting of what was read so far.
	release func()
	// errors is how many errors and warnings the receipts have.
	errors int
}

// cut shortens the errors, or the warnings, of a line.
func (l *lineReader) cut(errors []FieldError) []FieldError {
	errors = cutErrors("body", errors, min(maxErrors, max(2, maxReceiptErrors-l.errors)))
	l.errors += len(errors)
	return errors
}

// peek returns the next line; a lineError if only that line is invalid, io.EOF after the
// last.
func (l *lineReader) peek() ([]byte, error) {
	if !l.peeked {
		value, err := l.Next()
		l.peeked, l.number, l.raw, l.err = true, value.Number, value.Text, err
		switch {
		case err == nil && l.number > maxLines:
			l.err = problemOf(http.StatusRequestEntityTooLarge, fmt.Sprintf("The request has more than %d lines; send it in parts.", maxLines))
		case errors.Is(err, jsonlines.ErrSpace):
			l.err = tooMuchSpace()
		case errors.Is(err, jsonlines.ErrTooLarge) && !l.ByLine:
			l.err = problemOf(http.StatusRequestEntityTooLarge, "A run is larger than 8 MiB.")
		case errors.Is(err, jsonlines.ErrTooLarge):
			l.err = lineError("the line is larger than 8 MiB")
		case err != nil && !errors.Is(err, io.EOF) && !l.ByLine:
			l.err = arrayError(err)
		}
	}
	return l.raw, l.err
}

func (l *lineReader) advance() { l.peeked = false }

// readLines detects the format from the beginning of the body.
func readLines(ctx context.Context, input *submitRunsInput, maxBytes int64) (*lineReader, error) {
	request := input.request
	switch mediaType, _, _ := mime.ParseMediaType(request.Header("Content-Type")); mediaType {
	case "application/json", "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines":
	default:
		return nil, problemOf(http.StatusUnsupportedMediaType, "Send runs, with Content-Type: application/x-ndjson or application/json.")
	}
	tooLarge := problemOf(http.StatusRequestEntityTooLarge, fmt.Sprintf("The body is larger than %d MiB; send it in parts.", maxBytes>>20))
	if length, err := strconv.ParseInt(request.Header("Content-Length"), 10, 64); err == nil && length > maxBytes {
		return nil, tooLarge
	}
	counted := request.BodyReader().(*countedBody) //nolint:forcetypeassert // limitBodies sets it
	body := &bodyReader{Reader: counted, left: maxBytes, tooLarge: tooLarge}
	extend := func() {
		if body.ended {
			return
		}
		until := time.Now().Add(bodyReadTimeout)
		if end, _ := ctx.Deadline(); end.Before(until) {
			until = end
		}
		_ = request.SetReadDeadline(until) // Without a connection, there is no deadline.
	}
	extend()
	values, err := jsonlines.NewReader(body, maxLineBytes)
	switch {
	case errors.Is(err, jsonlines.ErrSpace):
		return nil, tooMuchSpace()
	case errors.Is(err, io.EOF):
		return nil, problemOf(http.StatusBadRequest, "The body is empty: send one run per line, or an array of runs.")
	case err != nil:
		return nil, err
	}
	return &lineReader{Reader: values, strict: input.Strict, extend: extend, release: counted.release}, nil
}

// bodyReader limits the size of a body, and converts its errors to problems.
type bodyReader struct {
	io.Reader
	left     int64
	tooLarge error
	ended    bool
}

func (r *bodyReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.left -= int64(n)
	var timeout interface{ Timeout() bool }
	var problem *Problem
	switch {
	case errors.As(err, &problem):
		return 0, problem
	case r.left < 0:
		return 0, r.tooLarge
	case err == nil || errors.Is(err, io.EOF):
		r.ended = err != nil
		return n, err
	case errors.As(err, &timeout) && timeout.Timeout():
		return 0, problemOf(http.StatusRequestTimeout, "The body did not arrive in time.")
	}
	return 0, problemOf(http.StatusBadRequest, "The body ended too early, or is not valid gzip.")
}

func tooMuchSpace() *Problem {
	return problemOf(http.StatusBadRequest, "The body has more than 8 MiB of white space between runs.")
}

func arrayError(err error) error {
	var problem *Problem
	if errors.As(err, &problem) {
		return problem
	}
	return problemOf(http.StatusBadRequest, fmt.Sprintf("The body is not a valid JSON array: %s.", publicError(nil, err)))
}
