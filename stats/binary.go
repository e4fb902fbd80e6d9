package stats

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// A PairedTable counts scenarios by who solved them, with one attempt a side.
type PairedTable struct{ Both, OnlyCandidate, OnlyBaseline, Neither int64 }

// McNemar is the two-sided mid-p value of McNemar's test: twice the probability of at most
// the smaller number of discordant scenarios under a fair coin, less the probability of
// exactly that number (Fagerland, Lydersen and Laake 2013, BMC Med Res Methodol 13:91). It
// is 1 without discordant scenarios. Golden: mcnemar.json.
func McNemar(t PairedTable) float64 {
	n, k := t.OnlyCandidate+t.OnlyBaseline, min(t.OnlyCandidate, t.OnlyBaseline)
	switch {
	case n == 0:
		return 1
	case 2*k == n:
		return 1 - binomialPMF(k, n)/2
	default:
		return min(1, max(0, 2*binomialCDF(k, n)-binomialPMF(k, n)))
	}
}

// Newcombe is the interval of the difference of two paired proportions, candidate minus
// baseline (method 10 of Newcombe 1998, Stat Med 17:2635). It has a width even if the two
// never differ; it is undefined without scenarios. Golden: mcnemar.json.
func Newcombe(t PairedTable, level float64) Interval {
	a, b, c, d := float64(t.Both), float64(t.OnlyCandidate), float64(t.OnlyBaseline), float64(t.Neither)
	n, z := a+b+c+d, zOf(level)
	candidate, baseline := (a+b)/n, (a+c)/n
	candidateLow, candidateHigh := wilsonBounds(candidate, n, z)
	baselineLow, baselineHigh := wilsonBounds(baseline, n, z)

	phi := 0.0
	if margins := math.Sqrt((a+b)*(c+d)) * math.Sqrt((a+c)*(b+d)); margins > 0 {
		phi = a*d - b*c
		if phi > 0 {
			phi = max(phi-n/2, 0)
		}
		phi /= margins
	}
	// The distance of two bounds that are correlated by phi; the same for x and y swapped.
	distance := func(x, y float64) float64 { return math.Sqrt(max(0, x*x+y*y-2*phi*(x*y))) }
	difference := (b - c) / n
	return clamped(
		difference-distance(candidate-candidateLow, baselineHigh-baseline),
		difference+distance(candidateHigh-candidate, baseline-baselineLow), -1, 1)
}

// EValue is the evidence against equality that may be looked at any time, also while runs come
// in: 2^n B(b+1, c+1), the likelihood ratio of a uniform prior on the share of discordant
// scenarios that the candidate won, against one half. It is a martingale under the null
// hypothesis, so it reaches 1/alpha with probability alpha at most (Ville 1939; Robbins 1970). It
// is 1 without discordant scenarios, and the largest double if it is larger. Golden:
// mcnemar.json.
func EValue(t PairedTable) float64 {
	return min(math.Exp(logEValue(t)), math.MaxFloat64)
}

// AnytimePValue is the p-value that belongs to EValue: min(1, 1/e). Golden: mcnemar.json.
func AnytimePValue(t PairedTable) float64 {
	return min(1, math.Exp(-logEValue(t)))
}

func logEValue(t PairedTable) float64 {
	b, c := float64(t.OnlyCandidate), float64(t.OnlyBaseline)
	return (b+c)*math.Ln2 + mathext.Lbeta(b+1, c+1)
}
