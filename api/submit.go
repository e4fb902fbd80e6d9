package api

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"

	"github.com/benchledger/benchledger/db"
)

// RunSubmission is a run as a harness submits it.
type RunSubmission struct {
	RunID             ID                     `json:"runId" doc:"Unique run ID, chosen by the client."`
	BatchID           *ID                    `json:"batchId" required:"false" nullable:"true" doc:"The batch that the run belongs to; created if it does not exist."`
	Suite             Name                   `json:"suite" doc:"The suite of the scenario."`
	Scenario          Name                   `json:"scenario" doc:"The scenario that was attempted."`
	Tier              Name                   `json:"tier" doc:"The difficulty or form of the scenario."`
	Agent             Name                   `json:"agent" doc:"The agent that attempted it."`
	Model             *Name                  `json:"model" required:"false" nullable:"true" doc:"The model that the agent used."`
	Status            Status                 `json:"status" doc:"Runs that are running or incomplete are open: submitting one again replaces it. Runs that are completed or failed are final."`
	StartedAt         *Time                  `json:"startedAt" required:"false" doc:"Start time; if absent, the stored start time of the open run, or else the time of receipt."`
	CompletedAt       *Time                  `json:"completedAt" required:"false" doc:"End time."`
	TotalScore        *float64               `json:"totalScore" required:"false" doc:"Total score, usually from 0 to 1."`
	WeightedScore     *float64               `json:"weightedScore" required:"false" doc:"Score weighted by evaluator, usually from 0 to 10."`
	IsSuccessful      *bool                  `json:"isSuccessful" required:"false" doc:"Whether the run succeeded; false if absent."`
	SuccessMetric     *float64               `json:"successMetric" required:"false" doc:"The value that decided whether the run succeeded."`
	SpecialistEnabled *bool                  `json:"specialistEnabled" required:"false" doc:"Whether a specialist took part."`
	SpecialistName    *Text                  `json:"specialistName" required:"false" doc:"The name of the specialist."`
	SpecialistVersion *Text                  `json:"specialistVersion" required:"false" doc:"The version of the specialist."`
	Metadata          Metadata               `json:"metadata" required:"false" nullable:"true" doc:"Any JSON object; returned as it was sent: its members in their order, and numbers with all digits."`
	Evaluations       []EvaluationSubmission `json:"evaluations" required:"false" nullable:"true" maxItems:"10000" doc:"The scores, returned in this order. An evaluator may appear more than once."`
	Telemetry         *TelemetrySubmission   `json:"telemetry" required:"false"`
}

// Status is the status of a run.
type Status string

// Schema documents and validates a Status.
func (Status) Schema(r huma.Registry) *huma.Schema {
	return component(r, "RunStatus", &huma.Schema{
		Type: huma.TypeString, Enum: []any{"running", "completed", "failed", "incomplete"},
	})
}

var statuses = []Status{"running", "completed", "failed", "incomplete"}

func (s Status) isPlain() bool { return slices.Contains(statuses, s) }

// EvaluationSubmission is the score that an evaluator gave a run.
type EvaluationSubmission struct {
	EvaluatorName Name     `json:"evaluatorName" doc:"The evaluator that gave the score."`
	Score         *float64 `json:"score" doc:"The score; it may be negative, or above maxScore. Null if the evaluator could not score: then the evaluation counts in no average."`
	MaxScore      float64  `json:"maxScore" exclusiveMinimum:"0" doc:"The maximum score."`
	Details       *Text    `json:"details" required:"false" doc:"Free text, often JSON."`
}

// TelemetrySubmission is what a run used.
type TelemetrySubmission struct {
	_            struct{} `nullable:"true"`
	ToolCalls    *Count   `json:"toolCalls" required:"false" nullable:"true" doc:"Number of tool calls."`
	TokensIn     *Count   `json:"tokensIn" required:"false" nullable:"true" doc:"Number of tokens sent to the model."`
	TokensOut    *Count   `json:"tokensOut" required:"false" nullable:"true" doc:"Number of tokens received from the model."`
	CostUSD      *float64 `json:"costUsd" required:"false" doc:"Cost in US dollars."`
	DurationMs   *Count   `json:"durationMs" required:"false" nullable:"true" doc:"Duration in milliseconds."`
	WorkspaceDir *Text    `json:"workspaceDir" required:"false" doc:"The working directory of the run."`
	PromptSent   *Text    `json:"promptSent" required:"false" doc:"The full prompt."`
}

