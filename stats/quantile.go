package stats

import (
	"cmp"
	"math"
	"slices"
)

// Quantile is the q-quantile (0 to 1) of the values, in their unit: type 7 of Hyndman and
// Fan (1996), like percentile_cont of PostgreSQL and the default of numpy and R. It is nil
// without values. Golden: percentiles.json.
func Quantile(values []float64, q float64) *float64 {
	return nullable(sortedQuantile(slices.Sorted(slices.Values(values)), q))
}

func sortedQuantile(sorted []float64, q float64) float64 {
	return orderQuantile(int64(len(sorted)), q, func(i int64) float64 { return sorted[i] })
}

// orderQuantile interpolates between the two order statistics around the quantile.
func orderQuantile(n int64, q float64, at func(int64) float64) float64 {
	if n == 0 || !(q >= 0 && q <= 1) {
		return math.NaN()
	}
	position := q * float64(n-1)
	i := min(int64(position), n-1)
	low, high := at(i), at(min(i+1, n-1))
	if low == high {
		return low
	}
	share := position - float64(i)
	return low*(1-share) + high*share // high - low can overflow
}

// InterquartileMean is the mean of the middle half: floor(n/4) values are cut from each end
// (Agarwal et al. 2021, arXiv 2108.13264). It is nil without values. Golden: iqm.json.
func InterquartileMean(values []float64) *float64 {
	sorted := slices.Sorted(slices.Values(values))
	cut := len(sorted) / 4
	return nullable(meanOf(sorted[cut : len(sorted)-cut]))
}

// A Weighted value has a weight of 0 or more.
type Weighted struct{ Value, Weight float64 }

// WeightedMean is the mean of the values, and Kish's (1965) effective sample size,
// (Σw)²/Σw². Both are nil if the weights add up to 0. Golden: weighted_mean.json.
func WeightedMean(values []Weighted) (mean, effectiveN *float64) {
	sorted := slices.SortedFunc(slices.Values(values), func(a, b Weighted) int {
		return cmp.Or(cmp.Compare(a.Value, b.Value), cmp.Compare(a.Weight, b.Weight))
	})
	largest := 0.0
	for _, v := range sorted {
		largest = max(largest, v.Weight)
	}
	sum, squares := 0.0, 0.0
	for _, v := range sorted {
		weight := v.Weight / largest
		sum += weight
		squares += weight * weight
	}
	weighted := 0.0
	for _, v := range sorted {
		weighted += v.Weight / largest / sum * v.Value
	}
	return nullable(weighted), nullable(sum * sum / squares)
}

// binWidth is the ratio of the bounds of a bin of durations.
const binWidth = 1.02

// A DurationBin counts the runs of nearly one duration: Bin is DurationBinOf its
// milliseconds.
type DurationBin struct {
	Bin  int
	Runs int64
}

// DurationBinOf is the bin of a duration in milliseconds: round(ln(ms) / ln(1.02)), and -1
// for 0 ms.
func DurationBinOf(ms int64) int {
	if ms <= 0 {
		return -1
	}
	return int(math.Round(math.Log(float64(ms)) / math.Log(binWidth)))
}

// DurationQuantile is the q-quantile in milliseconds of durations that are counted in bins:
// Quantile, with each duration replaced by the middle of its bin, so within 1.1 %. It is nil
// without runs. A bin may come more than once.
func DurationQuantile(bins []DurationBin, q float64) *float64 {
	sorted := slices.Clone(bins)
	slices.SortFunc(sorted, func(a, b DurationBin) int { return cmp.Compare(a.Bin, b.Bin) })
	runs := int64(0)
	for _, b := range sorted {
		runs += b.Runs
	}
	return nullable(orderQuantile(runs, q, func(i int64) float64 {
		for _, b := range sorted {
			if i < b.Runs {
				return b.milliseconds()
			}
			i -= b.Runs
		}
		return math.NaN()
	}))
}

// milliseconds is the middle of the bin.
func (b DurationBin) milliseconds() float64 {
	if b.Bin < 0 {
		return 0
	}
	return math.Pow(binWidth, float64(b.Bin))
}
