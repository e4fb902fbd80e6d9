package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"

	"github.com/benchledger/benchledger/db"
	"github.com/benchledger/benchledger/stats"
)

// EvaluatorStats summarizes what each evaluator gave.
type EvaluatorStats struct {
	Basis
	Rows []EvaluatorStatsRow `json:"rows" doc:"Ordered by evaluatorName."`
}

// EvaluatorStatsRow summarizes what an evaluator gave to the attempts.
type EvaluatorStatsRow struct {
	EvaluatorName string   `json:"evaluatorName"`
	Evaluations   int64    `json:"evaluations" doc:"Number of evaluations. An evaluator can evaluate a run more than once."`
	Runs          int64    `json:"runs" doc:"Number of attempts that it evaluated."`
	Scenarios     int64    `json:"scenarios" doc:"Number of scenarios (each tier counts) of these attempts."`
	Mean          *float64 `json:"mean" doc:"Mean of score / maxScore: the mean over scenarios of the mean of the evaluations. Null without a score."`
	Low           *float64 `json:"low" doc:"Bounds of its interval (Student's t, clustered by scenario). Null with fewer than two scenarios."`
	High          *float64 `json:"high"`
	Full          int64    `json:"full" doc:"Number of evaluations with a score of maxScore or more."`
	Zero          int64    `json:"zero" doc:"Number of evaluations with a score of 0 or less."`
	Unscored      int64    `json:"unscored" doc:"Number of evaluations without a score. They are left out of the mean."`
}

type listEvaluatorStatsInput struct {
	SuiteFilters
	Infra stats.Infra `query:"infra" enum:"exclude,failure" default:"exclude" doc:"What becomes of infra errors, the failed runs whose metadata.errorType is neither agent nor unknown. exclude: they are no attempts. failure: they count as attempts, with the evaluations that they have."`
	Level float64     `query:"level" minimum:"0.5" maximum:"0.999" default:"0.95" doc:"The confidence level of intervals."`
}

type listEvaluatorStatsOutput struct {
	Body EvaluatorStats
}

func (s *server) registerEvaluators() {
	register(s, huma.Operation{
		OperationID: "list-evaluator-stats", Method: http.MethodGet, Path: "/api/stats/evaluators", Tags: []string{"Stats"},
		Summary: "Summarize what each evaluator gave",
		Description: "Returns the mean of each evaluator over the scenarios of a suite, of all agents and models unless filtered, and how often it gave all or nothing. " +
			"The filter evaluator selects runs, with the evaluations of all their evaluators. " +
			"Here, unscored counts the attempts that no evaluator gave a score: the figures say nothing about these.",
		Security: readSecurity, Errors: []int{http.StatusUnprocessableEntity},
		Responses: map[string]*huma.Response{"200": {Description: "The statistics.", Content: example(exampleEvaluatorStats)}},
	}, classAnalyse, s.listEvaluatorStats)
}

func (s *server) listEvaluatorStats(ctx context.Context, q *db.Queries, input *listEvaluatorStatsInput) (*listEvaluatorStatsOutput, error) {
	body := EvaluatorStats{Rows: []EvaluatorStatsRow{}}
	body.AsOf = UTCTime{time.Now()}
	var cells []db.ListEvaluatorCellsRow
	errorsCount := input.Infra == stats.InfraFailure
	// One snapshot: the counts are of the runs that the cells are made of.
	err := db.WithTx(ctx, q, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(q *db.Queries) error {
		counts, err := db.CountMatchingRuns(ctx, q, input.values(), errorsCount)
		if err != nil {
			return err
		}
		body.Runs, body.InfraErrors, body.OpenRuns, body.Unscored = counts.Attempts, counts.InfraErrors, counts.OpenRuns, counts.Unscored
		cells, err = db.ListMatchingEvaluatorCells(ctx, q, input.values(), errorsCount)
		return err
	})
	if err != nil {
		return nil, err
	}
	for first := 0; first < len(cells); {
		row := EvaluatorStatsRow{EvaluatorName: cells[first].EvaluatorName}
		var values []stats.Value
		for ; first < len(cells) && cells[first].EvaluatorName == row.EvaluatorName; first++ {
			cell := &cells[first]
			row.Scenarios++
			row.Evaluations += cell.Evaluations
			row.Runs += cell.Runs
			row.Full += cell.FullScores
			row.Zero += cell.ZeroScores
			row.Unscored += cell.Evaluations - cell.Scores
			if cell.Mean != nil {
				values = append(values, stats.Value{Scenario: cell.Scenario, Value: *cell.Mean})
			}
		}
		mean := stats.Mean(values, input.Level)
		row.Mean, row.Low, row.High = mean.Mean, mean.Low, mean.High
		body.Rows = append(body.Rows, row)
	}
	return &listEvaluatorStatsOutput{Body: body}, nil
}
