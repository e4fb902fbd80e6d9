package db_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/benchledger/benchledger/db"
)

// setupRuns stores two runs of each suite, scenario, agent and status, some of
// which started at the same time and none in the order of their ids; and one more run of
// each, which is voided and not returned.
func setupRuns(t testing.TB) (*db.Queries, []db.BenchmarkRun) {
	t.Helper()
	q, _ := setup(t)
	var runs []db.BenchmarkRun
	for i := range 32 {
		letter := func(bit int) string { return string(rune('a' + i>>bit&1)) }
		run := with(fullRun(fmt.Sprint("run-", i)), func(r *db.Submission) {
			r.Suite, r.Scenario, r.Agent = "suite-"+letter(1), "scenario-"+letter(2), "agent-"+letter(3)
			r.Status = map[string]string{"a": "completed", "b": "failed"}[letter(4)]
			r.StartedAt, r.TotalScore = noon.Add(time.Duration(i*7%5)*time.Microsecond), new(float64(i))
		})
		runs = append(runs, runOf(run, create(t, q, run)))
		if i%2 == 0 {
			run.RunID = fmt.Sprint("voided-", i)
			create(t, q, run)
			void(t, q, run.RunID)
		}
	}
	return q, runs
}

// runsQuery is a query for a list of runs, with its filters.
type runsQuery func(beforeStartedAt time.Time, beforeID int64, limit int32) ([]db.BenchmarkRun, error)

// wantRuns fails the test unless a query returns those of the runs that match:
// newest first, all of their columns, in pages of any size.
func wantRuns(t testing.TB, query runsQuery, runs []db.BenchmarkRun, matches func(db.BenchmarkRun) bool) {
	t.Helper()
	want := slices.DeleteFunc(slices.Clone(runs), func(r db.BenchmarkRun) bool { return !matches(r) })
	slices.SortFunc(want, func(a, b db.BenchmarkRun) int {
		return cmp.Or(b.StartedAt.Compare(a.StartedAt), cmp.Compare(b.ID, a.ID))
	})
	if len(want) == 0 {
		t.Error("no run matches")
	}
	for _, size := range []int{1, 3, len(want), 100} {
		startedAt, id := beyondEveryTime, int64(math.MaxInt64)
		for rest := want; ; rest = rest[min(size, len(rest)):] {
			page, err := query(startedAt, id, int32(size))
			if err != nil {
				t.Fatal(err)
			}
			wantEqual(t, page, append([]db.BenchmarkRun{}, rest[:min(size, len(rest))]...))
			if len(page) == 0 || len(rest) == 0 { // A page too many is one fault.
				break
			}
			last := page[len(page)-1]
			startedAt, id = last.StartedAt, last.ID
		}
	}
}

func allRuns(ctx context.Context, q *db.Queries) runsQuery {
	return func(before time.Time, id int64, limit int32) ([]db.BenchmarkRun, error) {
		return q.ListRuns(ctx, db.ListRunsParams{BeforeStartedAt: before, BeforeID: id, RowLimit: limit})
	}
}

func TestListRuns(t *testing.T) {
	t.Parallel()

	t.Run("gives all runs", func(t *testing.T) {
		t.Parallel()
		q, runs := setupRuns(t)
		wantRuns(t, allRuns(t.Context(), q), runs, func(db.BenchmarkRun) bool { return true })
	})

	t.Run("gives what is absent as absent, and nothing where there is no run", func(t *testing.T) {
		t.Parallel()
		q, _ := setup(t)
		wantNoRuns(t, allRuns(t.Context(), q))
		run := runOf(leastRun("run-1"), create(t, q, leastRun("run-1")))
		wantRuns(t, allRuns(t.Context(), q), []db.BenchmarkRun{run}, func(db.BenchmarkRun) bool { return true })
	})
}

func runsBySuite(ctx context.Context, q *db.Queries, suite string) runsQuery {
	return func(before time.Time, id int64, limit int32) ([]db.BenchmarkRun, error) {
		return q.ListRunsBySuite(ctx, db.ListRunsBySuiteParams{
			Suite: suite, BeforeStartedAt: before, BeforeID: id, RowLimit: limit,
		})
	}
}

func TestListRunsBySuite(t *testing.T) {
	t.Parallel()
	q, runs := setupRuns(t)
	for _, suite := range []string{"suite-a", "suite-b"} {
		wantRuns(t, runsBySuite(t.Context(), q, suite), runs, func(r db.BenchmarkRun) bool { return r.Suite == suite })
	}
	wantNoRuns(t, runsBySuite(t.Context(), q, "suite-c"))
}