// BatchSubmission opens a batch, or completes it with a summary.
type BatchSubmission struct {
	BatchID          ID       `json:"batchId" doc:"Unique batch ID, chosen by the client."`
	CreatedAt        *Time    `json:"createdAt" required:"false" doc:"Creation time; it never changes once stored. If absent, the time of receipt."`
	CompletedAt      *Time    `json:"completedAt" required:"false" doc:"Completion time. If absent, the submission only announces the batch, and its summary fields are ignored."`
	TotalRuns        *Count   `json:"totalRuns" required:"false" nullable:"true" doc:"Number of runs; if absent, computed over all runs of the batch."`
	SuccessfulRuns   *Count   `json:"successfulRuns" required:"false" nullable:"true" doc:"Number of successful runs; if absent, computed over all runs of the batch."`
	AvgScore         *float64 `json:"avgScore" required:"false" doc:"Average totalScore; if absent, computed over completed runs."`
	AvgWeightedScore *float64 `json:"avgWeightedScore" required:"false" doc:"Average weightedScore; if absent, computed over completed runs."`
	Metadata         Metadata `json:"metadata" required:"false" nullable:"true" doc:"Any JSON object; returned as it was sent. If absent, the stored metadata stays."`

	// unknown are the fields that a batch does not have.
	unknown []FieldError
}

// RunReceipt confirms that a run is stored.
type RunReceipt struct {
	Success  bool     `json:"success" doc:"Always true."`
	RunID    string   `json:"runId" doc:"The ID of the stored run."`
	Warnings []string `json:"warnings,omitempty" doc:"The fields that are unknown, and therefore not stored, with the known field that was probably meant."`
}

// BatchReceipt confirms that a batch is stored.
type BatchReceipt struct {
	Success  bool     `json:"success" doc:"Always true."`
	BatchID  string   `json:"batchId" doc:"The ID of the stored batch."`
	Warnings []string `json:"warnings,omitempty" doc:"The fields that are unknown, and therefore not stored, with the known field that was probably meant."`
}

// Strictness is a parameter of the operations that submit.
type Strictness struct {
	Strict bool `query:"strict" doc:"Refuse unknown fields, instead of naming them in warnings."`
}

type submitRunInput struct {
	Strictness
	Body checkedRun
}

type submitRunOutput struct {
	Status   int
	Replayed string `header:"Idempotent-Replayed" hidden:"true"`
	Body     RunReceipt
}

type submitBatchInput struct {
	Strictness
	Body BatchSubmission
}

type submitBatchOutput struct {
	Body BatchReceipt
}

// bodyErrors are the errors of operations that have a body.
var bodyErrors = []int{
	http.StatusBadRequest, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
}

// replayedHeader says that nothing changed.
func replayedHeader() map[string]*huma.Param {
	return map[string]*huma.Param{"Idempotent-Replayed": {
		Description: "Present on a replay.", Schema: &huma.Schema{Type: huma.TypeString, Enum: []any{"true"}},
	}}
}

