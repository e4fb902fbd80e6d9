package stats

import (
	"fmt"
	"testing"
)

func TestPass(t *testing.T) {
	t.Parallel()
	type cell struct {
		Attempts, Successes, K int64
		PassAtK, PassHatK      *float64
	}
	file := golden[struct {
		Cases  []cell
		Suites []struct {
			Cells []cell
			ByK   []struct {
				K                 int64
				Scenarios, Left   int
				PassAtK, PassHatK *float64
			}
		}
	}](t, "pass_k")
	for _, c := range file.Cases {
		name := fmt.Sprintf("%d of %d, k %d", c.Successes, c.Attempts, c.K)
		got := Pass([]Outcome{{"s", c.Attempts, c.Successes}}, c.K, 0.95)
		same(t, name+" at", got.PassAtK, c.PassAtK, 1e-12)
		same(t, name+" hat", got.PassHatK, c.PassHatK, 1e-12)
		sameBounds(t, name, got.AtKBounds, nil, nil, 0)
	}
	for _, s := range file.Suites {
		outcomes := make([]Outcome, len(s.Cells))
		for i, c := range s.Cells {
			outcomes[i] = Outcome{fmt.Sprint(i), c.Attempts, c.Successes}
		}
		for _, e := range s.ByK {
			got := Pass(outcomes, e.K, 0.95)
			same(t, "at", got.PassAtK, e.PassAtK, 1e-12)
			same(t, "hat", got.PassHatK, e.PassHatK, 1e-12)
			sameCount(t, "scenarios", got.Items, e.Scenarios)
			sameCount(t, "left", got.Left, e.Left)
		}
	}
	none := Pass([]Outcome{{"s", 2, 1}}, 3, 0.95)
	if none.PassAtK != nil || none.PassHatK != nil || none.Left != 1 {
		t.Errorf("no scenario with k attempts: got %+v", none)
	}
}
