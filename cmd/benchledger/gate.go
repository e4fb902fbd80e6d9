package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"

	benchledger "github.com/benchledger/benchledger/clients/go"
)

// Exit statuses of gate, beside 0. Wrong flags are 80, as everywhere.
const (
	exitRegression = 1
	exitCannotTell = 2
	exitNotRun     = 3
)

// What gate takes for a reason to fail.
const (
	failOnWorse     = "worse"
	failOnNotProven = "notProven"
)

type gateCommand struct {
	sideFlags       `embed:""`
	Suite           []string `sep:"none" placeholder:"NAME" help:"Check this suite. Can be repeated. By default, every suite that the candidate has runs of."`
	filterFlags     `embed:""`
	judgeFlags      `embed:""`
	Margin          fraction  `placeholder:"N" help:"The largest loss that is tolerable, such as 0.02 or 2%."`
	FailOn          string    `enum:"worse,notProven" default:"worse" placeholder:"WHAT" help:"worse: fail if the candidate is worse. notProven: pass only if it is proven that it is not worse by more than --margin. ${default} by default."`
	MaxCostIncrease *fraction `placeholder:"N" help:"Fail if the cost per run increases by more than this, such as 20%."`
	Report          string    `placeholder:"FILE" help:"Write a report in Markdown, for a pull request; - prints it."`
	JUnit           string    `name:"junit" placeholder:"FILE" help:"Write the checks as JUnit XML, which CI systems show."`
	JSON            bool      `name:"json" help:"Print JSON: the outcome, the checks, and the comparison of each suite as the API returns it."`
	serverFlags     `embed:""`
}

// Help explains the outcomes.
func (c *gateCommand) Help() string {
	return "Examples:\n\n  benchledger gate --baseline=baseline:main --candidate=batch:pr-17\n\n" +
		"  benchledger gate --baseline=baseline:main --candidate=batch:pr-17 --margin=5% --fail-on=notProven --report=gate.md --junit=gate.xml\n\n" +
		"Exit status: 0 if all checks pass; 1 if one finds a regression; 2 if none does, but one cannot tell; 3 if the gate could not run (the server cannot be reached, the key is invalid, " +
		"the baseline does not exist, a file cannot be written); 80 for wrong flags.\n\n" +
		"A candidate that is worse is a regression, unless the whole interval of the difference is above -margin. While runs are open, only a regression is certain: everything else is 2. " +
		"Without a test (no runs, no shared scenarios, or too few) it is 2, too. With --fail-on=worse, a difference that was not found passes: that is no proof. With --fail-on=notProven it is 2, and the answer " +
		"says how many scenarios would be needed.\n\n" +
		"The cost is a check of its own: it fails if the interval of its ratio is above the limit. If the ratio is above it, but the interval is not, or costs are unknown, it passes with a note, or is 2 with --fail-on=notProven."
}

// Validate checks the flags.
func (c *gateCommand) Validate() error {
	switch {
	case slices.Contains(c.Suite, ""):
		return errors.New("--suite is empty: set the name of a suite, or leave it out for all suites of the candidate")
	case c.Margin < 0 || math.IsNaN(float64(c.Margin)):
		return errors.New("--margin is not 0 or more: set the largest loss that is tolerable, for example --margin=2%")
	case c.FailOn == failOnNotProven && c.Margin == 0:
		return errors.New("--fail-on=notProven needs --margin: no number of runs proves that there is no loss at all; set the largest loss that is tolerable, for example --margin=2%")
	case c.MaxCostIncrease != nil && !(*c.MaxCostIncrease >= 0):
		return errors.New("--max-cost-increase is not 0 or more: set for example --max-cost-increase=20%")
	case c.JUnit == "-" || c.JUnit != "" && c.JUnit == c.Report:
		return errors.New("--junit needs a file of its own, for example --junit=gate.xml")
	case c.JSON && c.Report == "-":
		return errors.New("--json and --report=- cannot be used together: write the report to a file")
	}
	return errors.Join(c.filterFlags.check(), c.sideFlags.check())
}

