package stats

import (
	"math"
	"slices"
)

// The days that ExpectedBand needs, and the runs of each.
const (
	bandDays = 5
	bandRuns = 5
)

// A Day is the mean of the runs of a day.
type Day struct {
	Runs int64
	Mean float64
}

// ExpectedBand is where the mean of the next day is expected, in the unit of the means:
// the prediction interval of one more observation, mean ± t·s·√(1+1/n), with n-1 degrees of
// freedom, over the n days with at least 5 runs (like the boundary of Bencher's t-test). It
// is undefined with fewer than 5 such days. Days mix sets of scenarios, so a day outside of
// its band is a reason to look, and Compare decides.
func ExpectedBand(days []Day, level float64) Interval {
	var means []float64
	for _, d := range days {
		if d.Runs >= bandRuns {
			means = append(means, d.Mean)
		}
	}
	if len(means) < bandDays {
		return Interval{}
	}
	slices.Sort(means)
	mean, se, n := estimate(means, indexes(len(means)))
	half := tOf(level, n-1) * se * math.Sqrt(float64(n+1)) // se is s/√n
	return interval(mean-half, mean+half)
}
