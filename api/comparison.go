package api

import (
	"context"
	"fmt"
	"maps"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"

	"github.com/benchledger/benchledger/db"
	"github.com/benchledger/benchledger/stats"
)

// SideFilters select the runs of the baseline and of the candidate, in addition to the other filters.
type SideFilters struct {
	BaselineAgent    Name `query:"baselineAgent" doc:"The baseline: only runs of this agent. Each side needs at least one of its four parameters." example:"claude-code"`
	BaselineModel    Name `query:"baselineModel" doc:"The baseline: only runs of this model." example:"claude-sonnet-4"`
	BaselineNoModel  bool `query:"baselineNoModel" doc:"true: the baseline has only runs without a model."`
	BaselineBatchID  ID   `query:"baselineBatchId" doc:"The baseline: only runs of this batch." example:"batch-a"`
	CandidateAgent   Name `query:"candidateAgent" doc:"The candidate: only runs of this agent." example:"claude-code"`
	CandidateModel   Name `query:"candidateModel" doc:"The candidate: only runs of this model." example:"claude-opus-4"`
	CandidateNoModel bool `query:"candidateNoModel" doc:"true: the candidate has only runs without a model."`
	CandidateBatchID ID   `query:"candidateBatchId" doc:"The candidate: only runs of this batch." example:"batch-b"`
}

// check rejects a side that selects nothing, or contradicts itself. (With a Resolve method here, huma would not
// call those of the other embedded parameters.)
func (s *SideFilters) check() error {
	var faults []FieldError
	for _, side := range []struct {
		name    string
		filters sideFilters
	}{{"baseline", s.baseline()}, {"candidate", s.candidate()}} {
		name := "query." + side.name
		switch {
		case side.filters == sideFilters{}:
			faults = append(faults, FieldError{name + "Agent", fmt.Sprintf("expected at least one of %[1]sAgent, %[1]sModel, %[1]sNoModel and %[1]sBatchId", side.name)})
		case side.filters.Model != "" && side.filters.NoModel:
			faults = append(faults, FieldError{name + "NoModel", "expected none beside " + side.name + "Model"})
		}
	}
	if faults != nil {
		return invalid(faults...)
	}
	return nil
}

func (s *SideFilters) baseline() sideFilters {
	return sideFilters{s.BaselineAgent, s.BaselineModel, s.BaselineNoModel, s.BaselineBatchID}
}

func (s *SideFilters) candidate() sideFilters {
	return sideFilters{s.CandidateAgent, s.CandidateModel, s.CandidateNoModel, s.CandidateBatchID}
}

// sideFilters are the filters of one side.
type sideFilters struct {
	Agent   Name `query:"agent"`
	Model   Name `query:"model"`
	NoModel bool `query:"noModel"`
	BatchID ID   `query:"batchId"`
}

// within returns these filters together with those that both sides share. Of two with the same
// name, that of the side counts.
func (f sideFilters) within(shared db.Filters) db.Filters {
	all := maps.Clone(shared)
	if f.NoModel {
		delete(all, "model")
	}
	maps.Copy(all, filterValues(f))
	return all
}

