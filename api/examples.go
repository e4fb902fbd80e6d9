package api

import (
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/benchledger/benchledger/stats"
)

// The examples of the OpenAPI document.

var (
	exampleStart = time.Date(2025, 11, 17, 10, 0, 0, 0, time.UTC)
	exampleEnd   = exampleStart.Add(5 * time.Minute)

	exampleSubmission = RunSubmission{
		RunID: "run-a1", BatchID: new(ID("batch-a")), Suite: "update-deps", Scenario: "nx-pnpm-monorepo", Tier: "L1",
		Agent: "claude-code", Model: new(Name("claude-sonnet-4")), Status: "completed",
		StartedAt: &Time{Time: exampleStart}, CompletedAt: &Time{Time: exampleEnd},
		TotalScore: new(0.85), WeightedScore: new(8.5), IsSuccessful: new(true), SuccessMetric: new(0.9),
		Metadata: Metadata{text: jsontext.Value(`{"packageManager":"pnpm"}`)},
		Evaluations: []EvaluationSubmission{{
			EvaluatorName: "install_success", Score: new(1.0), MaxScore: 1, Details: new(Text("pnpm install exited 0")),
		}},
		Telemetry: &TelemetrySubmission{
			ToolCalls: new(Count(12)), TokensIn: new(Count(85000)), TokensOut: new(Count(2200)), CostUSD: new(0.0123),
			DurationMs: new(Count(300000)), WorkspaceDir: new(Text("results/workspaces/x")),
			PromptSent: new(Text("Update the dependencies.")),
		},
	}
	exampleBatchSubmission = BatchSubmission{
		BatchID: "batch-a", CreatedAt: &Time{Time: exampleStart}, CompletedAt: &Time{Time: exampleEnd},
		TotalRuns: new(Count(1)), SuccessfulRuns: new(Count(1)), AvgScore: new(0.85), AvgWeightedScore: new(8.5),
		Metadata: Metadata{text: jsontext.Value(`{"cli":"1.2.0"}`)},
	}
	exampleRun = Run{
		ID: 1, RunID: "run-a1", BatchID: new("batch-a"), Suite: "update-deps", Scenario: "nx-pnpm-monorepo", Tier: "L1",
		Agent: "claude-code", Model: new("claude-sonnet-4"), Status: "completed",
		StartedAt: UTCTime{exampleStart}, CompletedAt: &UTCTime{exampleEnd},
		TotalScore: new(0.85), WeightedScore: new(8.5), IsSuccessful: true, SuccessMetric: new(0.9),
		Metadata: Metadata{text: jsontext.Value(`{"packageManager":"pnpm"}`)},
	}
	exampleEvaluation = Evaluation{
		ID: 1, RunID: "run-a1", EvaluatorName: "install_success", Score: new(1.0), MaxScore: 1,
		Details: new("pnpm install exited 0"), CreatedAt: UTCTime{exampleEnd},
	}
	exampleTelemetry = &Telemetry{
		ID: 1, RunID: "run-a1", ToolCalls: new(int64(12)), TokensIn: new(int64(85000)), TokensOut: new(int64(2200)),
		CostUSD: new(0.0123), DurationMs: new(int64(300000)), WorkspaceDir: new("results/workspaces/x"),
		PromptSent: Prompt{new("Update the dependencies."), true},
	}
	exampleBatch = Batch{
		BatchID: "batch-a", CreatedAt: UTCTime{exampleStart}, CompletedAt: &UTCTime{exampleEnd},
		TotalRuns: 1, SuccessfulRuns: 1, AvgScore: new(0.85), AvgWeightedScore: new(8.5),
		Metadata: Metadata{text: jsontext.Value(`{"cli":"1.2.0"}`)},
	}
	exampleVoidRequest    = VoidRequest{Reason: "The workspace had the solution in it."}
	exampleRestoreRequest = RestoreRequest{Reason: new(Text("It was another workspace."))}
	exampleVoidedRun      = func() Run {
		run := exampleRun
		run.Voided = &Void{At: UTCTime{exampleEnd}, By: new("alice"), Reason: string(exampleVoidRequest.Reason)}
		return run
	}()
	exampleCorrection = Correction{
		ID: 1, RunID: "run-a1", Action: "void", Reason: new(string(exampleVoidRequest.Reason)), By: new("alice"), At: UTCTime{exampleEnd},
	}
	exampleStats      = Stats{TotalRuns: 1, SuccessfulRuns: 1, AvgScore: new(0.85), AvgWeightedScore: new(8.5)}
	exampleAgentStats = AgentStats{Agent: "claude-code", Runs: 1, AvgScore: new(8.5), MinScore: new(8.5), MaxScore: new(8.5)}
)

