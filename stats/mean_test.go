package stats

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

func TestClusteredMean(t *testing.T) {
	t.Parallel()
	for _, c := range golden[struct {
		Cases []struct {
			Name     string
			Values   []float64
			Clusters []string
			Level    float64
			Expected struct {
				Mean, SE, Low, High, SECluster0 *float64
				Clusters, DF                    int
			}
		}
	}](t, "clustered_mean").Cases {
		m := Mean(values(c.Values, c.Clusters), c.Level)
		e := c.Expected
		same(t, c.Name, m.Mean, e.Mean, 1e-12)
		same(t, c.Name+" SE", m.SE, e.SE, 1e-12)
		sameBounds(t, c.Name, m.Interval, e.Low, e.High, boundTolerance)
		sameCount(t, c.Name, m.Scenarios, e.Clusters)
		sameCount(t, c.Name, m.Scenarios-1, e.DF)
		if m.SE != nil {
			withoutFactor := *m.SE * math.Sqrt(1-1/float64(m.Scenarios))
			same(t, c.Name+" without C/(C-1)", &withoutFactor, e.SECluster0, 1e-12)
		}
	}
}

func TestMacroMean(t *testing.T) {
	t.Parallel()
	for _, c := range golden[struct {
		Cases []struct {
			Name      string
			Values    []float64
			Scenarios []string
			Level     float64
			Expected  struct {
				Scenarios     int
				Attempts      int64
				Mean          *float64
				ScenarioMeans []float64
				SE, Low, High *float64
				DF            int
				Rate          *struct{ EffectiveN, Low, High *float64 }
			}
		}
	}](t, "macro_mean").Cases {
		e := c.Expected
		attempts := map[string][]float64{}
		var order []string
		for i, s := range c.Scenarios {
			if attempts[s] == nil {
				order = append(order, s)
			}
			attempts[s] = append(attempts[s], c.Values[i])
		}
		slices.Sort(order) // as the file has them
		means := make([]float64, len(order))
		for i, s := range order {
			means[i] = fold(attempts[s]).Mean
			same(t, c.Name+" "+s, &means[i], &e.ScenarioMeans[i], 1e-11)
		}
		m := Mean(values(means, order), c.Level)
		same(t, c.Name, m.Mean, e.Mean, 1e-11)
		same(t, c.Name+" SE", m.SE, e.SE, 1e-11)
		sameBounds(t, c.Name, m.Interval, e.Low, e.High, boundTolerance)
		sameCount(t, c.Name, m.Scenarios, e.Scenarios)
		sameCount(t, c.Name, m.Scenarios-1, e.DF)
		sameCount(t, c.Name, int64(len(c.Values)), e.Attempts)
		if e.Rate != nil {
			r := Rate(values(means, order), int64(len(c.Values)), c.Level)
			same(t, c.Name+" rate", r.Rate, e.Mean, 1e-11)
			same(t, c.Name+" effective n", r.EffectiveN, e.Rate.EffectiveN, boundTolerance)
			sameBounds(t, c.Name+" rate", r.Interval, e.Rate.Low, e.Rate.High, boundTolerance)
		}
	}
}

func TestRepeatSE(t *testing.T) {
	t.Parallel()
	// s² = 1/2 and 1/3 of 2 and 3 attempts; √(1/4 + 1/9) / 2.
	got := repeatSE([]Sample{fold([]float64{0, 1}), fold([]float64{0, 1, 1})})
	want := math.Sqrt(1./4+1./9) / 2
	same(t, "repeat SE", &got, &want, 1e-12)
	if single := repeatSE([]Sample{fold([]float64{0, 1}), fold([]float64{1})}); !math.IsNaN(single) {
		t.Errorf("an item with one attempt: got %v", single)
	}
	if none := repeatSE(nil); !math.IsNaN(none) {
		t.Errorf("no items: got %v", none)
	}
}

func TestExpectedBand(t *testing.T) {
	t.Parallel()
	days := []Day{{9, 0.5}, {5, 0.7}, {4, 99}, {10, 0.6}, {10, 0.55}, {10, 0.65}}
	// scipy: mean 0.6, sd 0.0790569415, t(4) 2.7764451052, √1.2.
	low, high := 0.6-2.7764451051977987*0.07905694150420949*math.Sqrt(1.2), 0.6+2.7764451051977987*0.07905694150420949*math.Sqrt(1.2)
	sameBounds(t, "five days", ExpectedBand(days, 0.95), &low, &high, boundTolerance)
	sameBounds(t, "four days", ExpectedBand(days[:5], 0.95), nil, nil, 0)
}

func TestMeanRounding(t *testing.T) {
	t.Parallel()
	// Ten times 0.1, added up and divided, is not 0.1.
	var tenths []Value
	for i := range 10 {
		tenths = append(tenths, Value{fmt.Sprint(i), 0.1})
	}
	if m := Mean(tenths, 0.95); *m.Mean != 0.1 || *m.SE != 0 {
		t.Errorf("equal values: mean %v, SE %v", *m.Mean, *m.SE)
	}
	tenths[0].Value = 0.1 + 1e-17
	tenths[1].Value = 0.30000000000000004 - 0.2
	if m := Mean(tenths, 0.95); *m.SE != 0 {
		t.Errorf("values that are equal but for rounding: SE %v", *m.SE)
	}
	// Squares of these vanish, or overflow.
	scenarios := []string{"a", "b", "c"}
	ordinary := Mean(values([]float64{1, 2, 4}, scenarios), 0.95)
	for _, unit := range []float64{1e-310, 1e-200, 1e200, 1e307} {
		m := Mean(values([]float64{unit, 2 * unit, 4 * unit}, scenarios), 0.95)
		mean, se := *m.Mean/unit, *m.SE/unit
		same(t, "mean", &mean, ordinary.Mean, 1e-9)
		same(t, "SE", &se, ordinary.SE, 1e-9)
	}
	if zero := nullable(math.Copysign(0, -1)); math.Signbit(*zero) {
		t.Error("negative zero")
	}
}

func TestRateOfSteadyItems(t *testing.T) {
	t.Parallel()
	// Items that differ less than by chance are worth no more than their attempts.
	var items []Value
	for i := range 10 {
		items = append(items, Value{fmt.Sprint(i), 0.5 + 0.01*float64(i%2)})
	}
	hundred := 100.0
	same(t, "effective n", Rate(items, 100, 0.95).EffectiveN, &hundred, 1e-12)
}
