package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	benchledger "github.com/benchledger/benchledger/clients/go"
)

type compareCommand struct {
	suiteFlags  `embed:""`
	sideFlags   `embed:""`
	judgeFlags  `embed:""`
	Margin      fraction `placeholder:"N" help:"The largest difference without practical importance, such as 0.02 or 2%. With it, the answer can be that both are equivalent."`
	Interval    string   `enum:"auto,bootstrap" default:"auto" placeholder:"KIND" help:"The interval of the difference: auto (that of the test) or bootstrap (10,000 resamples); ${default} by default."`
	Details     bool     `help:"Print what each scenario or evaluator says, instead of the whole."`
	By          string   `enum:"scenario,evaluator,scenarioEvaluator" default:"scenario" placeholder:"WHAT" help:"What a row of --details is about: scenario, evaluator or scenarioEvaluator; ${default} by default."`
	Sort        string   `enum:"pValue,difference,name" default:"pValue" placeholder:"ORDER" help:"The order of --details: pValue, difference or name; ${default} by default."`
	formatFlags `embed:""`
	tableFlags  `embed:""`
	readFlags   `embed:""`
}

// Help explains the answer.
func (c *compareCommand) Help() string {
	return "Examples:\n\n  benchledger compare --suite=deps --baseline=model:sonnet --candidate=model:opus\n\n" +
		"  benchledger compare --suite=deps --baseline=batch:mon --candidate=batch:tue\n\n" +
		"Only scenarios that both sides attempted count, pair by pair. The p-value is the probability of such a difference if there is none. A difference that was not found is no proof " +
		"of equality: that takes --margin. Ratios of cost, duration and tokens are candidate / baseline.\n\n" +
		"In --details, many rows are tested at once. Look at q, not at p: of the rows with q below 0.05, at most 5 % are expected to be there by chance.\n\n" +
		"Columns of --details: " + columnNames(detailColumns(unitOf("success"), nil)) + "."
}

// Validate checks the flags.
func (c *compareCommand) Validate() error {
	if !c.Details && (c.Columns != nil || c.Wide) {
		return errors.New("--columns and --wide are only for --details")
	}
	return errors.Join(c.suiteFlags.check(), c.sideFlags.check(), checkColumns(c.tableFlags, detailColumns(unit{}, nil)))
}

// Run prints the comparison.
func (c *compareCommand) Run() error {
	ctx, stop := interruptible()
	defer stop()
	client, err := c.connect()
	if err != nil {
		return err
	}
	if err := c.resolve(ctx, client, &c.serverFlags); err != nil {
		return err
	}
	p := parameters{}
	c.suiteFlags.addTo(p)
	c.sideFlags.addTo(p)
	c.judgeFlags.addTo(p)
	if c.Details {
		return c.printDetails(ctx, client, p)
	}
	params := benchledger.GetComparisonParams{Margin: c.Margin.given(), Interval: (*benchledger.GetComparisonParamsInterval)(&c.Interval)}
	response, err := client.GetComparison(ctx, &params, p.addTo) //nolint:bodyclose // get closes it
	body, found, err := get[benchledger.Comparison](response, err, "verdict")
	switch {
	case err != nil:
		return err
	case c.JSON:
		return printBody(body)
	}
	hasNone, err := c.printNone(ctx, client, found.Runs, found.OpenRuns, found.InfraErrors)
	switch {
	case err != nil:
		return err
	case c.CSV:
		return printCSV[benchledger.Comparison]([]json.RawMessage{body}, "verdict", "baseline", "candidate", "difference", "low", "high", "pValue")
	case hasNone:
		return nil
	}
	page := newPage(c.tableFlags, c.formatFlags)
	u := unitOf(c.Metric)
	verdict, err := c.verdict(ctx, client, &found)
	if err != nil {
		return err
	}
	page.title(verdict)
	printOn(page, sideColumns(u, &found), c.rows(&found))
	if ratios := ratiosOf(&found); len(ratios) > 0 {
		printf("\n")
		printOn(page, ratioColumns(ratios), ratios)
	}
	page.notes(append([]string{
		fmt.Sprintf("Of %s, the candidate is better at %s, worse at %s, and equal at %s.",
			counted(found.SharedScenarios, "shared scenario"), thousands(found.Wins), thousands(found.Losses), thousands(found.Ties)),
		onlyOne(found.OnlyBaseline, found.OnlyCandidate),
		c.bothLeftOut(found.InfraErrors, found.OpenRuns, found.Unscored),
		bars(u, &found),
	}, c.warnings(found.Warnings)...)...)
	return nil
}

