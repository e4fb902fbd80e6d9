package stats

import (
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
