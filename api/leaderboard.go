package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/benchledger/benchledger/db"
	"github.com/benchledger/benchledger/stats"
)

// Leaderboard ranks the entries of a suite.
type Leaderboard struct {
	Basis
	Suite           string           `json:"suite"`
	Metric          stats.Metric     `json:"metric"`
	By              stats.By         `json:"by"`
	Infra           stats.Infra      `json:"infra"`
	Coverage        stats.Coverage   `json:"coverage"`
	MinCoverage     float64          `json:"minCoverage"`
	Level           float64          `json:"level"`
	Scenarios       int64            `json:"scenarios" doc:"Number of scenarios (each tier counts) that any entry attempted."`
	SharedScenarios *int64           `json:"sharedScenarios" doc:"Number of scenarios on which entries are ranked with coverage=shared; otherwise null."`
	Rows            []LeaderboardRow `json:"rows" doc:"Ordered by rank, agent and model (null first); entries that are not ranked come last."`
	Warnings        []stats.Warning  `json:"warnings" doc:"sharedShrunk: entries are ranked on less than 0.9 of the scenarios. mixedTiers: the figures mix several tiers."`
}

// LeaderboardRow has the figures of an entry.
type LeaderboardRow struct {
	Rank     *int64  `json:"rank" doc:"1 + the number of entries that are better in the metric; null if the entry is not ranked."`
	RankLow  *int64  `json:"rankLow" doc:"1 + the number of entries that are significantly better (paired tests, adjusted by Holm over all pairs: all ranges hold together at the level); null above 300 ranked entries."`
	RankHigh *int64  `json:"rankHigh" doc:"The number of ranked entries less those that are significantly worse."`
	Group    *int64  `json:"group" doc:"Number of the tie: the best entry of a group cannot be told from the others in it. It says nothing of the others among themselves."`
	Agent    *string `json:"agent" doc:"Null with by=model."`
	Model    *string `json:"model" doc:"Null with by=agent, and for runs without a model."`

	Scenarios   int64   `json:"scenarios" doc:"Number of scenarios (each tier counts) that the entry attempted."`
	Coverage    float64 `json:"coverage" doc:"Their share of all scenarios of the leaderboard."`
	Runs        int64   `json:"runs" doc:"Number of attempts at the scenarios on which the entry is judged; means are over these scenarios, each with the same weight, as far as their runs report the figure."`
	Successes   int64   `json:"successes" doc:"Number of those attempts that succeeded."`
	InfraErrors int64   `json:"infraErrors" doc:"Number of runs of the entry that failed by infrastructure, at any scenario."`
	OpenRuns    int64   `json:"openRuns" doc:"Number of runs of the entry that have not ended, at any scenario."`
	Unscored    int64   `json:"unscored" doc:"Number of those attempts without a score."`

	Rate                 *float64 `json:"rate" doc:"Success rate, 0 to 1: the mean over scenarios."`
	RateLow              *float64 `json:"rateLow" doc:"Bounds of its interval (Wilson, at an effective number of attempts)."`
	RateHigh             *float64 `json:"rateHigh"`
	RateSE               *float64 `json:"rateSe" doc:"Standard error of the rate for other scenarios like these."`
	RepeatSE             *float64 `json:"repeatSe" doc:"Standard error of the rate if the same scenarios were attempted again; null unless each has two attempts."`
	RateErrorsAsFailures *float64 `json:"rateErrorsAsFailures" doc:"The rate with the infra errors at the scenarios on which the entry is judged as failures. A scenario with nothing but infra errors is not among these; infra=failure counts it."`

	Score     *float64 `json:"score" doc:"Mean total score, or the mean weighted score if that is the metric, over the scenarios where the entry has one."`
	ScoreLow  *float64 `json:"scoreLow" doc:"Bounds of its interval (Student's t, clustered by scenario)."`
	ScoreHigh *float64 `json:"scoreHigh"`

	CostRuns          int64    `json:"costRuns" doc:"Number of the attempts with a known cost."`
	TotalCostUSD      *float64 `json:"totalCostUsd" doc:"Known cost of all final runs of the entry, including infra errors, at any scenario."`
	CostPerRunUSD     *float64 `json:"costPerRunUsd" doc:"Mean cost of an attempt; null unless all costs are known."`
	CostPerSuccessUSD *float64 `json:"costPerSuccessUsd" doc:"costPerRunUsd / rate; null for the rate 0. With coverage=all the cost is that of the attempted scenarios, and the rate that of all."`
	TokensInPerRun    *float64 `json:"tokensInPerRun" doc:"Mean over scenarios, of the attempts that report it."`
	TokensOutPerRun   *float64 `json:"tokensOutPerRun"`
	P50DurationMs     *float64 `json:"p50DurationMs" doc:"Median duration of an attempt, within 1.1 %."`
	P95DurationMs     *float64 `json:"p95DurationMs" doc:"95th percentile of the duration of an attempt, within 1.1 %."`
	OnFrontier        *bool    `json:"onFrontier" doc:"No ranked entry is at least as good in both cost and metric, and better in one. Null without a rank or a cost."`

	Warnings []stats.Warning `json:"warnings" doc:"lowCoverage (below minCoverage, whatever coverage is), infraErrors (above 5 % of the final runs), unequalAttempts (per scenario), missingCosts, missingScores, fewScenarios (below 10), stillRunning."`
}

