package api

import (
	"cmp"
	"context"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/benchledger/benchledger/db"
	"github.com/benchledger/benchledger/stats"
)

// detailsBy is what a row of the details of a comparison is about.
type detailsBy string

const (
	byScenario          detailsBy = "scenario"
	byEvaluator         detailsBy = "evaluator"
	byScenarioEvaluator detailsBy = "scenarioEvaluator"
)

// detailsSort is an order of the details of a comparison.
type detailsSort string

const (
	sortByPValue     detailsSort = "pValue"
	sortByDifference detailsSort = "difference"
	sortByName       detailsSort = "name"
)

// minAttempts is how many attempts each side needs for a test of a scenario. With two a side, no p-value is
// below 0.33.
const minAttempts = 3

// ComparisonDetails compares a candidate with a baseline, scenario by scenario, or evaluator by evaluator.
type ComparisonDetails struct {
	AsOf        UTCTime            `json:"asOf" doc:"Runs that were acknowledged before this time are included."`
	Suite       string             `json:"suite"`
	Metric      stats.Metric       `json:"metric"`
	Infra       stats.Infra        `json:"infra"`
	Level       float64            `json:"level" doc:"As sent; it changes no figure here."`
	By          detailsBy          `json:"by" enum:"scenario,evaluator,scenarioEvaluator"`
	Runs        BothSides          `json:"runs" doc:"Attempts at any scenario."`
	InfraErrors BothSides          `json:"infraErrors" doc:"Runs that failed by infrastructure. They are left out, unless infra=failure."`
	OpenRuns    BothSides          `json:"openRuns" doc:"Runs that are running or incomplete. They are left out."`
	Unscored    BothSides          `json:"unscored" doc:"What is left out because it has no score: attempts by=scenario, otherwise evaluations of attempts."`
	Rows        []ComparisonDetail `json:"rows" doc:"What neither side has a value for has no row."`
}

// ComparisonDetail compares the sides at a scenario, by an evaluator, or both.
type ComparisonDetail struct {
	Scenario           *string  `json:"scenario" doc:"Null by=evaluator."`
	Tier               *string  `json:"tier" doc:"Null by=evaluator."`
	EvaluatorName      *string  `json:"evaluatorName" doc:"Null by=scenario."`
	Baseline           *float64 `json:"baseline" doc:"Mean of the attempts at the scenario; null without any. by=evaluator: the mean of the scenarios (each tier counts) that both sides share, each with the same weight; of all of the side's if they share none."`
	Candidate          *float64 `json:"candidate" doc:"As baseline."`
	BaselineAttempts   int64    `json:"baselineAttempts" doc:"Number of attempts with a value, which the mean is of."`
	CandidateAttempts  int64    `json:"candidateAttempts"`
	Difference         *float64 `json:"difference" doc:"candidate - baseline; null if a side has no attempts or, by=evaluator, they share no scenario."`
	PValue             *float64 `json:"pValue" doc:"Two-sided: Mann-Whitney, exact for small numbers of attempts, null with fewer than 3 attempts of a side. With 3 a side it is at least 0.1, with 4 at least 0.028. by=evaluator: the paired test over the shared scenarios, as in get-comparison."`
	QValue             *float64 `json:"qValue" doc:"The p-value adjusted for the number of rows (Benjamini and Hochberg): among the rows with a qValue below 0.05, at most 5 % are false discoveries, on average. Rows without a p-value do not count."`
	ProbabilityGreater *float64 `json:"probabilityGreater" doc:"The probability that an attempt of the candidate has a greater value than one of the baseline, ties counted half. Null by=evaluator, and if a side has no attempts."`
}

type listComparisonDetailsInput struct {
	SuiteFilters
	Judgement
	SideFilters
	By   detailsBy   `query:"by" enum:"scenario,evaluator,scenarioEvaluator" default:"scenario" doc:"What a row is about. scenario: a scenario with its tier, by the metric. evaluator: an evaluator over all scenarios. scenarioEvaluator: an evaluator at a scenario. An evaluation counts as score / maxScore, whatever the metric; of several by the same evaluator in a run, the mean counts."`
	Sort detailsSort `query:"sort" enum:"pValue,difference,name" default:"pValue" doc:"pValue: the smallest first. difference: the largest first, whatever its sign. Rows without it come last, and equal ones by name. name: by scenario, tier and evaluator."`
}

type listComparisonDetailsOutput struct {
	Body ComparisonDetails
}

func (s *server) registerDetails() {
	register(s, huma.Operation{
		OperationID: "list-comparison-details", Method: http.MethodGet, Path: "/api/comparison/details", Tags: []string{"Stats"},
		Summary: "Compare a candidate with a baseline by scenario or evaluator",
		Description: "Says at which scenarios, or by which evaluators, two agents, models or batches differ. With many rows some differ by chance: " +
			"select by qValue, not by pValue. Filters and sides are as in get-comparison.",
		Security: readSecurity, Errors: []int{http.StatusUnprocessableEntity},
		Responses: map[string]*huma.Response{"200": {Description: "The details.", Content: example(exampleComparisonDetails)}},
	}, classAnalyse, s.listComparisonDetails)
}

