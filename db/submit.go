package db

import (
	"context"
	"errors"
	"reflect"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/jackc/pgx/v5"
)

// Submission is a run with all it owns, as rows of the tables that they end up in.
type Submission struct {
	// The run is stored as it is, except that the database assigns its ID, and its
	// StartedAt if StartedAtGiven is false.
	BenchmarkRun
	// Evaluations are stored in their order: RunID, Position, ID and CreatedAt are
	// assigned.
	Evaluations []EvaluationResult
	// Telemetry is nil if there is none; its RunID and ID are assigned.
	Telemetry *RunTelemetry
}

// Result is what became of a submission.
type Result string

const (
	// Recorded means that the run is stored as submitted.
	Recorded Result = "recorded"
	// Replayed means that the same content was already stored; nothing changed.
	Replayed Result = "replayed"
	// Conflicted means that the stored run is final and differs; nothing changed.
	Conflicted Result = "conflict"
	// Refused means that the database refuses a value; nothing was stored.
	Refused Result = "refused"
)

// Difference is a column in which a submission differs from the stored run.
type Difference struct {
	// Column is as "total_score", "evaluations[0].score" or, where only one side has it,
	// "telemetry".
	Column string
	// Stored is the beginning of what is stored, as JSON: up to 101 characters. It is empty
	// where nothing is.
	Stored string
}

// Outcome is what became of a submission, and why.
type Outcome struct {
	// Result is empty if it is not known.
	Result Result
	// Differences are the differences between a conflicting submission and the stored run.
	Differences []Difference
	// Err is why the database refuses it.
	Err error
}

// SubmitRun stores one run. A value that the database refuses is an error.
func SubmitRun(ctx context.Context, q *Queries, submission Submission) (Outcome, error) {
	outcomes, err := SubmitRuns(ctx, q, []Submission{submission})
	if err != nil {
		return Outcome{}, err
	}
	return outcomes[0], outcomes[0].Err
}

// SubmitRuns stores runs, whose ids differ, each independently of the others: a run
// that is not stored yet is created; an open run is replaced; a final run stays as it
// is. There is an outcome for each run; with an error, the outcomes that are known.
func SubmitRuns(ctx context.Context, q *Queries, submissions []Submission) ([]Outcome, error) {
	outcomes := make([]Outcome, len(submissions))
	err := submitTogether(ctx, q, submissions, outcomes)
	if kind := Classify(err); err == nil || kind != Invalid && kind != Transient {
		return outcomes, err
	}
	// One run is invalid, or another client stores the same runs in another order (a
	// deadlock): each that is not stored yet gets a transaction for itself.
	for i := range submissions {
		if outcomes[i].Result != "" {
			continue
		}
		one := outcomes[i : i+1]
		err := Retry(ctx, func() error { return submitTogether(ctx, q, submissions[i:i+1], one) })
		if Classify(err) == Invalid {
			outcomes[i] = Outcome{Result: Refused, Err: err}
		} else if err != nil {
			return outcomes, err
		}
	}
	return outcomes, nil
}

// SubmitRunsAtomically stores all runs in one transaction, or none: none where an
// outcome is a conflict. The runs come in groups; ids differ within a group.
func SubmitRunsAtomically(ctx context.Context, q *Queries, groups [][]Submission) (outcomes []Outcome, err error) {
	errConflict := errors.New("a final run differs")
	err = WithTx(ctx, q, pgx.TxOptions{}, func(q *Queries) error {
		outcomes = nil
		conflicts := false
		for _, submissions := range groups {
			group := make([]Outcome, len(submissions))
			if err := createMissing(ctx, q, submissions, group); err != nil {
				return err
			}
			if err := replaceStored(ctx, q, submissions, group); err != nil {
				return err
			}
			for _, outcome := range group {
				conflicts = conflicts || outcome.Result == Conflicted
			}
			outcomes = append(outcomes, group...)
		}
		if conflicts {
			return errConflict
		}
		return nil
	})
	if errors.Is(err, errConflict) {
		return outcomes, nil
	}
	return outcomes, err
}

// submitTogether creates the runs by one statement, and replaces those that are there
// already in one transaction. It sets the outcome of what is committed.
func submitTogether(ctx context.Context, q *Queries, submissions []Submission, outcomes []Outcome) error {
	if err := createMissing(ctx, q, submissions, outcomes); err != nil {
		return err
	}
	if !slices.ContainsFunc(outcomes, func(outcome Outcome) bool { return outcome.Result == "" }) {
		return nil
	}
	replaced := make([]Outcome, len(outcomes))
	err := TryTx(ctx, q, pgx.TxOptions{}, func(q *Queries) error {
		copy(replaced, outcomes)
		return replaceStored(ctx, q, submissions, replaced)
	})
	if err == nil {
		copy(outcomes, replaced)
	}
	return err
}

