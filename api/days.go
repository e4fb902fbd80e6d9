package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/benchledger/benchledger/db"
	"github.com/benchledger/benchledger/stats"
)

// DailyStats has the figures of each day.
type DailyStats struct {
	Basis
	Rows []DailyStatsRow `json:"rows" doc:"Oldest day first. A day on which no run started has no row."`
}

// DailyStatsRow has the figures of the runs that started on a day.
type DailyStatsRow struct {
	Day         string `json:"day" pattern:"^[0-9]{4}-[0-9]{2}-[0-9]{2}$" doc:"The day in UTC on which the runs started." example:"2025-11-17"`
	Runs        int64  `json:"runs" doc:"Number of attempts. Each has the same weight in the figures of the day."`
	Successes   int64  `json:"successes" doc:"Number of attempts that succeeded."`
	InfraErrors int64  `json:"infraErrors" doc:"Number of runs that failed by infrastructure."`
	OpenRuns    int64  `json:"openRuns" doc:"Number of runs that have not ended."`
	Unscored    int64  `json:"unscored" doc:"Number of attempts without the score of which score is the mean."`

	Rate  *float64 `json:"rate" doc:"successes / runs; null without attempts."`
	Score *float64 `json:"score" doc:"Mean total score, or the mean weighted score if that is the metric."`

	CostRuns        int64    `json:"costRuns" doc:"Number of attempts with a known cost."`
	TotalCostUSD    *float64 `json:"totalCostUsd" doc:"Cost of all runs that have ended, including infra errors."`
	CostPerRunUSD   *float64 `json:"costPerRunUsd" doc:"Mean cost of an attempt; null unless all costs are known."`
	TokensInPerRun  *float64 `json:"tokensInPerRun" doc:"Mean over the attempts that report it."`
	TokensOutPerRun *float64 `json:"tokensOutPerRun"`
	DurationRuns    int64    `json:"durationRuns" doc:"Number of attempts with a known duration."`
	MeanDurationMs  *float64 `json:"meanDurationMs" doc:"Mean over them."`

	ExpectedLow  *float64 `json:"expectedLow" doc:"Where the mean of the metric on this day is expected, by the means of the days in the band before it. A day outside is a reason to look, not a proof: days mix sets of scenarios. Null unless at least 5 of those days have at least 5 attempts (with a score, if that is the metric)."`
	ExpectedHigh *float64 `json:"expectedHigh"`
}

type listDailyStatsInput struct {
	SuiteFilters
	Judgement
	Band int32 `query:"band" minimum:"0" maximum:"90" default:"0" doc:"How many calendar days before a day say what is expected of it; 0 for no expectation. Days before since are not read: the first days have fewer days before them, or none."`
}

type listDailyStatsOutput struct {
	Body DailyStats
}

func (s *server) registerDays() {
	register(s, huma.Operation{
		OperationID: "list-daily-stats", Method: http.MethodGet, Path: "/api/stats/days", Tags: []string{"Stats"},
		Summary: "Get statistics per day",
		Description: "Returns the success rate, score, cost, tokens and duration of each day (UTC) of a suite, over all agents and models unless filtered, for a trend, " +
			"and with band where the days before would have the metric.",
		Security: readSecurity, Errors: []int{http.StatusUnprocessableEntity},
		Responses: map[string]*huma.Response{"200": {Description: "The statistics.", Content: example(exampleDailyStats)}},
	}, classAnalyse, s.listDailyStats)
}

func (s *server) listDailyStats(ctx context.Context, q *db.Queries, input *listDailyStatsInput) (*listDailyStatsOutput, error) {
	body := DailyStats{Basis: Basis{AsOf: UTCTime{time.Now()}}}
	days, err := db.ListMatchingDays(ctx, q, input.values(), input.Infra == stats.InfraFailure)
	if err != nil {
		return nil, err
	}
	body.Rows = make([]DailyStatsRow, len(days))
	means := make([]stats.Day, len(days)) // of the metric
	band, first := time.Duration(input.Band)*24*time.Hour, 0
	for i := range days {
		body.Rows[i], means[i] = dailyStats(&days[i], input.Metric)
		for days[i].Day.Sub(days[first].Day) > band {
			first++
		}
		expected := stats.ExpectedBand(means[first:i], input.Level)
		row := &body.Rows[i]
		row.ExpectedLow, row.ExpectedHigh = expected.Low, expected.High
		body.Runs += row.Runs
		body.InfraErrors += row.InfraErrors
		body.OpenRuns += row.OpenRuns
		if input.Metric != stats.MetricSuccess {
			body.Unscored += row.Unscored
		}
	}
	return &listDailyStatsOutput{Body: body}, nil
}

// dailyStats returns the figures of a day, and its mean of the metric.
func dailyStats(day *db.ListDaysRow, metric stats.Metric) (DailyStatsRow, stats.Day) {
	row := DailyStatsRow{
		Day: day.Day.UTC().Format(time.DateOnly), Runs: day.Attempts, Successes: day.Successes, InfraErrors: day.InfraErrors, OpenRuns: day.OpenRuns,
		Unscored: day.Attempts - day.Scores, Score: day.ScoreMean,
		CostRuns: day.Costs, TotalCostUSD: day.TotalCost, TokensInPerRun: day.TokensInMean, TokensOutPerRun: day.TokensOutMean,
		DurationRuns: day.Durations, MeanDurationMs: day.DurationMean,
	}
	if metric == stats.MetricWeightedScore {
		row.Unscored, row.Score = day.Attempts-day.WeightedScores, day.WeightedScoreMean
	}
	if row.Runs > 0 {
		row.Rate = new(float64(row.Successes) / float64(row.Runs))
	}
	if row.CostRuns == row.Runs {
		row.CostPerRunUSD = day.CostMean
	}
	mean, runs := row.Rate, row.Runs
	if metric != stats.MetricSuccess {
		mean, runs = row.Score, row.Runs-row.Unscored
	}
	if mean == nil {
		return row, stats.Day{}
	}
	return row, stats.Day{Runs: runs, Mean: *mean}
}