// printNone says which side has no runs.
func (c *compareCommand) printNone(ctx context.Context, client *benchledger.ClientWithResponses, runs, open, infra benchledger.BothSides) (hasNone bool, err error) {
	var missing []string
	if runs.Baseline+open.Baseline+infra.Baseline == 0 {
		missing = append(missing, fmt.Sprintf("the baseline (%s)", c.Baseline))
	}
	if runs.Candidate+open.Candidate+infra.Candidate == 0 {
		missing = append(missing, fmt.Sprintf("the candidate (%s)", c.Candidate))
	}
	if len(missing) == 0 {
		return false, nil
	}
	fmt.Fprintf(stderr, "Cannot tell: no run matches %s.\n", strings.Join(missing, " or "))
	if len(missing) == 2 {
		return true, c.printNoRuns(ctx, client, &c.serverFlags)
	}
	fmt.Fprintf(stderr, "To see the runs of the suite: %s\n", c.with("runs", "--suite="+c.Suite, "--columns=scenario,agent,model,batch,started"))
	return true, nil
}

// verdict is the answer in a sentence.
func (c *compareCommand) verdict(ctx context.Context, client *benchledger.ClientWithResponses, found *benchledger.Comparison) (string, error) {
	u := unitOf(c.Metric)
	shared := counted(found.SharedScenarios, "shared scenario")
	if found.Difference == nil {
		return "Cannot tell: the sides share no scenario. Compare sides that attempted the same scenarios.", nil
	}
	evidence := evidenceOf(u, found)
	margin := u.size(float64(c.Margin))
	switch found.Verdict {
	case benchledger.ComparisonVerdictBetter:
		return "The candidate is better: " + evidence + ".", nil
	case benchledger.ComparisonVerdictWorse:
		return "The candidate is worse: " + evidence + ".", nil
	case benchledger.ComparisonVerdictEquivalent:
		return "The candidate is equivalent: the difference is within ± " + margin + ". It is " + evidence + ".", nil
	case benchledger.ComparisonVerdictNotWorse:
		return "The candidate is not worse by more than " + margin + ": " + evidence + ".", nil
	case benchledger.ComparisonVerdictInsufficient:
		return "Cannot tell: there are too few shared scenarios for a test. The difference is " + evidence + ".", nil
	case benchledger.ComparisonVerdictInconclusive:
	}
	if found.Ties == found.SharedScenarios {
		return "Cannot tell: the sides have the same results over " + shared + ", which is no proof that they are equal.", nil
	}
	if found.Sequential {
		return "Cannot tell while runs are open: the difference is " + evidence + ".", nil
	}
	sentence := "Cannot tell: the difference is " + evidence
	if size := found.MinimumDetectable; size != nil && *size > 0 && !u.isImpossible(*size) {
		sentence += "; a difference of about " + u.size(*found.MinimumDetectable) + " would be detectable"
	}
	if slices.Contains(found.Warnings, "mixedTiers") {
		return sentence + ".", nil
	}
	needed, now, err := plannedSize{
		c.Baseline, c.Candidate, found.BaselineAttempts / found.SharedScenarios, found.CandidateAttempts / found.SharedScenarios,
		math.Abs(*found.Difference), max(0.001, 1-found.Level),
	}.get(ctx, client, &c.suiteFlags, &c.judgeFlags)
	if err == nil && needed != nil && now != nil && *needed > *now {
		sentence += "; to find one as small as this, about " + counted(roughlyUp(*needed), "scenario") + " would be needed"
	}
	return sentence + ".", err
}