func runsByScenario(ctx context.Context, q *db.Queries, scenario string) runsQuery {
	return func(before time.Time, id int64, limit int32) ([]db.BenchmarkRun, error) {
		return q.ListRunsByScenario(ctx, db.ListRunsByScenarioParams{
			Scenario: scenario, BeforeStartedAt: before, BeforeID: id, RowLimit: limit,
		})
	}
}

func TestListRunsByScenario(t *testing.T) {
	t.Parallel()
	q, runs := setupRuns(t)
	for _, scenario := range []string{"scenario-a", "scenario-b"} {
		wantRuns(t, runsByScenario(t.Context(), q, scenario), runs, func(r db.BenchmarkRun) bool { return r.Scenario == scenario })
	}
	wantNoRuns(t, runsByScenario(t.Context(), q, "scenario-c"))
}

func runsByAgent(ctx context.Context, q *db.Queries, agent string) runsQuery {
	return func(before time.Time, id int64, limit int32) ([]db.BenchmarkRun, error) {
		return q.ListRunsByAgent(ctx, db.ListRunsByAgentParams{
			Agent: agent, BeforeStartedAt: before, BeforeID: id, RowLimit: limit,
		})
	}
}

func TestListRunsByAgent(t *testing.T) {
	t.Parallel()
	q, runs := setupRuns(t)
	for _, agent := range []string{"agent-a", "agent-b"} {
		wantRuns(t, runsByAgent(t.Context(), q, agent), runs, func(r db.BenchmarkRun) bool { return r.Agent == agent })
	}
	wantNoRuns(t, runsByAgent(t.Context(), q, "agent-c"))
}

func runsByStatus(ctx context.Context, q *db.Queries, status string) runsQuery {
	return func(before time.Time, id int64, limit int32) ([]db.BenchmarkRun, error) {
		return q.ListRunsByStatus(ctx, db.ListRunsByStatusParams{
			Status: status, BeforeStartedAt: before, BeforeID: id, RowLimit: limit,
		})
	}
}

func TestListRunsByStatus(t *testing.T) {
	t.Parallel()
	q, runs := setupRuns(t)
	for _, status := range []string{"completed", "failed"} {
		wantRuns(t, runsByStatus(t.Context(), q, status), runs, func(r db.BenchmarkRun) bool { return r.Status == status })
	}
	wantNoRuns(t, runsByStatus(t.Context(), q, "running"))
}

func runsByFilters(ctx context.Context, q *db.Queries, filters db.Filters) runsQuery {
	return func(before time.Time, id int64, limit int32) ([]db.BenchmarkRun, error) {
		encoded, err := json.Marshal(filters)
		if err != nil {
			return nil, err
		}
		return q.ListRunsByFilters(ctx, db.ListRunsByFiltersParams{Filters: encoded, BeforeStartedAt: before, BeforeID: id, RowLimit: limit})
	}
}

func runsPage(ctx context.Context, q *db.Queries, filters db.Filters) runsQuery {
	return func(before time.Time, id int64, limit int32) ([]db.BenchmarkRun, error) {
		page, err := db.ListRunsPage(ctx, q, filters, db.OrderNewest, db.RunPosition{StartedAt: before, ID: id}, limit)
		return unplaced(page), err
	}
}

// unplaced are the runs without their positions.
func unplaced(placed []db.PlacedRun) []db.BenchmarkRun {
	runs := make([]db.BenchmarkRun, len(placed))
	for i := range placed {
		runs[i] = placed[i].BenchmarkRun
	}
	return runs
}

