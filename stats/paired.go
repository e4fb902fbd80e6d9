package stats

import "math"

// A Test is how a p-value was computed.
type Test string

// The tests of Compare.
const (
	TestNone    Test = ""
	TestMcNemar Test = "mcnemar-mid-p"
	TestPairedT Test = "paired-t"
	// TestSign is the exact sign test, 2^(1-n), for n scenarios that all differ by the same.
	// Without any difference p is 1.
	TestSign Test = "sign"
)

// pairs holds the means of two sides over the items that they share, sorted by cluster.
type pairs struct {
	baseline, candidate []float64
	clusters            []int
	// binary: each side has exactly one attempt at each item, and the values are 0 and 1.
	binary bool
	// differences, divided by the scale of the test, are set by it.
	differences []float64
}

func (p *pairs) reset() {
	p.baseline, p.candidate, p.clusters = p.baseline[:0], p.candidate[:0], p.clusters[:0]
	p.binary = true
}

func (p *pairs) add(baseline, candidate float64, cluster int, binary bool) {
	if n := len(p.clusters); n > 0 && p.clusters[n-1] == cluster {
		binary = false // tiers of a scenario are not independent
	}
	p.baseline = append(p.baseline, baseline)
	p.candidate = append(p.candidate, candidate)
	p.clusters = append(p.clusters, cluster)
	p.binary = p.binary && binary
}

// A pairedTest has the figures of a paired comparison; undefined ones are NaN.
type pairedTest struct {
	difference, se, p  float64
	test               Test
	scenarios          int
	wins, losses, ties int
	scale              float64 // of pairs.differences
}

// run tests whether candidate and baseline, whose values are up to size, differ: by McNemar if
// the outcomes are binary, else by Student's paired t over scenarios, or the sign test if the
// differences have no spread.
func (p *pairs) run(size float64) pairedTest {
	t := pairedTest{p: math.NaN(), scale: scaleFor(size)}
	unit := 1 / t.scale
	size *= unit
	rounding := negligible * size
	p.differences = p.differences[:0]
	for i, b := range p.baseline {
		d := p.candidate[i]*unit - b*unit // without unit it can overflow
		t.wins += boolToInt(d > rounding)
		t.losses += boolToInt(d < -rounding)
		p.differences = append(p.differences, d)
	}
	t.ties = len(p.differences) - t.wins - t.losses
	t.difference, t.se, t.scenarios = estimateWithin(p.differences, p.clusters, size)
	if t.se == 0 && math.Abs(t.difference) <= rounding {
		t.difference = 0
	}
	switch {
	case t.scenarios == 0:
	case p.binary:
		t.test, t.p = TestMcNemar, McNemar(PairedTable{OnlyCandidate: int64(t.wins), OnlyBaseline: int64(t.losses)})
	case t.scenarios == 1:
	case t.se > 0:
		t.test, t.p = TestPairedT, tTest(t.difference/t.se, t.scenarios-1)
	case t.difference == 0:
		t.test, t.p = TestSign, 1
	default:
		t.test, t.p = TestSign, math.Ldexp(1, 1-t.scenarios)
	}
	t.difference *= t.scale
	t.se *= t.scale
	return t
}

// interval is the interval of the difference that belongs to the test.
func (p *pairs) interval(t pairedTest, level float64) Interval {
	switch t.test {
	case TestMcNemar:
		return Newcombe(p.table(), level)
	case TestPairedT:
		half := margin(t.se, level, t.scenarios)
		return interval(t.difference-half, t.difference+half)
	case TestSign:
		if t.difference == 0 {
			return interval(0, 0)
		}
	case TestNone:
	}
	return Interval{}
}

// table counts binary outcomes.
func (p *pairs) table() PairedTable {
	var t PairedTable
	for i, b := range p.baseline {
		switch c := p.candidate[i]; {
		case b == 1 && c == 1:
			t.Both++
		case c == 1:
			t.OnlyCandidate++
		case b == 1:
			t.OnlyBaseline++
		default:
			t.Neither++
		}
	}
	return t
}

// correlation is Pearson's; NaN if either side has no spread.
func correlation(x, y []float64) float64 {
	if len(x) < 2 {
		return math.NaN()
	}
	dx, dy := deviations(x), deviations(y)
	xx, yy, xy := 0.0, 0.0, 0.0
	for i := range dx {
		xx += dx[i] * dx[i]
		yy += dy[i] * dy[i]
		xy += dx[i] * dy[i]
	}
	if xx == 0 || yy == 0 {
		return math.NaN()
	}
	return max(-1, min(1, xy/(math.Sqrt(xx)*math.Sqrt(yy))))
}

// deviations from the mean, as shares of the largest value; all 0 if they are negligible.
func deviations(values []float64) []float64 {
	size := largestOf(values)
	scale := scaleFor(size)
	mean, largest := meanOf(values)/scale, 0.0
	out := make([]float64, len(values))
	for i, x := range values {
		out[i] = x/scale - mean
		largest = max(largest, math.Abs(out[i]))
	}
	if largest <= negligible*size/scale {
		clear(out)
	}
	return out
}