// evidenceOf is the difference in a sentence, with its interval and p-value. There has to be one.
func evidenceOf(u unit, found *benchledger.Comparison) string {
	evidence := u.difference(*found.Difference)
	var inner []string
	if found.Low != nil && found.High != nil && *found.Low < *found.High {
		inner = append(inner, fmt.Sprintf("%s interval %s to %s", percent(found.Level), u.signed(*found.Low), u.signed(*found.High)))
	}
	p := found.PValue
	if found.Sequential {
		p = found.AnytimePValue
	}
	if p != nil {
		inner = append(inner, pValue(*p))
	}
	if len(inner) > 0 {
		evidence += " (" + strings.Join(inner, ", ") + ")"
	}
	return evidence + " over " + counted(found.SharedScenarios, "shared scenario")
}

// sideRow is a row of the table with both sides.
type sideRow struct {
	name, who string
	attempts  *int64
	low       *float64
	value     *float64
	high      *float64
	isDelta   bool
}

func (c *compareCommand) rows(found *benchledger.Comparison) []sideRow {
	return []sideRow{
		{name: "baseline", who: c.Baseline.String(), attempts: &found.BaselineAttempts, value: found.Baseline},
		{name: "candidate", who: c.Candidate.String(), attempts: &found.CandidateAttempts, value: found.Candidate},
		{name: "difference", low: found.Low, value: found.Difference, high: found.High, isDelta: true},
	}
}

// barScales are those of the sides, from 0, and of the difference, with 0 in the middle.
func barScales(u unit, found *benchledger.Comparison) (sides, difference scale) {
	sides = scaleOf(new(0.0), found.Baseline, found.Candidate)
	if u.isRate {
		sides = scale{0, 1}
	}
	size := 0.0
	for _, value := range []*float64{found.Low, found.Difference, found.High} {
		if value != nil {
			size = max(size, math.Abs(*value))
		}
	}
	if size == 0 {
		size = 1
	}
	return sides, scaleOf(new(-size), &size)
}

// bars explains the bars.
func bars(u unit, found *benchledger.Comparison) string {
	sides, difference := barScales(u, found)
	return fmt.Sprintf("Bars: the sides from %s, the difference and its interval from %s.", u.span(&sides.low, &sides.high), u.differences(difference.low, difference.high))
}

func sideColumns(u unit, found *benchledger.Comparison) []column[sideRow] {
	sides, difference := barScales(u, found)
	signed := func(r sideRow, value *float64) string {
		if value == nil || !r.isDelta {
			return u.value(value)
		}
		return u.signed(*value)
	}
	return []column[sideRow]{
		{name: "side", value: func(r sideRow) any { return r.name }},
		{name: "runs of", rank: 1, value: func(r sideRow) any { return r.who }},
		{name: u.name(), number: true, value: func(r sideRow) any { return signed(r, r.value) }},
		{name: "bar", drawn: true, value: func(r sideRow) any {
			if r.isDelta {
				return difference.interval(r.low, r.value, r.high, 0)
			}
			return sides.filled(r.value)
		}},
		{name: "low", rank: 2, number: true, value: func(r sideRow) any { return signed(r, r.low) }},
		{name: "high", rank: 3, number: true, value: func(r sideRow) any { return signed(r, r.high) }},
		{name: "attempts", rank: 4, number: true, value: func(r sideRow) any { return r.attempts }},
	}
}

type ratioRow struct {
	name string
	benchledger.Ratio
}

// ratiosOf are the ratios that are known.
func ratiosOf(found *benchledger.Comparison) []ratioRow {
	all := []ratioRow{{"cost per run", found.CostUSD}, {"duration", found.DurationMs}, {"tokens", found.Tokens}}
	return slices.DeleteFunc(all, func(r ratioRow) bool { return r.Ratio.Ratio == nil })
}

