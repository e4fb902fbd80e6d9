package api

import (
	"context"
	"math"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/benchledger/benchledger/db"
	"github.com/benchledger/benchledger/stats"
)

// PowerPlan says how large a comparison must be, or what one of a given size detects.
type PowerPlan struct {
	Scenarios         *int64       `json:"scenarios" doc:"Number of scenarios at which a comparison finds assumed.difference with the power; without a difference, assumed.scenarios. Null if the assumptions say nothing of it, and above a trillion."`
	Attempts          *int64       `json:"attempts" doc:"Number of runs that this takes: each side attempts each scenario as often as assumed."`
	MinimumDetectable *float64     `json:"minimumDetectable" doc:"The smallest difference that a comparison over assumed.scenarios finds with the power. Null without these, and if there is none up to discordant."`
	Assumed           PowerAssumed `json:"assumed" doc:"What the figures are from: parameters, defaults and estimates."`
}

// PowerAssumed is what a plan is made from.
type PowerAssumed struct {
	Power             float64  `json:"power"`
	Alpha             float64  `json:"alpha"`
	Difference        *float64 `json:"difference" doc:"The difference to find: the parameter; else, if the rest is estimated, minimumDetectable; else null."`
	Scenarios         *int64   `json:"scenarios" doc:"What minimumDetectable is for: the parameter; else sharedScenarios; else null."`
	Discordant        *float64 `json:"discordant" doc:"Null if the plan is from variances."`
	BetweenVariance   *float64 `json:"betweenVariance" doc:"Variances are null if the plan is from discordant, or if they cannot be estimated."`
	BaselineVariance  *float64 `json:"baselineVariance" doc:"0 if it is estimated without repeated attempts: betweenVariance then includes it."`
	CandidateVariance *float64 `json:"candidateVariance" doc:"As baselineVariance."`
	BaselineAttempts  int64    `json:"baselineAttempts" doc:"Attempts of the baseline at each scenario."`
	CandidateAttempts int64    `json:"candidateAttempts" doc:"Attempts of the candidate at each scenario."`
	SharedScenarios   *int64   `json:"sharedScenarios" doc:"Number of scenarios (each tier counts) that the estimates are from: both sides attempted them. Null without estimates. It takes two to estimate anything."`
}

// getPowerPlanInput: a number that is 0 was not sent. Where 0 can be sent, it means the same.
type getPowerPlanInput struct {
	Difference float64 `query:"difference" exclusiveMinimum:"0" doc:"The difference to find, in the unit of the metric; for success rates, 0 to 1." example:"0.1"`
	Scenarios  int64   `query:"scenarios" minimum:"2" maximum:"1000000000" doc:"The number of scenarios for minimumDetectable." example:"100"`
	Power      float64 `query:"power" minimum:"0.5" maximum:"0.999" default:"0.8" doc:"The probability of finding the difference, if it exists."`
	Alpha      float64 `query:"alpha" minimum:"0.001" maximum:"0.5" default:"0.05" doc:"The significance level of the two-sided test."`

	Discordant        float64 `query:"discordant" exclusiveMinimum:"0" maximum:"1" doc:"The share of the scenarios on which the sides differ. It plans for success rates with one attempt of each side at each scenario (McNemar's test). Send either this, or variances, or suite with two sides." example:"0.3"`
	BetweenVariance   float64 `query:"betweenVariance" minimum:"0" default:"0" doc:"The variance, between scenarios, of the true difference of the sides. It and the other variances plan for means, of scores or of repeated attempts (paired t test; for few scenarios, add two). One of them must be above 0."`
	BaselineVariance  float64 `query:"baselineVariance" minimum:"0" default:"0" doc:"The variance of the baseline's attempts at a scenario."`
	CandidateVariance float64 `query:"candidateVariance" minimum:"0" default:"0" doc:"The variance of the candidate's attempts at a scenario."`
	BaselineAttempts  int64   `query:"baselineAttempts" minimum:"1" maximum:"1000" default:"1" doc:"Planned attempts of the baseline at each scenario. It must be 1 with discordant, and with runs that have no repeated attempts: these do not tell what more attempts bring."`
	CandidateAttempts int64   `query:"candidateAttempts" minimum:"1" maximum:"1000" default:"1" doc:"As baselineAttempts."`

	Suite  Name         `query:"suite" doc:"Estimate discordant or the variances from the runs of this suite. Select one tier: tiers of a scenario are planned as if they were independent. It needs a baseline and a candidate. The parameters below are only for this." example:"update-deps"`
	Metric stats.Metric `query:"metric" enum:"success,totalScore,weightedScore" default:"success" doc:"What the difference is of. discordant is estimated for success if each side has one attempt at each scenario, otherwise the variances."`
	Infra  stats.Infra  `query:"infra" enum:"exclude,failure" default:"exclude" doc:"What becomes of infra errors, the failed runs whose metadata.errorType is neither agent nor unknown. exclude: they are no attempts. failure: they count as failed attempts."`
	RunFilters
	SideFilters
}

