package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	benchledger "github.com/benchledger/benchledger/clients/go"
)

type powerCommand struct {
	Difference fraction `placeholder:"N" help:"The difference to find, such as 0.1 or 10%."`
	Scenarios  int64    `placeholder:"N" help:"How many scenarios there are: which difference do they find?"`
	Power      fraction `default:"0.8" help:"The probability of finding the difference, if it exists; ${default} by default."`
	Alpha      fraction `default:"0.05" help:"The significance level of the test; ${default} by default."`

	Discordant        fraction `placeholder:"N" help:"The share of the scenarios at which the sides differ, with one attempt of each side."`
	BetweenVariance   fraction `placeholder:"N" help:"The variance, between scenarios, of the true difference. This and the other variances are for scores, or repeated attempts."`
	BaselineVariance  fraction `placeholder:"N" help:"The variance of the baseline's attempts at a scenario."`
	CandidateVariance fraction `placeholder:"N" help:"The variance of the candidate's attempts at a scenario."`
	BaselineAttempts  int64    `default:"1" placeholder:"N" help:"Planned attempts of the baseline at each scenario; ${default} by default."`
	CandidateAttempts int64    `default:"1" placeholder:"N" help:"Planned attempts of the candidate at each scenario; ${default} by default."`

	Suite       string `placeholder:"NAME" help:"Estimate from runs of this suite how much the sides differ. It needs --baseline and --candidate; the flags below are only for this. Select one --tier."`
	filterFlags `embed:""`
	sideFlags   `embed:""`
	Metric      string `enum:"success,totalScore,weightedScore" default:"success" placeholder:"METRIC" help:"What the difference is of: success, totalScore or weightedScore; ${default} by default."`
	Infra       string `enum:"exclude,failure" default:"exclude" placeholder:"WHAT" help:"What becomes of infra errors: exclude or failure; ${default} by default."`

	formatFlags `embed:""`
	readFlags   `embed:""`
}

// Help explains the answer.
func (c *powerCommand) Help() string {
	return "Examples:\n\n  benchledger power --difference=10% --discordant=20%\n\n" +
		"  benchledger power --suite=deps --baseline=model:sonnet --candidate=model:opus\n\n" +
		"With --difference it says how many scenarios are needed; with --scenarios, which difference they find. More scenarios help most; more attempts at the same scenarios help only as far as " +
		"results vary between attempts. The figures are approximate: for few scenarios, add two."
}

// Validate checks the flags.
func (c *powerCommand) Validate() error {
	if c.Suite != "" {
		return errors.Join(c.filterFlags.check(), c.sideFlags.check())
	}
	if len(c.Baseline)+len(c.Candidate) > 0 || c.isSet() {
		return errors.New("--suite is missing: name the suite of the runs that --baseline, --candidate and the filters select")
	}
	if c.Discordant == 0 && c.BetweenVariance == 0 && c.BaselineVariance == 0 && c.CandidateVariance == 0 {
		return errors.New("say how much the sides differ: --discordant (for example --discordant=20% if they differ at a fifth of the scenarios), " +
			"a variance, or --suite with --baseline and --candidate to estimate it from runs")
	}
	if c.Difference == 0 && c.Scenarios == 0 {
		return errors.New("say what to find: --difference (for example --difference=10%) for the number of scenarios, or --scenarios for the difference that they find")
	}
	return nil
}

// Run prints the plan.
func (c *powerCommand) Run() error {
	ctx, stop := interruptible()
	defer stop()
	client, err := c.connect()
	if err != nil {
		return err
	}
	p := parameters{}
	p.set("suite", c.Suite)
	if c.Suite != "" {
		if err := c.resolve(ctx, client, &c.serverFlags); err != nil {
			return err
		}
		p.set("metric", c.Metric)
		p.set("infra", c.Infra)
		c.filterFlags.addTo(p)
		c.sideFlags.addTo(p)
	}
	params := benchledger.GetPowerPlanParams{
		Difference: c.Difference.given(), Power: c.Power.given(), Alpha: c.Alpha.given(), Discordant: c.Discordant.given(),
		BetweenVariance: c.BetweenVariance.given(), BaselineVariance: c.BaselineVariance.given(), CandidateVariance: c.CandidateVariance.given(),
		BaselineAttempts: &c.BaselineAttempts, CandidateAttempts: &c.CandidateAttempts,
	}
	if c.Scenarios != 0 {
		params.Scenarios = &c.Scenarios
	}
	response, err := client.GetPowerPlan(ctx, &params, p.addTo) //nolint:bodyclose // get closes it
	body, plan, err := get[benchledger.PowerPlan](response, err, "assumed")
	switch {
	case err != nil:
		return err
	case c.JSON:
		return printBody(body)
	case c.CSV:
		return printCSV[benchledger.PowerPlan]([]json.RawMessage{body}, "scenarios", "attempts", "minimumDetectable")
	}
	page := newPage(tableFlags{}, c.formatFlags)
	u := unit{isRate: plan.Assumed.Discordant != nil || c.Suite != "" && c.Metric == "success"}
	page.title(c.answer(u, &plan))
	printOn(page, planColumns(u), []benchledger.PowerPlan{plan})
	page.notes(c.basis(&plan.Assumed)...)
	return nil
}

