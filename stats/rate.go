package stats

import "math"

// Wilson is the score interval of a proportion, without continuity correction (Wilson
// 1927; method 3 of Newcombe 1998, Stat Med 17:857). 0 of n begins at exactly 0, n of n ends
// at exactly 1; n = 0 has no interval. Golden: wilson.json.
func Wilson(successes, n int64, level float64) Interval {
	return wilson(float64(successes)/float64(n), float64(n), zOf(level))
}

// wilson takes numbers of attempts that are no integers, for effective sample sizes.
func wilson(p, n, z float64) Interval {
	low, high := wilsonBounds(p, n, z)
	return interval(low, high)
}

func wilsonBounds(p, n, z float64) (low, high float64) {
	if !(n > 0) || math.IsNaN(p) {
		return math.NaN(), math.NaN()
	}
	zz := z * z / n
	center := p + zz/2
	half := z * math.Sqrt(p*(1-p)/n+zz/(4*n))
	low, high = max((center-half)/(1+zz), 0), min((center+half)/(1+zz), 1)
	if p == 0 {
		low = 0
	}
	if p == 1 {
		high = 1
	}
	return low, high
}

// A RateEstimate is a success rate over scenarios, between 0 and 1. Rate and its bounds
// are nil without values; SE is nil with fewer than two scenarios.
type RateEstimate struct {
	Rate, SE *float64
	// EffectiveN is the number of independent attempts that would be as informative.
	EffectiveN *float64
	Interval
}

// Rate is the mean of the items' success rates, with Wilson's interval at the effective
// sample size n* = min(p(1-p)/SE² · (z/t)², attempts), where SE is that of Mean and t has C-1
// degrees of freedom for C scenarios (in the manner of Korn and Graubard 1998). Without
// spread n* is C, with one scenario 1. With one attempt a scenario this is Wilson's interval,
// widened by t. attempts is the number of attempts behind all values. Golden:
// macro_mean.json.
func Rate(values []Value, attempts int64, level float64) RateEstimate {
	xs, clusters := byScenario(values)
	return rate(xs, clusters, attempts, level)
}

func rate(values []float64, clusters []int, attempts int64, level float64) RateEstimate {
	p, se, scenarios := estimate(values, clusters)
	if scenarios == 0 {
		return RateEstimate{}
	}
	z := zOf(level)
	n := float64(scenarios)
	if se > 0 {
		ratio := z / tOf(level, scenarios-1)
		n = min(p*(1-p)/(se*se)*ratio*ratio, float64(attempts))
	}
	return RateEstimate{nullable(p), nullable(se), nullable(n), wilson(p, n, z)}
}
