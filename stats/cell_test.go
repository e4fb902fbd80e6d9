package stats

import (
	"math"
	"slices"
	"testing"
)

func TestMergedSample(t *testing.T) {
	t.Parallel()
	for _, c := range [][2][]float64{
		{{1, 2}, {4, 4, 7}},
		{{0.5}, {0.25}},
		{{}, {1, 3}},
		{{1, 3}, {}},
		{{1e9, 1e9 + 1}, {1e9 + 0.5}}, // sums of squares would lose the variance
	} {
		got, want := mergedSample(fold(c[0]), fold(c[1])), fold(slices.Concat(c[0], c[1]))
		sameCount(t, "n", got.N, want.N)
		same(t, "mean", &got.Mean, &want.Mean, 1e-12)
		same(t, "SD", &got.SD, &want.SD, 1e-12)
	}
	far := mergedSample(Sample{1, math.MaxFloat64, 0}, Sample{1, -math.MaxFloat64, 0})
	if far.Mean != 0 || far.SD != math.MaxFloat64 {
		t.Errorf("the largest doubles: got %+v", far)
	}
}
