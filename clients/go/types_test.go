// The types that the generated client must have: this file must compile.
package benchledger

import "time"

var (
	run        Run
	evaluation Evaluation
	telemetry  Telemetry
	batch      Batch
	submission RunSubmission
	problem    Problem
)

// The types of responses.
var (
	_ int64                  = run.ID
	_ *string                = run.BatchID
	_ RunStatus              = run.Status
	_ time.Time              = run.StartedAt
	_ *time.Time             = run.CompletedAt
	_ *float64               = run.TotalScore
	_ bool                   = run.IsSuccessful
	_ map[string]interface{} = run.Metadata
	_ int64                  = evaluation.ID
	_ float64                = evaluation.MaxScore
	_ *string                = evaluation.Details
	_ time.Time              = evaluation.CreatedAt
	_ *int64                 = telemetry.TokensIn
	_ *int64                 = telemetry.DurationMs
	_ *float64               = telemetry.CostUSD
	_ int64                  = batch.TotalRuns
	_ *float64               = batch.AvgScore
	_ int32                  = problem.Status
)

// The types of submissions.
var (
	_ string     = submission.RunID
	_ *Timestamp = submission.StartedAt

	_ *float64               = submission.WeightedScore
	_ []EvaluationSubmission = submission.Evaluations
	_ *TelemetrySubmission   = submission.Telemetry
)

// The two forms of a timestamp.
var (
	_ func(*Timestamp, time.Time) error = (*Timestamp).FromTimestamp0
	_ func(*Timestamp, float64) error   = (*Timestamp).FromTimestamp1
	_ *int64                            = TelemetrySubmission{}.ToolCalls
)
