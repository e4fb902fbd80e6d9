package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/benchledger/benchledger/db"
)

// Stats are statistics over all completed runs.
type Stats struct {
	TotalRuns        int64    `json:"totalRuns"`
	SuccessfulRuns   int64    `json:"successfulRuns"`
	AvgScore         *float64 `json:"avgScore" doc:"Average totalScore; null if no run has one."`
	AvgWeightedScore *float64 `json:"avgWeightedScore" doc:"Average weightedScore; null if no run has one."`
}

// AgentStats are the weighted scores of an agent.
type AgentStats struct {
	Agent    string   `json:"agent"`
	Runs     int64    `json:"runs" doc:"Number of completed, successful runs, with or without a weighted score."`
	AvgScore *float64 `json:"avgScore" doc:"Average weighted score; null, like minScore and maxScore, if no run has one."`
	MinScore *float64 `json:"minScore"`
	MaxScore *float64 `json:"maxScore"`
}

type getStatsOutput struct {
	Body Stats
}

type listAgentStatsOutput struct {
	Body []AgentStats
}

func (s *server) registerStats() {
	errors := []int{http.StatusUnprocessableEntity}
	register(s, huma.Operation{
		OperationID: "get-stats", Method: http.MethodGet, Path: "/api/stats", Tags: []string{"Stats"},
		Summary: "Get statistics over all runs", Description: "Returns counts and averages over all completed runs.",
		Security: readSecurity, Errors: errors,
		Responses: map[string]*huma.Response{"200": {Description: "The statistics.", Content: example(exampleStats)}},
	}, classAnalyse, s.getStats)
	register(s, huma.Operation{
		OperationID: "list-agent-stats", Method: http.MethodGet, Path: "/api/stats/agents", Tags: []string{"Stats"},
		Summary: "Get statistics per agent",
		Description: "Returns the weighted scores of each agent over its completed, successful runs: best average first, " +
			"agents without an average last, ties by name.",
		Security: readSecurity, Errors: errors,
		Responses: map[string]*huma.Response{"200": {Description: "The statistics.", Content: example([]AgentStats{exampleAgentStats})}},
	}, classAnalyse, s.listAgentStats)
}

func (s *server) getStats(ctx context.Context, q *db.Queries, _ *struct{}) (*getStatsOutput, error) {
	row, err := q.GetStats(ctx)
	return &getStatsOutput{Body: Stats(row)}, err
}

func (s *server) listAgentStats(ctx context.Context, q *db.Queries, _ *struct{}) (*listAgentStatsOutput, error) {
	rows, err := q.ListAgentStats(ctx)
	output := &listAgentStatsOutput{Body: make([]AgentStats, len(rows))}
	for i, row := range rows {
		output.Body[i] = AgentStats(row)
	}
	return output, err
}
