package stats

import (
	"slices"
	"testing"
)

func sorted(xs []float64) []float64 { return slices.Sorted(slices.Values(xs)) }

func TestMannWhitney(t *testing.T) {
	t.Parallel()
	for _, c := range golden[struct {
		Cases []struct {
			Name     string
			X, Y     []float64
			Ties     bool
			Expected struct {
				U1                                                 float64
				Asymptotic, ProbabilityGreater, Permutation, Exact *float64
			}
		}
	}](t, "mann_whitney").Cases {
		e := c.Expected
		got, swapped := MannWhitney(c.X, c.Y), MannWhitney(c.Y, c.X)
		want := e.Exact
		switch {
		case c.Name == "ties":
			doubled := 0.06060606060606061 // twice the tail; e.Permutation counts both tails
			want = &doubled
		case want == nil && e.Permutation != nil:
			want = e.Permutation
		case want == nil:
			want = e.Asymptotic
		}
		same(t, c.Name, got.PValue, want, 1e-10)
		same(t, c.Name+", swapped", swapped.PValue, want, 1e-10)
		same(t, c.Name+" greater", got.ProbabilityGreater, e.ProbabilityGreater, 1e-10)
		if u1 := pairsGreater(sorted(c.Y), sorted(c.X)); u1 != e.U1 {
			t.Errorf("%s: U %v, want %v", c.Name, u1, e.U1)
		}
	}
	if got := MannWhitney(nil, []float64{1}); got.PValue != nil || got.ProbabilityGreater != nil {
		t.Errorf("an empty sample: got %v", got)
	}
	// Half of the tail, 2/3, is more than half of everything.
	one := 1.0
	same(t, "tied", MannWhitney([]float64{1}, []float64{1, 2}).PValue, &one, 0)
}
