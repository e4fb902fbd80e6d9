package stats

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/mathext"
)

// Of Bootstrap.
const (
	bootstrapResamples = 10_000
	bootstrapScenarios = 10
	// bootstrapMost is how many scenarios take about a second.
	bootstrapMost = 5000
)

// Bootstrap is the BCa interval of the mean of the values, in their unit, from 10,000
// resamples of scenarios (bias-corrected and accelerated; Efron 1987, JASA 82:171). The seed
// is derived from the values, so the same data always give the same interval, and negated
// data the negated one. It is undefined above 5,000 scenarios, where it would
// take seconds and differs little from Mean, and with fewer than 10: with few it is too narrow
// (about 86 % instead of 95 % at 10, 92 % at 20); prefer Mean. Golden: bootstrap.json.
func Bootstrap(values []Value, level float64) Interval {
	xs, clusters := byScenario(values)
	low, high := bootstrap(xs, clusters, level)
	return interval(low, high)
}

// A clusterSum is what a scenario adds to a mean.
type clusterSum struct{ sum, n float64 }

func totalOf(sums []clusterSum) clusterSum {
	var total clusterSum
	for _, s := range sums {
		total.sum += s.sum
		total.n += s.n
	}
	return total
}

func bootstrap(values []float64, clusters []int, level float64) (low, high float64) {
	mean, se, scenarios := estimate(values, clusters)
	switch {
	case scenarios < bootstrapScenarios, scenarios > bootstrapMost:
		return math.NaN(), math.NaN()
	case se == 0:
		return mean, mean
	case mean < 0:
		negated := make([]float64, len(values))
		for i, x := range values {
			negated[i] = -x
		}
		low, high = bootstrap(negated, clusters, level)
		return -high, -low
	}
	scale := scaleFor(largestOf(values))
	sums := make([]clusterSum, 0, scenarios)
	for i, x := range values {
		if i == 0 || clusters[i] != clusters[i-1] {
			sums = append(sums, clusterSum{})
		}
		last := &sums[len(sums)-1]
		last.sum += x / scale
		last.n++
	}
	slices.SortFunc(sums, func(a, b clusterSum) int { return cmp.Or(cmp.Compare(a.sum, b.sum), cmp.Compare(a.n, b.n)) })

	random := seeded(sums)
	means := make([]float64, bootstrapResamples)
	for i := range means {
		var total clusterSum
		for range sums {
			drawn := sums[random.IntN(len(sums))]
			total.sum += drawn.sum
			total.n += drawn.n
		}
		means[i] = total.sum / total.n
	}
	slices.Sort(means)
	low, high = bca(sums, means, level)
	return low * scale, high * scale
}

// seeded is PCG seeded by the FNV-1a hash of the data.
func seeded(sums []clusterSum) *rand.Rand {
	hash := fnv.New128a()
	var bits []byte
	for _, s := range sums {
		bits = binary.LittleEndian.AppendUint64(bits[:0], math.Float64bits(s.sum))
		bits = binary.LittleEndian.AppendUint64(bits, math.Float64bits(s.n))
		hash.Write(bits)
	}
	seed := hash.Sum(nil)
	return rand.New(rand.NewPCG(binary.BigEndian.Uint64(seed), binary.BigEndian.Uint64(seed[8:]))) //nolint:gosec // no secrets: it has to repeat
}

// bca takes the interval from the sorted means of the resamples.
func bca(sums []clusterSum, means []float64, level float64) (low, high float64) {
	bias, acceleration := bcaBias(sums, means), bcaAcceleration(sums)
	z := zOf(level)
	at := func(z float64) float64 {
		return sortedQuantile(means, bcaLevel(bias, acceleration, z))
	}
	return at(-z), at(z)
}

// bcaLevel is the level of the bootstrap distribution for a bound at z.
func bcaLevel(bias, acceleration, z float64) float64 {
	return normalCDF(bias + (bias+z)/(1-acceleration*(bias+z)))
}

// bcaBias is the normal quantile of the share of the resamples below the mean, ties half.
func bcaBias(sums []clusterSum, means []float64) float64 {
	total, largest := totalOf(sums), 0.0
	for _, s := range sums {
		largest = max(largest, math.Abs(s.sum/s.n))
	}
	mean := total.sum / total.n
	// The same values in another order add up to nearly the same mean.
	below, _ := slices.BinarySearch(means, mean-negligible*largest)
	upTo, _ := slices.BinarySearch(means, mean+negligible*largest)
	return mathext.NormalQuantile(float64(below+upTo) / 2 / float64(len(means)))
}

// bcaAcceleration is the skewness of the jackknife: leave out one scenario at a time.
func bcaAcceleration(sums []clusterSum) float64 {
	total := totalOf(sums)
	left := make([]float64, len(sums))
	center := 0.0
	for i, s := range sums {
		left[i] = (total.sum - s.sum) / (total.n - s.n)
		center += left[i] / float64(len(sums))
	}
	squares, cubes := 0.0, 0.0
	for _, x := range left {
		d := center - x
		squares += d * d
		cubes += d * d * d
	}
	if squares == 0 {
		return 0
	}
	return cubes / (6 * math.Pow(squares, 1.5))
}