// outcome is that of a check, or of all: the exit status.
type outcome int

// String is the outcome as JSON and the outputs of CI have it.
func (o outcome) String() string { return [...]string{"pass", "regression", "cannotTell"}[o] }

// title is the outcome for people.
func (o outcome) title() string { return [...]string{"PASS", "FAIL", "CANNOT TELL"}[o] }

// MarshalText returns the name.
func (o outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil } //nolint:unparam // encoding.TextMarshaler

// worst returns the outcome that counts of two: a regression, before what cannot be told.
func worst(a, b outcome) outcome {
	if a == exitRegression || b == exitRegression {
		return exitRegression
	}
	return max(a, b)
}

// check is an answer about a suite: of its metric, or of its cost.
type check struct {
	Suite    string  `json:"suite"`
	Name     string  `json:"check"`
	Outcome  outcome `json:"outcome"`
	Sentence string  `json:"sentence"`
}

// about names what is checked.
func (c *check) about() string {
	if c.Suite == "" {
		return c.Name
	}
	return c.Suite + ", " + c.Name
}

// line is the check in a line.
func (c *check) line() string { return c.Outcome.title() + ": " + c.about() + ": " + c.Sentence }

// gatedSuite is what is known of a suite.
type gatedSuite struct {
	Suite string `json:"suite"`
	// Comparison is the body of the response.
	Comparison json.RawMessage `json:"comparison"`
	Notes      []string        `json:"notes"`

	comparison benchledger.Comparison
	checks     []check
	rows       []benchledger.ComparisonDetail
}

// gateResult is the answer of the gate.
type gateResult struct {
	Outcome   outcome       `json:"outcome"`
	Baseline  string        `json:"baseline"`
	Candidate string        `json:"candidate"`
	Checks    []check       `json:"checks"`
	Suites    []*gatedSuite `json:"suites"`
	Notes     []string      `json:"notes"`
}

func (r *gateResult) add(c check) {
	r.Checks = append(r.Checks, c)
	r.Outcome = worst(r.Outcome, c.Outcome)
}

// summary is the outcome in a sentence.
func (r *gateResult) summary() string {
	var about []string
	for i := range r.Checks {
		if r.Checks[i].Outcome == r.Outcome {
			about = append(about, r.Checks[i].about())
		}
	}
	what := listed(about, 5)
	switch r.Outcome {
	case exitRegression:
		return "the gate fails: there is a regression (" + what + ")"
	case exitCannotTell:
		return "the gate cannot tell (" + what + ")"
	}
	return "the gate passes"
}

// Run checks the suites, and ends with the status of the worst outcome.
func (c *gateCommand) Run() error {
	ctx, stop := interruptible()
	defer stop()
	client, err := c.connect()
	if err != nil {
		return err
	}
	if err := c.resolve(ctx, client, &c.serverFlags); err != nil {
		return err
	}
	result, err := c.result(ctx, client)
	if err != nil {
		return err
	}
	err = c.print(result)
	if c.Report != "" && c.Report != "-" {
		err = errors.Join(err, writeFile(c.Report, func(w io.Writer) error { return c.writeReport(w, result) }))
	}
	if c.JUnit != "" {
		err = errors.Join(err, writeFile(c.JUnit, func(w io.Writer) error { return writeJUnit(w, result) }))
	}
	switch {
	case result.Outcome == exitRegression || err == nil && result.Outcome != 0:
		return exitError{int(result.Outcome), errors.Join(errors.New(result.summary()), err).Error()}
	case err != nil:
		return err
	}
	return nil
}

// writeFile writes a file for other programs and people, so that nothing in it controls a terminal.
func writeFile(path string, write func(io.Writer) error) error {
	file, err := os.Create(path) //nolint:gosec // G304: the file that the user names
	if err != nil {
		return err
	}
	return errors.Join(write(printer{file}), file.Close())
}

