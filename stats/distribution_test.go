package stats

import (
	"math"
	"testing"
)

// The quantiles were computed with 50 digits from the closed form of the distribution for
// odd degrees of freedom.
func TestTQuantile(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		level float64
		df    int
		want  float64
	}{
		{0.95, 39, 2.0226909200367611356},
		{0.99, 3, 5.8409093097333572607},
		{0.5, 1, 1},
		{0.999, 1, 636.61924876871956},
	} {
		got := tOf(c.level, c.df)
		same(t, "quantile", &got, &c.want, 1e-12)
		p, want := tTest(got, c.df), 1-c.level
		same(t, "and back", &p, &want, 1e-12)
	}
	if got := tOf(0.95, 0); !math.IsNaN(got) {
		t.Errorf("no degrees of freedom: got %v", got)
	}
	if got, want := tOf(0.95, 1e7), zOf(0.95); math.Abs(got-want) > 1e-6 {
		t.Errorf("many degrees of freedom: got %v, want about %v", got, want)
	}
}
