package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"

	benchledger "github.com/benchledger/benchledger/clients/go"
)

// suiteFlags select the runs of a suite.
type suiteFlags struct {
	Suite       string `required:"" placeholder:"NAME" help:"The suite."`
	filterFlags `embed:""`
}

// fraction is a number that can be given in percent.
type fraction float64

// UnmarshalText parses 0.05 or 5%.
func (f *fraction) UnmarshalText(value []byte) error {
	digits, isPercent := strings.CutSuffix(string(value), "%")
	number, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
	if err != nil {
		return fmt.Errorf("%q is not a number, such as 0.05 or 5%%", value)
	}
	if isPercent {
		number /= 100
	}
	*f = fraction(number)
	return nil
}

// given is nil for 0.
func (f fraction) given() *float64 {
	if f == 0 {
		return nil
	}
	return new(float64(f))
}

// judgeFlags say how runs are judged.
type judgeFlags struct {
	Metric string   `enum:"success,totalScore,weightedScore" default:"success" placeholder:"METRIC" help:"What runs are judged by: success, totalScore or weightedScore; ${default} by default."`
	Infra  string   `enum:"exclude,failure" default:"exclude" placeholder:"WHAT" help:"What becomes of infra errors, the runs that failed through no fault of the agent: exclude (leave them out) or failure (each counts as one); ${default} by default."`
	Level  fraction `default:"0.95" placeholder:"N" help:"The confidence level of intervals; ${default} by default."`
}

func (f *suiteFlags) addTo(p parameters) {
	p.set("suite", f.Suite)
	f.filterFlags.addTo(p)
}

func (f *judgeFlags) addTo(p parameters) {
	p.set("metric", f.Metric)
	p.set("infra", f.Infra)
	p.set("level", strconv.FormatFloat(float64(f.Level), 'g', -1, 64))
}

// check rejects empty values, which the server takes for no filter.
func (f *suiteFlags) check() error {
	if f.Suite == "" {
		return errors.New("--suite is empty: set the name of a suite; benchledger runs --columns=suite,agent,model shows what there is")
	}
	return f.filterFlags.check()
}

// printNoRuns says that no run matches, and how to see what there is.
func (f *suiteFlags) printNoRuns(ctx context.Context, client *benchledger.ClientWithResponses, server *serverFlags) error {
	list := server.with("runs", "--columns=suite,scenario,agent,model,batch,started")
	if f.isSet() {
		params := benchledger.ListRunsParams{Suite: []string{f.Suite}, Limit: pageSize(1)}
		runs, _, err := first(benchledger.EachRunAs[runRow](ctx, client, params), 1)
		if err != nil {
			return err
		}
		if len(runs) > 0 {
			fmt.Fprintf(stderr, "No run of the suite %q matches the other filters. To see its runs: %s\n", f.Suite, server.with("runs", "--suite="+f.Suite))
			return nil
		}
	}
	fmt.Fprintf(stderr, "No run has the suite %q. To see what there is: %s\n", f.Suite, list)
	return nil
}

// sideFlags select what is compared.
type sideFlags struct {
	Baseline  side `sep:"none" placeholder:"SELECTOR" help:"What to compare with: agent:NAME, model:NAME, batch:ID, baseline:NAME for the batch of a named baseline, or no-model for runs without a model. Can be repeated; a run must match one selector of each kind."`
	Candidate side `sep:"none" placeholder:"SELECTOR" help:"What to compare, like --baseline."`
}

// side has the selectors of one side.
type side []selector

// selector selects the runs of a side, such as agent:claude-code. It has the name of a baseline that was resolved to its batch.
type selector struct{ key, value, baseline string }

const (
	// noModel selects runs without a model.
	noModel = "no-model"
	// namedBaseline selects the batch of a named baseline.
	namedBaseline = "baseline"
)

// UnmarshalText parses KEY:VALUE. The value may contain anything.
func (s *selector) UnmarshalText(value []byte) error {
	if string(value) == noModel {
		*s = selector{key: noModel}
		return nil
	}
	key, name, _ := strings.Cut(string(value), ":")
	if !slices.Contains([]string{"agent", "model", "batch", namedBaseline}, key) || name == "" {
		return fmt.Errorf("%q is no selector: write agent:NAME, model:NAME, batch:ID, baseline:NAME or no-model, for example model:claude-sonnet-4", value)
	}
	*s = selector{key: key, value: name}
	return nil
}

// check rejects a side that selects nothing, or contradicts itself.
func (f *sideFlags) check() error {
	for flag, side := range map[string]side{"baseline": f.Baseline, "candidate": f.Candidate} {
		if len(side) == 0 {
			return fmt.Errorf("--%s is missing: say what to compare, for example --baseline=model:claude-sonnet-4 --candidate=model:claude-opus-4", flag)
		}
		if len(side.values("model")) > 0 && len(side.values(noModel)) > 0 {
			return fmt.Errorf("--%s has both model:%s and no-model: leave out one of them", flag, side.values("model")[0])
		}
		if named := side.values(namedBaseline); len(named) > 1 || len(named) == 1 && len(side.values("batch")) > 0 {
			return fmt.Errorf("--%s has several batches: a baseline is a batch, so name one baseline or one batch", flag)
		}
	}
	return nil
}

func (f *sideFlags) addTo(p parameters) {
	f.Baseline.addTo(p, "baseline")
	f.Candidate.addTo(p, "candidate")
}

// resolve replaces named baselines by their batches.
func (f *sideFlags) resolve(ctx context.Context, client *benchledger.ClientWithResponses, server *serverFlags) error {
	for _, side := range []side{f.Baseline, f.Candidate} {
		for i, s := range side {
			if s.key != namedBaseline {
				continue
			}
			response, err := client.GetBaseline(ctx, s.value) //nolint:bodyclose // get closes it
			_, found, err := get[benchledger.Baseline](response, err, "batchId")
			if err != nil {
				return withList(err, server, "baseline", "baseline", "list")
			}
			side[i] = selector{key: "batch", value: found.BatchID, baseline: s.value}
		}
	}
	return nil
}

