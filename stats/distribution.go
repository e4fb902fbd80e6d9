package stats

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// These few lines stand in for gonum's stat/distuv, which brings BLAS, LAPACK and a solver
// for linear programs into the binary.

// zOf is the standard normal quantile of the upper end of a two-sided interval.
func zOf(level float64) float64 {
	return mathext.NormalQuantile(0.5 + level/2)
}

// normalCDF is the probability of at most x under the standard normal distribution.
func normalCDF(x float64) float64 {
	return math.Erfc(-x/math.Sqrt2) / 2
}

// tOf is the quantile of Student's t for the upper end of a two-sided interval; NaN
// without degrees of freedom.
func tOf(level float64, df int) float64 {
	if df < 1 {
		return math.NaN()
	}
	return tQuantile(level, float64(df))
}

func tQuantile(level, df float64) float64 {
	x := mathext.InvRegIncBeta(df/2, 0.5, 1-level)
	return math.Sqrt(df * (1 - x) / x)
}

// tTest is the two-sided p-value of Student's t.
func tTest(t float64, df int) float64 {
	if df < 1 || math.IsNaN(t) {
		return math.NaN()
	}
	n := float64(df)
	return mathext.RegIncBeta(n/2, 0.5, n/(n+t*t))
}

// binomialCDF is the probability of at most k heads in n tosses of a fair coin.
func binomialCDF(k, n int64) float64 {
	if k >= n {
		return 1
	}
	return mathext.RegIncBeta(float64(n-k), float64(k+1), 0.5)
}

// binomialPMF is the probability of exactly k heads in n tosses of a fair coin.
func binomialPMF(k, n int64) float64 {
	// C(n,k) = 1 / ((n+1) B(k+1, n-k+1))
	return math.Exp(-float64(n)*math.Ln2-mathext.Lbeta(float64(k+1), float64(n-k+1))) / float64(n+1)
}