type getLeaderboardInput struct {
	SuiteFilters
	Judgement
	By          stats.By       `query:"by" enum:"agentModel,agent,model" default:"agentModel" doc:"What an entry is: an agent with a model, an agent, or a model."`
	Coverage    stats.Coverage `query:"coverage" enum:"shared,own,all" default:"shared" doc:"Where entries are judged. shared: those that attempted at least minCoverage of the scenarios are ranked, on the scenarios that all of them attempted (with a score as metric, entries without one at such a scenario have the warning missingScores). own: each on what it attempted. all: on all scenarios; what was not attempted counts as failed."`
	MinCoverage float64        `query:"minCoverage" minimum:"0" maximum:"1" default:"0.8" doc:"The share of the scenarios that an entry must have attempted to be ranked, with coverage=shared."`
}

type getLeaderboardOutput struct {
	Body Leaderboard
}

func (s *server) registerLeaderboard() {
	register(s, huma.Operation{
		OperationID: "get-leaderboard", Method: http.MethodGet, Path: "/api/leaderboard", Tags: []string{"Stats"},
		Summary: "Rank the entries of a suite",
		Description: "Ranks agents with their models by success rate or score: with intervals, ranges of ranks, ties, costs and durations. " +
			"The unit of evidence is the scenario: attempts at a scenario are averaged first. A suite without runs has no rows.",
		Security: readSecurity, Errors: []int{http.StatusUnprocessableEntity},
		Responses: map[string]*huma.Response{"200": {Description: "The leaderboard.", Content: example(exampleLeaderboard)}},
	}, classAnalyse, s.getLeaderboard)
}

func (s *server) getLeaderboard(ctx context.Context, q *db.Queries, input *getLeaderboardInput) (*getLeaderboardOutput, error) {
	c, err := readCells(ctx, q, input.values(), input.Judgement)
	if err != nil {
		return nil, err
	}
	board := stats.Leaderboard(c.cells, c.durationCounts(), stats.LeaderboardOptions{
		Scope: input.scope(), By: input.By, Coverage: input.Coverage, MinCoverage: input.MinCoverage,
	})
	output := &getLeaderboardOutput{Body: Leaderboard{
		Basis: c.basis, Suite: string(input.Suite), Metric: input.Metric, By: input.By, Infra: input.Infra, Coverage: input.Coverage,
		MinCoverage: input.MinCoverage, Level: input.Level, Scenarios: int64(board.Items), SharedScenarios: int64s(board.SharedItems),
		Rows: make([]LeaderboardRow, len(board.Rows)), Warnings: board.Warnings,
	}}
	for i, row := range board.Rows {
		output.Body.Rows[i] = LeaderboardRow{
			Rank: int64s(row.Rank), RankLow: int64s(row.RankLow), RankHigh: int64s(row.RankHigh), Group: int64s(row.Group),
			Agent: row.Agent, Model: row.Model,
			Scenarios: int64(row.Items), Coverage: row.Coverage, Runs: row.Runs, Successes: row.Successes,
			InfraErrors: row.InfraErrors, OpenRuns: row.OpenRuns, Unscored: row.Unscored,
			Rate: row.Rate, RateLow: row.RateBounds.Low, RateHigh: row.RateBounds.High, RateSE: row.RateSE,
			RepeatSE: row.RepeatSE, RateErrorsAsFailures: row.RateErrorsAsFailures,
			Score: row.Score, ScoreLow: row.ScoreBounds.Low, ScoreHigh: row.ScoreBounds.High,
			CostRuns: row.CostRuns, TotalCostUSD: row.TotalCostUSD, CostPerRunUSD: row.CostPerRunUSD, CostPerSuccessUSD: row.CostPerSuccessUSD,
			TokensInPerRun: row.TokensInPerRun, TokensOutPerRun: row.TokensOutPerRun,
			P50DurationMs: row.P50DurationMs, P95DurationMs: row.P95DurationMs, OnFrontier: row.OnFrontier, Warnings: row.Warnings,
		}
	}
	return output, nil
}

// int64s is the number as int64, or nil.
func int64s(n *int) *int64 {
	if n == nil {
		return nil
	}
	return new(int64(*n))
}
