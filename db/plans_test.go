package db_test

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/jackc/pgx/v5"

	"github.com/benchledger/benchledger/db"
)

// fill stores 20,000 typical runs: nearly all completed, by a few
// agents mostly, of suites and scenarios some of which are run all the time and
// some hardly ever, in batches of 50, submitted about when they started.
const fill = `
	with batch as (
		insert into batch_runs (batch_id, created_at)
		select 'batch-' || b, timestamptz '2025-01-01' + b * interval '50 minutes'
		from generate_series(0, 399) as b
	)
	insert into benchmark_runs (
		run_id, batch_id, suite, scenario, tier, agent, model, status, started_at, started_at_given,
		completed_at, total_score, weighted_score, is_successful, metadata
	)
	select
		gen_random_uuid(),
		'batch-' || i / 50,
		'suite-' || floor(10 * power(random(), 3)),
		'scenario-' || floor(40 * power(random(), 3)),
		'L' || i % 3,
		'agent-' || floor(12 * power(random(), 3)),
		'vendor/model-3.5-' || i % 7,
		case when r < 0.9 then 'completed' when r < 0.97 then 'failed' when r < 0.99 then 'incomplete' else 'running' end,
		timestamptz '2025-01-01' + i * interval '1 minute' - random() * interval '10 minutes',
		true,
		timestamptz '2025-01-01' + i * interval '1 minute',
		random(), 10 * random(), random() < 0.6,
		jsonb_build_object(
			'cli', '1.2.0', 'packageManager', 'pnpm', 'host', 'runner-17.internal.example', 'commit', md5(i::text),
			'workspace', '/var/lib/runner/work/' || gen_random_uuid()
		)
	from generate_series(0, 19999) as i
	cross join lateral (select random() + 0 * i as r) as random`

// recorder records the last statement of a query.
type recorder struct {
	db.DBTX
	sql  string
	args []any
}

func (r *recorder) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	r.sql, r.args = sql, args
	return r.DBTX.Query(ctx, sql, args...) //nolint:rowserrcheck // the caller checks
}

func (r *recorder) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	r.sql, r.args = sql, args
	return r.DBTX.QueryRow(ctx, sql, args...)
}

// plan is a node of a plan, as EXPLAIN gives it.
type plan struct {
	NodeType     string `json:"Node Type"`
	IndexName    string `json:"Index Name"`
	RelationName string `json:"Relation Name"`
	Filter       string
	Plans        []plan
}

// nodes lists the nodes of a plan, with what they read and whether they drop
// rows that they read, other than the few that are voided.
func (p plan) nodes() []string {
	node := p.NodeType
	if p.Filter != "" && p.Filter != "(voided_at IS NULL)" {
		node = "Filtered " + node
	}
	if from := cmp.Or(p.IndexName, p.RelationName); from != "" {
		node += " on " + from
	}
	list := []string{node}
	for _, child := range p.Plans {
		list = append(list, child.nodes()...)
	}
	return list
}

// explain returns the nodes of the plan of the statement that a query sends.
func explain(t testing.TB, conn db.DBTX, query func(*db.Queries) error) []string {
	t.Helper()
	sent := &recorder{DBTX: conn}
	if err := query(db.New(sent)); err != nil {
		t.Fatal(err)
	}
	if _, isMode := slices.Concat(sent.args, []any{nil})[0].(pgx.QueryExecMode); isMode { // how a query with a custom plan is sent
		sent.args = sent.args[1:]
	}
	places := make([]string, len(sent.args))
	for i := range places {
		places[i] = fmt.Sprint("$", i+1)
	}
	execute := "execute planned"
	if len(places) > 0 {
		execute += " (" + strings.Join(places, ", ") + ")"
	}
	exec(t, conn, "prepare planned as "+sent.sql)
	defer exec(t, conn, "deallocate planned")
	// EXECUTE takes no parameters: the simple protocol puts the values into the text.
	encoded := value[[]byte](t, conn, "explain (format json) "+execute, append([]any{pgx.QueryExecModeSimpleProtocol}, sent.args...)...)
	var plans []struct{ Plan plan }
	if err := json.Unmarshal(encoded, &plans); err != nil {
		t.Fatalf("%v in %s", err, encoded)
	}
	return plans[0].Plan.nodes()
}

