package api

import (
	"context"
	"time"

	"github.com/benchledger/benchledger/db"
	"github.com/benchledger/benchledger/stats"
)

// Judgement says how runs are judged.
type Judgement struct {
	Metric stats.Metric `query:"metric" enum:"success,totalScore,weightedScore" default:"success" doc:"What runs are judged by. A failed run has no success, and the score 0 unless it has one."`
	Infra  stats.Infra  `query:"infra" enum:"exclude,failure" default:"exclude" doc:"What becomes of infra errors, the failed runs whose metadata.errorType is neither agent nor unknown. exclude: they are no attempts. failure: they count as failed attempts."`
	Level  float64      `query:"level" minimum:"0.5" maximum:"0.999" default:"0.95" doc:"The confidence level of intervals; tests use 1 - level as their significance level."`
}

func (j Judgement) scope() stats.Scope {
	return stats.Scope{Metric: j.Metric, Infra: j.Infra, Level: j.Level}
}

// Basis says which runs an answer is about, and which were left out.
type Basis struct {
	AsOf        UTCTime `json:"asOf" doc:"Runs that were acknowledged before this time are included."`
	Runs        int64   `json:"runs" doc:"Number of attempts: final runs that match the filters, without infra errors, unless these count as failures."`
	InfraErrors int64   `json:"infraErrors" doc:"Number of runs that failed with a metadata.errorType other than agent and unknown. They are left out, unless infra=failure."`
	OpenRuns    int64   `json:"openRuns" doc:"Number of runs that are running or incomplete. They are left out."`
	Unscored    int64   `json:"unscored" doc:"Number of attempts without the score that is the metric. They are left out of its means."`
}

// cells are the runs that a statistic is about.
type cells struct {
	basis     Basis
	cells     []stats.Cell // ordered by agent, model, scenario and tier
	durations [][]int64    // of each cell: those of its attempts, in milliseconds
	last      []time.Time  // of each cell: when its last run started
}

// maxTable is how many places the table of entries and scenarios of an answer has. Most memory
// and time of statistics is in it.
const maxTable = 1_000_000

// readCells returns the cells of the runs that match the filters.
func readCells(ctx context.Context, q *db.Queries, filters db.Filters, judgement Judgement) (*cells, error) {
	c := &cells{basis: Basis{AsOf: UTCTime{time.Now()}}}
	rows, err := db.ListMatchingCells(ctx, q, filters)
	if err != nil {
		return nil, err
	}
	type item struct{ scenario, tier string }
	entries, items := 0, map[item]bool{}
	for i := range rows {
		row := &rows[i]
		next := stats.Cell{Agent: row.Agent, Model: row.Model, Scenario: row.Scenario, Tier: row.Tier}
		isNewEntry := i == 0 || !isSameEntry(&c.cells[len(c.cells)-1], &next)
		if isNewEntry {
			entries++
		}
		if isNewEntry || rows[i-1].Scenario != row.Scenario || rows[i-1].Tier != row.Tier {
			c.cells, c.durations, c.last = append(c.cells, next), append(c.durations, nil), append(c.last, row.LastStartedAt)
			items[item{row.Scenario, row.Tier}] = true
		}
		c.add(row, judgement)
	}
	if entries*len(items) > maxTable {
		return nil, tooManyRuns()
	}
	return c, nil
}

// isSameEntry reports whether two cells are of the same agent and model.
func isSameEntry(a, b *stats.Cell) bool {
	return a.Agent == b.Agent && (a.Model == nil) == (b.Model == nil) && (a.Model == nil || *a.Model == *b.Model)
}

// add adds a row to the last cell.
func (c *cells) add(row *db.ListCellsRow, judgement Judgement) {
	end := len(c.cells) - 1
	cell := &c.cells[end]
	if row.LastStartedAt.After(c.last[end]) {
		c.last[end] = row.LastStartedAt
	}
	runs := stats.Runs{
		Count: row.Runs, Successes: row.Successes,
		TotalScore:    sample(row.Scores, row.ScoreMean, row.ScoreDeviation),
		WeightedScore: sample(row.WeightedScores, row.WeightedScoreMean, row.WeightedScoreDeviation),
		CostUSD:       average(row.Costs, row.CostMean),
		TokensIn:      average(row.TokensInKnown, row.TokensInMean),
		TokensOut:     average(row.TokensOutKnown, row.TokensOutMean),
		DurationMs:    average(row.Durations, row.DurationMean),
	}
	switch row.Outcome {
	case "open":
		cell.OpenRuns = row.Runs
		c.basis.OpenRuns += row.Runs
		return
	case "infraError":
		cell.InfraErrors = runs
		c.basis.InfraErrors += row.Runs
		if judgement.Infra == stats.InfraExclude {
			return
		}
	default:
		cell.Attempts = runs
	}
	c.basis.Runs += row.Runs
	switch judgement.Metric {
	case stats.MetricTotalScore:
		c.basis.Unscored += row.Runs - row.Scores
	case stats.MetricWeightedScore:
		c.basis.Unscored += row.Runs - row.WeightedScores
	case stats.MetricSuccess:
	}
	c.durations[end] = append(c.durations[end], row.DurationsMs...)
}

// durationCounts are the durations as a leaderboard takes them.
func (c *cells) durationCounts() []stats.DurationCount {
	var counts []stats.DurationCount
	for i := range c.cells {
		cell := &c.cells[i]
		for _, milliseconds := range c.durations[i] {
			counts = append(counts, stats.DurationCount{
				Agent: cell.Agent, Model: cell.Model, Scenario: cell.Scenario, Tier: cell.Tier,
				DurationBin: stats.DurationBin{Bin: stats.DurationBinOf(milliseconds), Runs: 1},
			})
		}
	}
	return counts
}

func sample(count int64, mean, deviation *float64) stats.Sample {
	if count == 0 {
		return stats.Sample{}
	}
	return stats.Sample{N: count, Mean: *mean, SD: *deviation}
}

func average(count int64, mean *float64) stats.Average {
	if count == 0 {
		return stats.Average{}
	}
	return stats.Average{N: count, Mean: *mean}
}
