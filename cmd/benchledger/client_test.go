package main

import (
	"encoding/json"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	benchledger "github.com/benchledger/benchledger/clients/go"
	"github.com/benchledger/benchledger/internal/testdb"
)

// operationIDs returns the operation IDs in openapi.yaml.
func operationIDs(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("../../openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var spec struct {
		Paths map[string]map[string]struct {
			OperationID string `yaml:"operationId"`
		}
	}
	if err := yaml.Unmarshal(text, &spec); err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, path := range spec.Paths {
		for _, operation := range path {
			ids[operation.OperationID] = true
		}
	}
	return ids
}

// TestClient calls every operation, and compares the decoded response with the body.
func TestClient(t *testing.T) {
	t.Parallel()
	server := serveDatabase(t, testdb.URL(t))
	client, err := benchledger.New(server.url, localKey)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	called := map[string]bool{}
	// same compares a decoded response with body. Go omits trailing zeros of times.
	zeros := regexp.MustCompile(`(\.\d*?)0+Z"`)
	same := func(operation string, typed any, err error, body string) {
		t.Helper()
		called[operation] = true
		if err != nil {
			t.Errorf("%s: %v", operation, err)
			return
		}
		body = strings.ReplaceAll(zeros.ReplaceAllString(body, `${1}Z"`), `.Z"`, `Z"`)
		text, err := json.Marshal(typed)
		if err != nil {
			t.Fatal(err)
		}
		var got, want any
		if json.Unmarshal(text, &got) != nil || json.Unmarshal([]byte(body), &want) != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: the client has\n%s\nof\n%s", operation, text, body)
		}
	}
	read := func(path string) string {
		_, body := server.request(http.MethodGet, path, "")
		return body
	}

	submission := benchledger.RunSubmission{
		RunID: "a run/1", BatchID: new("batch"), Suite: "suite", Scenario: "scenario", Tier: "L1", Agent: "agent", Model: new("model"),
		Status: benchledger.RunStatusCompleted, TotalScore: new(0.5), WeightedScore: new(5.0), IsSuccessful: new(true),
		Metadata:    map[string]any{"commit": "abc", "nested": map[string]any{"list": []any{1.5, nil}}},
		Evaluations: []benchledger.EvaluationSubmission{{EvaluatorName: "judge", Score: new(1.0), MaxScore: 2, Details: new("half")}},
		Telemetry:   &benchledger.TelemetrySubmission{TokensIn: new(int64(1) << 60), CostUSD: new(0.25), PromptSent: new("Do it.")},
	}
	run, err := client.SubmitRunWithResponse(ctx, &benchledger.SubmitRunParams{}, submission)
	if err == nil {
		err = benchledger.Check(run.HTTPResponse, run.Body)
	}
	if err != nil {
		t.Fatal(err)
	}
	same("submit-run", run.JSON201, err, string(run.Body))
	if run.JSON201 == nil || run.JSON201.RunID != submission.RunID {
		t.Errorf("receipt %s", run.Body)
	}
	batch, err := client.SubmitBatchWithResponse(ctx, &benchledger.SubmitBatchParams{}, benchledger.BatchSubmission{BatchID: "batch", Metadata: map[string]any{"ci": true}})
	same("submit-batch", batch.JSON201, err, `{"success":true,"batchId":"batch"}`)
	receipts, err := client.SubmitLines(ctx, &benchledger.SubmitRunsParams{}, strings.NewReader(submitted("second")+"\n"+submitted("third")))
	same("submit-runs", receipts, err, `[{"line":1,"runId":"second","outcome":"recorded"},{"line":2,"runId":"third","outcome":"recorded"}]`)

	runs, err := client.ListRunsWithResponse(ctx, &benchledger.ListRunsParams{Suite: []string{"s"}, Limit: new(int32(1))})
	same("list-runs", runs.JSON200, err, read("/api/runs?suite=s&limit=1"))
	details, err := client.GetRunWithResponse(ctx, submission.RunID)
	same("get-run", details.JSON200, err, read("/api/runs/a%20run%2F1"))
	evaluations, err := client.GetRunEvaluationsWithResponse(ctx, submission.RunID)
	same("get-run-evaluations", evaluations.JSON200, err, read("/api/runs/a%20run%2F1/evaluations"))
	telemetry, err := client.GetRunTelemetryWithResponse(ctx, submission.RunID, &benchledger.GetRunTelemetryParams{})
	same("get-run-telemetry", telemetry.JSON200, err, read("/api/runs/a%20run%2F1/telemetry"))
	none, err := client.GetRunTelemetryWithResponse(ctx, "second", &benchledger.GetRunTelemetryParams{})
	if err != nil || strings.TrimSpace(string(none.Body)) != "null" || none.JSON200.ID != 0 {
		t.Errorf("no telemetry, which has no ID: %s %v", none.Body, err)
	}
	batches, err := client.ListBatchesWithResponse(ctx, &benchledger.ListBatchesParams{})
	same("list-batches", batches.JSON200, err, read("/api/batches"))
	batchDetails, err := client.GetBatchWithResponse(ctx, "batch", nil)
	same("get-batch", batchDetails.JSON200, err, read("/api/batches/batch"))
	// Nil metadata keeps what is stored, empty metadata replaces it.
	for _, step := range []struct {
		sent map[string]any
		want string
	}{{nil, `"metadata":{"ci":true}`}, {map[string]any{}, `"metadata":{}`}} {
		if batch, err := client.SubmitBatchWithResponse(ctx, &benchledger.SubmitBatchParams{}, benchledger.BatchSubmission{BatchID: "batch", Metadata: step.sent}); err != nil || batch.JSON201 == nil {
			t.Errorf("submit the batch again: %s %v", batch.Body, err)
		}
		if body := read("/api/batches/batch"); !strings.Contains(body, step.want) {
			t.Errorf("after metadata %#v the batch is %s, want %s", step.sent, body, step.want)
		}
	}
	voided, err := client.VoidRunWithResponse(ctx, "second", benchledger.VoidRequest{Reason: "It was wrong."})
	same("void-run", voided.JSON200, err, string(voided.Body))
	if voided.JSON200.Voided == nil || voided.JSON200.Voided.Reason != "It was wrong." {
		t.Errorf("void a run: %s", voided.Body)
	}
	restored, err := client.RestoreRunWithResponse(ctx, "second", benchledger.RestoreRequest{})
	same("restore-run", restored.JSON200, err, string(restored.Body))
	corrections, err := client.ListCorrectionsWithResponse(ctx, &benchledger.ListCorrectionsParams{})
	same("list-corrections", corrections.JSON200, err, read("/api/corrections"))
	baseline, err := client.SetBaselineWithResponse(ctx, "a/b", benchledger.BaselineRequest{BatchID: "batch"})
	same("set-baseline", baseline.JSON200, err, read("/api/baselines/a%2Fb"))
	baselines, err := client.ListBaselinesWithResponse(ctx, &benchledger.ListBaselinesParams{})
	same("list-baselines", baselines.JSON200, err, read("/api/baselines"))
	named, err := client.GetBaselineWithResponse(ctx, "a/b")
	same("get-baseline", named.JSON200, err, read("/api/baselines/a%2Fb"))
	before := read("/api/baselines/a%2Fb")
	deleted, err := client.DeleteBaselineWithResponse(ctx, "a/b")
	same("delete-baseline", deleted.JSON200, err, before)
	stats, err := client.GetStatsWithResponse(ctx)
	same("get-stats", stats.JSON200, err, read("/api/stats"))
	agents, err := client.ListAgentStatsWithResponse(ctx)
	same("list-agent-stats", agents.JSON200, err, read("/api/stats/agents"))
	// Statistics contain the time as of which they are.
	leaderboard, err := client.GetLeaderboardWithResponse(ctx, &benchledger.GetLeaderboardParams{Suite: "suite", Level: new(0.9)})
	same("get-leaderboard", leaderboard.JSON200, err, string(leaderboard.Body))
	if leaderboard.JSON200 == nil || len(leaderboard.JSON200.Rows) != 1 || leaderboard.JSON200.Rows[0].Agent == nil || *leaderboard.JSON200.Rows[0].Agent != "agent" {
		t.Errorf("leaderboard %s", leaderboard.Body)
	}
	comparison, err := client.GetComparisonWithResponse(ctx, &benchledger.GetComparisonParams{Suite: "suite", BaselineAgent: new("agent"), CandidateModel: new("model")})
	same("get-comparison", comparison.JSON200, err, string(comparison.Body))
	comparisonDetails, err := client.ListComparisonDetailsWithResponse(ctx, &benchledger.ListComparisonDetailsParams{Suite: "suite", BaselineAgent: new("agent"), CandidateModel: new("model")})
	same("list-comparison-details", comparisonDetails.JSON200, err, string(comparisonDetails.Body))
	scenarios, err := client.ListScenarioStatsWithResponse(ctx, &benchledger.ListScenarioStatsParams{Suite: "suite"})
	same("list-scenario-stats", scenarios.JSON200, err, string(scenarios.Body))
	matrix, err := client.GetScenarioMatrixWithResponse(ctx, &benchledger.GetScenarioMatrixParams{Suite: "suite"})
	same("get-scenario-matrix", matrix.JSON200, err, string(matrix.Body))
	pass, err := client.ListPassStatsWithResponse(ctx, &benchledger.ListPassStatsParams{Suite: "suite"})
	same("list-pass-stats", pass.JSON200, err, string(pass.Body))
	evaluators, err := client.ListEvaluatorStatsWithResponse(ctx, &benchledger.ListEvaluatorStatsParams{Suite: "suite"})
	same("list-evaluator-stats", evaluators.JSON200, err, string(evaluators.Body))
	days, err := client.ListDailyStatsWithResponse(ctx, &benchledger.ListDailyStatsParams{Suite: "suite"})
	same("list-daily-stats", days.JSON200, err, string(days.Body))
	plan, err := client.GetPowerPlanWithResponse(ctx, &benchledger.GetPowerPlanParams{Difference: new(0.1), Discordant: new(0.2)})
	same("get-power-plan", plan.JSON200, err, string(plan.Body))
	readiness, err := client.GetReadinessWithResponse(ctx)
	same("get-readiness", readiness.JSON200, err, read("/readyz"))
	// These contain the current time.
	liveness, err := client.GetLivenessWithResponse(ctx)
	same("get-liveness", liveness.JSON200, err, string(liveness.Body))
	health, err := client.GetHealthWithResponse(ctx)
	same("get-health", health.JSON200, err, string(health.Body))
	if health.JSON200 == nil || health.JSON200.Status != "ok" {
		t.Errorf("health %s", health.Body)
	}

	for id := range operationIDs(t) {
		if !called[id] {
			t.Errorf("the client's %s is not called", id)
		}
	}

	var ids []string
	for run, err := range client.EachRun(ctx, benchledger.ListRunsParams{Limit: new(int32(2))}) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, run.RunID)
	}
	if len(ids) != 3 {
		t.Errorf("runs of all pages: %v", ids)
	}
	for batch, err := range client.EachBatch(ctx, benchledger.ListBatchesParams{}) {
		if err != nil || batch.BatchID != "batch" {
			t.Errorf("%v, %v", batch, err)
		}
	}
	missing, err := client.GetRunWithResponse(ctx, "none")
	if err != nil {
		t.Fatal(err)
	}
	if err := benchledger.Check(missing.HTTPResponse, missing.Body); err == nil || !strings.Contains(err.Error(), "404 Not Found: No run has the ID \"none\".") {
		t.Errorf("a run that is not there: %v", err)
	}
}
