package stats

import (
	"slices"
	"testing"
)

func TestFrontier(t *testing.T) {
	t.Parallel()
	for _, c := range golden[struct {
		Cases []struct {
			Points   [][3]any // name, value, cost
			Frontier []string
		}
	}](t, "pareto").Cases {
		points := make([]Point, len(c.Points))
		for i, p := range c.Points {
			points[i].Value = p[1].(float64)
			if cost, ok := p[2].(float64); ok {
				points[i].Cost = &cost
			}
		}
		var got []string
		for i, on := range Frontier(points) {
			if (on == nil) != (points[i].Cost == nil) {
				t.Errorf("%v: on the frontier %v", c.Points[i], on)
			}
			if on != nil && *on {
				got = append(got, c.Points[i][0].(string))
			}
		}
		if slices.Sort(got); !slices.Equal(got, c.Frontier) {
			t.Errorf("got %v, want %v", got, c.Frontier)
		}
	}
}

func TestFrontierOfEqualValues(t *testing.T) {
	t.Parallel()
	cheap, dear := 1.0, 2.0
	on := Frontier([]Point{{&dear, 0.5}, {&cheap, 0.5}})
	if *on[0] || !*on[1] {
		t.Errorf("got %v, %v", *on[0], *on[1])
	}
}