func (s side) addTo(p parameters, prefix string) {
	p.set(prefix+"Agent", s.values("agent")...)
	p.set(prefix+"Model", s.values("model")...)
	p.set(prefix+"BatchId", s.values("batch")...)
	if len(s.values(noModel)) > 0 {
		p.set(prefix+"NoModel", "true")
	}
}

// values are those of the selectors with a key.
func (s side) values(key string) (values []string) {
	for _, selector := range s {
		if selector.key == key {
			values = append(values, selector.value)
		}
	}
	return values
}

// String describes the side: agent claude-code, model opus, baseline main (batch 42).
func (s side) String() string {
	words := make([]string, len(s))
	for i, selector := range s {
		words[i] = strings.TrimSpace(strings.Replace(selector.key, "-", " ", 1) + " " + selector.value)
		if selector.baseline != "" {
			words[i] = "baseline " + selector.baseline + " (" + words[i] + ")"
		}
	}
	return strings.Join(words, ", ")
}

// plannedSize asks how many scenarios a comparison needs, each attempted so often, to find a difference.
type plannedSize struct {
	baseline, candidate                 side
	baselineAttempts, candidateAttempts int64
	difference, alpha                   float64
}

// get returns how many scenarios are needed, and how many the sides share now. They are nil if the runs do not tell.
func (s plannedSize) get(ctx context.Context, client *benchledger.ClientWithResponses, filters *suiteFlags, judge *judgeFlags) (needed, shared *int64, err error) {
	if s.difference == 0 {
		return nil, nil, nil
	}
	p := parameters{}
	p.set("metric", judge.Metric)
	p.set("infra", judge.Infra)
	filters.filterFlags.addTo(p)
	s.baseline.addTo(p, "baseline")
	s.candidate.addTo(p, "candidate")
	params := benchledger.GetPowerPlanParams{
		Suite: &filters.Suite, Difference: &s.difference, Alpha: &s.alpha,
		BaselineAttempts: new(max(1, s.baselineAttempts)), CandidateAttempts: new(max(1, s.candidateAttempts)),
	}
	response, err := client.GetPowerPlan(ctx, &params, p.addTo) //nolint:bodyclose // get closes it
	_, plan, err := get[benchledger.PowerPlan](response, err, "assumed")
	if refused := (*benchledger.Error)(nil); errors.As(err, &refused) && refused.Status == http.StatusUnprocessableEntity {
		return nil, nil, nil // For example, the runs cannot explain the difference.
	}
	return plan.Scenarios, plan.Assumed.SharedScenarios, err
}

// entryName is an agent with a model in a sentence. Either may be nil.
func entryName(agent, model *string) string {
	const longest = 40
	var words []string
	for _, name := range []*string{agent, model} {
		if name != nil {
			words = append(words, text.Snip(shown(name), longest, "…"))
		}
	}
	return cmp.Or(strings.Join(words, " with "), "(no model)")
}

// leftOut says which runs an answer is not about.
func leftOut(infraErrors, openRuns, unscored int64, judge *judgeFlags) string {
	var what []string
	if infraErrors > 0 && judge.Infra == "exclude" {
		what = append(what, counted(infraErrors, "infra error"))
	}
	if openRuns > 0 {
		what = append(what, counted(openRuns, "open run"))
	}
	if unscored > 0 && judge.Metric != "success" {
		what = append(what, counted(unscored, "attempt")+" without a score")
	}
	if len(what) == 0 {
		return ""
	}
	return "Left out: " + listed(what, len(what)) + "."
}

// explained says what a warning means, and what to do. Who is whom it is about, if not the whole answer.
func explained(warning, who string, judge *judgeFlags) string {
	of, by := "", ""
	if who != "" {
		of, by = " of "+who, " by "+who
	}
	switch warning {
	case "lowCoverage":
		return "Too few scenarios were attempted" + by + " for a rank. Run the missing scenarios, or lower --min-coverage."
	case "sharedShrunk":
		return "Many scenarios are left out, because not every ranked entry attempted them. Run the missing ones, raise --min-coverage, or see --coverage."
	case "infraErrors":
		if judge.Infra == "failure" {
			return "More than 5 % of the runs" + of + " failed by infrastructure, and count as failures. Repair it and run them again."
		}
		return "More than 5 % of the runs" + of + " failed by infrastructure, and are left out, which is kind to an agent that caused them. Run them again, or see --infra=failure."
	case "unequalAttempts":
		return "Scenarios were not attempted equally often" + by + ". Each scenario has the same weight, but those with fewer attempts are less certain."
	case "missingCosts":
		return "Some runs" + of + " have no cost, so there is no cost per run. Submit telemetry.costUsd with each run."
	case "missingScores":
		if judge.Metric == "success" {
			return "" // Nothing is left out of a success rate.
		}
		return "Some runs" + of + " have no score, and are left out of its mean. Submit the score, or judge by --metric=success."
	case "fewScenarios":
		return "Fewer than 10 scenarios are behind the figures" + of + ": intervals are rough. Add scenarios."
	case "stillRunning":
		return "Some runs" + of + " have not ended, so the figures will change. Wait, void runs that are stale, or leave them out with --until."
	case "mixedTiers":
		return "The figures mix several tiers. Select one with --tier."
	case "noBootstrap":
		return "--interval=bootstrap needs 10 to 5,000 scenarios: the interval is that of the test."
	}
	return "Warning: " + shown(warning) + of + "."
}
