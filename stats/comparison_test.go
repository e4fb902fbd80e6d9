package stats

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

func TestPairedDifference(t *testing.T) {
	t.Parallel()
	for _, c := range golden[struct {
		Cases []struct {
			Name      string
			Level     float64
			Scenarios []struct{ Baseline, Candidate []float64 }
			Expected  struct {
				Shared, OnlyBaseline, OnlyCandidate int
				Difference, SE, Low, High, T, P     *float64
				BaselineMean, CandidateMean         *float64
				SEUnpaired, Correlation, MDE80      *float64
				DF                                  *int
			}
		}
	}](t, "paired_difference").Cases {
		var baseline, candidate []Cell
		for i, s := range c.Scenarios {
			cell := attemptCell("a", fmt.Sprint(i), s.Baseline...)
			baseline = append(baseline, cell)
			candidate = append(candidate, attemptCell("a", fmt.Sprint(i), s.Candidate...))
		}
		e := c.Expected
		got := Compare(baseline, candidate, ComparisonOptions{Scope: Scope{Metric: MetricTotalScore, Level: c.Level}})
		sameCount(t, c.Name+" shared", got.SharedItems, e.Shared)
		sameCount(t, c.Name+" only baseline", got.OnlyBaseline, e.OnlyBaseline)
		sameCount(t, c.Name+" only candidate", got.OnlyCandidate, e.OnlyCandidate)
		same(t, c.Name, got.Difference, e.Difference, 1e-12)
		same(t, c.Name+" baseline", got.Baseline, e.BaselineMean, 1e-12)
		same(t, c.Name+" candidate", got.Candidate, e.CandidateMean, 1e-12)
		same(t, c.Name+" SE", got.SE, e.SE, 1e-12)
		same(t, c.Name+" p", got.PValue, e.P, 1e-12)
		sameBounds(t, c.Name, got.Interval, e.Low, e.High, boundTolerance)
		if e.T != nil {
			ratio := *got.Difference / *got.SE
			same(t, c.Name+" t", &ratio, e.T, 1e-12)
		}
		if e.MDE80 != nil {
			same(t, c.Name+" detectable", got.MinimumDetectable, e.MDE80, 1e-12)
		}
		if e.SEUnpaired != nil {
			same(t, c.Name+" unpaired", got.SEUnpaired, e.SEUnpaired, 1e-12)
			same(t, c.Name+" correlation", got.Correlation, e.Correlation, 1e-12)
		}
	}
}

// of are the cells of an entry.
func of(cells []Cell, agent string, model *string) []Cell {
	return slices.DeleteFunc(slices.Clone(cells), func(c Cell) bool {
		return keyOf(c.Agent, c.Model) != keyOf(agent, model)
	})
}

func TestComparison(t *testing.T) {
	t.Parallel()
	cells, _ := goldenCells(t)
	for _, c := range golden[struct {
		Comparisons []struct {
			Baseline, Candidate [2]*string
			Metric              string
			Expected            struct {
				SharedScenarios, OnlyBaseline, OnlyCandidate int
				Wins, Losses, Ties                           int
				Baseline, Candidate, Difference, SE          *float64
				Low, High, PValue, MinimumDetectable         *float64
				Test                                         *Test
			}
		}
	}](t, "comparison").Comparisons {
		metric := MetricSuccess
		if c.Metric == "score" {
			metric = MetricTotalScore
		}
		name, e := fmt.Sprint(*c.Baseline[0], " against ", *c.Candidate[0], ", ", metric), c.Expected
		got := Compare(of(cells, *c.Baseline[0], c.Baseline[1]), of(cells, *c.Candidate[0], c.Candidate[1]),
			ComparisonOptions{Scope: Scope{Metric: metric, Infra: InfraExclude, Level: 0.95}})
		sameCount(t, name+" shared", got.SharedItems, e.SharedScenarios)
		sameCount(t, name+" only baseline", got.OnlyBaseline, e.OnlyBaseline)
		sameCount(t, name+" only candidate", got.OnlyCandidate, e.OnlyCandidate)
		sameCount(t, name+" wins", got.Wins, e.Wins)
		sameCount(t, name+" losses", got.Losses, e.Losses)
		sameCount(t, name+" ties", got.Ties, e.Ties)
		same(t, name, got.Difference, e.Difference, 1e-8)
		same(t, name+" baseline", got.Baseline, e.Baseline, 1e-8)
		same(t, name+" candidate", got.Candidate, e.Candidate, 1e-8)
		same(t, name+" p", got.PValue, e.PValue, 1e-8)
		sameBounds(t, name, got.Interval, e.Low, e.High, 1e-8)
		want := TestNone
		if e.Test != nil {
			want = *e.Test
		}
		if got.Test != want {
			t.Errorf("%s: test %q, want %q", name, got.Test, want)
		}
		if e.SE != nil {
			same(t, name+" SE", got.SE, e.SE, 1e-8)
		}
		if e.MinimumDetectable != nil {
			same(t, name+" detectable", got.MinimumDetectable, e.MinimumDetectable, 1e-8)
		}
	}
}

