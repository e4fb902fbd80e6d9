package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/benchledger/benchledger/db"
	"github.com/benchledger/benchledger/stats"
)

// ScenarioStats analyzes the scenarios of a suite.
type ScenarioStats struct {
	Basis
	Alpha           *float64           `json:"alpha" doc:"Cronbach's alpha over the entries that attempted all scenarios: how well the scenarios measure one thing. Null with fewer than two such entries, or fewer than two scenarios."`
	ICC             *float64           `json:"icc" doc:"ICC(1): the share of the variance of single attempts that is between scenarios. Null without repeated attempts."`
	BetweenVariance *float64           `json:"betweenVariance" doc:"Variance between scenarios."`
	WithinVariance  *float64           `json:"withinVariance" doc:"Variance between the attempts at a scenario."`
	Rows            []ScenarioStatsRow `json:"rows" doc:"Ordered by scenario and tier."`
}

// ScenarioStatsRow says how well a scenario tells entries apart.
type ScenarioStatsRow struct {
	Scenario       string   `json:"scenario"`
	Tier           string   `json:"tier"`
	Attempts       int64    `json:"attempts"`
	Entries        int64    `json:"entries" doc:"Number of entries that attempted it."`
	Difficulty     *float64 `json:"difficulty" doc:"1 - the mean of the metric over entries; for metrics from 0 to 1."`
	Discrimination *float64 `json:"discrimination" doc:"Correlation over entries with the mean of the other scenarios that the entry attempted, -1 to 1. Below 0, better entries do worse at it. Null with fewer than 3 entries, or if nothing varies."`
	Dead           *string  `json:"dead" doc:"all: the mean of the metric is 1 for every entry. none: it is 0. Otherwise null."`
	Flips          *float64 `json:"flips" doc:"Share of the entries with both outcomes, among those with at least two attempts."`
	Flag           *string  `json:"flag" doc:"What is most conspicuous: dead, negative (discrimination below 0) or flaky (flips of at least 0.5). Otherwise null."`
}

// ScenarioMatrix has the results of each entry at each scenario.
type ScenarioMatrix struct {
	Basis
	Rows []ScenarioMatrixRow `json:"rows" doc:"Ordered by agent, model (null first), scenario and tier. What an entry did not attempt has no row."`
}

// ScenarioMatrixRow has the results of an entry at a scenario.
type ScenarioMatrixRow struct {
	Agent         string   `json:"agent"`
	Model         *string  `json:"model"`
	Scenario      string   `json:"scenario"`
	Tier          string   `json:"tier"`
	Attempts      int64    `json:"attempts"`
	Successes     int64    `json:"successes"`
	Mean          *float64 `json:"mean" doc:"Mean of the metric."`
	InfraErrors   int64    `json:"infraErrors"`
	OpenRuns      int64    `json:"openRuns"`
	LastStartedAt UTCTime  `json:"lastStartedAt" doc:"When the last run started, whatever its outcome."`
}

// PassStats estimates the probability that any, and that all, of k attempts succeed.
type PassStats struct {
	Basis
	Rows []PassStatsRow `json:"rows" doc:"Ordered by agent, model (null first) and k. The last k of an entry is kMax, or the most attempts that it has at a scenario."`
}

// PassStatsRow has the estimates of an entry for a k.
type PassStatsRow struct {
	Agent        string   `json:"agent"`
	Model        *string  `json:"model"`
	K            int64    `json:"k"`
	Scenarios    int64    `json:"scenarios" doc:"Number of scenarios (each tier counts) with at least k attempts, which the estimates are from."`
	Left         int64    `json:"left" doc:"Number of scenarios with fewer attempts. They are left out."`
	PassAtK      *float64 `json:"passAtK" doc:"pass@k: the probability that at least one of k attempts succeeds; the mean over scenarios."`
	PassAtKLow   *float64 `json:"passAtKLow" doc:"Bounds of its interval (Student's t over scenarios, within 0 and 1)."`
	PassAtKHigh  *float64 `json:"passAtKHigh"`
	PassHatK     *float64 `json:"passHatK" doc:"pass^k: the probability that all of k attempts succeed; the mean over scenarios."`
	PassHatKLow  *float64 `json:"passHatKLow"`
	PassHatKHigh *float64 `json:"passHatKHigh"`
}

type listScenarioStatsInput struct {
	SuiteFilters
	Judgement
	By stats.By `query:"by" enum:"agentModel,agent,model" default:"agentModel" doc:"What an entry is: an agent with a model, an agent, or a model."`
}

type listScenarioStatsOutput struct {
	Body ScenarioStats
}

type getScenarioMatrixInput struct {
	SuiteFilters
	Judgement
}

type getScenarioMatrixOutput struct {
	Body ScenarioMatrix
}

type listPassStatsInput struct {
	SuiteFilters
	Infra stats.Infra `query:"infra" enum:"exclude,failure" default:"exclude" doc:"What becomes of infra errors, the failed runs whose metadata.errorType is neither agent nor unknown. exclude: they are no attempts. failure: they count as failed attempts."`
	Level float64     `query:"level" minimum:"0.5" maximum:"0.999" default:"0.95" doc:"The confidence level of intervals."`
	KMax  int32       `query:"kMax" minimum:"1" maximum:"100" default:"10" doc:"The largest k."`
}

type listPassStatsOutput struct {
	Body PassStats
}

