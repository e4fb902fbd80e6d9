package stats

import (
	"fmt"
	"testing"
)

func TestMultiplicity(t *testing.T) {
	t.Parallel()
	type adjusted struct {
		Adjusted    []float64
		RejectedAt5 int
	}
	for _, c := range golden[struct {
		Cases []struct {
			Name     string
			P        []float64
			Expected struct{ BenjaminiHochberg, Holm adjusted }
		}
	}](t, "multiplicity").Cases {
		for name, got := range map[string][]float64{"holm": Holm(c.P), "bh": BenjaminiHochberg(c.P)} {
			want := c.Expected.Holm
			if name == "bh" {
				want = c.Expected.BenjaminiHochberg
			}
			rejected := 0
			sameCount(t, c.Name+" "+name, len(got), len(want.Adjusted))
			for i := range got {
				same(t, fmt.Sprint(c.Name, " ", name, " ", i), &got[i], &want.Adjusted[i], 1e-12)
				rejected += boolToInt(got[i] <= 0.05)
			}
			sameCount(t, c.Name+" "+name+" rejected", rejected, want.RejectedAt5)
		}
	}
}