func TestListRunsByFilters(t *testing.T) {
	t.Parallel()
	q, runs := setupRuns(t)
	for name, list := range map[string]func(db.Filters) runsQuery{
		"prepared":               func(f db.Filters) runsQuery { return runsByFilters(t.Context(), q, f) },
		"with a custom plan":     func(f db.Filters) runsQuery { return runsByFilters(t.Context(), db.WithCustomPlans(q), f) },
		"by the query that fits": func(f db.Filters) runsQuery { return runsPage(t.Context(), q, f) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := db.Filters{"suite": {"suite-b"}, "scenario": {"scenario-a"}, "agent": {"agent-b"}, "status": {"failed"}}
			names := slices.Sorted(maps.Keys(all))
			for set := range 1 << len(names) {
				filters := db.Filters{}
				for bit, name := range names {
					if set>>bit&1 > 0 {
						filters[name] = all[name]
					}
				}
				is := func(name, value string) bool { return filters[name] == nil || filters[name][0] == value }
				wantRuns(t, list(filters), runs, func(r db.BenchmarkRun) bool {
					return is("suite", r.Suite) && is("scenario", r.Scenario) && is("agent", r.Agent) && is("status", r.Status)
				})
			}
			page, err := list(db.Filters{"suite": {"suite-b"}, "voided": {"true"}})(beyondEveryTime, math.MaxInt64, 99)
			wantNoError(t, err)
			if len(page) != 24 {
				t.Errorf("%d runs of a suite, want 16 and the 8 that are voided", len(page))
			}
			for _, nothing := range []db.Filters{
				{"suite": {"suite-c"}}, {"scenario": {"scenario-c"}}, {"agent": {"agent-c"}}, {"status": {"running"}}, {"suite": {"suite-a"}, "agent": {"agent-c"}},
			} {
				wantNoRuns(t, list(nothing))
			}
		})
	}
}

// wantPages fails the test unless the pages of a list, of any size, have these runs in this order.
func wantPages(t testing.TB, q *db.Queries, filters db.Filters, order db.RunOrder, want []db.BenchmarkRun) {
	t.Helper()
	for _, size := range []int{1, 3, max(1, len(want)), 100} {
		after := order.First()
		for rest := want; ; rest = rest[min(size, len(rest)):] {
			page, err := db.ListRunsPage(t.Context(), q, filters, order, after, int32(size))
			wantNoError(t, err)
			wantEqual(t, unplaced(page), append([]db.BenchmarkRun{}, rest[:min(size, len(rest))]...))
			if len(page) == 0 || len(rest) == 0 {
				break
			}
			after = page[len(page)-1].Position
		}
	}
}

func TestListOldestRuns(t *testing.T) {
	t.Parallel()
	q, runs := setupRuns(t)
	slices.SortFunc(runs, func(a, b db.BenchmarkRun) int {
		return cmp.Or(a.StartedAt.Compare(b.StartedAt), cmp.Compare(a.ID, b.ID))
	})
	wantPages(t, q, nil, db.OrderOldest, runs)
	wantPages(t, q, db.Filters{"suite": {"suite-c"}}, db.OrderOldest, nil)
	inSuite := slices.DeleteFunc(slices.Clone(runs), func(r db.BenchmarkRun) bool { return r.Suite != "suite-b" })
	wantPages(t, q, db.Filters{"suite": {"suite-b"}}, db.OrderOldest, inSuite)

	// Both orders begin at the window.
	since, until := noon.Add(time.Microsecond), noon.Add(3*time.Microsecond)
	window := db.Filters{"since": {since.Format(time.RFC3339Nano)}, "until": {until.Format(time.RFC3339Nano)}}
	inWindow := slices.DeleteFunc(slices.Clone(runs), func(r db.BenchmarkRun) bool { return r.StartedAt.Before(since) || !r.StartedAt.Before(until) })
	if len(inWindow) == 0 || len(inWindow) == len(runs) {
		t.Fatalf("%d of %d runs are in the window", len(inWindow), len(runs))
	}
	wantPages(t, q, window, db.OrderOldest, inWindow)
	slices.Reverse(inWindow)
	wantPages(t, q, window, db.OrderNewest, inWindow)

	// Two that started at the same time, and whose ids follow one another.
	var pair []db.BenchmarkRun
	for _, id := range []string{"first", "second"} {
		run := with(leastRun(id), func(r *db.Submission) { r.Suite = "pair" })
		pair = append(pair, runOf(run, create(t, q, run)))
	}
	wantPages(t, q, db.Filters{"suite": {"pair"}}, db.OrderOldest, pair)
}