// sides are cells of n scenarios; the candidate wins so many, with one attempt each.
func sides(n, wins, losses int) (baseline, candidate []Cell) {
	for i := range n {
		b, c := 0.0, 0.0
		switch {
		case i < wins:
			c = 1
		case i < wins+losses:
			b = 1
		}
		baseline = append(baseline, attemptCell("b", fmt.Sprintf("%03d", i), b))
		candidate = append(candidate, attemptCell("c", fmt.Sprintf("%03d", i), c))
	}
	return baseline, candidate
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	margin, wide := 0.05, 0.5
	for _, c := range []struct {
		name            string
		n, wins, losses int
		open            int64
		margin          *float64
		want            Verdict
	}{
		{"better", 40, 20, 2, 0, nil, VerdictBetter},
		{"worse", 40, 2, 20, 0, &margin, VerdictWorse},
		{"no margin", 400, 2, 2, 0, nil, VerdictInconclusive},
		{"equivalent", 400, 2, 2, 0, &margin, VerdictEquivalent},
		{"not worse", 60, 10, 4, 0, &margin, VerdictNotWorse},
		{"too few to tell", 20, 2, 2, 0, &margin, VerdictInconclusive},
		{"inside of a wide margin", 20, 2, 2, 0, &wide, VerdictEquivalent},
		{"open runs, overwhelming", 40, 20, 2, 1, nil, VerdictBetter},
		{"open runs, better by p alone", 40, 9, 2, 1, nil, VerdictInconclusive},
		{"the same, all runs ended", 40, 9, 2, 0, nil, VerdictBetter},
		{"open runs, equivalent so far", 400, 2, 2, 1, &margin, VerdictInconclusive},
		{"nothing shared", 0, 0, 0, 0, nil, VerdictInsufficient},
	} {
		baseline, candidate := sides(c.n, c.wins, c.losses)
		candidate = append(candidate, Cell{Agent: "c", Scenario: "open", OpenRuns: c.open})
		got := Compare(baseline, candidate, ComparisonOptions{Scope: success, Margin: c.margin})
		if got.Verdict != c.want || got.Sequential != (c.open > 0) {
			t.Errorf("%s: got %s, sequential %v; p %v, %v to %v", c.name, got.Verdict, got.Sequential, show(got.PValue), show(got.Low), show(got.High))
		}
	}
}

func TestComparisonOfTiers(t *testing.T) {
	t.Parallel()
	baseline, candidate := sides(12, 8, 0)
	single := Compare(baseline, candidate, ComparisonOptions{Scope: success})
	for _, side := range []*[]Cell{&baseline, &candidate} {
		for _, c := range *side {
			c.Tier = "L2"
			*side = append(*side, c)
		}
	}
	got := Compare(baseline, candidate, ComparisonOptions{Scope: success})
	// The second tier repeats the first, so it adds nothing: no McNemar on 24 items.
	if got.Test != TestPairedT || got.SharedItems != 24 || !slices.Contains(got.Warnings, MixedTiers) {
		t.Errorf("got %+v", got)
	}
	same(t, "SE", got.SE, single.SE, 1e-12)
}

