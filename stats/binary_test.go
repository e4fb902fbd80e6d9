package stats

import (
	"math"
	"testing"
)

func TestPairedOutcomes(t *testing.T) {
	t.Parallel()
	for _, c := range golden[struct {
		Cases []struct {
			PairedTable
			Expected struct {
				MidP, LogE, EValue, AnytimeP *float64
				Newcombe                     *struct{ Difference, Low, High *float64 }
			}
		}
	}](t, "mcnemar").Cases {
		e := c.Expected
		p, logE, eValue, anytime := McNemar(c.PairedTable), logEValue(c.PairedTable), EValue(c.PairedTable), AnytimePValue(c.PairedTable)
		same(t, "mid-p", &p, e.MidP, 1e-10)
		if e.LogE != nil {
			same(t, "log e", &logE, e.LogE, 1e-10)
			same(t, "e", &eValue, e.EValue, 1e-10)
			same(t, "anytime p", &anytime, e.AnytimeP, 1e-10)
		} else if eValue != 1 || anytime != 1 {
			t.Errorf("without discordant scenarios: e %v, anytime p %v", eValue, anytime)
		}
		if e.Newcombe != nil {
			sameBounds(t, "Newcombe", Newcombe(c.PairedTable, 0.95), e.Newcombe.Low, e.Newcombe.High, 1e-10)
		} else {
			sameBounds(t, "Newcombe", Newcombe(c.PairedTable, 0.95), nil, nil, 0)
		}
	}
	if e := EValue(PairedTable{OnlyCandidate: 5000}); e != math.MaxFloat64 {
		t.Errorf("evidence beyond doubles: got %v", e)
	}
}

// Published by Fagerland et al. 2013.
func TestMcNemarPublished(t *testing.T) {
	t.Parallel()
	for want, table := range map[float64]PairedTable{
		0.039: {Both: 1, OnlyCandidate: 1, OnlyBaseline: 7, Neither: 12},
		0.035: {Both: 59, OnlyCandidate: 6, OnlyBaseline: 16, Neither: 80},
	} {
		if got := McNemar(table); math.Abs(got-want) > 5e-4 {
			t.Errorf("%+v: got %v, published %v", table, got, want)
		}
	}
}

func TestNewcombeMirrored(t *testing.T) {
	t.Parallel()
	for i := range int64(7 * 7 * 7 * 7) {
		table := PairedTable{i % 7, i / 7 % 7, i / 49 % 7, i / 343}
		swapped := PairedTable{table.Both, table.OnlyBaseline, table.OnlyCandidate, table.Neither}
		a, b := Newcombe(table, 0.95), Newcombe(swapped, 0.95)
		if i > 0 && (*a.Low != -*b.High || *a.High != -*b.Low) {
			t.Fatalf("%+v: %v to %v, swapped %v to %v", table, *a.Low, *a.High, *b.Low, *b.High)
		}
	}
}