func (s *server) registerResults() {
	receipt := example(RunReceipt{Success: true, RunID: string(exampleSubmission.RunID)})
	register(s, huma.Operation{
		OperationID: "submit-run", Method: http.MethodPost, Path: "/api/results", Tags: []string{"Results"},
		Summary: "Submit a run",
		Description: "Stores a run with its evaluations and telemetry, all or nothing.\n\n" +
			"Submitting the same content again is a replay: 200, and nothing changes. An open run (`running`, `incomplete`) " +
			"is replaced as a whole by the next submission; only its start time stays if `startedAt` is absent. " +
			"A final run (`completed`, `failed`) never changes: other content is refused with 409.\n\n" +
			"A field that is `null` counts as absent. Unknown fields are not stored: `warnings` of the receipt names them, or with `strict=true` they are refused.",
		Security: submitSecurity, DefaultStatus: http.StatusCreated, SkipValidateBody: true, // A checkedRun does that.
		Errors:      append(slices.Clone(bodyErrors), http.StatusConflict),
		RequestBody: &huma.RequestBody{Description: "The run.", Content: example(exampleSubmission)},
		Responses: map[string]*huma.Response{
			"200": {
				Description: "The same content was stored before; nothing changed.",
				Headers:     replayedHeader(),
				Content: map[string]*huma.MediaType{"application/json": {
					Schema: &huma.Schema{Ref: "#/components/schemas/RunReceipt"}, Example: receipt["application/json"].Example,
				}},
			},
			"201": {Description: "The run is stored.", Content: receipt},
		},
	}, classSubmit, s.submitRun)
	register(s, huma.Operation{
		OperationID: "submit-batch", Method: http.MethodPost, Path: "/api/results/batch", Tags: []string{"Results"},
		Summary: "Open or complete a batch",
		Description: "Creates the batch, or updates everything except `createdAt`. With `completedAt`, the batch is complete, " +
			"and the reported summary is kept. Without it, or with an earlier one than is stored, a complete batch does not change. Retrying is safe.\n\n" +
			"Unknown fields are not stored: `warnings` of the receipt names them, or with `strict=true` they are refused.",
		Security: submitSecurity, DefaultStatus: http.StatusCreated, Errors: slices.Clone(bodyErrors),
		RequestBody: &huma.RequestBody{Description: "The batch.", Content: example(exampleBatchSubmission)},
		Responses: map[string]*huma.Response{"201": {
			Description: "The batch is stored.",
			Content:     example(BatchReceipt{Success: true, BatchID: string(exampleBatchSubmission.BatchID)}),
		}},
	}, classSubmit, s.submitBatch)
}

func (s *server) submitRun(ctx context.Context, q *db.Queries, input *submitRunInput) (*submitRunOutput, error) {
	run, unknown := input.Body.run, input.Body.unknown
	if input.Strict && len(unknown) > 0 {
		return nil, invalid(unknown...)
	}
	if future := run.futureTimes(ctx); future != nil {
		return nil, invalid(future...)
	}
	outcome, err := db.SubmitRun(ctx, q, submissionOf(run, keyName(ctx)))
	if err != nil {
		return nil, err
	}
	output := &submitRunOutput{Status: http.StatusCreated, Body: RunReceipt{
		Success: true, RunID: string(run.RunID), Warnings: warnings(unknown),
	}}
	switch outcome.Result { //nolint:exhaustive // the others are 201, or an error
	case db.Conflicted:
		return nil, problemOf(http.StatusConflict, "The run is finished and cannot change; errors lists the fields that differ. "+
			"Submit another attempt with a runId of its own.", differenceErrors(outcome.Differences)...)
	case db.Replayed:
		output.Status, output.Replayed = http.StatusOK, "true"
	}
	return output, nil
}

// differenceErrors names columns as fields of a submission, total_score as totalScore, and
// says what is stored. The database returns one difference more than are named.
func differenceErrors(differences []db.Difference) []FieldError {
	fields := make([]FieldError, len(differences))
	for i, difference := range differences {
		if i == maxFaults {
			fields[i] = FieldError{"body", andMore}
			break
		}
		words := strings.Split(difference.Column, "_")
		for j, word := range words[1:] {
			words[j+1] = strings.ToUpper(word[:1]) + word[1:]
		}
		fields[i] = FieldError{"body." + strings.Join(words, ""), "differs from what is stored: " + shownStored(difference)}
	}
	return fields
}

// maxShown is how many characters of a stored value are shown.
const maxShown = 100

// shownStored is a stored value as an error shows it: cut, and times in UTC.
func shownStored(difference db.Difference) string {
	value := difference.Stored
	var moment time.Time
	if strings.HasSuffix(difference.Column, "_at") && json.Unmarshal([]byte(value), &moment) == nil {
		return string(appendUTC(nil, UTCTime{moment}))
	}
	return cmp.Or(cut(value, maxShown), "nothing")
}