func ratioColumns(rows []ratioRow) []column[ratioRow] {
	size := 0.0 // of the logarithms: half and twice are equally far from 1
	for _, r := range rows {
		for _, ratio := range []*float64{r.Low, r.Ratio.Ratio, r.High} {
			if ratio != nil {
				size = max(size, math.Abs(math.Log(*ratio)))
			}
		}
	}
	s := scale{-max(size, math.Log(2)), max(size, math.Log(2))}
	log := func(ratio *float64) *float64 {
		if ratio == nil {
			return nil
		}
		return new(math.Log(*ratio))
	}
	times := func(ratio *float64) string {
		if ratio == nil {
			return ""
		}
		return fmt.Sprintf("%.3g x", *ratio)
	}
	return []column[ratioRow]{
		{name: "candidate / baseline", value: func(r ratioRow) any { return r.name }},
		{name: "ratio", number: true, value: func(r ratioRow) any { return times(r.Ratio.Ratio) }},
		{name: "bar", drawn: true, value: func(r ratioRow) any { return s.interval(log(r.Low), log(r.Ratio.Ratio), log(r.High), 0) }},
		{name: "low", number: true, value: func(r ratioRow) any { return times(r.Low) }},
		{name: "high", number: true, value: func(r ratioRow) any { return times(r.High) }},
		{name: "scenarios", number: true, value: func(r ratioRow) any { return r.Scenarios }},
	}
}

// onlyOne says which scenarios do not count.
func onlyOne(baseline, candidate int64) string {
	if baseline+candidate == 0 {
		return ""
	}
	return fmt.Sprintf("Not compared: %s that only the baseline has, and %s that only the candidate has.", counted(baseline, "scenario"), counted(candidate, "scenario"))
}

// bothLeftOut says which runs of each side do not count.
func (c *compareCommand) bothLeftOut(infra, open, unscored benchledger.BothSides) string {
	var sides []string
	for _, side := range []struct{ name, text string }{
		{"baseline", leftOut(infra.Baseline, open.Baseline, unscored.Baseline, &c.judgeFlags)},
		{"candidate", leftOut(infra.Candidate, open.Candidate, unscored.Candidate, &c.judgeFlags)},
	} {
		if text := strings.TrimSuffix(strings.TrimPrefix(side.text, "Left out: "), "."); text != "" {
			sides = append(sides, text+" of the "+side.name)
		}
	}
	if len(sides) == 0 {
		return ""
	}
	return "Left out: " + strings.Join(sides, "; ") + "."
}

func (c *compareCommand) warnings(codes []string) []string {
	sentences := make([]string, len(codes))
	for i, code := range codes {
		sentences[i] = explained(code, "", &c.judgeFlags)
		if code == "stillRunning" {
			sentences[i] = "Some runs have not ended. People then look again and again, and would find a difference by chance sooner or later, so there is only a verdict if a stricter test finds it. " +
				"Wait, void runs that are stale, or leave them out with --until."
		}
	}
	return sentences
}

// printDetails prints the scenarios or evaluators.
func (c *compareCommand) printDetails(ctx context.Context, client *benchledger.ClientWithResponses, p parameters) error {
	params := benchledger.ListComparisonDetailsParams{By: (*benchledger.ListComparisonDetailsParamsBy)(&c.By), Sort: (*benchledger.ListComparisonDetailsParamsSort)(&c.Sort)}
	response, err := client.ListComparisonDetails(ctx, &params, p.addTo) //nolint:bodyclose // get closes it
	body, details, err := get[benchledger.ComparisonDetails](response, err, "rows")
	switch {
	case err != nil:
		return err
	case c.JSON:
		return printBody(body)
	}
	hasNone, err := c.printNone(ctx, client, details.Runs, details.OpenRuns, details.InfraErrors)
	if err == nil && c.CSV {
		rows, err := rowsOf(body)
		if err != nil {
			return err
		}
		return printCSV[benchledger.ComparisonDetail](rows, "scenario", "tier", "evaluatorName", "baseline", "candidate", "difference", "pValue", "qValue")
	}
	if err != nil || hasNone && terminalWidth() > 0 {
		return err
	}
	u := unitOf(c.Metric)
	if c.By != "scenario" {
		u = unit{isRate: true} // score / maxScore
	}
	page := newPage(c.tableFlags, c.formatFlags)
	if !hasNone {
		page.title(c.found(u, details.Rows))
	}
	printOn(page, detailColumns(u, details.Rows), details.Rows)
	if !hasNone {
		_, difference := barScales(u, widest(details.Rows))
		page.notes(
			fmt.Sprintf("Bars: the difference, from %s.", u.differences(difference.low, difference.high)),
			c.tests(),
			c.bothLeftOut(details.InfraErrors, details.OpenRuns, details.Unscored))
	}
	return nil
}