func TestListRunsByFigure(t *testing.T) {
	t.Parallel()
	q, pool := setup(t)
	type figures struct {
		score, weighted, cost *float64
		duration              *int64
	}
	var runs []db.BenchmarkRun
	for i, f := range []figures{
		{new(0.5), new(5.0), new(0.01), new(int64(10))},
		{new(math.MaxFloat64), new(-math.MaxFloat64), new(math.SmallestNonzeroFloat64), new(int64(math.MaxInt64))},
		{new(0.5), nil, nil, new(int64(0))}, // the same score as the first
		{},
		{new(-1.0), new(7.0), new(3.0), nil},
		{nil, new(5.0), new(0.0), new(int64(10))},
	} {
		run := with(leastRun(fmt.Sprint("run-", i)), func(r *db.Submission) {
			r.TotalScore, r.WeightedScore = f.score, f.weighted
			if i != 3 { // which has no telemetry
				r.Telemetry = &db.RunTelemetry{CostUsd: f.cost, DurationMs: f.duration}
			}
		})
		runs = append(runs, runOf(run, create(t, q, run)))
	}
	create(t, q, with(fullRun("other"), func(r *db.Submission) { r.Suite = "suite-b" }))
	create(t, q, fullRun("voided"))
	void(t, q, "voided")
	inOrder := func(order ...int) (list []db.BenchmarkRun) {
		for _, i := range order {
			list = append(list, runs[i])
		}
		return list
	}
	filters := db.Filters{"suite": {"suite-a"}}
	for order, want := range map[db.RunOrder][]db.BenchmarkRun{
		db.OrderScore:         inOrder(1, 2, 0, 4, 5, 3),
		db.OrderWeightedScore: inOrder(4, 5, 0, 1, 3, 2),
		db.OrderCost:          inOrder(4, 0, 1, 5, 3, 2),
		db.OrderDuration:      inOrder(1, 5, 0, 2, 4, 3),
	} {
		t.Run(string(order), func(t *testing.T) {
			wantPages(t, q, filters, order, want)
			wantPages(t, q, db.Filters{"suite": {"suite-c"}}, order, nil)
		})
	}

	t.Run("counts what matches, at most the limit", func(t *testing.T) {
		for _, limit := range []int32{7, 6, 5, 1} {
			rows, err := q.ListRunsByFigure(t.Context(), db.ListRunsByFigureParams{
				Figure: "score", Filters: []byte(`{"suite":"suite-a"}`), MatchLimit: limit, BeforeFigure: math.Inf(1), BeforeID: math.MaxInt64, RowLimit: 1,
			})
			wantNoError(t, err)
			if len(rows) != 1 || rows[0].Matches != min(6, int64(limit)) {
				t.Errorf("limit %d: %+v", limit, rows)
			}
		}
	})

	t.Run("too many", func(t *testing.T) {
		exec(t, pool, `
			insert into benchmark_runs (run_id, suite, scenario, tier, agent, status, started_at, started_at_given, is_successful)
			select 'many-' || n, 'suite-a', 'scenario', 'L1', 'agent', 'completed', now(), true, true from generate_series(1, 49994) as n`)
		page := func() error {
			_, err := db.ListRunsPage(t.Context(), q, filters, db.OrderScore, db.OrderScore.First(), 1)
			return err
		}
		wantNoError(t, page())
		create(t, q, leastRun("one more"))
		if err := page(); !errors.Is(err, db.ErrTooManyRuns) {
			t.Errorf("%d runs: %v", db.MaxSorted+1, err)
		}
	})
}

// wantNoRuns fails the test unless a query returns an empty list.
func wantNoRuns(t testing.TB, query runsQuery) {
	t.Helper()
	got, err := query(beyondEveryTime, math.MaxInt64, 9)
	wantNoError(t, err)
	wantEqual(t, got, []db.BenchmarkRun{})
}

func runsByBatch(t testing.TB, q *db.Queries, batch string) []db.BenchmarkRun {
	t.Helper()
	runs, err := q.ListRunsByBatch(t.Context(), db.ListRunsByBatchParams{BatchID: batch, RowLimit: 100})
	wantNoError(t, err)
	return runs
}

