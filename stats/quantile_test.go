package stats

import (
	"math"
	"strconv"
	"testing"
)

func TestQuantile(t *testing.T) {
	t.Parallel()
	for _, c := range golden[struct {
		Cases []struct {
			Values   []float64
			Expected map[string]*float64
		}
	}](t, "percentiles").Cases {
		var bins []DurationBin
		whole := true
		for _, x := range c.Values {
			whole = whole && x >= 0 && x == math.Trunc(x)
			bins = append(bins, DurationBin{DurationBinOf(int64(x)), 1})
		}
		for percent, want := range c.Expected {
			p, err := strconv.ParseFloat(percent, 64)
			if err != nil {
				t.Fatal(err)
			}
			same(t, percent, Quantile(c.Values, p/100), want, 1e-9)
			if whole {
				got := DurationQuantile(bins, p/100)
				if math.Abs(*got / *want - 1) > 0.011 {
					t.Errorf("%s in bins: got %v, want %v", percent, *got, *want)
				}
			}
		}
	}
	same(t, "no values", Quantile(nil, 0.5), nil, 0)
	opposite := 0.0
	same(t, "the largest doubles", Quantile([]float64{-math.MaxFloat64, math.MaxFloat64}, 0.5), &opposite, 0)
	same(t, "no durations", DurationQuantile(nil, 0.5), nil, 0)
	zero := 0.0
	same(t, "0 ms", DurationQuantile([]DurationBin{{DurationBinOf(0), 3}}, 0.5), &zero, 0)
}

func TestInterquartileMean(t *testing.T) {
	t.Parallel()
	for _, c := range golden[struct {
		Cases []struct {
			Values []float64
			IQM    *float64
		}
	}](t, "iqm").Cases {
		same(t, "iqm", InterquartileMean(c.Values), c.IQM, 1e-12)
	}
	same(t, "no values", InterquartileMean(nil), nil, 0)
}

func TestWeightedMean(t *testing.T) {
	t.Parallel()
	for _, c := range golden[struct {
		Cases []struct {
			Weights, Values  []float64
			Mean, EffectiveN *float64
		}
	}](t, "weighted_mean").Cases {
		weighted := make([]Weighted, len(c.Values))
		for i := range weighted {
			weighted[i] = Weighted{c.Values[i], c.Weights[i]}
		}
		mean, n := WeightedMean(weighted)
		same(t, "mean", mean, c.Mean, 1e-12)
		same(t, "effective n", n, c.EffectiveN, 1e-12)
	}
}
