package stats

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// detectable is the number of standard errors that a difference must have to be found
// with the power by a two-sided test at alpha.
func detectable(alpha, power float64) float64 {
	return zOf(1-alpha) + mathext.NormalQuantile(power)
}

// ScenariosForProportions is the number of scenarios, to be rounded up, at which McNemar's test
// at alpha finds a difference of success rates with the power, with one attempt a side: ((z_α√ψ +
// z_β√(ψ-δ²))/δ)², where the two differ on the share discordant (ψ) of the scenarios (Connor
// 1987, Biometrics 43:207). All are between 0 and 1. It is nil without a difference, or if that
// is larger than discordant, which cannot be. Golden: power.json.
func ScenariosForProportions(difference, discordant, alpha, power float64) *float64 {
	if math.Abs(difference) > discordant {
		return nil
	}
	root := (zOf(1-alpha)*math.Sqrt(discordant) +
		mathext.NormalQuantile(power)*math.Sqrt(discordant-difference*difference)) / difference
	return nullable(root * root)
}

// DetectableProportions is the smallest difference that ScenariosForProportions finds
// within so many scenarios; nil if there is none up to discordant.
func DetectableProportions(scenarios, discordant, alpha, power float64) *float64 {
	// The formula, solved for the difference: (n + z_β²)δ² - 2z_α√(ψn)δ + (z_α² - z_β²)ψ = 0.
	a, b := zOf(1-alpha), mathext.NormalQuantile(power)
	half := a * math.Sqrt(discordant*scenarios)
	difference := (half + math.Sqrt(half*half-(scenarios+b*b)*(a*a-b*b)*discordant)) / (scenarios + b*b)
	if difference > discordant {
		return nil
	}
	return nullable(difference)
}

// Variances of a comparison of means, in the square of the unit of the metric.
type Variances struct {
	// Between is that of the true differences between scenarios, Baseline and Candidate those
	// of the attempts at a scenario.
	Between, Baseline, Candidate float64
	// BaselineAttempts and CandidateAttempts are planned for each scenario, at least 1.
	BaselineAttempts, CandidateAttempts float64
}

// perScenario is the variance of the difference of a scenario's means.
func (v Variances) perScenario() float64 {
	return v.Between + v.Baseline/v.BaselineAttempts + v.Candidate/v.CandidateAttempts
}

// ScenariosForMeans is the number of scenarios, to be rounded up, at which a paired comparison at
// alpha finds a difference of means with the power: (z_α + z_β)²(ω² + σ_A²/K_A + σ_B²/K_B)/δ²
// (Miller 2024, arXiv 2411.00640). It is nil without a difference. It is about two too low, since
// the test is by t: see ScenariosByT. Golden: power.json.
func ScenariosForMeans(difference float64, v Variances, alpha, power float64) *float64 {
	root := detectable(alpha, power) / difference
	return nullable(root * root * v.perScenario())
}

// DetectableMeans is the smallest difference that ScenariosForMeans finds within so many
// scenarios. Golden: power.json.
func DetectableMeans(scenarios float64, v Variances, alpha, power float64) *float64 {
	return nullable(detectable(alpha, power) * math.Sqrt(v.perScenario()/scenarios))
}

// PowerByT is the power of the paired t test over so many scenarios, at least 2, for a
// difference of effect standard deviations of the scenarios' differences: exact, from the
// noncentral t distribution. Golden: power.json.
func PowerByT(scenarios, effect, alpha float64) *float64 {
	df := scenarios - 1
	if !(df >= 1) {
		return nil
	}
	critical, shift := tQuantile(1-alpha, df), math.Abs(effect)*math.Sqrt(scenarios)
	// T is (Z + shift)/S, where S² is chi-squared over df. The trapezoidal rule over u = ln S,
	// whose density is proportional to exp(df·(u - (e^2u - 1)/2)), from tail to tail.
	const steps = 1000
	low, high := -math.Sqrt(37/df)-37/df, math.Sqrt(37/df)
	rejected, all := 0.0, 0.0
	for i := range steps {
		u := low + (high-low)*float64(i)/steps
		weight, s := math.Exp(df*(u-math.Expm1(2*u)/2)), math.Exp(u)
		all += weight
		rejected += weight * (normalCDF(shift-critical*s) + normalCDF(-shift-critical*s))
	}
	return nullable(rejected / all)
}

// ScenariosByT is the number of scenarios, to be rounded up, at which PowerByT is power.
// It is nil without an effect, and above a billion. Golden: power.json.
func ScenariosByT(effect, alpha, power float64) *float64 {
	low, high := 2.0, 1e9
	if !(*PowerByT(high, effect, alpha) >= power) {
		return nil
	}
	for range 100 { // halvings leave neighboring doubles
		middle := low + (high-low)/2
		if *PowerByT(middle, effect, alpha) < power {
			low = middle
		} else {
			high = middle
		}
	}
	return &high
}

// A PowerEstimate is what two entries tell about the power of a comparison like theirs.
type PowerEstimate struct {
	SharedItems int
	// Between, Baseline and Candidate are variances as in Variances; nil with fewer than two
	// shared items, and where one is too large for a double (then Between is nil, too). Without repeated attempts a side's variance is nil, and Between includes it:
	// plan with 0 and the same number of attempts.
	Between, Baseline, Candidate *float64
	// Discordant is the share of the shared items on which the two differ, if each has one
	// attempt; else nil.
	Discordant *float64
}

// EstimatePower estimates the variances from two entries: those of attempts by one-way
// analysis of variance, and between from the variance of the differences of item means less
// what the attempts explain, 0 if that is negative.
func EstimatePower(baseline, candidate []Cell, o Scope) PowerEstimate {
	s := share(tabulate(baseline, bySide), tabulate(candidate, bySide), o)
	e := PowerEstimate{SharedItems: s.SharedItems}
	if s.SharedItems < 2 {
		return e
	}
	t := s.pairs.run(s.size())
	within := func(samples []Sample) (variance, perMean float64) {
		a := oneWay([][]Sample{samples})
		variance = a.within * a.scale * a.scale
		if math.IsNaN(variance) {
			return variance, 0
		}
		for _, x := range samples {
			perMean += variance / float64(x.N) / float64(len(samples))
		}
		return variance, perMean
	}
	varianceB, meanB := within(s.baseline)
	varianceC, meanC := within(s.candidate)
	_, se, _ := estimate(s.pairs.differences, indexes(len(s.pairs.differences)))
	se *= t.scale
	e.Baseline, e.Candidate = nullable(varianceB), nullable(varianceC)
	if between := nullable(se*se*float64(s.SharedItems) - meanB - meanC); between != nil {
		e.Between = nullable(max(0, *between))
	}
	if t.test == TestMcNemar {
		e.Discordant = nullable(float64(t.wins+t.losses) / float64(s.SharedItems))
	}
	return e
}