func (s *server) submitBatch(ctx context.Context, q *db.Queries, input *submitBatchInput) (*submitBatchOutput, error) {
	batch, unknown := &input.Body, input.Body.unknown
	if input.Strict && len(unknown) > 0 {
		return nil, invalid(unknown...)
	}
	if future := futureTimes(ctx, namedTime{"createdAt", batch.CreatedAt}, namedTime{"completedAt", batch.CompletedAt}); future != nil {
		return nil, invalid(future...)
	}
	params := db.UpsertBatchParams{
		BatchID:          string(batch.BatchID),
		CreatedAt:        timePtr(batch.CreatedAt),
		CompletedAt:      timePtr(batch.CompletedAt),
		TotalRuns:        (*int64)(batch.TotalRuns),
		SuccessfulRuns:   (*int64)(batch.SuccessfulRuns),
		AvgScore:         batch.AvgScore,
		AvgWeightedScore: batch.AvgWeightedScore,
		MetadataText:     []byte(batch.Metadata.text),
		SubmittedBy:      keyName(ctx),
	}
	if err := db.Retry(ctx, func() error { return q.UpsertBatch(ctx, params) }); err != nil {
		return nil, err
	}
	return &submitBatchOutput{Body: BatchReceipt{Success: true, BatchID: params.BatchID, Warnings: warnings(unknown)}}, nil
}

func (r *RunSubmission) futureTimes(ctx context.Context) []FieldError {
	return futureTimes(ctx, namedTime{"startedAt", r.StartedAt}, namedTime{"completedAt", r.CompletedAt})
}

// submissionOf converts a run for the database layer.
func submissionOf(run *RunSubmission, submittedBy *string) db.Submission {
	var startedAt time.Time
	if run.StartedAt != nil {
		startedAt = run.StartedAt.Time
	}
	submission := db.Submission{BenchmarkRun: db.BenchmarkRun{
		RunID:             string(run.RunID),
		ID:                0, // assigned by the database
		BatchID:           (*string)(run.BatchID),
		Suite:             string(run.Suite),
		Scenario:          string(run.Scenario),
		Tier:              string(run.Tier),
		Agent:             string(run.Agent),
		Model:             (*string)(run.Model),
		Status:            string(run.Status),
		StartedAt:         startedAt,
		StartedAtGiven:    run.StartedAt != nil,
		CompletedAt:       timePtr(run.CompletedAt),
		TotalScore:        run.TotalScore,
		WeightedScore:     run.WeightedScore,
		IsSuccessful:      run.IsSuccessful != nil && *run.IsSuccessful,
		SuccessMetric:     run.SuccessMetric,
		SpecialistEnabled: run.SpecialistEnabled,
		SpecialistName:    (*string)(run.SpecialistName),
		SpecialistVersion: (*string)(run.SpecialistVersion),
		Metadata:          nil, // older servers had it there
		MetadataText:      []byte(run.Metadata.text),
		SubmittedBy:       submittedBy,
		VoidedAt:          nil, VoidedBy: nil, VoidReason: nil, // they stay as they are stored
	}}
	for _, e := range run.Evaluations {
		submission.Evaluations = append(submission.Evaluations, db.EvaluationResult{
			RunID: "", Position: 0, ID: 0, CreatedAt: time.Time{}, // assigned by the data layer
			EvaluatorName: string(e.EvaluatorName),
			Score:         e.Score,
			MaxScore:      e.MaxScore,
			Details:       (*string)(e.Details),
		})
	}
	if t := run.Telemetry; t != nil {
		submission.Telemetry = &db.RunTelemetry{
			RunID: "", ID: 0, // assigned by the data layer
			ToolCalls:    (*int64)(t.ToolCalls),
			TokensIn:     (*int64)(t.TokensIn),
			TokensOut:    (*int64)(t.TokensOut),
			CostUsd:      t.CostUSD,
			DurationMs:   (*int64)(t.DurationMs),
			WorkspaceDir: (*string)(t.WorkspaceDir),
			PromptSent:   (*string)(t.PromptSent),
		}
	}
	return submission
}

func timePtr(t *Time) *time.Time {
	if t == nil {
		return nil
	}
	return &t.Time
}
