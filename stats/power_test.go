package stats

import (
	"fmt"
	"math"
	"testing"
)

func TestPower(t *testing.T) {
	t.Parallel()
	for i, c := range golden[struct {
		Cases []struct {
			Kind                                 string
			Alpha, Power, Difference, Discordant float64
			BetweenVariance                      float64
			BaselineVariance, CandidateVariance  float64
			BaselineAttempts, CandidateAttempts  float64
			Effect                               float64
			Expected                             struct {
				Raw, MDEAt198, N, PowerAt50 *float64
				Scenarios                   float64
				ExactPower                  *struct{ MidP *float64 }
			}
		}
	}](t, "power").Cases {
		e, name := c.Expected, fmt.Sprint(i, " ", c.Kind)
		switch c.Kind {
		case "pairedProportions":
			raw := ScenariosForProportions(c.Difference, c.Discordant, c.Alpha, c.Power)
			same(t, name, raw, e.Raw, 1e-9)
			if math.Ceil(*raw) != e.Scenarios {
				t.Errorf("%s: %v scenarios, want %v", name, math.Ceil(*raw), e.Scenarios)
			}
			same(t, name+", solved", DetectableProportions(*raw, c.Discordant, c.Alpha, c.Power), &c.Difference, 1e-9)
			if e.ExactPower != nil {
				power := exactPower(int64(e.Scenarios), c.Discordant, c.Difference, c.Alpha)
				same(t, name+", exact power", &power, e.ExactPower.MidP, 1e-9)
			}
		case "pairedMeans":
			v := Variances{c.BetweenVariance, c.BaselineVariance, c.CandidateVariance, c.BaselineAttempts, c.CandidateAttempts}
			raw := ScenariosForMeans(c.Difference, v, c.Alpha, c.Power)
			same(t, name, raw, e.Raw, 1e-9)
			if math.Ceil(*raw) != e.Scenarios {
				t.Errorf("%s: %v scenarios, want %v", name, math.Ceil(*raw), e.Scenarios)
			}
			same(t, name+", detectable", DetectableMeans(198, v, c.Alpha, c.Power), e.MDEAt198, 1e-9)
		case "pairedT":
			same(t, name, ScenariosByT(c.Effect, c.Alpha, c.Power), e.N, 1e-8) // scipy's quantile of t
			same(t, name+", power", PowerByT(50, c.Effect, c.Alpha), e.PowerAt50, 1e-8)
		default:
			t.Errorf("%s: not tested", name)
		}
	}
	same(t, "more than differs", ScenariosForProportions(0.2, 0.1, 0.05, 0.8), nil, 0)
	same(t, "no difference", ScenariosForProportions(0, 0.1, 0.05, 0.8), nil, 0)
	same(t, "no difference", ScenariosForMeans(0, Variances{1, 0, 0, 1, 1}, 0.05, 0.8), nil, 0)
	same(t, "no effect", ScenariosByT(0, 0.05, 0.8), nil, 0)
	same(t, "one scenario", PowerByT(1, 1, 0.05), nil, 0)
	for _, scenarios := range []float64{2, 3, 10, 1e6} {
		for _, alpha := range []float64{0.001, 0.05, 0.5} {
			same(t, "power without an effect", PowerByT(scenarios, 0, alpha), &alpha, 1e-9)
		}
	}
	same(t, "too few scenarios", DetectableProportions(2, 0.1, 0.05, 0.8), nil, 0)
}

// exactPower is the probability that McNemar rejects, over the numbers of discordant
// scenarios and of those that the candidate wins.
func exactPower(n int64, discordant, difference, alpha float64) float64 {
	choose := func(n, k int64, p float64) float64 {
		a, _ := math.Lgamma(float64(n + 1))
		b, _ := math.Lgamma(float64(k + 1))
		c, _ := math.Lgamma(float64(n - k + 1))
		if p == 1 {
			return float64(boolToInt(n == k))
		}
		return math.Exp(a - b - c + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
	}
	wins := (discordant + difference) / 2 / discordant
	power := 0.0
	for m := range n + 1 {
		weight := choose(n, m, discordant)
		for k := range m + 1 {
			if McNemar(PairedTable{OnlyCandidate: k, OnlyBaseline: m - k}) < alpha {
				power += weight * choose(m, k, wins)
			}
		}
	}
	return power
}

func TestEstimatePower(t *testing.T) {
	t.Parallel()
	// Item means 0.5, 1, 0, 0.5 and 1, 0.5, 0, 0.5: differences 0.5, -0.5, 0, 0, variance 1/6.
	// Within: 0.5·2 of 4 degrees of freedom for each side, so 1/4 and 1/8 of the mean of two.
	baseline := []Cell{attemptCell("a", "1", 0, 1), attemptCell("a", "2", 1, 1), attemptCell("a", "3", 0, 0), attemptCell("a", "4", 0, 1)}
	candidate := []Cell{attemptCell("b", "1", 1, 1), attemptCell("b", "2", 0, 1), attemptCell("b", "3", 0, 0), attemptCell("b", "4", 1, 0)}
	e := EstimatePower(baseline, candidate, success)
	zero, quarter := 0.0, 0.25
	same(t, "baseline", e.Baseline, &quarter, 1e-12)
	same(t, "candidate", e.Candidate, &quarter, 1e-12)
	same(t, "between", e.Between, &zero, 1e-12)
	same(t, "discordant", e.Discordant, nil, 0)

	single := []Cell{attemptCell("c", "1", 0), attemptCell("c", "2", 1), attemptCell("c", "3", 0), attemptCell("c", "4", 0)}
	other := []Cell{attemptCell("d", "1", 1), attemptCell("d", "2", 0), attemptCell("d", "3", 0), attemptCell("d", "4", 0)}
	e = EstimatePower(single, other, success)
	half, variance := 0.5, 2./3
	same(t, "baseline", e.Baseline, nil, 0)
	same(t, "between", e.Between, &variance, 1e-12)
	same(t, "discordant", e.Discordant, &half, 1e-12)

	// A variance that no double holds: the others cannot make up for it.
	far := []Cell{attemptCell("f", "1", 0, 0), attemptCell("f", "2", 0, 0)}
	far[0].Attempts.TotalScore.SD = 1e200
	near := []Cell{attemptCell("n", "1", 0, 1), attemptCell("n", "2", 0, 1)}
	e = EstimatePower(far, near, Scope{Metric: MetricTotalScore, Level: 0.95})
	same(t, "between", e.Between, nil, 0)
	same(t, "baseline", e.Baseline, nil, 0)
	same(t, "candidate", e.Candidate, &half, 1e-12)
}