// Comparison compares a candidate with a baseline.
type Comparison struct {
	AsOf     UTCTime         `json:"asOf" doc:"Runs that were acknowledged before this time are included."`
	Suite    string          `json:"suite"`
	Metric   stats.Metric    `json:"metric"`
	Infra    stats.Infra     `json:"infra"`
	Level    float64         `json:"level"`
	Margin   *float64        `json:"margin" doc:"Null without one."`
	Verdict  stats.Verdict   `json:"verdict" enum:"better,worse,equivalent,notWorse,inconclusive,insufficient" doc:"better, worse: the p-value is below 1 - level. equivalent: the interval is within ± margin. notWorse: its lower bound is above -margin. inconclusive: none of these. insufficient: there is no test."`
	Warnings []stats.Warning `json:"warnings" doc:"infraErrors (above 5 % of the final runs of a side), unequalAttempts (per scenario), missingScores, mixedTiers, fewScenarios (below 10), stillRunning, noBootstrap (fewer than 10 scenarios, or more than 5,000)."`

	Baseline   *float64 `json:"baseline" doc:"Mean of the metric over the shared scenarios, each with the same weight."`
	Candidate  *float64 `json:"candidate" doc:"As baseline."`
	Difference *float64 `json:"difference" doc:"candidate - baseline."`
	SE         *float64 `json:"se" doc:"Standard error of the difference, from the differences per scenario."`
	Low        *float64 `json:"low" doc:"Bounds of the interval of the difference."`
	High       *float64 `json:"high"`
	PValue     *float64 `json:"pValue" doc:"Two-sided."`
	Test       *string  `json:"test" doc:"mcnemar-mid-p (success, one attempt a side everywhere, and no scenario at several tiers), paired-t, or sign (all differ by the same); null without a test."`

	SharedScenarios   int64     `json:"sharedScenarios" doc:"Number of scenarios (each tier counts) that both attempted; with a score as metric, for which both have one."`
	OnlyBaseline      int64     `json:"onlyBaseline" doc:"Number of scenarios that only the baseline attempted; with a score as metric, where only it has one. They are left out."`
	OnlyCandidate     int64     `json:"onlyCandidate" doc:"As onlyBaseline."`
	Wins              int64     `json:"wins" doc:"Number of shared scenarios where the candidate is better."`
	Losses            int64     `json:"losses"`
	Ties              int64     `json:"ties"`
	BaselineAttempts  int64     `json:"baselineAttempts" doc:"Number of attempts at the shared scenarios."`
	CandidateAttempts int64     `json:"candidateAttempts"`
	Runs              BothSides `json:"runs" doc:"Attempts at any scenario."`
	InfraErrors       BothSides `json:"infraErrors" doc:"Runs at any scenario that failed by infrastructure. They are left out, unless infra=failure."`
	OpenRuns          BothSides `json:"openRuns" doc:"Runs that are running or incomplete. They are left out."`
	Unscored          BothSides `json:"unscored" doc:"Attempts without the score that is the metric. They are left out."`

	MinimumDetectable *float64 `json:"minimumDetectable" doc:"The difference that this standard error detects with a power of 0.8 at a significance level of 0.05. It is 0 if all scenarios differ by the same, which says nothing of what can be detected."`
	SEUnpaired        *float64 `json:"seUnpaired" doc:"What se would be without pairing."`
	Correlation       *float64 `json:"correlation" doc:"Of the sides' means per scenario."`
	EValue            *float64 `json:"eValue" doc:"Evidence against no difference that holds however often it is looked at; for mcnemar-mid-p."`
	AnytimePValue     *float64 `json:"anytimePValue" doc:"1 / eValue, at most 1; null unless the test is mcnemar-mid-p."`
	Sequential        bool     `json:"sequential" doc:"Runs are open, so the verdict uses anytimePValue, because a p-value that is looked at repeatedly rejects too often. Without one it is inconclusive, and it is neither equivalent nor notWorse. Void stale runs, or leave them out with until."`

	CostUSD    Ratio `json:"costUsd" doc:"Cost per attempt."`
	DurationMs Ratio `json:"durationMs" doc:"Duration of an attempt."`
	Tokens     Ratio `json:"tokens" doc:"Tokens in and out of an attempt."`
}

// BothSides has a number of runs of each side.
type BothSides struct {
	Baseline  int64 `json:"baseline"`
	Candidate int64 `json:"candidate"`
}

// Ratio is how much more the candidate takes than the baseline: the geometric mean over the
// shared scenarios of candidate / baseline.
type Ratio struct {
	Ratio     *float64 `json:"ratio" doc:"candidate / baseline: the geometric mean over the shared scenarios."`
	Low       *float64 `json:"low" doc:"Bounds of its interval."`
	High      *float64 `json:"high"`
	Scenarios int64    `json:"scenarios" doc:"Number of shared scenarios for which both report it."`
	Left      int64    `json:"left" doc:"Number of shared scenarios that are left out, because a side reports nothing, or 0."`
}

type getComparisonInput struct {
	SuiteFilters
	Judgement
	SideFilters
	Margin   float64 `query:"margin" minimum:"0" doc:"The largest difference without practical importance, in the unit of the metric; 0 is none."`
	Interval string  `query:"interval" enum:"auto,bootstrap" default:"auto" doc:"auto: the interval that belongs to the test. bootstrap: BCa, with 10,000 resamples of the scenarios; it needs 10 to 5,000 scenarios."`
}

