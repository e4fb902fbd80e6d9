package stats

import (
	"encoding/json"
	"math"
	"os"
	"testing"
)

// golden reads a file of testdata/golden; its README says where the figures are from.
func golden[T any](t *testing.T, name string) T {
	t.Helper()
	text, err := os.ReadFile("testdata/golden/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var v T
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// boundTolerance is for bounds from the quantile of t. That of scipy, which the files are
// from, is wrong by up to 5e-9 (TestTQuantile), and a bound near 0 has a multiple of that.
const boundTolerance = 2e-8

// same fails unless got is want within the relative tolerance, at least 1e-12 absolute.
func same(t *testing.T, what string, got, want *float64, tolerance float64) {
	t.Helper()
	switch {
	case got == nil && want == nil:
	case got == nil || want == nil:
		t.Errorf("%s: got %s, want %s", what, show(got), show(want))
	case !(math.Abs(*got-*want) <= max(1e-12, tolerance*math.Abs(*want))):
		t.Errorf("%s: got %v, want %v", what, *got, *want)
	}
}

func show[T any](x *T) any {
	if x == nil {
		return "nil"
	}
	return *x
}

func sameBounds(t *testing.T, what string, got Interval, low, high *float64, tolerance float64) {
	t.Helper()
	same(t, what+" low", got.Low, low, tolerance)
	same(t, what+" high", got.High, high, tolerance)
}

func sameCount[N int | int64](t *testing.T, what string, got, want N) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %d, want %d", what, got, want)
	}
}

// fold summarizes values as SQL does.
func fold(values []float64) Sample {
	if len(values) == 0 {
		return Sample{}
	}
	n := float64(len(values))
	mean, squares := 0.0, 0.0
	for _, x := range values {
		mean += x / n
	}
	for _, x := range values {
		squares += (x - mean) * (x - mean)
	}
	return Sample{int64(len(values)), mean, math.Sqrt(squares / n)}
}

func values(xs []float64, scenarios []string) []Value {
	out := make([]Value, len(xs))
	for i, x := range xs {
		out[i] = Value{scenarios[i], x}
	}
	return out
}
