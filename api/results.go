package api

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/benchledger/benchledger/db"
)

// RunSubmission is a run as a harness submits it.
type RunSubmission struct {
	RunID             ID                     `json:"runId" doc:"Names the run, once and for all."`
	BatchID           *ID                    `json:"batchId" required:"false" nullable:"true" doc:"The batch it belongs to; created when nobody announced it."`
	Suite             Name                   `json:"suite" doc:"The suite of the scenario."`
	Scenario          Name                   `json:"scenario" doc:"What was attempted."`
	Tier              Name                   `json:"tier" doc:"The difficulty or form of the scenario."`
	Agent             Name                   `json:"agent" doc:"Who attempted it."`
	Model             *Name                  `json:"model" required:"false" nullable:"true" doc:"The model behind the agent."`
	Status            Status                 `json:"status" doc:"running and incomplete runs are open: submitting them again replaces them. completed and failed ones are final."`
	StartedAt         *Time                  `json:"startedAt" required:"false" doc:"When it started; without it, when it was received, or as announced."`
	CompletedAt       *Time                  `json:"completedAt" required:"false" doc:"When it ended."`
	TotalScore        *float64               `json:"totalScore" required:"false" doc:"The score, mostly from 0 to 1."`
	WeightedScore     *float64               `json:"weightedScore" required:"false" doc:"The score weighted by evaluator, mostly from 0 to 10."`
	IsSuccessful      *bool                  `json:"isSuccessful" required:"false" doc:"Whether the attempt counts as a success; without it, it does not."`
	SuccessMetric     *float64               `json:"successMetric" required:"false" doc:"The figure that decided on success."`
	SpecialistEnabled *bool                  `json:"specialistEnabled" required:"false" doc:"Whether a specialist took part."`
	SpecialistName    *Text                  `json:"specialistName" required:"false" doc:"The specialist."`
	SpecialistVersion *Text                  `json:"specialistVersion" required:"false" doc:"The version of the specialist."`
	Metadata          Metadata               `json:"metadata" required:"false" nullable:"true" doc:"Any JSON object; read back as it was sent, numbers to the digit."`
	Evaluations       []EvaluationSubmission `json:"evaluations" required:"false" nullable:"true" doc:"The scores given, in the order they are read back. An evaluator may appear more than once."`
	Telemetry         *TelemetrySubmission   `json:"telemetry" required:"false"`
}

// Status is how far a run has come.
type Status string

// Schema documents and validates a Status.
func (Status) Schema(r huma.Registry) *huma.Schema {
	return component(r, "RunStatus", &huma.Schema{
		Type: huma.TypeString, Enum: []any{"running", "completed", "failed", "incomplete"},
	})
}

var statuses = []Status{"running", "completed", "failed", "incomplete"}

func (s Status) isPlain() bool { return slices.Contains(statuses, s) }

// isFinal reports whether a run with the status no longer changes.
func (s Status) isFinal() bool { return s == "completed" || s == "failed" }

// EvaluationSubmission is the score that an evaluator gave a run.
type EvaluationSubmission struct {
	EvaluatorName Name     `json:"evaluatorName" doc:"Who gave the score."`
	Score         *float64 `json:"score" nullable:"false" doc:"The score; it may be negative, or above its maximum."`
	MaxScore      float64  `json:"maxScore" exclusiveMinimum:"0" doc:"The best score there is."`
	Details       *Text    `json:"details" required:"false" doc:"Free text, often JSON."`
}

// TelemetrySubmission is what a run cost.
type TelemetrySubmission struct {
	_            struct{} `nullable:"true"`
	ToolCalls    *Count   `json:"toolCalls" required:"false" nullable:"true" doc:"Calls of tools."`
	TokensIn     *Count   `json:"tokensIn" required:"false" nullable:"true" doc:"Tokens sent to the model."`
	TokensOut    *Count   `json:"tokensOut" required:"false" nullable:"true" doc:"Tokens the model sent."`
	CostUSD      *float64 `json:"costUsd" required:"false" doc:"The cost in US dollars."`
	DurationMs   *Count   `json:"durationMs" required:"false" nullable:"true" doc:"The duration in milliseconds."`
	WorkspaceDir *Text    `json:"workspaceDir" required:"false" doc:"Where the attempt took place."`
	PromptSent   *Text    `json:"promptSent" required:"false" doc:"The prompt, whole."`
}