func TestListRunsByBatch(t *testing.T) {
	t.Parallel()
	q, pool := setupOne(t)

	t.Run("gives the runs of the batch, oldest first", func(t *testing.T) {
		want := map[string][]db.BenchmarkRun{"batch-a": {}, "batch-b": {}}
		for i := range 20 {
			run := with(fullRun(fmt.Sprint("run-", i)), func(r *db.Submission) {
				r.BatchID = []*string{new("batch-a"), new("batch-b"), nil}[i%3]
				r.StartedAt = noon.Add(time.Duration(i*7%5) * time.Microsecond)
			})
			id := create(t, q, run)
			if run.BatchID != nil {
				want[*run.BatchID] = append(want[*run.BatchID], runOf(run, id))
			}
		}
		// The index, and the physical order of the rows, would otherwise hide a missing order by.
		exec(t, pool, "update benchmark_runs set tier = tier where id % 2 = 0")
		exec(t, pool, "set enable_indexscan = off")
		exec(t, pool, "set enable_bitmapscan = off")
		for batch, runs := range want {
			slices.SortFunc(runs, func(a, b db.BenchmarkRun) int {
				return cmp.Or(a.StartedAt.Compare(b.StartedAt), cmp.Compare(a.ID, b.ID))
			})
			wantEqual(t, runsByBatch(t, q, batch), runs)
		}
	})

	t.Run("gives page after page", func(t *testing.T) {
		want := runsByBatch(t, q, "batch-a")
		var got []db.BenchmarkRun
		params := db.ListRunsByBatchParams{BatchID: "batch-a", RowLimit: 2}
		for {
			page, err := q.ListRunsByBatch(t.Context(), params)
			wantNoError(t, err)
			if got = append(got, page...); len(page) < 2 {
				break
			}
			params.AfterStartedAt, params.AfterID = page[1].StartedAt, page[1].ID
		}
		wantEqual(t, got, want)
	})

	t.Run("gives voided runs if they are asked for", func(t *testing.T) {
		before := runsByBatch(t, q, "batch-a")
		void(t, q, before[1].RunID)
		wantEqual(t, runsByBatch(t, q, "batch-a"), slices.Delete(slices.Clone(before), 1, 2))
		all, err := q.ListRunsByBatch(t.Context(), db.ListRunsByBatchParams{BatchID: "batch-a", WithVoided: true, RowLimit: 100})
		wantNoError(t, err)
		before[1] = get(t, q, before[1].RunID).BenchmarkRun
		wantEqual(t, all, before)
	})

	t.Run("gives none for a batch without runs, and one that is not there", func(t *testing.T) {
		upsertBatch(t, q, fullBatch("batch-c"))
		wantEqual(t, runsByBatch(t, q, "batch-c"), []db.BenchmarkRun{})
		wantEqual(t, runsByBatch(t, q, "batch-d"), []db.BenchmarkRun{})
	})
}

// setupRow stores a full run by its columns, one that says the least, and others
// beside them.
func setupRow(t testing.TB) (*db.Queries, *pgxpool.Pool) {
	t.Helper()
	q, pool := setup(t)
	create(t, q, leastRun("least"))
	create(t, q, with(leastRun("silent"), func(r *db.Submission) { r.Telemetry = &db.RunTelemetry{} }))
	create(t, q, otherRun("other"))
	exec(t, pool, "insert into batch_runs (batch_id, created_at) values ('batch-a', $1)", noon)
	exec(t, pool, `
		insert into benchmark_runs (
			run_id, id, batch_id, suite, scenario, tier, agent, model, status, started_at, started_at_given,
			completed_at, total_score, weighted_score, is_successful, success_metric,
			specialist_enabled, specialist_name, specialist_version, metadata
		)
		overriding system value
		values (
			'run-1', 101, 'batch-a', 'suite-a', 'scenario-a', 'L1', 'agent-a', 'model-a', 'failed', $1, false,
			$2, 1.5, 2.5, true, 3.5, true, 'nextjs', '0.0.5', '{"z": 9007199254740993, "a": 1.50}'
		)`, noon, noon.Add(time.Minute))
	exec(t, pool, `
		insert into evaluation_results (run_id, position, id, evaluator_name, score, max_score, details, created_at)
		overriding system value
		values
			('run-1', 10, 201, 'last', 4.5, 5.5, null, $1),
			('run-1', 0, 203, 'first', 6.5, 7.5, 'said "no"', $2),
			('run-1', 9, 202, 'middle', 8.5, 9.5, '', $1)`, noon, noon.Add(time.Second))
	exec(t, pool, `
		insert into run_telemetry (
			run_id, id, tool_calls, tokens_in, tokens_out, cost_usd, duration_ms, workspace_dir, prompt_sent
		)
		overriding system value
		values ('run-1', 301, 10, 11, 12, 13.5, 14, 'here', 'Do it.')`)
	return q, pool
}

// rowEvaluations are those that setupRow stores.
var rowEvaluations = []db.EvaluationResult{
	{ID: 203, RunID: "run-1", Position: 0, EvaluatorName: "first", Score: new(6.5), MaxScore: 7.5, Details: new(`said "no"`), CreatedAt: noon.Add(time.Second)},
	{ID: 202, RunID: "run-1", Position: 9, EvaluatorName: "middle", Score: new(8.5), MaxScore: 9.5, Details: new(""), CreatedAt: noon},
	{ID: 201, RunID: "run-1", Position: 10, EvaluatorName: "last", Score: new(4.5), MaxScore: 5.5, CreatedAt: noon},
}

