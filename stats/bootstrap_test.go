package stats

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"
)

func TestBootstrap(t *testing.T) {
	t.Parallel()
	for _, c := range golden[struct {
		Cases []struct {
			Name     string
			Values   []float64
			Level    float64
			Expected struct {
				Mean             *float64
				Resamples        int
				Z0, Acceleration *float64
				BCa, BCaLevels   []*float64
				Percentile       []*float64
				BCaMean          []float64
				BCaSDOver10Seeds []float64
			}
		}
	}](t, "bootstrap").Cases {
		e := c.Expected
		mean := fold(c.Values).Mean
		same(t, c.Name, &mean, e.Mean, 1e-9)
		if e.BCaMean != nil { // Monte Carlo
			scenarios := make([]string, len(c.Values))
			for i := range scenarios {
				scenarios[i] = fmt.Sprint(i)
			}
			got := Bootstrap(values(c.Values, scenarios), c.Level)
			for i, bound := range []*float64{got.Low, got.High} {
				if math.Abs(*bound-e.BCaMean[i]) > max(0.005, 5*e.BCaSDOver10Seeds[i]) {
					t.Errorf("%s: got %v, want about %v", c.Name, *bound, e.BCaMean[i])
				}
			}
			continue
		}
		sums := make([]clusterSum, len(c.Values))
		for i, x := range c.Values {
			sums[i] = clusterSum{x, 1}
		}
		means := allResamples(c.Values)
		sameCount(t, c.Name+" resamples", len(means), e.Resamples)
		bias, acceleration := bcaBias(sums, means), bcaAcceleration(sums)
		same(t, c.Name+" z0", &bias, e.Z0, 1e-9)
		same(t, c.Name+" acceleration", &acceleration, e.Acceleration, 1e-9)
		z := zOf(c.Level)
		low, high := bcaLevel(bias, acceleration, -z), bcaLevel(bias, acceleration, z)
		sameBounds(t, c.Name+" levels", interval(low, high), e.BCaLevels[0], e.BCaLevels[1], 1e-9)
		low, high = bca(sums, means, c.Level)
		sameBounds(t, c.Name, interval(low, high), e.BCa[0], e.BCa[1], 1e-9)
		low, high = sortedQuantile(means, (1-c.Level)/2), sortedQuantile(means, (1+c.Level)/2)
		sameBounds(t, c.Name+" percentile", interval(low, high), e.Percentile[0], e.Percentile[1], 1e-9)
	}
	sameBounds(t, "few", Bootstrap(values([]float64{1, 2}, []string{"a", "b"}), 0.95), nil, nil, 0)
}

// allResamples has the mean of each of the n^n resamples, sorted: of each choice with
// repetition, as often as it can be drawn.
func allResamples(values []float64) []float64 {
	n := len(values)
	type choice struct {
		mean  float64
		times int
	}
	var choices []choice
	var choose func(next, left int, sum float64, times int)
	choose = func(next, left int, sum float64, times int) {
		if next == n-1 {
			choices = append(choices, choice{(sum + float64(left)*values[next]) / float64(n), times})
			return
		}
		ways := 1 // of placing k of the left draws
		for k := range left + 1 {
			choose(next+1, left-k, sum+float64(k)*values[next], times*ways)
			ways = ways * (left - k) / (k + 1)
		}
	}
	choose(0, n, 0, 1)
	slices.SortFunc(choices, func(a, b choice) int { return cmp.Compare(a.mean, b.mean) })
	var means []float64
	for _, c := range choices {
		means = append(means, slices.Repeat([]float64{c.mean}, c.times)...)
	}
	return means
}

func TestBootstrapOfManyScenarios(t *testing.T) {
	t.Parallel()
	values := make([]Value, bootstrapMost+1)
	for i := range values {
		values[i] = Value{fmt.Sprint(i), float64(i % 7)}
	}
	if got := Bootstrap(values, 0.95); got.Low != nil || got.High != nil {
		t.Errorf("of %d scenarios: %v to %v", len(values), show(got.Low), show(got.High))
	}
	if got := Bootstrap(values[1:], 0.95); got.Low == nil || got.High == nil {
		t.Errorf("of %d scenarios: none", len(values)-1)
	}
}