// BatchSubmission opens a batch, or completes it with a summary.
type BatchSubmission struct {
	BatchID          ID       `json:"batchId" doc:"Names the batch, once and for all."`
	CreatedAt        *Time    `json:"createdAt" required:"false" doc:"When the batch was created; stays as first stored. Without it, when it was received."`
	CompletedAt      *Time    `json:"completedAt" required:"false" doc:"When the batch was completed. Without it the submission is an announcement, whose summary is ignored."`
	TotalRuns        *Count   `json:"totalRuns" required:"false" nullable:"true" doc:"The number of runs; without it, computed over all runs of the batch."`
	SuccessfulRuns   *Count   `json:"successfulRuns" required:"false" nullable:"true" doc:"The number of successful runs; without it, computed over all runs of the batch."`
	AvgScore         *float64 `json:"avgScore" required:"false" doc:"The average totalScore; without it, computed over completed runs."`
	AvgWeightedScore *float64 `json:"avgWeightedScore" required:"false" doc:"The average weightedScore; without it, computed over completed runs."`
	Metadata         Metadata `json:"metadata" required:"false" nullable:"true" doc:"Any JSON object; without it, what is stored stays."`
}

// RunReceipt says that a run is stored.
type RunReceipt struct {
	Success bool   `json:"success" doc:"Always true."`
	RunID   string `json:"runId" doc:"The run that is stored."`
}

// BatchReceipt says that a batch is stored.
type BatchReceipt struct {
	Success bool   `json:"success" doc:"Always true."`
	BatchID string `json:"batchId" doc:"The batch that is stored."`
}

type submitRunInput struct {
	Body checkedRun
}

type submitRunOutput struct {
	Status   int
	Replayed string `header:"Idempotent-Replayed" hidden:"true"`
	Body     RunReceipt
}

type submitBatchInput struct {
	Body BatchSubmission
}

type submitBatchOutput struct {
	Body BatchReceipt
}

func (s *server) registerResults() {
	errors := []int{
		http.StatusBadRequest, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
	}
	receipt := example(RunReceipt{Success: true, RunID: string(exampleSubmission.RunID)})
	register(s, huma.Operation{
		OperationID: "submit-run", Method: http.MethodPost, Path: "/api/results", Tags: []string{"Results"},
		Summary: "Submit a run",
		Description: "Stores a run with its evaluations and telemetry: all of it, or nothing.\n\n" +
			"The same content again is a replay: 200, and nothing changes. A run that is open (`running`, `incomplete`) " +
			"is replaced as a whole by what comes next, its start apart, which stays as announced where it is left out. " +
			"A run that is final (`completed`, `failed`) stays as it is: other content is refused with 409.\n\n" +
			"Fields that are `null` count as absent. Unknown fields are ignored.",
		Security: toSubmit, DefaultStatus: http.StatusCreated, SkipValidateBody: true, // A checkedRun does that.
		Errors:      append(slices.Clone(errors), http.StatusConflict),
		RequestBody: &huma.RequestBody{Description: "The run.", Content: example(exampleSubmission)},
		Responses: map[string]*huma.Response{
			"200": {
				Description: "The same content was stored before; nothing changed.",
				Headers: map[string]*huma.Param{"Idempotent-Replayed": {
					Description: "Present on a replay.", Schema: &huma.Schema{Type: huma.TypeString, Enum: []any{"true"}},
				}},
				Content: map[string]*huma.MediaType{"application/json": {
					Schema: &huma.Schema{Ref: "#/components/schemas/RunReceipt"}, Example: receipt["application/json"].Example,
				}},
			},
			"201": {Description: "The run is stored.", Content: receipt},
		},
	}, submit, s.submitRun)
	register(s, huma.Operation{
		OperationID: "submit-batch", Method: http.MethodPost, Path: "/api/results/batch", Tags: []string{"Results"},
		Summary: "Open or complete a batch",
		Description: "Creates the batch, or updates all of it but `createdAt`. With `completedAt` the batch is complete, " +
			"and what is reported of its runs stands; without, a batch that is complete stays as it is. May be repeated safely.",
		Security: toSubmit, DefaultStatus: http.StatusCreated, Errors: slices.Clone(errors),
		RequestBody: &huma.RequestBody{Description: "The batch.", Content: example(exampleBatchSubmission)},
		Responses: map[string]*huma.Response{"201": {
			Description: "The batch is stored.",
			Content:     example(BatchReceipt{Success: true, BatchID: string(exampleBatchSubmission.BatchID)}),
		}},
	}, submit, s.submitBatch)
}

