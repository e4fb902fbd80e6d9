package db

import (
	"context"
	"encoding/json"
	"time"
)

// RunPosition is a place in a list of runs: that of the run with these values.
type RunPosition struct {
	StartedAt time.Time
	ID        int64
}

// ListRunsPage returns at most limit runs that match all filters and come after a
// position, newest first. filters has a value for each filter that is set; run_matches
// in sql/schema says which there are and what they mean.
func ListRunsPage(ctx context.Context, q *Queries, filters map[string]string, after RunPosition, limit int32) ([]BenchmarkRun, error) {
	suite, scenario, agent, status := filters["suite"], filters["scenario"], filters["agent"], filters["status"]
	set := func(values ...string) bool { // Whether these filters are set, and no others.
		for _, value := range values {
			if value == "" {
				return false
			}
		}
		return len(filters) == len(values)
	}
	switch {
	case set():
		return q.ListRuns(ctx, ListRunsParams{BeforeStartedAt: after.StartedAt, BeforeID: after.ID, RowLimit: limit})
	case set(suite):
		return q.ListRunsBySuite(ctx, ListRunsBySuiteParams{Suite: suite, BeforeStartedAt: after.StartedAt, BeforeID: after.ID, RowLimit: limit})
	case set(scenario):
		return q.ListRunsByScenario(ctx, ListRunsByScenarioParams{Scenario: scenario, BeforeStartedAt: after.StartedAt, BeforeID: after.ID, RowLimit: limit})
	case set(suite, scenario):
		return q.ListRunsBySuiteAndScenario(ctx, ListRunsBySuiteAndScenarioParams{
			Suite: suite, Scenario: scenario, BeforeStartedAt: after.StartedAt, BeforeID: after.ID, RowLimit: limit,
		})
	case set(agent):
		return q.ListRunsByAgent(ctx, ListRunsByAgentParams{Agent: agent, BeforeStartedAt: after.StartedAt, BeforeID: after.ID, RowLimit: limit})
	case set(status):
		return q.ListRunsByStatus(ctx, ListRunsByStatusParams{Status: status, BeforeStartedAt: after.StartedAt, BeforeID: after.ID, RowLimit: limit})
	}
	encoded, err := json.Marshal(filters)
	if err != nil {
		return nil, err
	}
	return New(customPlan{q.db}).ListRunsByFilters(ctx, ListRunsByFiltersParams{
		Filters: encoded, BeforeStartedAt: after.StartedAt, BeforeID: after.ID, RowLimit: limit,
	})
}
