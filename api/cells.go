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
	cells     []stats.Cell
	durations []stats.DurationCount
	last      []time.Time // of each cell: when its last run started
}

// maxTable is how many places the table of entries and scenarios of an answer has. Most memory
// and time of statistics is in it.
const maxTable = 1_000_000

// readCells returns the cells of the runs that match the filters.
func readCells(ctx context.Context, q *db.Queries, filters map[string]string, judgement Judgement) (*cells, error) {
	c := &cells{basis: Basis{AsOf: UTCTime{time.Now()}}}
	rows, err := db.ListMatchingCells(ctx, q, filters)
	if err != nil {
		return nil, err
	}
	type entry struct{ agent, model string }
	type item struct{ scenario, tier string }
	entries, items := map[entry]bool{}, map[item]bool{}
	for i, row := range rows {
		if i == 0 || !sameCell(row, rows[i-1]) {
			c.cells = append(c.cells, stats.Cell{Agent: row.Agent, Model: row.Model, Scenario: row.Scenario, Tier: row.Tier})
			c.last = append(c.last, row.LastStartedAt)
			model := ""
			if row.Model != nil {
				model = *row.Model
			}
			entries[entry{row.Agent, model}], items[item{row.Scenario, row.Tier}] = true, true
		}
		c.add(row, judgement)
	}
	if len(entries)*len(items) > maxTable {
		return nil, tooManyRuns()
	}
	return c, nil
}

func sameCell(a, b db.ListCellsRow) bool {
	return a.Agent == b.Agent && a.Scenario == b.Scenario && a.Tier == b.Tier &&
		(a.Model == nil) == (b.Model == nil) && (a.Model == nil || *a.Model == *b.Model)
}

// add adds a row to the last cell.
func (c *cells) add(row db.ListCellsRow, judgement Judgement) {
	cell, last := &c.cells[len(c.cells)-1], &c.last[len(c.last)-1]
	if row.LastStartedAt.After(*last) {
		*last = row.LastStartedAt
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
	for _, milliseconds := range row.DurationsMs {
		c.durations = append(c.durations, stats.DurationCount{
			Agent: cell.Agent, Model: cell.Model, Scenario: cell.Scenario, Tier: cell.Tier,
			DurationBin: stats.DurationBin{Bin: stats.DurationBinOf(milliseconds), Runs: 1},
		})
	}
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