// hasVariances: the plan is from variances that were sent.
func (i *getPowerPlanInput) hasVariances() bool {
	return max(i.BetweenVariance, i.BaselineVariance, i.CandidateVariance) > 0
}

// Resolve rejects parameters that do not make a plan, or make two.
func (i *getPowerPlanInput) Resolve(huma.Context) []error {
	if i.Suite != "" {
		return i.estimateFaults()
	}
	var faults []error
	if len(filterValues(i.RunFilters)) > 0 || i.baseline() != (sideFilters{}) || i.candidate() != (sideFilters{}) {
		return append(faults, queryError("suite", "expected a suite beside filters, also those of baseline and candidate"))
	}
	switch {
	case i.Discordant > 0 && i.hasVariances():
		faults = append(faults, queryError("discordant", "expected either discordant, or betweenVariance, baselineVariance and candidateVariance"))
	case i.Discordant > 0:
		faults = append(faults, i.discordantFaults(i.Discordant)...)
	case !i.hasVariances():
		faults = append(faults, queryError("discordant", "expected discordant, or a betweenVariance, baselineVariance or candidateVariance "+
			"above 0, or suite with two sides to estimate them"))
	}
	if i.Difference == 0 && i.Scenarios == 0 {
		faults = append(faults, queryError("difference", "expected difference, or scenarios, or both"))
	}
	return faults
}

// estimateFaults are those of parameters with a suite.
func (i *getPowerPlanInput) estimateFaults() []error {
	var faults []error
	for _, parameter := range []struct {
		name  string
		value float64
	}{
		{"discordant", i.Discordant},
		{"betweenVariance", i.BetweenVariance},
		{"baselineVariance", i.BaselineVariance},
		{"candidateVariance", i.CandidateVariance},
	} {
		if parameter.value > 0 {
			faults = append(faults, queryError(parameter.name, "expected none beside suite, from whose runs it is estimated"))
		}
	}
	return faults
}

// discordantFaults are those of parameters that contradict the share of discordant scenarios.
func (i *getPowerPlanInput) discordantFaults(discordant float64) []error {
	var faults []error
	if i.Difference > discordant {
		faults = append(faults, queryError("difference", "expected number <= discordant: "+
			"the rates of two sides cannot differ by more than the share of the scenarios on which the sides differ"))
	}
	if i.BaselineAttempts > 1 {
		faults = append(faults, queryError("baselineAttempts", attemptsMessage))
	}
	if i.CandidateAttempts > 1 {
		faults = append(faults, queryError("candidateAttempts", attemptsMessage))
	}
	return faults
}

const attemptsMessage = "expected 1: only the variance of repeated attempts tells what more attempts bring"

func queryError(parameter, message string) error {
	return &huma.ErrorDetail{Location: "query." + parameter, Message: message}
}

type getPowerPlanOutput struct {
	Body PowerPlan
}

func (s *server) registerPower() {
	register(s, huma.Operation{
		OperationID: "get-power-plan", Method: http.MethodGet, Path: "/api/power", Tags: []string{"Stats"},
		Summary: "Plan the size of a comparison",
		Description: "Says how many scenarios a comparison needs to find a difference, and which difference it finds with a number of scenarios. " +
			"It plans from `discordant`, from variances, or from runs of two sides (`suite`). Without a suite it needs `difference`, `scenarios` or both; " +
			"with one, the number of scenarios that the sides share is used without `scenarios`.",
		Security: readSecurity, Errors: []int{http.StatusUnprocessableEntity},
		Responses: map[string]*huma.Response{"200": {Description: "The plan.", Content: example(examplePowerPlan)}},
	}, classAnalyse, s.getPowerPlan)
}

func (s *server) getPowerPlan(ctx context.Context, q *db.Queries, input *getPowerPlanInput) (*getPowerPlanOutput, error) {
	assumed := PowerAssumed{
		Power: input.Power, Alpha: input.Alpha, Difference: given(input.Difference), Scenarios: given(input.Scenarios),
		BaselineAttempts: input.BaselineAttempts, CandidateAttempts: input.CandidateAttempts,
	}
	switch {
	case input.Suite != "":
		if err := input.estimate(ctx, q, &assumed); err != nil {
			return nil, err
		}
	case input.Discordant > 0:
		assumed.Discordant = &input.Discordant
	default:
		assumed.BetweenVariance, assumed.BaselineVariance, assumed.CandidateVariance = &input.BetweenVariance, &input.BaselineVariance, &input.CandidateVariance
	}
	return &getPowerPlanOutput{Body: planFor(assumed)}, nil
}