func (s *server) submitRun(ctx context.Context, q *db.Queries, input *submitRunInput) (*submitRunOutput, error) {
	run := input.Body.run
	outcome, err := db.SubmitRun(ctx, q, submissionOf(run, submitter(ctx)))
	if err != nil {
		return nil, err
	}
	output := &submitRunOutput{Status: http.StatusCreated, Body: RunReceipt{Success: true, RunID: string(run.RunID)}}
	switch outcome.Result { //nolint:exhaustive // the others are 201, or an error
	case db.Conflicted:
		return nil, problemOf(http.StatusConflict, "The run is finished and stays as it is; errors lists the fields that differ. "+
			"Submit another attempt under a runId of its own.", differenceErrors(outcome.Differences)...)
	case db.Replayed:
		output.Status, output.Replayed = http.StatusOK, "true"
	}
	return output, nil
}

// differenceErrors names columns as fields of a submission: total_score is totalScore.
func differenceErrors(columns []string) []FieldError {
	fields := make([]FieldError, len(columns))
	for i, column := range columns {
		words := strings.Split(column, "_")
		for j, word := range words[1:] {
			words[j+1] = strings.ToUpper(word[:1]) + word[1:]
		}
		fields[i] = FieldError{"body." + strings.Join(words, ""), "differs from what is stored"}
	}
	return fields
}

func (s *server) submitBatch(ctx context.Context, q *db.Queries, input *submitBatchInput) (*submitBatchOutput, error) {
	batch := &input.Body
	params := db.UpsertBatchParams{
		BatchID:          string(batch.BatchID),
		CreatedAt:        timePtr(batch.CreatedAt),
		CompletedAt:      timePtr(batch.CompletedAt),
		TotalRuns:        (*int64)(batch.TotalRuns),
		SuccessfulRuns:   (*int64)(batch.SuccessfulRuns),
		AvgScore:         batch.AvgScore,
		AvgWeightedScore: batch.AvgWeightedScore,
		Metadata:         []byte(batch.Metadata.text),
		SubmittedBy:      submitter(ctx),
	}
	if err := db.Retry(ctx, func() error { return q.UpsertBatch(ctx, params) }); err != nil {
		return nil, err
	}
	return &submitBatchOutput{Body: BatchReceipt{Success: true, BatchID: params.BatchID}}, nil
}

// submissionOf is a run as the data layer takes it.
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
		Metadata:          []byte(run.Metadata.text),
		SubmittedBy:       submittedBy,
	}}
	for _, e := range run.Evaluations {
		submission.Evaluations = append(submission.Evaluations, db.EvaluationResult{
			EvaluatorName: string(e.EvaluatorName),
			Score:         *e.Score,
			MaxScore:      e.MaxScore,
			Details:       (*string)(e.Details),
		})
	}
	if t := run.Telemetry; t != nil {
		submission.Telemetry = &db.RunTelemetry{
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
