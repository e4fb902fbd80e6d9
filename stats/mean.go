package stats

import (
	"cmp"
	"math"
	"slices"
)

// negligible is the relative difference below which two figures are taken for equal: they
// differ by the rounding of what they were computed from.
const negligible = 1e-12

// A Value is one observation of a scenario.
type Value struct {
	Scenario string
	Value    float64
}

// A MeanEstimate is a mean, in the unit of the values. Mean is nil without values; SE, Low
// and High are nil with fewer than two scenarios.
type MeanEstimate struct {
	Mean, SE *float64
	Interval
	// Scenarios is the number of clusters; the t distribution has one degree of freedom less.
	Scenarios int
}

// Mean is the mean of the values, each with the same weight, its standard error clustered
// by scenario, and Student's t interval. For a mean over scenarios, give it one value for
// each item, the mean of its attempts.
//
// SE² = C/(C-1) · Σ_c (Σ_{i in c} (x_i - mean))² / n², as in statsmodels (cov_type
// "cluster") and Inspect; Miller (2024, arXiv 2411.00640) leaves out the factor C/(C-1).
// With one value a scenario this is sd/√C. Values that are all equal have SE 0 and an
// interval of one point. Golden: macro_mean.json, clustered_mean.json.
func Mean(values []Value, level float64) MeanEstimate {
	xs, clusters := byScenario(values)
	mean, se, scenarios := estimate(xs, clusters)
	margin := margin(se, level, scenarios)
	return MeanEstimate{nullable(mean), nullable(se), interval(mean-margin, mean+margin), scenarios}
}

// margin is half of the width of a t interval. Without spread it is 0.
func margin(se, level float64, scenarios int) float64 {
	return tOf(level, scenarios-1) * se
}

// byScenario sorts by scenario and value, and numbers the scenarios.
func byScenario(values []Value) (xs []float64, clusters []int) {
	sorted := slices.SortedFunc(slices.Values(values), func(a, b Value) int {
		return cmp.Or(cmp.Compare(a.Scenario, b.Scenario), cmp.Compare(a.Value, b.Value))
	})
	xs, clusters = make([]float64, len(values)), make([]int, len(values))
	for i, v := range sorted {
		xs[i] = v.Value
		if i > 0 {
			clusters[i] = clusters[i-1]
			if v.Scenario != sorted[i-1].Scenario {
				clusters[i]++
			}
		}
	}
	return xs, clusters
}

// estimate is Mean over values that are sorted by cluster. Undefined figures are NaN.
func estimate(values []float64, clusters []int) (mean, se float64, count int) {
	return estimateWithin(values, clusters, largestOf(values))
}

// estimateWithin is estimate for values that are figures up to size, or differences of
// such: a spread that is but a rounding of these is none.
func estimateWithin(values []float64, clusters []int, size float64) (mean, se float64, count int) {
	if len(values) == 0 {
		return math.NaN(), math.NaN(), 0
	}
	scale := scaleFor(size)
	unit := 1 / scale
	mean = scaledMean(values, unit)

	squares, sum := 0.0, 0.0
	count = 1
	for i, x := range values {
		if i > 0 && clusters[i] != clusters[i-1] {
			squares += sum * sum
			sum = 0
			count++
		}
		sum += x*unit - mean
	}
	squares += sum * sum
	switch root := math.Sqrt(squares); {
	case count == 1:
		se = math.NaN()
	case root > negligible*size*unit:
		se = root * math.Sqrt(float64(count)/float64(count-1)) / float64(len(values)) * scale
	}
	return mean * scale, se, count
}

// scaledMean is the mean of values times unit.
func scaledMean(values []float64, unit float64) float64 {
	low, high, sum := values[0], values[0], 0.0
	for _, x := range values {
		if x < low {
			low = x
		}
		if x > high {
			high = x
		}
		sum += x * unit
	}
	// The sum of equal values, divided, can miss them by a rounding.
	return min(max(sum/float64(len(values)), low*unit), high*unit)
}

// meanOf is the mean of values in their order; NaN without values.
func meanOf(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	scale := scaleFor(largestOf(values))
	return scaledMean(values, 1/scale) * scale
}

func largestOf(values []float64) float64 {
	largest := 0.0
	for _, x := range values {
		largest = max(largest, math.Abs(x))
	}
	return largest
}

func countClusters(clusters []int) int {
	count := 0
	for i, c := range clusters {
		count += boolToInt(i == 0 || c != clusters[i-1])
	}
	return count
}

// scaleFor is 1, or a power of two that brings values up to largest, divided by it, to
// where their squares neither overflow nor vanish. Its inverse is exact.
func scaleFor(largest float64) float64 {
	if largest > 0x1p-300 && largest < 0x1p300 {
		return 1
	}
	_, exponent := math.Frexp(largest)
	return math.Ldexp(1, max(-1000, min(1000, exponent)))
}

// repeatSE is the standard error of a rate or mean if the same items were attempted again: √(Σ
// s²/K) / I, where s² is the variance of the K attempts of one of I items. NaN if any item has
// fewer than two attempts. In contrast, the SE of Mean is about other scenarios like these.
func repeatSE(items []Sample) float64 {
	if len(items) == 0 {
		return math.NaN()
	}
	largest := 0.0
	for _, s := range items {
		if s.N < 2 {
			return math.NaN()
		}
		largest = max(largest, s.SD)
	}
	scale := scaleFor(largest)
	sum := 0.0
	for _, s := range items {
		sd := s.SD / scale // of the population: s² is n/(n-1) times its square
		sum += sd * sd / float64(s.N-1)
	}
	return math.Sqrt(sum) / float64(len(items)) * scale
}