func TestComparisonRatios(t *testing.T) {
	t.Parallel()
	baseline, candidate := sides(4, 1, 0)
	for i := range 3 {
		baseline[i].Attempts.CostUSD = Average{1, 2}
		candidate[i].Attempts.CostUSD = Average{1, 2 * math.Pow(4, float64(i))} // 1, 4, 16: geometric mean 4
	}
	got := Compare(baseline, candidate, ComparisonOptions{Scope: success}).Cost
	four := 4.0
	same(t, "ratio", got.Ratio, &four, 1e-12)
	low, high := 4*math.Exp(-4.302652729911275*math.Log(4)/math.Sqrt(3)), 4*math.Exp(4.302652729911275*math.Log(4)/math.Sqrt(3))
	sameBounds(t, "ratio", got.Interval, &low, &high, boundTolerance)
	if got.Items != 3 || got.Left != 1 {
		t.Errorf("got %+v", got)
	}
	baseline[0].Attempts.CostUSD.Mean = 0 // has no ratio
	got = Compare(baseline, candidate, ComparisonOptions{Scope: success}).Cost
	eight := 8.0
	same(t, "ratio without the first", got.Ratio, &eight, 1e-12)
	if got.Items != 2 || got.Left != 2 {
		t.Errorf("got %+v", got)
	}
}

func TestComparisonByBootstrap(t *testing.T) {
	t.Parallel()
	baseline, candidate := sides(60, 20, 5)
	o := ComparisonOptions{Scope: success, Bootstrap: true}
	got, mirrored := Compare(baseline, candidate, o), Compare(candidate, baseline, o)
	low, high := -*mirrored.High, -*mirrored.Low
	sameBounds(t, "mirrored", got.Interval, &low, &high, 0)
	if !(*got.Low > 0.05 && *got.Low < *got.Difference && *got.High > *got.Difference && *got.High < 0.45) {
		t.Errorf("got %v to %v around %v", *got.Low, *got.High, *got.Difference)
	}
	for i := range candidate { // no two resamples have the same mean
		candidate[i].Attempts.TotalScore.Mean += 1 / (3 + float64(i*i))
	}
	o.Metric = MetricTotalScore
	got, mirrored = Compare(baseline, candidate, o), Compare(candidate, baseline, o)
	low, high = -*mirrored.High, -*mirrored.Low
	sameBounds(t, "scores, mirrored", got.Interval, &low, &high, 0)

	o.Metric = MetricSuccess
	few := Compare(baseline[:9], candidate[:9], o)
	if few.Low != nil && few.SE != nil && *few.SE > 0 || !slices.Contains(few.Warnings, NoBootstrap) {
		t.Errorf("few scenarios: got %+v", few)
	}
}

func TestComparisonRounding(t *testing.T) {
	t.Parallel()
	var baseline, candidate []Cell
	for i := range 8 {
		x := float64(i) / 10
		baseline = append(baseline, attemptCell("b", fmt.Sprint(i), x))
		candidate = append(candidate, attemptCell("c", fmt.Sprint(i), x+0.3)) // 0.3, or a rounding beside it
	}
	o := ComparisonOptions{Scope: Scope{Metric: MetricTotalScore, Level: 0.95}}
	got := Compare(baseline, candidate, o)
	p := math.Ldexp(1, -7)
	same(t, "p", got.PValue, &p, 0)
	if got.Test != TestSign || got.Low != nil {
		t.Errorf("got %s, from %v", got.Test, show(got.Low))
	}
	baseline = []Cell{attemptCell("b", "1", 0.30000000000000004), attemptCell("b", "2", 0.1)}
	candidate = []Cell{attemptCell("c", "1", 0.3), attemptCell("c", "2", 0.1)}
	got = Compare(baseline, candidate, o)
	one, zero := 1.0, 0.0
	same(t, "p", got.PValue, &one, 0)
	sameBounds(t, "no difference", got.Interval, &zero, &zero, 0)
	sameCount(t, "ties", got.Ties, 2)
}