// answer is the plan in sentences.
func (c *powerCommand) answer(u unit, plan *benchledger.PowerPlan) string {
	assumed := &plan.Assumed
	chance := "with a probability of " + percent(assumed.Power)
	var sentences []string
	if c.Difference != 0 {
		if plan.Scenarios != nil && plan.Attempts != nil {
			sentences = append(sentences, fmt.Sprintf("To find a difference of %s %s, a comparison needs %s (%s).",
				u.size(float64(c.Difference)), chance, counted(*plan.Scenarios, "scenario"), counted(*plan.Attempts, "run")))
		} else {
			sentences = append(sentences, "Cannot tell how many scenarios find a difference of "+u.size(float64(c.Difference))+".")
		}
	}
	if assumed.Scenarios != nil {
		now := counted(*assumed.Scenarios, "scenario")
		if c.Scenarios == 0 {
			now = "the " + counted(*assumed.Scenarios, "scenario") + " that the sides share now"
		}
		switch {
		case plan.MinimumDetectable != nil && u.isImpossible(*plan.MinimumDetectable):
			sentences = append(sentences, "A comparison over "+now+" can miss any difference: they are too few.")
		case plan.MinimumDetectable != nil:
			sentences = append(sentences, fmt.Sprintf("A comparison over %s finds a difference of %s or more, %s.", now, u.size(*plan.MinimumDetectable), chance))
		default:
			sentences = append(sentences, "Cannot tell which difference "+now+" find.")
		}
	}
	if len(sentences) == 0 {
		return "Cannot tell: the sides share no scenario. Choose sides that attempted the same scenarios, or leave out --suite and set --discordant."
	}
	return strings.Join(sentences, " ")
}

// basis says what the plan is made from.
func (c *powerCommand) basis(assumed *benchledger.PowerAssumed) []string {
	from := "Assumed"
	if shared := assumed.SharedScenarios; shared != nil {
		from = "Estimated from " + counted(*shared, "shared scenario")
	}
	number := func(n *float64) string { return strconv.FormatFloat(*n, 'g', 3, 64) }
	var sentences []string
	switch {
	case assumed.Discordant != nil:
		sentences = append(sentences, from+": the sides differ at "+percent(*assumed.Discordant)+" of the scenarios, with one attempt of each side.")
		if *assumed.Discordant == 0 {
			sentences = append(sentences, "Sides that never differ say nothing about what can be found. Set --discordant without --suite.")
		}
	case assumed.BetweenVariance != nil:
		sentences = append(sentences, fmt.Sprintf("%s: the variance of the difference between scenarios is %s; that of attempts at a scenario is %s (baseline) and %s (candidate).",
			from, number(assumed.BetweenVariance), number(assumed.BaselineVariance), number(assumed.CandidateVariance)))
	default:
		sentences = append(sentences, from+", which is too little for an estimate: it takes two.")
	}
	return append(sentences, fmt.Sprintf("Attempts at each scenario: %d of the baseline, %d of the candidate. Significance level: %s.",
		assumed.BaselineAttempts, assumed.CandidateAttempts, percent(assumed.Alpha)))
}

func planColumns(u unit) []column[benchledger.PowerPlan] {
	type row = benchledger.PowerPlan
	return []column[row]{
		{name: "difference", number: true, value: func(r row) any { return u.value(r.Assumed.Difference) }},
		{name: "needs scenarios", number: true, value: func(r row) any { return r.Scenarios }},
		{name: "runs", number: true, value: func(r row) any { return r.Attempts }},
		{name: "for scenarios", number: true, value: func(r row) any { return r.Assumed.Scenarios }},
		{name: "detectable", number: true, value: func(r row) any { return u.value(r.MinimumDetectable) }},
		{name: "power", number: true, value: func(r row) any { return percent(r.Assumed.Power) }},
	}
}
