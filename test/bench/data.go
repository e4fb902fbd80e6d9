package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"
)

// The data that is measured on: runs of three evaluations and telemetry each, skewed as
// in life. A few suites, agents and models have most of the runs, and recent days more
// than earlier ones. Ids are numbers, so that pgbench can draw them too.

const (
	suites, scenariosPerSuite, agents = 20, 40, 30
	evaluationsPerRun                 = 3
	runsPerBatch                      = 100
	// rareRuns is how many runs have the rare values, however many there are in all.
	rareRuns = 20
	years    = 2
)

// generatedRun is one of the data.
type generatedRun struct {
	id                                    int
	batch, suite, scenario, agent, status string
	startedAt                             time.Time
	score                                 float64
}

var (
	firstDay = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	metadata = `{"cli":"1.2.0","host":"runner-17.internal.example","commit":"0f9a61c7d5e24b7e9a5d","workspace":"/var/lib/runner/work/0f9a61c7"}`
	prompt   = strings.Repeat("Update the dependencies of the monorepo. ", 12)
)

func batchCount(size int) int { return (size + runsPerBatch - 1) / runsPerBatch }

// skewed draws from 0 to n-1, the lower the more often: of 20 the first has 37 %.
func skewed(r *rand.Rand, n int) int { return int(float64(n) * math.Pow(r.Float64(), 3)) }

// generate makes the run with a number, of so many; always the same. Beyond them it
// goes on like from the first.
func generate(id, of int) generatedRun {
	r := rand.New(rand.NewPCG(uint64(id), 1))
	number := id % of
	run := generatedRun{id: id, batch: strconv.Itoa(number / runsPerBatch), score: r.Float64()}
	run.startedAt = firstDay.Add(time.Duration(math.Sqrt(float64(number)/float64(of)) * float64(years*365*24*time.Hour))).Truncate(time.Millisecond)
	if every := of / rareRuns; number%every == every/2 {
		run.suite, run.scenario, run.agent, run.status = "suite-rare", "scenario-rare", "agent-rare", "running"
		return run
	}
	suite, agent := skewed(r, suites), skewed(r, agents)
	if suite == 1 && agent == 1 {
		suite = 2 // Two that are common, and never meet.
	}
	run.suite, run.agent = fmt.Sprint("suite-", suite), fmt.Sprint("agent-", agent)
	run.scenario = fmt.Sprintf("scenario-%d-%d", suite, skewed(r, scenariosPerSuite))
	switch p := r.Float64(); {
	case p < 0.9:
		run.status = "completed"
	case p < 0.98:
		run.status = "failed"
	default:
		run.status = "incomplete"
	}
	return run
}

// copyRuns stores the runs from first to last-1 by COPY, in one transaction.
func copyRuns(ctx context.Context, pool *pgxpool.Pool, first, last, of int) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		n := last - first
		if _, err := tx.CopyFrom(ctx, pgx.Identifier{"benchmark_runs"}, []string{
			"run_id", "batch_id", "suite", "scenario", "tier", "agent", "model", "status", "started_at", "started_at_given", "completed_at",
			"total_score", "weighted_score", "is_successful", "metadata_text",
		}, pgx.CopyFromSlice(n, func(i int) ([]any, error) {
			run := generate(first+i, of)
			return []any{
				strconv.Itoa(run.id), run.batch, run.suite, run.scenario, fmt.Sprint("L", run.id%4), run.agent, "model-" + run.agent, run.status,
				run.startedAt, true, run.startedAt.Add(5 * time.Minute), run.score, 10 * run.score, run.score > 0.4, metadata,
			}, nil
		})); err != nil {
			return err
		}
		if _, err := tx.CopyFrom(ctx, pgx.Identifier{"evaluation_results"}, []string{
			"run_id", "position", "evaluator_name", "score", "max_score", "details", "created_at",
		}, pgx.CopyFromSlice(n*evaluationsPerRun, func(i int) ([]any, error) {
			return []any{
				strconv.Itoa(first + i/evaluationsPerRun), i % evaluationsPerRun, fmt.Sprint("evaluator-", i%evaluationsPerRun), float64(i % 11), 10.0, "exited 0", firstDay,
			}, nil
		})); err != nil {
			return err
		}
		_, err := tx.CopyFrom(ctx, pgx.Identifier{"run_telemetry"}, []string{
			"run_id", "tool_calls", "tokens_in", "tokens_out", "cost_usd", "duration_ms", "workspace_dir", "prompt_sent",
		}, pgx.CopyFromSlice(n, func(i int) ([]any, error) {
			return []any{strconv.Itoa(first + i), 12, 85000, 2200, 0.0123, 300000, "results/workspaces/x", prompt}, nil
		}))
		return err
	})
}

// load fills an empty database with so many runs.
func load(ctx context.Context, pool *pgxpool.Pool, size int, progress func(runs int)) error {
	batches := batchCount(size)
	if _, err := pool.CopyFrom(ctx, pgx.Identifier{"batch_runs"}, []string{"batch_id", "created_at", "completed_at"}, pgx.CopyFromSlice(batches, func(i int) ([]any, error) {
		at := generate(i*runsPerBatch, size).startedAt
		return []any{strconv.Itoa(i), at, at.Add(time.Hour)}, nil
	})); err != nil {
		return err
	}
	const chunk = 20_000
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(4)
	for first := 0; first < size; first += chunk {
		work.Go(func() error {
			last := min(first+chunk, size)
			defer progress(last - first)
			return copyRuns(ctx, pool, first, last, size)
		})
	}
	return work.Wait()
}