type getComparisonOutput struct {
	Body Comparison
}

func (s *server) registerComparison() {
	register(s, huma.Operation{
		OperationID: "get-comparison", Method: http.MethodGet, Path: "/api/comparison", Tags: []string{"Stats"},
		Summary: "Compare a candidate with a baseline",
		Description: "Compares two agents, models or batches over the scenarios of a suite that both attempted, pair by pair. " +
			"The other filters apply to both sides; where a side has a filter of the same name, its own counts. " +
			"Sides that select the same runs are compared as if they were different.",
		Security: readSecurity, Errors: []int{http.StatusUnprocessableEntity},
		Responses: map[string]*huma.Response{"200": {Description: "The comparison.", Content: example(exampleComparison)}},
	}, classAnalyse, s.getComparison)
}

func (s *server) getComparison(ctx context.Context, q *db.Queries, input *getComparisonInput) (*getComparisonOutput, error) {
	baseline, candidate, err := readSides(ctx, q, input.values(), input.SideFilters, input.Judgement)
	if err != nil {
		return nil, err
	}
	var margin *float64
	if input.Margin > 0 {
		margin = &input.Margin
	}
	c := stats.Compare(baseline.cells, candidate.cells, stats.ComparisonOptions{
		Scope: input.scope(), Margin: margin, Bootstrap: input.Interval == "bootstrap",
	})
	body := Comparison{
		AsOf: baseline.basis.AsOf, Suite: string(input.Suite), Metric: input.Metric, Infra: input.Infra, Level: input.Level, Margin: margin,
		Verdict: c.Verdict, Warnings: c.Warnings,
		Baseline: c.Baseline, Candidate: c.Candidate, Difference: c.Difference, SE: c.SE, Low: c.Low, High: c.High, PValue: c.PValue,
		SharedScenarios: int64(c.SharedItems), OnlyBaseline: int64(c.OnlyBaseline), OnlyCandidate: int64(c.OnlyCandidate),
		Wins: int64(c.Wins), Losses: int64(c.Losses), Ties: int64(c.Ties),
		BaselineAttempts: c.BaselineAttempts, CandidateAttempts: c.CandidateAttempts,
		Runs:              BothSides{baseline.basis.Runs, candidate.basis.Runs},
		InfraErrors:       BothSides{baseline.basis.InfraErrors, candidate.basis.InfraErrors},
		OpenRuns:          BothSides{baseline.basis.OpenRuns, candidate.basis.OpenRuns},
		Unscored:          BothSides{baseline.basis.Unscored, candidate.basis.Unscored},
		MinimumDetectable: c.MinimumDetectable, SEUnpaired: c.SEUnpaired, Correlation: c.Correlation,
		EValue: c.EValue, AnytimePValue: c.AnytimePValue, Sequential: c.Sequential,
		CostUSD: ratioOf(c.Cost), DurationMs: ratioOf(c.Duration), Tokens: ratioOf(c.Tokens),
	}
	if c.Test != stats.TestNone {
		body.Test = new(string(c.Test))
	}
	return &getComparisonOutput{Body: body}, nil
}

func ratioOf(r stats.Ratio) Ratio {
	return Ratio{Ratio: r.Ratio, Low: r.Low, High: r.High, Scenarios: int64(r.Items), Left: int64(r.Left)}
}

// readSides reads the cells of both sides, in one snapshot.
func readSides(ctx context.Context, q *db.Queries, shared db.Filters, sides SideFilters, judgement Judgement) (baseline, candidate *cells, err error) {
	return readBoth(ctx, q, shared, sides, func(q *db.Queries, filters db.Filters) (*cells, error) {
		return readCells(ctx, q, filters, judgement)
	})
}

// readBoth reads something of both sides, in one snapshot.
func readBoth[T any](
	ctx context.Context, q *db.Queries, shared db.Filters, sides SideFilters, read func(*db.Queries, db.Filters) (T, error),
) (baseline, candidate T, err error) {
	if err := sides.check(); err != nil {
		return baseline, candidate, err
	}
	err = db.WithTx(ctx, q, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(q *db.Queries) (err error) {
		if baseline, err = read(q, sides.baseline().within(shared)); err != nil {
			return err
		}
		candidate, err = read(q, sides.candidate().within(shared))
		return err
	})
	return baseline, candidate, err
}
