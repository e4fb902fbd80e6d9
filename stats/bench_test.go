package stats

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// suite has the cells of entries at 500 scenarios, with so many attempts each.
func suite(entries, attempts int) ([]Cell, []DurationCount) {
	random := rand.New(rand.NewPCG(1, 2))
	var cells []Cell
	var durations []DurationCount
	model := "m"
	for e := range entries {
		agent := fmt.Sprintf("agent-%03d", e)
		for i := range 500 {
			c := Cell{Agent: agent, Model: &model, Scenario: fmt.Sprintf("scenario-%03d", i), Tier: "L1"}
			outcomes := make([]float64, attempts)
			for k := range outcomes {
				if random.Float64() < 0.3+0.4*float64(e)/float64(entries)+0.2*random.Float64() {
					outcomes[k] = 1
					c.Attempts.Successes++
				}
			}
			c.Attempts.Count = int64(attempts)
			c.Attempts.TotalScore = fold(outcomes)
			c.Attempts.CostUSD = Average{int64(attempts), random.Float64()}
			c.Attempts.DurationMs = Average{int64(attempts), 1000 * random.Float64()}
			cells = append(cells, c)
		}
		for bin := range 130 {
			durations = append(durations, DurationCount{agent, &model, "", "", DurationBin{400 + bin, 1 + random.Int64N(100)}})
		}
	}
	return cells, durations
}

func BenchmarkLeaderboard(b *testing.B) {
	for _, attempts := range []int{1, 20} {
		cells, durations := suite(25, attempts)
		for _, metric := range []Metric{MetricSuccess, MetricTotalScore} {
			b.Run(fmt.Sprint(attempts, " ", metric), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					Leaderboard(cells, durations, LeaderboardOptions{Scope{metric, InfraExclude, 0.95}, ByAgentModel, CoverageShared, 0.8})
				}
			})
		}
	}
}

func BenchmarkLeaderboardOf300(b *testing.B) {
	cells, durations := suite(300, 1)
	for b.Loop() {
		Leaderboard(cells, durations, LeaderboardOptions{success, ByAgentModel, CoverageShared, 0.8})
	}
}

func BenchmarkCompare(b *testing.B) {
	cells, _ := suite(2, 3)
	for _, bootstrap := range []bool{false, true} {
		b.Run(fmt.Sprint("bootstrap=", bootstrap), func(b *testing.B) {
			for b.Loop() {
				Compare(cells[:500], cells[500:], ComparisonOptions{Scope: success, Bootstrap: bootstrap})
			}
		})
	}
}

func BenchmarkItems(b *testing.B) {
	cells, _ := suite(25, 20)
	for b.Loop() {
		Items(cells, ByAgentModel, success)
	}
}

func BenchmarkMannWhitney(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{5, 20, 25, 50} {
		for _, ties := range []bool{false, true} {
			x, y := make([]float64, n), make([]float64, n)
			for i := range x {
				x[i], y[i] = random.Float64(), random.Float64()
				if ties {
					x[i], y[i] = float64(random.IntN(2)), float64(random.IntN(2))
				}
			}
			b.Run(fmt.Sprint(n, " ties=", ties), func(b *testing.B) {
				for b.Loop() {
					MannWhitney(x, y)
				}
			})
		}
	}
}