// Each list goes along its own index, from the position on, whether PostgreSQL
// plans it for its values or keeps one plan for all values.
func TestPlans(t *testing.T) {
	t.Parallel()
	_, pool := setupOne(t)
	exec(t, pool, "set synchronous_commit = on") // Otherwise VACUUM runs before the rows are visible to all.
	exec(t, pool, "select setseed(0.5)")
	exec(t, pool, fill)
	exec(t, pool, "vacuum analyze")
	modes := []string{"force_generic_plan", "force_custom_plan"}

	list := func(name, index string, query func(*db.Queries) runsQuery) {
		for _, mode := range modes {
			for _, before := range []time.Time{beyondEveryTime, time.Date(2025, 1, 8, 0, 0, 0, 0, time.UTC)} {
				t.Run(fmt.Sprintf("runs of %s before %d, %s", name, before.Year(), mode), func(t *testing.T) {
					exec(t, pool, "set plan_cache_mode = "+mode)
					got := explain(t, pool, func(q *db.Queries) error {
						_, err := query(q)(before, math.MaxInt64, 51)
						return err
					})
					wantEqual(t, got, []string{"Limit", "Index Scan on " + index})
				})
			}
		}
	}
	list("all", "benchmark_runs_started_at_id_figures_idx", func(q *db.Queries) runsQuery { return allRuns(t.Context(), q) })
	// What there is most of, some of, and none of.
	for _, suite := range []string{"suite-0", "suite-7", "suite-x"} {
		list(suite, "benchmark_runs_suite_started_at_id_filters_idx", func(q *db.Queries) runsQuery { return runsBySuite(t.Context(), q, suite) })
	}
	for _, scenario := range []string{"scenario-0", "scenario-28", "scenario-x"} {
		list(scenario, "benchmark_runs_scenario_started_at_id_filters_idx", func(q *db.Queries) runsQuery { return runsByScenario(t.Context(), q, scenario) })
	}
	for _, agent := range []string{"agent-0", "agent-7", "agent-x"} {
		list(agent, "benchmark_runs_agent_started_at_id_filters_idx", func(q *db.Queries) runsQuery { return runsByAgent(t.Context(), q, agent) })
	}
	for _, status := range []string{"completed", "running", "none"} {
		list(status, "benchmark_runs_status_started_at_id_filters_idx", func(q *db.Queries) runsQuery { return runsByStatus(t.Context(), q, status) })
	}
	// Of these the few rows may be sorted, but no others are read.
	for _, mode := range modes {
		t.Run("runs of a batch, "+mode, func(t *testing.T) {
			exec(t, pool, "set plan_cache_mode = "+mode)
			got := explain(t, pool, func(q *db.Queries) error {
				_, err := q.ListRunsByBatch(t.Context(), db.ListRunsByBatchParams{BatchID: "batch-7", RowLimit: 51})
				return err
			})
			wantIndexes(t, got, "benchmark_runs_batch_id_started_at_id_idx")
		})
		t.Run("batches, "+mode, func(t *testing.T) {
			exec(t, pool, "set plan_cache_mode = "+mode)
			got := explain(t, pool, func(q *db.Queries) error {
				_, err := q.ListBatches(t.Context(), db.ListBatchesParams{BeforeCreatedAt: beyondEveryTime, RowLimit: 21})
				return err
			})
			wantIndexes(t, got, "batch_runs_created_at_batch_id_idx", "benchmark_runs_batch_id_started_at_id_idx")
			if slices.Contains(got, "Sort") {
				t.Errorf("batches are sorted: %q", got)
			}
		})
	}
	t.Run("stats", func(t *testing.T) {
		got := explain(t, pool, func(q *db.Queries) error {
			_, err := q.GetStats(t.Context())
			return err
		})
		wantIndexes(t, got, "benchmark_runs_started_at_id_figures_idx")
		if !strings.Contains(strings.Join(got, "\n"), "Index Only Scan") {
			t.Errorf("the table is read: %q", got)
		}
	})
	t.Run("stats of agents", func(t *testing.T) {
		got := explain(t, pool, func(q *db.Queries) error {
			_, err := q.ListAgentStats(t.Context())
			return err
		})
		wantIndexes(t, got, "benchmark_runs_started_at_id_figures_idx")
		if !strings.Contains(strings.Join(got, "\n"), "Index Only Scan") {
			t.Errorf("the table is read: %q", got)
		}
	})

	// Other combinations are planned for their values: frequent values are found by
	// scanning in the order of the list, rare ones by their own index.
	t.Run("runs of other combinations of filters", func(t *testing.T) {
		exec(t, pool, "set plan_cache_mode = auto")
		for _, c := range []struct {
			filters db.Filters
			index   string
		}{
			{db.Filters{"agent": {"agent-0"}, "status": {"completed"}}, "started_at_id_figures"},
			{db.Filters{"agent": {"agent-x"}, "status": {"completed"}}, "agent_started_at_id_filters"},
			{db.Filters{"agent": {"agent-0"}, "status": {"none"}}, "status_started_at_id_filters"},
			{db.Filters{"suite": {"suite-7"}, "agent": {"agent-7"}}, "agent_started_at_id_filters"},
			{db.Filters{"suite": {"suite-7"}, "scenario": {"scenario-28"}}, "scenario_started_at_id_filters"},
			{db.Filters{"suite": {"suite-7"}, "status": {"failed"}}, "suite_started_at_id_filters"},
			{db.Filters{"scenario": {"scenario-28"}, "status": {"completed"}}, "scenario_started_at_id_filters"},
			{db.Filters{"tier": {"L9"}}, "tier_started_at_id_filters"},
			{db.Filters{"tier": {"L8", "L9"}}, "tier_started_at_id_filters"},
			{db.Filters{"model": {"model-x"}, "isSuccessful": {"true"}}, "model_started_at_id_filters"},
			{db.Filters{"specialistName": {"nobody"}}, "specialist_name_started_at_id"},
			{db.Filters{"batchId": {"batch-7"}, "tier": {"L1"}}, "batch_id_started_at_id"},
			{db.Filters{"metadata.commit": {"abc"}}, "metadata"},
			{db.Filters{"metadata.commit": {"abc", "def"}, "metadata.cli": {"1.2.0"}, "suite": {"suite-0"}}, "metadata"},
		} {
			for _, order := range []db.RunOrder{db.OrderNewest, db.OrderOldest} {
				got := explain(t, pool, func(q *db.Queries) error {
					_, err := db.ListRunsPage(t.Context(), q, c.filters, order, order.First(), 51)
					return err
				})
				wantIndexes(t, got, "benchmark_runs_"+c.index+"_idx")
			}
		}
	})
}

// wantIndexes fails the test unless a plan reads these indexes and nothing else.
func wantIndexes(t testing.TB, nodes []string, want ...string) {
	t.Helper()
	got := []string{}
	for _, node := range nodes {
		scan, index, reads := strings.Cut(node, " on ")
		switch {
		case !reads || strings.HasSuffix(scan, "Bitmap Heap Scan"):
		case strings.Contains(scan, "Index"):
			got = append(got, index)
		default:
			t.Errorf("the table is read: %q", nodes)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	wantEqual(t, got, want)
}

// Each index costs every submission.
func TestIndexes(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)
	n := value[int](t, pool, `
		select count(*) from pg_index where indrelid = 'benchmark_runs'::regclass and not indisprimary`)
	if n > 10 {
		t.Errorf("%d indexes beside the primary key", n)
	}
	if invalid := values[string](t, pool, `
		select indexrelid::regclass::text from pg_index
		where indrelid::regclass::text in ('batch_runs', 'benchmark_runs', 'evaluation_results', 'run_telemetry')
			and not (indisvalid and indisready)`); len(invalid) > 0 {
		t.Errorf("not valid: %q", invalid)
	}
}