// given is nil for a parameter that was not sent.
func given[N int64 | float64](parameter N) *N {
	if parameter == 0 {
		return nil
	}
	return &parameter
}

// estimate estimates what is assumed from the runs of two sides.
func (i *getPowerPlanInput) estimate(ctx context.Context, q *db.Queries, assumed *PowerAssumed) error {
	judgement := Judgement{Metric: i.Metric, Infra: i.Infra, Level: 1 - i.Alpha}
	baseline, candidate, err := readSides(ctx, q, SuiteFilters{i.Suite, i.RunFilters}.values(), i.SideFilters, judgement)
	if err != nil {
		return err
	}
	e := stats.EstimatePower(baseline.cells, candidate.cells, judgement.scope())
	assumed.SharedScenarios = new(int64(e.SharedItems))
	if assumed.Scenarios == nil {
		assumed.Scenarios = given(int64(e.SharedItems))
	}
	var faults []error
	switch {
	case e.Discordant != nil:
		assumed.Discordant = e.Discordant
		faults = i.discordantFaults(*e.Discordant)
	case e.Between != nil:
		assumed.BetweenVariance, assumed.BaselineVariance, assumed.CandidateVariance = e.Between, new(0.0), new(0.0)
		if e.Baseline != nil {
			assumed.BaselineVariance = e.Baseline
		} else if i.BaselineAttempts > 1 {
			faults = append(faults, queryError("baselineAttempts", attemptsMessage))
		}
		if e.Candidate != nil {
			assumed.CandidateVariance = e.Candidate
		} else if i.CandidateAttempts > 1 {
			faults = append(faults, queryError("candidateAttempts", attemptsMessage))
		}
	}
	if faults != nil {
		return invalid(fieldErrors(faults)...)
	}
	return nil
}

// planFor computes a plan from what is assumed.
func planFor(assumed PowerAssumed) PowerPlan {
	plan := PowerPlan{Assumed: assumed}
	if assumed.Scenarios != nil {
		plan.MinimumDetectable = assumed.detectable(float64(*assumed.Scenarios))
	}
	if assumed.Difference != nil {
		plan.Scenarios = wholeScenarios(assumed.scenariosFor(*assumed.Difference))
	} else if plan.MinimumDetectable != nil {
		plan.Scenarios = assumed.Scenarios
		if assumed.SharedScenarios != nil {
			plan.Assumed.Difference = plan.MinimumDetectable
		}
	}
	if plan.Scenarios != nil {
		plan.Attempts = new(*plan.Scenarios * (assumed.BaselineAttempts + assumed.CandidateAttempts))
	}
	return plan
}

// detectable is the smallest difference that is found in so many scenarios.
func (a *PowerAssumed) detectable(scenarios float64) *float64 {
	switch {
	case !a.known():
		return nil
	case a.Discordant != nil:
		return stats.DetectableProportions(scenarios, *a.Discordant, a.Alpha, a.Power)
	}
	return stats.DetectableMeans(scenarios, a.variances(), a.Alpha, a.Power)
}

// scenariosFor is the number of scenarios in which a difference is found, with a fraction.
func (a *PowerAssumed) scenariosFor(difference float64) *float64 {
	switch {
	case !a.known():
		return nil
	case a.Discordant != nil:
		return stats.ScenariosForProportions(difference, *a.Discordant, a.Alpha, a.Power)
	}
	return stats.ScenariosForMeans(difference, a.variances(), a.Alpha, a.Power)
}

// known says that there is something to plan from. Runs in which nothing ever varies say nothing
// of what is detectable.
func (a *PowerAssumed) known() bool {
	if a.Discordant != nil {
		return *a.Discordant > 0
	}
	return a.BetweenVariance != nil && max(*a.BetweenVariance, *a.BaselineVariance, *a.CandidateVariance) > 0
}

func (a *PowerAssumed) variances() stats.Variances {
	return stats.Variances{
		Between: *a.BetweenVariance, Baseline: *a.BaselineVariance, Candidate: *a.CandidateVariance,
		BaselineAttempts: float64(a.BaselineAttempts), CandidateAttempts: float64(a.CandidateAttempts),
	}
}

// maxPlanned is the largest number of scenarios of a plan. With the most attempts, all runs are still
// counted exactly.
const maxPlanned = 1e12

// wholeScenarios rounds up, to at least the two that a paired test needs.
func wholeScenarios(scenarios *float64) *int64 {
	if scenarios == nil || *scenarios > maxPlanned {
		return nil
	}
	return new(max(2, int64(math.Ceil(*scenarios))))
}