func TestGetRun(t *testing.T) {
	t.Parallel()
	q, pool := setupRow(t)

	t.Run("gives all of a run", func(t *testing.T) {
		row := get(t, q, "run-1")
		wantEqual(t, decodeEvaluations(t, row.Evaluations), rowEvaluations)
		row.Evaluations = nil
		wantEqual(t, row, db.GetRunRow{
			BenchmarkRun: db.BenchmarkRun{
				RunID: "run-1", ID: 101, BatchID: new("batch-a"), Suite: "suite-a", Scenario: "scenario-a", Tier: "L1",
				Agent: "agent-a", Model: new("model-a"), Status: "failed", StartedAt: noon, StartedAtGiven: false,
				CompletedAt: new(noon.Add(time.Minute)), TotalScore: new(1.5), WeightedScore: new(2.5), IsSuccessful: true,
				SuccessMetric: new(3.5), SpecialistEnabled: new(true), SpecialistName: new("nextjs"),
				SpecialistVersion: new("0.0.5"), Metadata: []byte(`{"a": 1.50, "z": 9007199254740993}`),
			},
			TelemetryID: new(int64(301)), ToolCalls: new(int64(10)), TokensIn: new(int64(11)), TokensOut: new(int64(12)),
			CostUsd: new(13.5), DurationMs: new(int64(14)), WorkspaceDir: new("here"), PromptSent: new("Do it."),
		})
	})

	t.Run("gives no evaluations and no telemetry where there are none", func(t *testing.T) {
		id := value[int64](t, pool, "select id from benchmark_runs where run_id = 'least'")
		wantEqual(t, get(t, q, "least"), db.GetRunRow{BenchmarkRun: runOf(leastRun("least"), id), Evaluations: []byte("[]")})
	})

	t.Run("gives no row for a run that is not there", func(t *testing.T) {
		_, err := q.GetRun(t.Context(), "RUN-1")
		wantKind(t, err, db.NotFound)
	})
}

func TestGetRunEvaluations(t *testing.T) {
	t.Parallel()
	q, _ := setupRow(t)

	t.Run("gives them in the order submitted", func(t *testing.T) {
		encoded, err := q.GetRunEvaluations(t.Context(), "run-1")
		wantNoError(t, err)
		wantEqual(t, decodeEvaluations(t, encoded), rowEvaluations)
	})

	t.Run("gives an empty list where there are none", func(t *testing.T) {
		encoded, err := q.GetRunEvaluations(t.Context(), "least")
		wantNoError(t, err)
		wantEqual(t, string(encoded), "[]")
	})

	t.Run("gives no row for a run that is not there", func(t *testing.T) {
		_, err := q.GetRunEvaluations(t.Context(), "RUN-1")
		wantKind(t, err, db.NotFound)
	})
}

func TestGetRunTelemetry(t *testing.T) {
	t.Parallel()
	q, pool := setupRow(t)

	for _, want := range []db.GetRunTelemetryRow{
		{
			RunID: "run-1", ID: new(int64(301)), ToolCalls: new(int64(10)), TokensIn: new(int64(11)), TokensOut: new(int64(12)),
			CostUsd: new(13.5), DurationMs: new(int64(14)), WorkspaceDir: new("here"), PromptSent: new("Do it."),
		},
		{RunID: "silent", ID: new(value[int64](t, pool, "select id from run_telemetry where run_id = 'silent'"))},
		{RunID: "least"}, // It has none.
	} {
		row, err := q.GetRunTelemetry(t.Context(), db.GetRunTelemetryParams{RunID: want.RunID, WithPrompt: true})
		wantNoError(t, err)
		wantEqual(t, row, want)
		row, err = q.GetRunTelemetry(t.Context(), db.GetRunTelemetryParams{RunID: want.RunID})
		wantNoError(t, err)
		wantEqual(t, row, with(want, func(r *db.GetRunTelemetryRow) { r.PromptSent = nil }))
	}

	t.Run("gives no row for a run that is not there", func(t *testing.T) {
		_, err := q.GetRunTelemetry(t.Context(), db.GetRunTelemetryParams{RunID: "RUN-1"})
		wantKind(t, err, db.NotFound)
	})
}
