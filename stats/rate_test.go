package stats

import "testing"

func TestWilson(t *testing.T) {
	t.Parallel()
	file := golden[struct {
		Cases []struct {
			Successes, N int64
			Level        float64
			Low, High    *float64
		}
		Published []struct {
			Values    [][4]float64
			Tolerance float64
		}
	}](t, "wilson")
	for _, c := range file.Cases {
		sameBounds(t, "Wilson", Wilson(c.Successes, c.N, c.Level), c.Low, c.High, 1e-12)
	}
	for _, p := range file.Published {
		for _, v := range p.Values {
			got := Wilson(int64(v[0]), int64(v[1]), 0.95)
			if *got.Low < v[2]-p.Tolerance || *got.Low > v[2]+p.Tolerance || *got.High < v[3]-p.Tolerance || *got.High > v[3]+p.Tolerance {
				t.Errorf("%v of %v: got %v to %v, published %v", v[0], v[1], *got.Low, *got.High, v[2:])
			}
		}
	}
	if none := Wilson(0, 20, 0.95); *none.Low != 0 {
		t.Errorf("none: begins at %v", *none.Low)
	}
	if all := Wilson(10, 10, 0.95); *all.High != 1 {
		t.Errorf("all: ends at %v", *all.High)
	}
	sameBounds(t, "no attempts", Wilson(0, 0, 0.95), nil, nil, 0)
}