// createMissing creates the runs that are not stored yet, and sets their outcomes.
func createMissing(ctx context.Context, q *Queries, submissions []Submission, outcomes []Outcome) error {
	if len(submissions) == 1 {
		isCreated, err := createOne(ctx, q, submissions[0])
		if isCreated {
			outcomes[0] = Outcome{Result: Recorded}
		}
		return err
	}
	rows, err := submissionRows(submissions)
	if err != nil {
		return err
	}
	ids, err := q.CreateRuns(ctx, rows)
	if err != nil {
		return err
	}
	created := make(map[string]bool, len(ids))
	for _, id := range ids {
		created[id] = true
	}
	for i, submission := range submissions {
		if created[submission.RunID] {
			outcomes[i] = Outcome{Result: Recorded}
		}
	}
	return nil
}

// createOne creates a run that is not stored yet, and returns whether it did.
func createOne(ctx context.Context, q *Queries, submission Submission) (bool, error) {
	var params CreateRunParams
	if submission.Telemetry != nil {
		copyColumns(&params, submission.Telemetry)
		params.HasTelemetry = true
	}
	copyColumns(&params, &submission.BenchmarkRun) // Last: it knows the id of the run.
	evaluations, err := evaluationRows([]Submission{submission})
	if err != nil {
		return false, err
	}
	params.Evaluations = evaluations
	return q.CreateRun(ctx, params)
}

// errDeleted is transient: a repeated submission creates the run again.
var errDeleted = errors.New("a run was deleted while it was submitted")

// replaceStored replaces the runs that have no outcome yet, all of which are stored, where
// they are open and differ. It sets their outcomes. It has to run in a transaction.
func replaceStored(ctx context.Context, q *Queries, submissions []Submission, outcomes []Outcome) error {
	var stored []Submission
	var ids []string
	for i, submission := range submissions {
		if outcomes[i].Result == "" {
			stored = append(stored, submission)
			ids = append(ids, submission.RunID)
		}
	}
	if len(stored) == 0 {
		return nil
	}
	statuses, err := q.ListRunStatusesForUpdate(ctx, ids)
	if err != nil {
		return err
	}
	if len(statuses) < len(ids) {
		return errDeleted
	}
	isFinal := make(map[string]bool, len(ids))
	for _, run := range statuses {
		isFinal[run.RunID] = run.Status == "completed" || run.Status == "failed"
	}
	rows, err := submissionRows(stored)
	if err != nil {
		return err
	}
	fields, err := q.ListRunsDifferences(ctx, ListRunsDifferencesParams(rows))
	if err != nil {
		return err
	}
	differences := map[string][]Difference{}
	for _, field := range fields {
		differences[field.RunID] = append(differences[field.RunID], Difference{field.Field, field.Stored})
	}
	var replacements []Submission
	for i, submission := range submissions {
		if outcomes[i].Result != "" {
			continue
		}
		switch differ := differences[submission.RunID]; {
		case len(differ) == 0:
			outcomes[i].Result = Replayed
		case isFinal[submission.RunID]:
			outcomes[i] = Outcome{Result: Conflicted, Differences: differ}
		default:
			outcomes[i].Result = Recorded
			replacements = append(replacements, submission)
		}
	}
	if len(replacements) == 0 {
		return nil
	}
	if rows, err = submissionRows(replacements); err != nil {
		return err
	}
	return q.UpdateRuns(ctx, UpdateRunsParams(rows))
}

// now is PostgreSQL's input for the time at which the transaction began.
const now = "now"

// submissionRows returns submissions as parameters of the queries: JSON arrays of rows.
func submissionRows(submissions []Submission) (rows CreateRunsParams, err error) {
	type run struct {
		BenchmarkRun
		StartedAt any `json:"started_at"` // a time, or now
	}
	runs := make([]run, len(submissions))
	telemetry := []RunTelemetry{}
	for i, submission := range submissions {
		runs[i].BenchmarkRun = submission.BenchmarkRun
		if runs[i].StartedAt = now; submission.StartedAtGiven {
			runs[i].StartedAt = submission.StartedAt
		}
		if submission.Telemetry != nil {
			row := *submission.Telemetry
			row.RunID = submission.RunID
			telemetry = append(telemetry, row)
		}
	}
	if rows.Runs, err = json.Marshal(runs, jsontext.PreserveRawStrings(true)); err != nil {
		return rows, err
	}
	if rows.Evaluations, err = evaluationRows(submissions); err != nil {
		return rows, err
	}
	rows.Telemetry, err = json.Marshal(telemetry)
	return rows, err
}

// evaluationRows returns the evaluations of submissions as a JSON array of rows.
func evaluationRows(submissions []Submission) ([]byte, error) {
	type evaluation struct {
		EvaluationResult
		CreatedAt string `json:"created_at"`
	}
	rows := []evaluation{}
	for _, submission := range submissions {
		for position, e := range submission.Evaluations {
			e.RunID, e.Position = submission.RunID, int32(position)
			rows = append(rows, evaluation{e, now})
		}
	}
	return json.Marshal(rows)
}

// copyColumns sets the parameters that have the names of a row's columns.
func copyColumns[Row any](params *CreateRunParams, row *Row) {
	to := reflect.ValueOf(params).Elem()
	for column, value := range reflect.ValueOf(row).Elem().Fields() {
		if param := to.FieldByName(column.Name); param.IsValid() {
			param.Set(value)
		}
	}
}