// tests says how to read the tests of the details.
func (c *compareCommand) tests() string {
	sentence := "p is of one row alone; q takes into account how many rows are tested."
	if c.By != "evaluator" {
		sentence += " A row needs 3 attempts of each side for a test."
	}
	return sentence
}

// found says at what the sides differ.
func (c *compareCommand) found(u unit, rows []benchledger.ComparisonDetail) string {
	const rate, below = 0.05, "q" + unbroken + "<" + unbroken + "0.05"
	var better, worse []string
	tested := int64(0)
	for i := range rows {
		r := &rows[i]
		if r.QValue == nil || r.Difference == nil {
			continue
		}
		tested++
		text := detailName(r) + " (" + u.signed(*r.Difference) + ")"
		switch {
		case *r.QValue >= rate:
		case *r.Difference > 0:
			better = append(better, text)
		case *r.Difference < 0:
			worse = append(worse, text)
		}
	}
	rowKind := strings.NewReplacer("scenarioEvaluator", "scenarios with an evaluator", "scenario", "scenarios", "evaluator", "evaluators").Replace(c.By)
	switch {
	case tested == 0:
		return fmt.Sprintf("Cannot tell: none of the %s %s has enough attempts for a test.", thousands(int64(len(rows))), rowKind)
	case len(better)+len(worse) == 0:
		return fmt.Sprintf("No difference was found at any of %s tested %s (%s).", thousands(tested), rowKind, below)
	}
	var parts []string
	if len(better) > 0 {
		parts = append(parts, "better at "+listed(better, 5))
	}
	if len(worse) > 0 {
		parts = append(parts, "worse at "+listed(worse, 5))
	}
	return fmt.Sprintf("The candidate is %s (%s, of %s tested %s).", strings.Join(parts, ", and "), below, thousands(tested), rowKind)
}

// detailName is what a row is about.
func detailName(r *benchledger.ComparisonDetail) string {
	return entryName(r.Scenario, r.EvaluatorName)
}

// widest has the largest difference of all rows.
func widest(rows []benchledger.ComparisonDetail) *benchledger.Comparison {
	found := &benchledger.Comparison{}
	for i := range rows {
		if d := rows[i].Difference; d != nil && (found.Difference == nil || math.Abs(*d) > math.Abs(*found.Difference)) {
			found.Difference = d
		}
	}
	return found
}

// pCell is a p-value in a table.
func pCell(value *float64) string {
	switch {
	case value == nil:
		return ""
	case *value < 0.001:
		return "<0.001"
	}
	return strconv.FormatFloat(*value, 'f', 3, 64)
}

func detailColumns(u unit, rows []benchledger.ComparisonDetail) []column[benchledger.ComparisonDetail] {
	type row = benchledger.ComparisonDetail
	_, s := barScales(u, widest(rows))
	difference := func(r row) string {
		if r.Difference == nil {
			return ""
		}
		return u.signed(*r.Difference)
	}
	return []column[row]{
		{name: "scenario", rank: 1, value: func(r row) any { return r.Scenario }},
		{name: "tier", rank: 3, value: func(r row) any { return r.Tier }},
		{name: "evaluator", rank: 2, value: func(r row) any { return r.EvaluatorName }},
		{name: "baseline", rank: 5, number: true, value: func(r row) any { return u.value(r.Baseline) }},
		{name: "candidate", rank: 6, number: true, value: func(r row) any { return u.value(r.Candidate) }},
		{name: "difference", number: true, value: func(r row) any { return difference(r) }},
		{name: "bar", drawn: true, value: func(r row) any { return s.interval(nil, r.Difference, nil, 0) }},
		{name: "p", rank: 7, number: true, value: func(r row) any { return pCell(r.PValue) }},
		{name: "q", rank: 4, number: true, value: func(r row) any { return pCell(r.QValue) }},
		{name: "attempts", rank: 8, value: func(r row) any { return fmt.Sprintf("%d / %d", r.BaselineAttempts, r.CandidateAttempts) }},
	}
}
