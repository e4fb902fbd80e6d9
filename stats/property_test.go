package stats

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// anyValue is a score: mostly ordinary, sometimes at the limits of doubles.
func anyValue() *rapid.Generator[float64] {
	return rapid.OneOf(
		rapid.Float64Range(0, 1),
		rapid.SampledFrom([]float64{0, 0.5, 1}),
		rapid.SampledFrom([]float64{
			0, math.Copysign(0, -1), 1, -1, math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64,
			-math.SmallestNonzeroFloat64, 1e-300, 1e300, 1e-160, 1e160,
		}),
		rapid.Float64Range(-math.MaxFloat64, math.MaxFloat64),
	)
}

func anyAverage(t *rapid.T, n int64, name string) Average {
	if n == 0 || rapid.IntRange(0, 4).Draw(t, name+" missing") == 0 {
		return Average{}
	}
	return Average{rapid.Int64Range(1, n).Draw(t, name+" n"), anyValue().Draw(t, name)}
}

func anyRuns(t *rapid.T, name string, most int64, succeed bool) Runs {
	r := Runs{Count: rapid.Int64Range(0, most).Draw(t, name)}
	if succeed {
		r.Successes = rapid.Int64Range(0, r.Count).Draw(t, name+" successes")
	}
	score := func(name string) Sample {
		n := rapid.Int64Range(0, r.Count).Draw(t, name+" n")
		s := Sample{N: n}
		if n > 0 {
			s.Mean = anyValue().Draw(t, name)
		}
		if n > 1 {
			s.SD = math.Abs(anyValue().Draw(t, name+" SD"))
		}
		return s
	}
	r.TotalScore, r.WeightedScore = score(name+" score"), score(name+" weighted")
	r.CostUSD, r.DurationMs = anyAverage(t, r.Count, name+" cost"), anyAverage(t, r.Count, name+" duration")
	r.TokensIn, r.TokensOut = anyAverage(t, r.Count, name+" in"), anyAverage(t, r.Count, name+" out")
	return r
}

// anyCells are cells of up to 5 entries, with holes.
func anyCells(t *rapid.T) ([]Cell, []DurationCount) {
	entries := rapid.IntRange(1, 5).Draw(t, "entries")
	scenarios := rapid.IntRange(1, 12).Draw(t, "scenarios")
	tiers := rapid.IntRange(1, 2).Draw(t, "tiers")
	most := rapid.SampledFrom([]int64{1, 1, 3, 1 << 40}).Draw(t, "attempts")
	var cells []Cell
	var durations []DurationCount
	for e := range entries {
		var model *string
		if e != 1 {
			name := fmt.Sprint("m", e%3)
			model = &name
		}
		agent := fmt.Sprint("a", e/2)
		for i := range scenarios {
			for tier := range tiers {
				name := fmt.Sprint(e, "/", i, "/", tier)
				if rapid.IntRange(0, 9).Draw(t, name+" missing") == 0 {
					continue
				}
				c := Cell{Agent: agent, Model: model, Scenario: fmt.Sprint("s", i), Tier: fmt.Sprint("L", tier)}
				c.Attempts = anyRuns(t, name, most, true)
				if rapid.IntRange(0, 4).Draw(t, name+" errors") == 0 {
					c.InfraErrors = anyRuns(t, name+" errors", 3, false)
				}
				c.OpenRuns = int64(rapid.IntRange(0, 9).Draw(t, name+" open") / 9)
				cells = append(cells, c)
				durations = append(durations, DurationCount{
					agent, model, c.Scenario, c.Tier,
					DurationBin{rapid.IntRange(-1, 2210).Draw(t, "bin"), rapid.Int64Range(0, 5).Draw(t, "runs")},
				})
			}
		}
	}
	return cells, durations
}

func anyScope(t *rapid.T) Scope {
	return Scope{
		rapid.SampledFrom([]Metric{MetricSuccess, MetricTotalScore, MetricWeightedScore}).Draw(t, "metric"),
		rapid.SampledFrom([]Infra{InfraExclude, InfraFailure}).Draw(t, "infra"),
		rapid.SampledFrom([]float64{0.5, 0.9, 0.95, 0.999}).Draw(t, "level"),
	}
}

