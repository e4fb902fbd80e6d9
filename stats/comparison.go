package stats

import "math"

// A Verdict is what a comparison says of the candidate.
type Verdict string

// The verdicts.
const (
	// VerdictInsufficient: there is no test.
	VerdictInsufficient Verdict = "insufficient"
	// VerdictBetter and VerdictWorse: the p-value is below alpha.
	VerdictBetter Verdict = "better"
	VerdictWorse  Verdict = "worse"
	// VerdictEquivalent: the interval is inside of ± margin.
	VerdictEquivalent Verdict = "equivalent"
	// VerdictNotWorse: the interval is above -margin.
	VerdictNotWorse Verdict = "notWorse"
	// VerdictInconclusive: none of these.
	VerdictInconclusive Verdict = "inconclusive"
)

// ComparisonOptions says what is compared, and how.
type ComparisonOptions struct {
	Scope
	// Margin is the largest difference without practical importance, in the unit of the
	// metric, 0 or more; nil for none.
	Margin *float64
	// Bootstrap replaces the interval by that of stats.Bootstrap. The test remains.
	Bootstrap bool
}

// A Comparison of a candidate with a baseline over the items that both attempted. With a
// score as metric, items where either side has none are left out.
type Comparison struct {
	// Baseline and Candidate are the means over the shared items, each with the same weight.
	Baseline, Candidate *float64
	// Difference is candidate - baseline, with its standard error clustered by scenario and
	// its interval: Newcombe's for McNemar's test, Student's t for the paired t test, [0, 0] for
	// no difference at all, nil for differences that are all the same.
	Difference, SE *float64
	Interval
	PValue *float64
	Test   Test

	SharedItems, OnlyBaseline, OnlyCandidate int
	// Wins, Losses and Ties of the candidate over the shared items.
	Wins, Losses, Ties int
	// BaselineAttempts and CandidateAttempts are those at the shared items.
	BaselineAttempts, CandidateAttempts int64
	// The infra errors and open runs are those at any item.
	BaselineInfraErrors, CandidateInfraErrors int64
	BaselineOpenRuns, CandidateOpenRuns       int64

	// MinimumDetectable is the difference that this SE detects with power 0.8 at alpha 0.05.
	MinimumDetectable *float64
	// SEUnpaired is what SE would be without pairing, Correlation that of the sides' item means.
	SEUnpaired, Correlation *float64

	// EValue and AnytimePValue are defined for McNemar's test.
	EValue, AnytimePValue *float64
	// Sequential: runs of either side are open, so the verdict is from AnytimePValue alone.
	Sequential bool
	Verdict    Verdict

	Cost, Duration, Tokens Ratio

	Warnings []Warning
}

// A Ratio is the geometric mean over shared items of the ratios of the sides' means, candidate to
// baseline: exp(mean ± t·SE of ln ratio), clustered by scenario. Ratio is nil without items, its
// bounds with fewer than two scenarios.
type Ratio struct {
	Ratio *float64
	Interval
	// Items went in. Left are shared items where a side reports nothing or its mean is not above
	// 0.
	Items, Left int
}

// Compare compares a candidate with a baseline; all cells of a side are taken together. Swapping
// the sides changes the signs of difference and bounds, and better and worse, and nothing else
// about the test.
//
// Over fewer than two scenarios there is no test, unless each side has one attempt. While runs
// are open, p-values and intervals that were made for one look at the data reject too often, so
// the verdict is better or worse by AnytimePValue, or inconclusive. Golden:
// paired_difference.json, comparison.json.
func Compare(baseline, candidate []Cell, o ComparisonOptions) Comparison {
	s := share(tabulate(baseline, bySide), tabulate(candidate, bySide), o.Scope)
	t := s.pairs.run(s.size())
	meanB, seB, scenarios := estimate(s.pairs.baseline, s.pairs.clusters)
	meanC, seC, _ := estimate(s.pairs.candidate, s.pairs.clusters)

	c := s.Comparison
	c.Baseline, c.Candidate = nullable(meanB), nullable(meanC)
	c.Difference, c.SE, c.PValue, c.Test = nullable(t.difference), nullable(t.se), nullable(t.p), t.test
	c.Wins, c.Losses, c.Ties = t.wins, t.losses, t.ties
	c.Interval = s.pairs.interval(t, o.Level)
	if o.Bootstrap && t.se > 0 {
		low, high := bootstrap(s.pairs.differences, s.pairs.clusters, o.Level)
		c.Interval = interval(low*t.scale, high*t.scale)
	}
	c.MinimumDetectable = nullable(detectable(0.05, 0.8) * t.se)
	c.SEUnpaired = nullable(math.Hypot(seB, seC))
	c.Correlation = nullable(correlation(s.pairs.baseline, s.pairs.candidate))
	if t.test == TestMcNemar {
		e, p := EValue(s.pairs.table()), AnytimePValue(s.pairs.table())
		c.EValue, c.AnytimePValue = &e, &p
	}
	c.Sequential = c.BaselineOpenRuns+c.CandidateOpenRuns > 0
	c.Verdict = c.verdict(o)

	warn(&c.Warnings, scenarios < fewScenarios, FewScenarios)
	warn(&c.Warnings, c.Sequential, StillRunning)
	warn(&c.Warnings, o.Bootstrap && (scenarios < bootstrapScenarios || scenarios > bootstrapMost), NoBootstrap)
	return c
}