// The examples of statistics.
var (
	exampleBasis       = Basis{AsOf: UTCTime{exampleEnd}, Runs: 120, InfraErrors: 2}
	exampleLeaderboard = Leaderboard{
		Basis: exampleBasis, Suite: "update-deps", Metric: stats.MetricSuccess, By: stats.ByAgentModel, Infra: stats.InfraExclude,
		Coverage: stats.CoverageShared, MinCoverage: 0.8, Level: 0.95, Scenarios: 40, SharedScenarios: new(int64(40)),
		Rows: []LeaderboardRow{{
			Rank: new(int64(1)), RankLow: new(int64(1)), RankHigh: new(int64(2)), Group: new(int64(1)),
			Agent: new("claude-code"), Model: new("claude-sonnet-4"), Scenarios: 40, Coverage: 1, Runs: 40, Successes: 30, InfraErrors: 2,
			Rate: new(0.75), RateLow: new(0.6), RateHigh: new(0.86), RateSE: new(0.069), RateErrorsAsFailures: new(0.73),
			Score: new(0.81), ScoreLow: new(0.74), ScoreHigh: new(0.88),
			CostRuns: 40, TotalCostUSD: new(1.26), CostPerRunUSD: new(0.03), CostPerSuccessUSD: new(0.04),
			TokensInPerRun: new(85000.0), TokensOutPerRun: new(2200.0), P50DurationMs: new(300000.0), P95DurationMs: new(720000.0),
			OnFrontier: new(true), Warnings: []stats.Warning{},
		}},
		Warnings: []stats.Warning{},
	}
	exampleComparison = Comparison{
		AsOf: UTCTime{exampleEnd}, Suite: "update-deps", Metric: stats.MetricSuccess, Infra: stats.InfraExclude, Level: 0.95, Margin: new(0.02),
		Verdict: stats.VerdictBetter, Warnings: []stats.Warning{},
		Baseline: new(0.55), Candidate: new(0.75), Difference: new(0.2), SE: new(0.082), Low: new(0.03), High: new(0.35), PValue: new(0.022),
		Test: new(string(stats.TestMcNemar)), SharedScenarios: 40, Wins: 10, Losses: 2, Ties: 28, BaselineAttempts: 40, CandidateAttempts: 40,
		Runs: BothSides{40, 40}, InfraErrors: BothSides{0, 2}, MinimumDetectable: new(0.23), SEUnpaired: new(0.106), Correlation: new(0.41),
		EValue: new(4.77), AnytimePValue: new(0.21),
		CostUSD:    Ratio{Ratio: new(1.1), Low: new(0.9), High: new(1.3), Scenarios: 40},
		DurationMs: Ratio{Ratio: new(0.8), Low: new(0.7), High: new(0.9), Scenarios: 40},
		Tokens:     Ratio{Ratio: new(1.05), Low: new(0.95), High: new(1.2), Scenarios: 38, Left: 2},
	}
	exampleComparisonDetails = ComparisonDetails{
		AsOf: UTCTime{exampleEnd}, Suite: "update-deps", Metric: stats.MetricSuccess, Infra: stats.InfraExclude, Level: 0.95, By: byScenario,
		Runs: BothSides{200, 200}, InfraErrors: BothSides{0, 2},
		Rows: []ComparisonDetail{{
			Scenario: new("nx-pnpm-monorepo"), Tier: new("L1"), Baseline: new(0.2), Candidate: new(1.0), BaselineAttempts: 5, CandidateAttempts: 5,
			Difference: new(0.8), PValue: new(0.048), QValue: new(0.48), ProbabilityGreater: new(0.9),
		}},
	}
	examplePowerPlan = PowerPlan{
		Scenarios: new(int64(234)), Attempts: new(int64(468)), MinimumDetectable: new(0.15),
		Assumed: PowerAssumed{
			Power: 0.8, Alpha: 0.05, Difference: new(0.1), Scenarios: new(int64(100)), Discordant: new(0.3), BaselineAttempts: 1, CandidateAttempts: 1,
		},
	}
	exampleScenarioStats = ScenarioStats{
		Basis: exampleBasis, Alpha: new(0.86), ICC: new(0.71), BetweenVariance: new(0.15), WithinVariance: new(0.06),
		Rows: []ScenarioStatsRow{{
			Scenario: "nx-pnpm-monorepo", Tier: "L1", Attempts: 12, Entries: 4, Difficulty: new(0.25), Discrimination: new(0.41),
			Flips: new(0.5), Flag: new(string(stats.FlagFlaky)),
		}},
	}
	exampleScenarioMatrix = ScenarioMatrix{
		Basis: exampleBasis,
		Rows: []ScenarioMatrixRow{{
			Agent: "claude-code", Model: new("claude-sonnet-4"), Scenario: "nx-pnpm-monorepo", Tier: "L1",
			Attempts: 3, Successes: 2, Mean: new(2.0 / 3), LastStartedAt: UTCTime{exampleStart},
		}},
	}
	examplePassStats = PassStats{
		Basis: exampleBasis,
		Rows: []PassStatsRow{{
			Agent: "claude-code", Model: new("claude-sonnet-4"), K: 2, Scenarios: 40, PassAtK: new(0.85), PassAtKLow: new(0.76), PassAtKHigh: new(0.94),
			PassHatK: new(0.6), PassHatKLow: new(0.47), PassHatKHigh: new(0.73),
		}},
	}
	exampleEvaluatorStats = EvaluatorStats{
		Basis: exampleBasis,
		Rows: []EvaluatorStatsRow{{
			EvaluatorName: "install_success", Evaluations: 120, Runs: 120, Scenarios: 40, Mean: new(0.82), Low: new(0.75), High: new(0.89), Full: 90, Zero: 12,
		}},
	}
	exampleBaseline   = Baseline{Name: "main", BatchID: "batch-a", SetAt: UTCTime{exampleStart}, SetBy: new("ci")}
	exampleDailyStats = DailyStats{
		Basis: exampleBasis,
		Rows: []DailyStatsRow{{
			Day: "2025-11-17", Runs: 120, Successes: 90, InfraErrors: 2, Rate: new(0.75), Score: new(0.81),
			CostRuns: 120, TotalCostUSD: new(3.66), CostPerRunUSD: new(0.03), TokensInPerRun: new(85000.0), TokensOutPerRun: new(2200.0),
			DurationRuns: 120, MeanDurationMs: new(310000.0), ExpectedLow: new(0.66), ExpectedHigh: new(0.88),
		}},
	}
)
