package api

import (
	"time"

	"github.com/go-json-experiment/json/jsontext"
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