func (c *Comparison) verdict(o ComparisonOptions) Verdict {
	if c.PValue == nil || c.Difference == nil {
		return VerdictInsufficient
	}
	p := c.PValue
	if c.Sequential {
		p = c.AnytimePValue
	}
	switch {
	case p != nil && *p < 1-o.Level && *c.Difference > 0:
		return VerdictBetter
	case p != nil && *p < 1-o.Level && *c.Difference < 0:
		return VerdictWorse
	case c.Sequential || o.Margin == nil || c.Low == nil:
		return VerdictInconclusive
	case *c.Low > -*o.Margin && *c.High < *o.Margin:
		return VerdictEquivalent
	case *c.Low > -*o.Margin:
		return VerdictNotWorse
	default:
		return VerdictInconclusive
	}
}

// What two sides share.
type shared struct {
	pairs pairs
	// samples of each pair: the metric over its attempts.
	baseline, candidate []Sample
	Comparison          // counts, ratios and warnings
}

// size is the largest mean.
func (s *shared) size() float64 {
	return max(largestOf(s.pairs.baseline), largestOf(s.pairs.candidate))
}

// share walks over the items of both sides in order.
func share(baseline, candidate *table, o Scope) shared {
	s := shared{}
	s.pairs.reset()
	s.Warnings = []Warning{}
	var cost, duration, tokens logRatios
	var finals [2]int64
	tiers := map[string]bool{}
	fewest, most := int64(math.MaxInt64), int64(0)
	unscored, cluster, last := false, -1, ""
	for i, j := 0, 0; i < len(baseline.items) || j < len(candidate.items); {
		var order int
		switch {
		case i == len(baseline.items):
			order = 1
		case j == len(candidate.items):
			order = -1
		default:
			order = baseline.items[i].compare(candidate.items[j])
		}
		b, c, key := &Cell{}, &Cell{}, itemKey{}
		if order <= 0 {
			b, key = baseline.cells[i], baseline.items[i]
			i++
		}
		if order >= 0 {
			c, key = candidate.cells[j], candidate.items[j]
			j++
		}
		s.BaselineInfraErrors += b.InfraErrors.Count
		s.CandidateInfraErrors += c.InfraErrors.Count
		s.BaselineOpenRuns += b.OpenRuns
		s.CandidateOpenRuns += c.OpenRuns
		finals[0] += b.Attempts.Count + b.InfraErrors.Count
		finals[1] += c.Attempts.Count + c.InfraErrors.Count

		runsB, runsC := b.Counted(o.Infra), c.Counted(o.Infra)
		x, y := runsB.Sample(o.Metric), runsC.Sample(o.Metric)
		unscored = unscored || x.N < runsB.Count || y.N < runsC.Count
		s.OnlyBaseline += boolToInt(x.N > 0 && y.N == 0)
		s.OnlyCandidate += boolToInt(x.N == 0 && y.N > 0)
		if x.N == 0 || y.N == 0 {
			continue
		}
		if cluster < 0 || key.scenario != last {
			cluster++
		}
		last = key.scenario
		tiers[key.tier] = true
		s.SharedItems++
		s.BaselineAttempts += runsB.Count
		s.CandidateAttempts += runsC.Count
		fewest, most = min(fewest, runsB.Count, runsC.Count), max(most, runsB.Count, runsC.Count)
		s.baseline, s.candidate = append(s.baseline, x), append(s.candidate, y)
		s.pairs.add(x.Mean, y.Mean, cluster, runsB.binary(o.Metric) && runsC.binary(o.Metric))
		cost.add(runsB.CostUSD, runsC.CostUSD, cluster)
		duration.add(runsB.DurationMs, runsC.DurationMs, cluster)
		tokens.add(allTokens(runsB), allTokens(runsC), cluster)
	}
	s.Cost, s.Duration, s.Tokens = cost.ratio(o.Level), duration.ratio(o.Level), tokens.ratio(o.Level)
	warn(&s.Warnings, float64(s.BaselineInfraErrors) > manyErrors*float64(finals[0]) ||
		float64(s.CandidateInfraErrors) > manyErrors*float64(finals[1]), InfraErrors)
	warn(&s.Warnings, fewest < most, UnequalAttempts)
	warn(&s.Warnings, unscored, MissingScores)
	warn(&s.Warnings, len(tiers) > 1, MixedTiers)
	return s
}

// allTokens are those in and out of an attempt, if both are reported.
func allTokens(r *Runs) Average {
	if r.TokensIn.N == 0 || r.TokensOut.N == 0 {
		return Average{}
	}
	return Average{min(r.TokensIn.N, r.TokensOut.N), r.TokensIn.Mean + r.TokensOut.Mean}
}

type logRatios struct {
	column
	left int
}

func (l *logRatios) add(baseline, candidate Average, cluster int) {
	if baseline.N == 0 || candidate.N == 0 || baseline.Mean <= 0 || candidate.Mean <= 0 {
		l.left++
		return
	}
	l.column.add(math.Log(candidate.Mean)-math.Log(baseline.Mean), cluster)
}

func (l *logRatios) ratio(level float64) Ratio {
	mean, se, scenarios := estimate(l.values, l.clusters)
	half := margin(se, level, scenarios)
	return Ratio{nullable(math.Exp(mean)), interval(math.Exp(mean-half), math.Exp(mean+half)), len(l.values), l.left}
}