// result checks the suites.
func (c *gateCommand) result(ctx context.Context, client *benchledger.ClientWithResponses) (*gateResult, error) {
	result := &gateResult{Baseline: c.Baseline.String(), Candidate: c.Candidate.String(), Checks: []check{}, Suites: []*gatedSuite{}, Notes: []string{}}
	if isSame(c.Baseline, c.Candidate) {
		result.add(check{Name: c.Metric, Outcome: exitCannotTell, Sentence: fmt.Sprintf("Both sides are the same runs (%s). Compare two batches, agents or models.", c.Baseline)})
		return result, nil
	}
	suites := c.Suite
	if len(suites) == 0 {
		var err error
		if suites, err = c.suitesOf(ctx, c.Candidate, "--candidate"); err != nil {
			return nil, err
		}
		if len(c.Baseline.values("batch")) > 0 {
			all, err := c.suitesOf(ctx, c.Baseline, "--baseline")
			if err != nil {
				return nil, err
			}
			all = slices.DeleteFunc(all, func(suite string) bool { return slices.Contains(suites, suite) })
			if len(all) > 0 && len(suites) > 0 {
				result.Notes = append(result.Notes, fmt.Sprintf("Not checked, because only the baseline has runs of it: %s. To require it, name the suites with --suite.", listed(all, 5)))
			}
		}
	}
	if len(suites) == 0 {
		result.add(check{
			Name: c.Metric, Outcome: exitCannotTell,
			Sentence: fmt.Sprintf("No run matches the candidate (%s). Submit its runs before the gate, and check the name. To see batches: %s", c.Candidate, c.with("batches")),
		})
	}
	for _, name := range suites {
		suite, err := c.suite(ctx, client, name)
		if err != nil {
			return nil, err
		}
		result.Suites = append(result.Suites, suite)
		for _, check := range suite.checks {
			result.add(check)
		}
	}
	return result, nil
}

// isSame reports whether two sides select the same runs.
func isSame(a, b side) bool {
	contains := func(s side) func(selector) bool {
		return func(one selector) bool {
			return !slices.ContainsFunc(s, func(other selector) bool { return one.key == other.key && one.value == other.value })
		}
	}
	return !slices.ContainsFunc(a, contains(b)) && !slices.ContainsFunc(b, contains(a))
}