// checkFinite fails on any NaN or infinity, at any depth.
func checkFinite(t *rapid.T, path string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Float64:
		if !finite(v.Float()) {
			t.Fatalf("%s is %v", path, v.Float())
		}
	case reflect.Pointer:
		if !v.IsNil() {
			checkFinite(t, path, v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			checkFinite(t, fmt.Sprint(path, "[", i, "]"), v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			checkFinite(t, path+"."+v.Type().Field(i).Name, v.Field(i))
		}
	default:
	}
}

// text differs if any bit of a figure does.
func text(v any) string {
	out, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(out)
}

// checkAround fails unless the value is inside of its interval.
func checkAround(t *rapid.T, what string, value *float64, i Interval) {
	if (i.Low == nil) != (i.High == nil) {
		t.Fatalf("%s: one bound: %v, %v", what, show(i.Low), show(i.High))
	}
	if i.Low != nil && (value == nil || *i.Low > *value || *value > *i.High) {
		t.Fatalf("%s: %v is not within %v and %v", what, show(value), *i.Low, *i.High)
	}
}

func TestAnyLeaderboard(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		cells, durations := anyCells(t)
		o := LeaderboardOptions{
			anyScope(t),
			rapid.SampledFrom([]By{ByAgentModel, ByAgent, ByModel}).Draw(t, "by"),
			rapid.SampledFrom([]Coverage{CoverageShared, CoverageOwn, CoverageAll}).Draw(t, "coverage"),
			rapid.SampledFrom([]float64{0, 0.5, 0.8, 1}).Draw(t, "min coverage"),
		}
		board := Leaderboard(cells, durations, o)
		checkFinite(t, "board", reflect.ValueOf(board))
		ranked := 0
		for _, row := range board.Rows {
			if row.Rank != nil {
				ranked++
			}
		}
		for i, row := range board.Rows {
			checkAround(t, "rate", row.Rate, row.RateBounds)
			checkAround(t, "score", row.Score, row.ScoreBounds)
			if row.Rate != nil && (*row.RateBounds.Low < 0 || *row.RateBounds.High > 1) {
				t.Fatalf("rate between %v and %v", *row.RateBounds.Low, *row.RateBounds.High)
			}
			if row.Rank == nil {
				continue
			}
			if *row.RankLow < 1 || *row.RankLow > *row.Rank || *row.Rank > *row.RankHigh || *row.RankHigh > ranked {
				t.Fatalf("rank %d is not within %d and %d", *row.Rank, *row.RankLow, *row.RankHigh)
			}
			if i > 0 && *row.Rank < *board.Rows[i-1].Rank {
				t.Fatalf("rank %d after %d", *row.Rank, *board.Rows[i-1].Rank)
			}
		}
		again := Leaderboard(
			rapid.Permutation(cells).Draw(t, "other cells"), rapid.Permutation(durations).Draw(t, "other durations"), o)
		if text(board) != text(again) {
			t.Fatalf("another order:\n%+v\n%+v", board, again)
		}
		checkFinite(t, "items", reflect.ValueOf(Items(cells, o.By, o.Scope)))
		if text(Items(cells, o.By, o.Scope)) != text(Items(rapid.Permutation(cells).Draw(t, "of items"), o.By, o.Scope)) {
			t.Fatal("items: another order, other figures")
		}
	})
}

func TestAnyComparison(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		baseline, _ := anyCells(t)
		candidate, _ := anyCells(t)
		o := ComparisonOptions{Scope: anyScope(t), Bootstrap: rapid.IntRange(0, 9).Draw(t, "bootstrap") == 0}
		if rapid.Bool().Draw(t, "with margin") {
			margin := math.Abs(anyValue().Draw(t, "margin"))
			o.Margin = &margin
		}
		c := Compare(baseline, candidate, o)
		checkFinite(t, "comparison", reflect.ValueOf(c))
		if !o.Bootstrap { // Bootstrap intervals of few, odd values can miss the mean.
			checkAround(t, "difference", c.Difference, c.Interval)
		}
		checkAround(t, "cost", c.Cost.Ratio, c.Cost.Interval)
		if c.Wins+c.Losses+c.Ties != c.SharedItems {
			t.Fatalf("%d wins, %d losses, %d ties of %d", c.Wins, c.Losses, c.Ties, c.SharedItems)
		}
		again := Compare(rapid.Permutation(baseline).Draw(t, "other baseline"), rapid.Permutation(candidate).Draw(t, "other candidate"), o)
		if text(c) != text(again) {
			t.Fatal("another order, other figures")
		}
		checkFinite(t, "power", reflect.ValueOf(EstimatePower(baseline, candidate, o.Scope)))

		m := Compare(candidate, baseline, o)
		for what, pair := range map[string][2]*float64{
			"baseline": {c.Baseline, m.Candidate}, "candidate": {c.Candidate, m.Baseline}, "SE": {c.SE, m.SE},
			"p": {c.PValue, m.PValue}, "anytime p": {c.AnytimePValue, m.AnytimePValue}, "e": {c.EValue, m.EValue},
			"unpaired": {c.SEUnpaired, m.SEUnpaired}, "correlation": {c.Correlation, m.Correlation},
			"difference": {c.Difference, negated(m.Difference)},
			"low":        {c.Low, negated(m.High)}, "high": {c.High, negated(m.Low)},
		} {
			if (pair[0] == nil) != (pair[1] == nil) || pair[0] != nil && *pair[0] != *pair[1] {
				t.Fatalf("%s is not mirrored: %v, %v", what, show(pair[0]), show(pair[1]))
			}
		}
		mirrored := map[Verdict]Verdict{
			VerdictBetter: VerdictWorse, VerdictWorse: VerdictBetter,
			VerdictEquivalent: VerdictEquivalent, VerdictInsufficient: VerdictInsufficient,
		}
		if want, ok := mirrored[c.Verdict]; ok && m.Verdict != want || c.Test != m.Test || c.Wins != m.Losses {
			t.Fatalf("not mirrored: %s, %s", c.Verdict, m.Verdict)
		}
	})
}

