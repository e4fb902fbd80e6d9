// Package stats estimates rates, means, differences and ranks from the results of
// benchmark runs. All functions are pure: no database, no HTTP, no I/O.
//
// The unit of evidence is the scenario. Attempts at an item (a scenario at a tier) are
// averaged first, then the items are; standard errors are clustered by scenario, so that
// several tiers of a scenario do not count as independent.
//
// Conventions:
//
//   - level is the confidence level of an interval, such as 0.95; alpha is 1 - level.
//   - A figure that can be undefined is a *float64, and nil if it is. No figure is ever NaN
//     or infinite, whatever the input.
//   - The order of the input changes no figure, not even by a rounding.
//
// The tests hold every function against testdata/golden, which was computed with numpy,
// scipy, statsmodels and exact rationals, and compared with R.
package stats

import "math"

// An Interval is a confidence interval. Both bounds are nil if it is undefined.
type Interval struct{ Low, High *float64 }

// interval is nil on both sides unless both bounds are finite.
func interval(low, high float64) Interval {
	if !finite(low) || !finite(high) {
		return Interval{}
	}
	return Interval{nullable(low), nullable(high)}
}

// clamped is the interval within [lowest, highest].
func clamped(low, high, lowest, highest float64) Interval {
	return interval(max(low, lowest), min(high, highest))
}

// nullable is nil for NaN, by which undefined figures are passed on inside this package,
// and for what is too large for a double.
func nullable(x float64) *float64 {
	if !finite(x) {
		return nil
	}
	x += 0 // no negative zero, which is equal to zero but has another text
	return &x
}

func finite(x float64) bool {
	return !math.IsNaN(x) && !math.IsInf(x, 0)
}