// suitesOf returns the suites that a side has runs of, by name. It reads all its runs: no operation lists suites.
func (c *gateCommand) suitesOf(ctx context.Context, s side, flag string) ([]string, error) {
	const most = 100_000
	p := parameters{}
	c.filterFlags.addTo(p)
	noModel := len(s.values(noModel)) > 0
	if noModel {
		delete(p, "model")
	}
	for parameter, key := range map[string]string{"agent": "agent", "model": "model", "batchId": "batch"} {
		p.set(parameter, s.values(key)...)
	}
	filtered, err := c.connect(benchledger.WithRequestEditorFn(p.addTo))
	if err != nil {
		return nil, err
	}
	type named struct {
		Suite string  `json:"suite"`
		Model *string `json:"model"`
	}
	suites, read := map[string]bool{}, 0
	for run, err := range benchledger.EachRunAs[named](ctx, filtered, benchledger.ListRunsParams{Limit: pageSize(0)}) {
		if err != nil {
			return nil, withHint(err)
		}
		if read++; read > most {
			return nil, fmt.Errorf("%s selects more than %s: name the suites with --suite, or select a batch", flag, counted(most, "run"))
		}
		if !noModel || run.Model == nil {
			suites[run.Suite] = true
		}
	}
	names := make([]string, 0, len(suites))
	for name := range suites {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

// suite compares the sides, and judges what is found.
func (c *gateCommand) suite(ctx context.Context, client *benchledger.ClientWithResponses, name string) (*gatedSuite, error) {
	compare := &compareCommand{suiteFlags: suiteFlags{name, c.filterFlags}, sideFlags: c.sideFlags, judgeFlags: c.judgeFlags, Margin: c.Margin}
	p := parameters{}
	compare.suiteFlags.addTo(p)
	compare.sideFlags.addTo(p)
	compare.judgeFlags.addTo(p)
	response, err := client.GetComparison(ctx, &benchledger.GetComparisonParams{Margin: c.Margin.given()}, p.addTo) //nolint:bodyclose // get closes it
	body, found, err := get[benchledger.Comparison](response, err, "verdict")
	if err != nil {
		return nil, err
	}
	suite := &gatedSuite{Suite: name, Comparison: body, comparison: found, Notes: []string{}}
	judged, err := c.judge(ctx, client, compare, &found)
	if err != nil {
		return nil, err
	}
	suite.checks = append(suite.checks, judged)
	if c.MaxCostIncrease != nil {
		suite.checks = append(suite.checks, c.judgeCost(name, &found))
	}
	notes := append([]string{onlyOne(found.OnlyBaseline, found.OnlyCandidate), compare.bothLeftOut(found.InfraErrors, found.OpenRuns, found.Unscored)}, compare.warnings(found.Warnings)...)
	suite.Notes = append(suite.Notes, slices.DeleteFunc(notes, func(note string) bool { return note == "" })...)
	if c.Report != "" {
		by := benchledger.ListComparisonDetailsParamsBy("scenario")
		response, err := client.ListComparisonDetails(ctx, &benchledger.ListComparisonDetailsParams{By: &by}, p.addTo) //nolint:bodyclose // get closes it
		_, details, err := get[benchledger.ComparisonDetails](response, err, "rows")
		if err != nil {
			return nil, err
		}
		suite.rows = mostChanged(details.Rows)
	}
	return suite, nil
}

// judge decides whether there is a regression.
func (c *gateCommand) judge(ctx context.Context, client *benchledger.ClientWithResponses, compare *compareCommand, found *benchledger.Comparison) (check, error) {
	u := unitOf(c.Metric)
	is := func(o outcome, sentences ...string) (check, error) {
		sentences = slices.DeleteFunc(sentences, func(sentence string) bool { return sentence == "" })
		return check{compare.Suite, c.Metric, o, strings.ReplaceAll(strings.Join(sentences, " "), unbroken, " ")}, nil
	}
	evidence, margin := "", u.size(float64(c.Margin))
	if found.Difference != nil {
		evidence = evidenceOf(u, found)
	}
	isTolerable := c.Margin > 0 && found.Low != nil && *found.Low > -float64(c.Margin)
	switch {
	case found.Verdict == benchledger.ComparisonVerdictWorse && !isTolerable:
		return is(exitRegression, "The candidate is worse: "+evidence+".")
	case found.Sequential:
		sentence := ""
		if evidence != "" {
			sentence = "So far, the difference is " + evidence + "."
		}
		return is(exitCannotTell, counted(found.OpenRuns.Baseline+found.OpenRuns.Candidate, "run")+" of the sides are open. Wait until the runs have ended, or void the stale ones.", sentence)
	}
	// The interval of scenarios that do not differ is a point, however few they are.
	isPoint := found.Low != nil && found.High != nil && *found.Low == *found.High
	if c.FailOn == failOnNotProven && isPoint && slices.Contains(found.Warnings, "fewScenarios") {
		return is(exitCannotTell, "All "+counted(found.SharedScenarios, "shared scenario")+" have the same result, but they are too few for a proof. Run 10 or more.")
	}
	switch found.Verdict {
	case benchledger.ComparisonVerdictWorse:
		return is(0, "The candidate is worse, but by less than the margin of "+margin+": "+evidence+".")
	case benchledger.ComparisonVerdictBetter:
		return is(0, "The candidate is better: "+evidence+".")
	case benchledger.ComparisonVerdictEquivalent:
		return is(0, "The candidate is equivalent within ± "+margin+": "+evidence+".")
	case benchledger.ComparisonVerdictNotWorse:
		return is(0, "The candidate is not worse by more than "+margin+": "+evidence+".")
	case benchledger.ComparisonVerdictInconclusive:
	default: // insufficient, or a verdict of a newer server
		return is(exitCannotTell, c.missing(found))
	}
	if c.FailOn == failOnNotProven {
		needed, err := c.needed(ctx, client, compare, found, u)
		if err != nil {
			return check{}, err
		}
		return is(exitCannotTell, "It is not proven that the candidate is not worse by more than "+margin+": the difference is "+evidence+".", needed)
	}
	detectable := ""
	if size := found.MinimumDetectable; size != nil && *size > 0 && !u.isImpossible(*size) {
		detectable = "A difference of about " + u.size(*size) + " would be detectable."
	}
	return is(0, "No regression was found, which is no proof that there is none: the difference is "+evidence+".", detectable)
}

// missing says why there is no test, and what it takes.
func (c *gateCommand) missing(found *benchledger.Comparison) string {
	for _, side := range []struct {
		name           string
		of             side
		attempts, lost int64
	}{
		{"candidate", c.Candidate, found.Runs.Candidate, found.InfraErrors.Candidate},
		{"baseline", c.Baseline, found.Runs.Baseline, found.InfraErrors.Baseline},
	} {
		switch {
		case side.attempts == 0 && side.lost > 0:
			return fmt.Sprintf("All %s of the %s (%s) are infra errors. Repair the infrastructure, and run them again.", counted(side.lost, "run"), side.name, side.of)
		case side.attempts == 0:
			return fmt.Sprintf("No run of the suite matches the %s (%s). Run the suite, and submit its runs before the gate.", side.name, side.of)
		}
	}
	if found.SharedScenarios == 0 {
		return "The sides share no scenario. Run the same scenarios, at the same tier, for both."
	}
	return "There are too few shared scenarios for a test (" + thousands(found.SharedScenarios) + "). Run more scenarios: 10 or more."
}

// needed says how many scenarios it takes to see a difference as large as the margin.
func (c *gateCommand) needed(ctx context.Context, client *benchledger.ClientWithResponses, compare *compareCommand, found *benchledger.Comparison, u unit) (string, error) {
	if slices.Contains(found.Warnings, "mixedTiers") {
		return "Run more scenarios, or see how many are needed for one --tier.", nil
	}
	needed, now, err := plannedSize{
		c.Baseline, c.Candidate, found.BaselineAttempts / found.SharedScenarios, found.CandidateAttempts / found.SharedScenarios,
		float64(c.Margin), max(0.001, 1-found.Level),
	}.get(ctx, client, &compare.suiteFlags, &compare.judgeFlags)
	switch {
	case err != nil:
		return "", err
	case needed == nil || now == nil:
		return "Run more scenarios, or raise --margin: the runs do not tell how many are needed.", nil
	case *needed <= *now:
		return fmt.Sprintf("The %s are enough to find a difference of %s, so the candidate may well be worse: look at the scenarios that changed.", counted(*now, "scenario"), u.size(float64(c.Margin))), nil
	}
	return fmt.Sprintf("To find a difference of %s, about %s would be needed; there are %s.", u.size(float64(c.Margin)), counted(roughlyUp(*needed), "scenario"), thousands(*now)), nil
}

// judgeCost decides whether the candidate costs too much.
func (c *gateCommand) judgeCost(suite string, found *benchledger.Comparison) check {
	const rounding = 1e-9
	is := func(o outcome, sentence string) check { return check{suite, "cost", o, sentence} }
	unproven := outcome(0)
	if c.FailOn == failOnNotProven {
		unproven = exitCannotTell
	}
	ratio, most := found.CostUSD, (1+float64(*c.MaxCostIncrease))*(1+rounding)
	limit := percent(float64(*c.MaxCostIncrease))
	if found.Sequential {
		return is(exitCannotTell, "Runs are open, so the cost will change. Wait until they have ended, or void the stale ones.")
	}
	if ratio.Ratio == nil {
		return is(unproven, "The cost is unknown: no shared scenario has a cost of both sides. Submit telemetry.costUsd with each run.")
	}
	evidence := costChange(&ratio, found.Level) + " over " + counted(ratio.Scenarios, "scenario")
	if ratio.Left > 0 {
		evidence += " (" + thousands(ratio.Left) + " more without a cost)"
	}
	switch {
	case ratio.Low != nil && *ratio.Low > most:
		return is(exitRegression, "The cost per run increases by more than "+limit+": "+evidence+".")
	case *ratio.Ratio > most:
		return is(unproven, "The cost per run may increase by more than "+limit+", which is not certain: "+evidence+".")
	}
	return is(0, "The cost per run does not increase by more than "+limit+": "+evidence+".")
}

// costChange is a ratio of costs in words: +25 % (95 % interval +10 to +42).
func costChange(ratio *benchledger.Ratio, level float64) string {
	change := func(ratio float64) string { return unit{isRate: true}.signed(roundTo(ratio-1, 4)) }
	text := change(*ratio.Ratio) + " %"
	if ratio.Low != nil && ratio.High != nil {
		text += fmt.Sprintf(" (%s interval %s to %s)", percent(level), change(*ratio.Low), change(*ratio.High))
	}
	return text
}

// print prints the answer on standard output.
func (c *gateCommand) print(result *gateResult) error {
	switch {
	case c.JSON:
		encoder := json.NewEncoder(&stdout)
		encoder.SetEscapeHTML(false)
		return encoder.Encode(result)
	case c.Report == "-":
		return c.writeReport(&stdout, result)
	}
	p := newPage(tableFlags{}, formatFlags{})
	for i := range result.Checks {
		printf("%s\n", wrapped(result.Checks[i].line(), p.width-2, "  "))
	}
	if len(result.Suites) > 0 {
		printf("\n")
		printOn(p, c.suiteColumns(), result.Suites)
	}
	p.notes(result.allNotes()...)
	return nil
}

// allNotes are those of the whole, and of each suite.
func (r *gateResult) allNotes() []string {
	notes := slices.Clone(r.Notes)
	for _, suite := range r.Suites {
		for _, note := range suite.Notes {
			notes = append(notes, suite.Suite+": "+note)
		}
	}
	return notes
}

func (c *gateCommand) suiteColumns() []column[*gatedSuite] {
	u := unitOf(c.Metric)
	return []column[*gatedSuite]{
		{name: "suite", value: func(s *gatedSuite) any { return s.Suite }},
		{name: "outcome", value: func(s *gatedSuite) any { return s.outcome().title() }},
		{name: "baseline", rank: 4, number: true, value: func(s *gatedSuite) any { return u.value(s.comparison.Baseline) }},
		{name: "candidate", rank: 5, number: true, value: func(s *gatedSuite) any { return u.value(s.comparison.Candidate) }},
		{name: "difference", number: true, value: func(s *gatedSuite) any {
			if s.comparison.Difference == nil {
				return ""
			}
			return u.signed(*s.comparison.Difference)
		}},
		{name: "interval", rank: 1, value: func(s *gatedSuite) any {
			if s.comparison.Low == nil || s.comparison.High == nil {
				return ""
			}
			return u.signed(*s.comparison.Low) + " to " + u.signed(*s.comparison.High)
		}},
		{name: "p", rank: 3, number: true, value: func(s *gatedSuite) any {
			p := s.comparison.PValue
			if s.comparison.Sequential {
				p = s.comparison.AnytimePValue
			}
			return pCell(p)
		}},
		{name: "verdict", rank: 2, value: func(s *gatedSuite) any { return string(s.comparison.Verdict) }},
		{name: "cost", rank: 6, value: func(s *gatedSuite) any {
			if s.comparison.CostUSD.Ratio == nil {
				return ""
			}
			return costChange(&s.comparison.CostUSD, s.comparison.Level)
		}},
	}
}

// outcome is the worst of the checks.
func (s *gatedSuite) outcome() (o outcome) {
	for _, check := range s.checks {
		o = worst(o, check.Outcome)
	}
	return o
}