func (s *server) listComparisonDetails(ctx context.Context, q *db.Queries, input *listComparisonDetailsInput) (*listComparisonDetailsOutput, error) {
	baseline, candidate, err := readBoth(ctx, q, input.values(), input.SideFilters, func(q *db.Queries, filters db.Filters) (*attemptValues, error) {
		return readAttemptValues(ctx, q, filters, input.By, input.Judgement)
	})
	if err != nil {
		return nil, err
	}
	compare := compareScenarios
	if input.By == byEvaluator {
		compare = compareEvaluators
	}
	rows, err := compare(ctx, baseline.rows, candidate.rows)
	if err != nil {
		return nil, err
	}
	if len(rows) > db.MaxGroups {
		return nil, tooManyRuns()
	}
	addQValues(rows)
	sortDetails(rows, input.Sort)
	b, c := baseline.basis, candidate.basis
	return &listComparisonDetailsOutput{Body: ComparisonDetails{
		AsOf: b.AsOf, Suite: string(input.Suite), Metric: input.Metric, Infra: input.Infra, Level: input.Level, By: input.By,
		Runs: BothSides{b.Runs, c.Runs}, InfraErrors: BothSides{b.InfraErrors, c.InfraErrors}, OpenRuns: BothSides{b.OpenRuns, c.OpenRuns},
		Unscored: BothSides{b.Unscored, c.Unscored}, Rows: rows,
	}}, nil
}

// attemptValues are the values of the attempts of a side.
type attemptValues struct {
	basis Basis
	rows  []valuesRow // ordered by their names
}

// valuesRow has the values of the attempts at a scenario, or of what an evaluator said of these. There is at least one.
type valuesRow struct {
	scenario, tier, evaluator string // no evaluator by scenario
	values                    []float64
	mean                      float64
}

func (a *valuesRow) compare(b *valuesRow) int {
	return cmp.Or(cmp.Compare(a.scenario, b.scenario), cmp.Compare(a.tier, b.tier), cmp.Compare(a.evaluator, b.evaluator))
}

// readAttemptValues reads a side.
func readAttemptValues(ctx context.Context, q *db.Queries, filters db.Filters, by detailsBy, judgement Judgement) (*attemptValues, error) {
	side := &attemptValues{basis: Basis{AsOf: UTCTime{time.Now()}}}
	attempts, err := db.ListMatchingAttemptValues(ctx, q, filters, string(judgement.Metric), judgement.Infra == stats.InfraFailure)
	if err != nil {
		return nil, err
	}
	for _, row := range attempts {
		side.basis.Runs += row.Attempts
		side.basis.InfraErrors += row.InfraErrors
		side.basis.OpenRuns += row.OpenRuns
		if by == byScenario {
			side.basis.Unscored += row.Attempts - int64(len(row.AttemptValues))
			side.add(valuesRow{scenario: row.Scenario, tier: row.Tier, values: row.AttemptValues}, row.ValueMean)
		}
	}
	if by == byScenario {
		return side, nil
	}
	evaluations, err := db.ListMatchingEvaluationValues(ctx, q, filters, judgement.Infra == stats.InfraFailure)
	if err != nil {
		return nil, err
	}
	for _, row := range evaluations {
		side.basis.Unscored += row.Unscored
		side.add(valuesRow{scenario: row.Scenario, tier: row.Tier, evaluator: row.EvaluatorName, values: row.AttemptValues}, row.ValueMean)
	}
	return side, nil
}

// add adds a row that has a mean.
func (s *attemptValues) add(row valuesRow, mean *float64) {
	if mean != nil {
		row.mean = *mean
		s.rows = append(s.rows, row)
	}
}

// compareScenarios compares the rows of both sides with the same names.
func compareScenarios(ctx context.Context, baseline, candidate []valuesRow) ([]ComparisonDetail, error) {
	rows := []ComparisonDetail{}
	for len(baseline) > 0 || len(candidate) > 0 {
		if err := ctx.Err(); err != nil { // an exact test can take 10 ms
			return nil, err
		}
		var b, c *valuesRow
		switch order := compareFirst(baseline, candidate); {
		case order < 0:
			b, baseline = &baseline[0], baseline[1:]
		case order > 0:
			c, candidate = &candidate[0], candidate[1:]
		default:
			b, baseline = &baseline[0], baseline[1:]
			c, candidate = &candidate[0], candidate[1:]
		}
		rows = append(rows, compareValues(b, c))
	}
	return rows, nil
}