func (s *server) registerScenarios() {
	errors := []int{http.StatusUnprocessableEntity}
	register(s, huma.Operation{
		OperationID: "list-scenario-stats", Method: http.MethodGet, Path: "/api/stats/scenarios", Tags: []string{"Stats"},
		Summary:     "Analyze the scenarios of a suite",
		Description: "Returns the difficulty of each scenario and how well it tells entries apart, with flags for dead, flaky and misleading ones.",
		Security:    readSecurity, Errors: errors,
		Responses: map[string]*huma.Response{"200": {Description: "The statistics.", Content: example(exampleScenarioStats)}},
	}, classAnalyse, s.listScenarioStats)
	register(s, huma.Operation{
		OperationID: "get-scenario-matrix", Method: http.MethodGet, Path: "/api/stats/matrix", Tags: []string{"Stats"},
		Summary:     "Get the results of each entry at each scenario",
		Description: "Returns, for a heat map, what each agent with its model achieved at each scenario of a suite.",
		Security:    readSecurity, Errors: errors,
		Responses: map[string]*huma.Response{"200": {Description: "The matrix.", Content: example(exampleScenarioMatrix)}},
	}, classAnalyse, s.getScenarioMatrix)
	register(s, huma.Operation{
		OperationID: "list-pass-stats", Method: http.MethodGet, Path: "/api/stats/pass", Tags: []string{"Stats"},
		Summary:     "Estimate pass@k and pass^k",
		Description: "Returns, for each agent with its model, the probability that any (pass@k), and that all (pass^k), of k attempts at a scenario succeed.",
		Security:    readSecurity, Errors: errors,
		Responses: map[string]*huma.Response{"200": {Description: "The statistics.", Content: example(examplePassStats)}},
	}, classAnalyse, s.listPassStats)
}

func (s *server) listScenarioStats(ctx context.Context, q *db.Queries, input *listScenarioStatsInput) (*listScenarioStatsOutput, error) {
	c, err := readCells(ctx, q, input.values(), input.Judgement)
	if err != nil {
		return nil, err
	}
	report := stats.Items(c.cells, input.By, input.scope())
	body := ScenarioStats{
		Basis: c.basis, Alpha: report.Alpha, ICC: report.ICC, BetweenVariance: report.BetweenVariance, WithinVariance: report.WithinVariance,
		Rows: make([]ScenarioStatsRow, len(report.Items)),
	}
	for i, item := range report.Items {
		body.Rows[i] = ScenarioStatsRow{
			Scenario: item.Scenario, Tier: item.Tier, Attempts: item.Attempts, Entries: int64(item.Entries),
			Difficulty: item.Difficulty, Discrimination: item.Discrimination, Dead: textOrNull(item.Dead), Flips: item.Flips, Flag: textOrNull(item.Flag),
		}
	}
	return &listScenarioStatsOutput{Body: body}, nil
}

// textOrNull is nil for an empty text.
func textOrNull[T ~string](text T) *string {
	if text == "" {
		return nil
	}
	return new(string(text))
}

func (s *server) getScenarioMatrix(ctx context.Context, q *db.Queries, input *getScenarioMatrixInput) (*getScenarioMatrixOutput, error) {
	c, err := readCells(ctx, q, input.values(), input.Judgement)
	if err != nil {
		return nil, err
	}
	body := ScenarioMatrix{Basis: c.basis, Rows: make([]ScenarioMatrixRow, len(c.cells))}
	for i := range c.cells {
		cell := &c.cells[i]
		runs := cell.Counted(input.Infra)
		body.Rows[i] = ScenarioMatrixRow{
			Agent: cell.Agent, Model: cell.Model, Scenario: cell.Scenario, Tier: cell.Tier,
			Attempts: runs.Count, Successes: runs.Successes,
			InfraErrors: cell.InfraErrors.Count, OpenRuns: cell.OpenRuns, LastStartedAt: UTCTime{c.last[i]},
		}
		if sample := runs.Sample(input.Metric); sample.N > 0 {
			body.Rows[i].Mean = &sample.Mean
		}
	}
	return &getScenarioMatrixOutput{Body: body}, nil
}

func (s *server) listPassStats(ctx context.Context, q *db.Queries, input *listPassStatsInput) (*listPassStatsOutput, error) {
	c, err := readCells(ctx, q, input.values(), Judgement{Metric: stats.MetricSuccess, Infra: input.Infra, Level: input.Level})
	if err != nil {
		return nil, err
	}
	body := PassStats{Basis: c.basis, Rows: []PassStatsRow{}}
	for first := 0; first < len(c.cells); {
		entry, end := &c.cells[first], first
		var outcomes []stats.Outcome
		for ; end < len(c.cells) && isSameEntry(entry, &c.cells[end]); end++ {
			if runs := c.cells[end].Counted(input.Infra); runs.Count > 0 {
				outcomes = append(outcomes, stats.Outcome{Scenario: c.cells[end].Scenario, Attempts: runs.Count, Successes: runs.Successes})
			}
		}
		for k := range int64(input.KMax) {
			pass := stats.Pass(outcomes, k+1, input.Level)
			if k > 0 && pass.Items == 0 {
				break
			}
			body.Rows = append(body.Rows, PassStatsRow{
				Agent: entry.Agent, Model: entry.Model, K: pass.K, Scenarios: int64(pass.Items), Left: int64(pass.Left),
				PassAtK: pass.PassAtK, PassAtKLow: pass.AtKBounds.Low, PassAtKHigh: pass.AtKBounds.High,
				PassHatK: pass.PassHatK, PassHatKLow: pass.HatKBounds.Low, PassHatKHigh: pass.HatKBounds.High,
			})
		}
		first = end
	}
	return &listPassStatsOutput{Body: body}, nil
}