func negated(x *float64) *float64 {
	if x == nil {
		return nil
	}
	return nullable(-*x)
}

func TestAnyValues(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		xs := rapid.SliceOfN(anyValue(), 0, 30).Draw(t, "values")
		ys := rapid.SliceOfN(anyValue(), 0, 30).Draw(t, "others")
		level, q := anyScope(t).Level, rapid.Float64Range(0, 1).Draw(t, "q")
		figures := func(xs, ys []float64) []any {
			var values, single []Value
			var days []Day
			var weighted []Weighted
			var points []Point
			for i, x := range xs {
				values = append(values, Value{fmt.Sprint(math.Float64bits(x) % 4), x})
				single = append(single, Value{fmt.Sprint(i), x})
				days = append(days, Day{5, x})
				weighted = append(weighted, Weighted{x, math.Abs(x)})
				points = append(points, Point{&xs[i], -x})
			}
			slices.SortFunc(single, func(a, b Value) int { return cmp.Compare(a.Value, b.Value) })
			for i := range single {
				single[i].Scenario = fmt.Sprintf("%02d", i)
			}
			mean := Mean(values, level)
			checkAround(t, "mean", mean.Mean, mean.Interval)
			weightedMean, n := WeightedMean(weighted)
			on := 0
			for _, is := range Frontier(points) {
				on += boolToInt(*is)
			}
			return []any{
				mean, Mean(single, level), Bootstrap(single, level), ExpectedBand(days, level), weightedMean, n,
				Quantile(xs, q), InterquartileMean(xs), MannWhitney(xs, ys), on,
			}
		}
		got := figures(xs, ys)
		for _, figure := range got {
			checkFinite(t, "figure", reflect.ValueOf(figure))
		}
		again := figures(rapid.Permutation(xs).Draw(t, "permuted"), rapid.Permutation(ys).Draw(t, "others permuted"))
		if text(got) != text(again) {
			t.Fatalf("another order: %v, %v", got, again)
		}
		if a, b := MannWhitney(xs, ys).PValue, MannWhitney(ys, xs).PValue; (a == nil) != (b == nil) || a != nil && *a != *b {
			t.Fatalf("swapped samples: %v, %v", show(a), show(b))
		}
	})
}

func TestAnyOutcomes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		level := anyScope(t).Level
		n := rapid.OneOf(rapid.Int64Range(0, 30), rapid.Int64Range(0, math.MaxInt64)).Draw(t, "n")
		s := rapid.Int64Range(0, n).Draw(t, "successes")
		i := Wilson(s, n, level)
		checkFinite(t, "Wilson", reflect.ValueOf(i))
		if n > 0 {
			p := float64(s) / float64(n)
			checkAround(t, "Wilson", &p, i)
		}

		count := rapid.OneOf(rapid.Int64Range(0, 9), rapid.Int64Range(0, 1<<40))
		table := PairedTable{count.Draw(t, "both"), count.Draw(t, "candidate"), count.Draw(t, "baseline"), count.Draw(t, "neither")}
		swapped := PairedTable{table.Both, table.OnlyBaseline, table.OnlyCandidate, table.Neither}
		p, interval := McNemar(table), Newcombe(table, level)
		checkFinite(t, "outcomes", reflect.ValueOf([]float64{p, EValue(table), AnytimePValue(table)}))
		if p < 0 || p > 1 || p != McNemar(swapped) {
			t.Fatalf("p %v, swapped %v", p, McNemar(swapped))
		}
		checkFinite(t, "Newcombe", reflect.ValueOf(interval))
		if total := table.Both + table.OnlyCandidate + table.OnlyBaseline + table.Neither; total > 0 {
			difference := float64(table.OnlyCandidate-table.OnlyBaseline) / float64(total)
			checkAround(t, "Newcombe", &difference, interval)
		}

		k := rapid.Int64Range(1, 100).Draw(t, "k")
		pass := Pass([]Outcome{{"a", n, s}, {"b", 9, 3}, {"c", 100, 99}}, k, level)
		checkFinite(t, "pass", reflect.ValueOf(pass))
		checkAround(t, "pass@k", pass.PassAtK, pass.AtKBounds)
		checkAround(t, "pass^k", pass.PassHatK, pass.HatKBounds)
		if pass.PassAtK != nil && (*pass.PassHatK < 0 || *pass.PassHatK > *pass.PassAtK+negligible || *pass.PassAtK > 1) {
			t.Fatalf("pass@k %v, pass^k %v", *pass.PassAtK, *pass.PassHatK)
		}

		ps := rapid.SliceOfN(rapid.Float64Range(0, 1), 0, 20).Draw(t, "p")
		for i, q := range BenjaminiHochberg(ps) {
			if holm := Holm(ps)[i]; q < ps[i] || holm < q*(1-negligible) || holm > 1 {
				t.Fatalf("p %v, q %v, Holm %v", ps[i], q, holm)
			}
		}
	})
}