// compareFirst says which list has the first name; a list without any is last.
func compareFirst(baseline, candidate []valuesRow) int {
	switch {
	case len(candidate) == 0:
		return -1
	case len(baseline) == 0:
		return 1
	}
	return baseline[0].compare(&candidate[0])
}

// compareValues compares two rows with the same names; one of them may be nil.
func compareValues(baseline, candidate *valuesRow) ComparisonDetail {
	named := cmp.Or(baseline, candidate)
	row := ComparisonDetail{Scenario: &named.scenario, Tier: &named.tier, EvaluatorName: textOrNull(named.evaluator)}
	if baseline != nil {
		row.Baseline, row.BaselineAttempts = &baseline.mean, int64(len(baseline.values))
	}
	if candidate != nil {
		row.Candidate, row.CandidateAttempts = &candidate.mean, int64(len(candidate.values))
	}
	if baseline == nil || candidate == nil {
		return row
	}
	if difference := candidate.mean - baseline.mean; !math.IsInf(difference, 0) {
		row.Difference = &difference
	}
	ranks := stats.MannWhitney(baseline.values, candidate.values)
	row.ProbabilityGreater = ranks.ProbabilityGreater
	if min(len(baseline.values), len(candidate.values)) >= minAttempts {
		row.PValue = ranks.PValue
	}
	return row
}

// compareEvaluators compares the scenario means of each evaluator.
func compareEvaluators(ctx context.Context, baseline, candidate []valuesRow) ([]ComparisonDetail, error) {
	cellsB, cellsC := evaluatorCells(baseline), evaluatorCells(candidate)
	var names []string
	for name := range cellsB {
		names = append(names, name)
	}
	for name := range cellsC {
		if cellsB[name] == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	rows := make([]ComparisonDetail, len(names))
	for i, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		rows[i] = compareEvaluator(name, cellsB[name], cellsC[name])
	}
	return rows, nil
}

// evaluatorCells makes the means of a side cells with a total score, for stats.Compare, by evaluator. Deviations
// play no part in a comparison of scenarios.
func evaluatorCells(rows []valuesRow) map[string][]stats.Cell {
	cells := map[string][]stats.Cell{}
	for _, row := range rows {
		attempts := int64(len(row.values))
		cells[row.evaluator] = append(cells[row.evaluator], stats.Cell{Scenario: row.scenario, Tier: row.tier, Attempts: stats.Runs{
			Count: attempts, TotalScore: stats.Sample{N: attempts, Mean: row.mean},
		}})
	}
	return cells
}

// compareEvaluator compares the cells of an evaluator. Only what does not depend on the level is used.
func compareEvaluator(name string, baseline, candidate []stats.Cell) ComparisonDetail {
	options := stats.ComparisonOptions{Scope: stats.Scope{Metric: stats.MetricTotalScore, Infra: stats.InfraExclude, Level: 0.95}}
	c := stats.Compare(baseline, candidate, options)
	if c.SharedItems == 0 { // what each side has alone: compared with itself, it shares all
		own, other := stats.Compare(baseline, baseline, options), stats.Compare(candidate, candidate, options)
		c.Baseline, c.BaselineAttempts = own.Baseline, own.BaselineAttempts
		c.Candidate, c.CandidateAttempts = other.Candidate, other.CandidateAttempts
	}
	return ComparisonDetail{
		EvaluatorName: &name, Baseline: c.Baseline, Candidate: c.Candidate, BaselineAttempts: c.BaselineAttempts, CandidateAttempts: c.CandidateAttempts,
		Difference: c.Difference, PValue: c.PValue,
	}
}

// addQValues adjusts the p-values of all rows that have one.
func addQValues(rows []ComparisonDetail) {
	var tested []*ComparisonDetail
	var pValues []float64
	for i := range rows {
		if rows[i].PValue != nil {
			tested, pValues = append(tested, &rows[i]), append(pValues, *rows[i].PValue)
		}
	}
	for i, q := range stats.BenjaminiHochberg(pValues) {
		tested[i].QValue = &q
	}
}

// sortDetails sorts rows that are in the order of their names.
func sortDetails(rows []ComparisonDetail, by detailsSort) {
	var key func(*ComparisonDetail) *float64
	switch by {
	case sortByPValue:
		key = func(r *ComparisonDetail) *float64 { return r.PValue }
	case sortByDifference:
		key = func(r *ComparisonDetail) *float64 {
			if r.Difference == nil {
				return nil
			}
			return new(-math.Abs(*r.Difference))
		}
	case sortByName:
		return
	}
	slices.SortStableFunc(rows, func(a, b ComparisonDetail) int {
		x, y := key(&a), key(&b)
		switch {
		case x != nil && y != nil:
			return cmp.Compare(*x, *y)
		case x != nil:
			return -1
		case y != nil:
			return 1
		}
		return 0
	})
}
