package audit

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/benchledger/benchledger/audit/recorder"
	"github.com/benchledger/benchledger/internal/testdb"
)

func TestMain(m *testing.M) {
	// What is compiled in one copy of the project serves the others.
	_ = os.Setenv("GOFLAGS", strings.TrimSpace(os.Getenv("GOFLAGS")+" -trimpath"))
	testdb.Main(m)
}

// fault is something broken on a copy of this project, and what the audit has to
// say about it.
type fault struct {
	name string
	// file is changed: from becomes to. Without from, to is appended; without
	// both, the file is deleted.
	file, from, to string
	// more are further changes, in the same form.
	more []change
	// record changes what the tests recorded.
	record func([]recorder.Entry) []recorder.Entry
	// schema is run on the database, as its migration would.
	schema string

	rule string
	// at is the file, and a text of the line, that the finding has to name.
	at, line string
	// about is in the message.
	about string
}

type change struct{ file, from, to string }

const (
	results   = "api/results.go"
	stats     = "api/stats.go"
	runsSQL   = "sql/queries/runs.sql"
	upSQL     = "sql/schema/0001_create_tables.up.sql"
	downSQL   = "sql/schema/0001_create_tables.down.sql"
	mutations = "docs/audit-mutations.json"
)

var faults = []fault{
	{
		name: "SQL in a handler", rule: "sql-in-go", file: stats,
		from: "	row, err := s.queries.GetStats(ctx)\n",
		to:   "	_, _ = s.Pool.Exec(ctx, \"select 1\")\n	row, err := s.queries.GetStats(ctx)\n",
		at:   stats, line: "s.Pool.Exec",
	},
	{
		name: "SQL through the generated interface", rule: "sql-in-go", file: "db/tx.go",
		to: "\nfunc touch(ctx context.Context, on DBTX) { _, _ = on.Exec(ctx, \"select 1\") }\n",
		at: "db/tx.go", line: "on.Exec",
	},
	{
		name: "a query that nothing uses", rule: "query-unused", file: stats,
		from: "	rows, err := s.queries.ListAgentStats(ctx)\n",
		to:   "	_, err := s.queries.GetStats(ctx)\n	rows := []db.ListAgentStatsRow{}\n",
		more: []change{{stats, "	\"github.com/danielgtaylor/huma/v2\"\n", "	\"github.com/danielgtaylor/huma/v2\"\n\n	\"github.com/benchledger/benchledger/db\"\n"}},
		at:   "sql/queries/stats.sql", line: "-- name: ListAgentStats", about: "ListAgentStats",
	},
	{
		name: "a query that no test runs", rule: "query-untested", record: without(func(e recorder.Entry) bool { return e.Query == "GetRunTelemetry" }),
		at: runsSQL, line: "-- name: GetRunTelemetry", about: "GetRunTelemetry",
	},
	{
		name: "an operation that no test calls", rule: "operation-untested", record: without(func(e recorder.Entry) bool { return e.Operation == "get-batch" }),
		at: "api/batches.go", line: "register(s, huma.Operation{\n		OperationID: \"get-batch\"", about: "get-batch",
	},
	{
		name: "a query changed since its mutants were tried", rule: "query-unasserted", file: "db/stats.sql.go",
		from: "order by avg_score desc nulls last, agent", to: "order by avg_score desc nulls last, agent desc",
		at: "sql/queries/stats.sql", line: "-- name: ListAgentStats", about: "ListAgentStats",
	},
	{
		name: "a test that no longer asserts", rule: "query-unasserted", file: "db/stats_test.go",
		from: "func TestGetStats(t *testing.T) {\n", to: "func TestGetStats(t *testing.T) {\n	t.Skip()\n",
		at: "sql/queries/stats.sql", line: "-- name: GetStats", about: "GetStats",
	},
	{
		name: "a helper of tests that no longer asserts", rule: "query-unasserted", file: "db/db_test.go",
		from: "func wantNoError(t testing.TB, err error) {\n", to: "func wantNoError(t testing.TB, err error) {\n	return\n",
		at: "sql/queries/batches.sql", line: "-- name: ListBatches", about: "ListBatches",
	},
	{
		name: "a view changed since the mutants of its readers were tried", rule: "query-unasserted", file: upSQL,
		from: "count(*) filter (where scores.is_successful)", to: "count(*)",
		at: "sql/queries/batches.sql", line: "-- name: GetBatch", about: "GetBatch",
	},
	{
		name: "a read that reads nothing", rule: "operation-without-query", file: stats,
		from: "	row, err := s.queries.GetStats(ctx)\n	return &getStatsOutput{Body: Stats(row)}, err\n",
		to:   "	return &getStatsOutput{}, ctx.Err()\n",
		at:   stats, line: "func (s *server) getStats(", about: "get-stats",
	},
	{
		name: "a write that writes nothing", rule: "operation-without-query", file: results,
		from: "	if err := db.Retry(ctx, func() error { return s.queries.UpsertBatch(ctx, params) }); err != nil {\n",
		to:   "	if _, err := s.queries.GetBatch(ctx, params.BatchID); err != nil {\n",
		at:   results, line: "func (s *server) submitBatch(", about: "submit-batch",
	},
	{
		name: "a read that writes", rule: "operation-without-query", file: "api/batches.go",
		from: "		batch, err := q.GetBatch(ctx, string(input.BatchID))\n",
		to: "		_ = q.UpsertBatch(ctx, db.UpsertBatchParams{BatchID: string(input.BatchID)})\n" +
			"		batch, err := q.GetBatch(ctx, string(input.BatchID))\n",
		at: "api/batches.go", line: "func (s *server) getBatch(", about: "get-batch",
	},
	{
		name: "two writes, each on its own", rule: "writes-apart", file: results,
		from: "	if err := db.Retry(ctx, func() error { return s.queries.UpsertBatch(ctx, params) }); err != nil {\n",
		to: "	_ = s.queries.UpdateRun(ctx, db.UpdateRunParams{})\n" +
			"	if err := db.Retry(ctx, func() error { return s.queries.UpsertBatch(ctx, params) }); err != nil {\n",
		at: results, line: "func (s *server) submitBatch(", about: "UpdateRun",
	},
	{
		name: "a write inside the transaction's function that goes around it", rule: "writes-apart", file: results,
		from: "	if err := db.Retry(ctx, func() error { return s.queries.UpsertBatch(ctx, params) }); err != nil {\n",
		to: "	if err := db.WithTx(ctx, s.Pool, pgx.TxOptions{}, func(q *db.Queries) error {\n" +
			"		if err := q.UpsertBatch(ctx, params); err != nil {\n			return err\n		}\n" +
			"		return s.queries.UpsertBatch(ctx, params)\n	}); err != nil {\n",
		at: results, line: "func (s *server) submitBatch(", about: "UpsertBatch",
	},
	{
		name: "a write beside a transaction", rule: "writes-apart", file: results,
		from: "	if err := db.Retry(ctx, func() error { return s.queries.UpsertBatch(ctx, params) }); err != nil {\n",
		to: "	_ = db.WithTx(ctx, s.Pool, pgx.TxOptions{}, func(q *db.Queries) error { return q.UpdateRun(ctx, db.UpdateRunParams{}) })\n" +
			"	if err := db.Retry(ctx, func() error { return s.queries.UpsertBatch(ctx, params) }); err != nil {\n",
		at: results, line: "func (s *server) submitBatch(", about: "UpsertBatch",
	},
	{
		name: "a statement for each row, in no transaction", rule: "writes-apart", file: results,
		from: "	if err := db.Retry(ctx, func() error { return s.queries.UpsertBatch(ctx, params) }); err != nil {\n",
		to: "	for range 3 {\n		_ = s.queries.UpsertBatch(ctx, params)\n	}\n" +
			"	if err := ctx.Err(); err != nil {\n",
		at: results, line: "func (s *server) submitBatch(", about: "UpsertBatch",
	},
	{
		name: "an operation that anyone may write with", rule: "operation-unsecured", file: "openapi.yaml",
		from: "      operationId: submit-batch\n", to: "      operationId: submit-batch\n      security: [{}]\n",
		more: []change{{"openapi.yaml", "\n      security:\n        - bearer:\n            - submit\n      summary: Open or complete a batch\n", "\n      summary: Open or complete a batch\n"}},
		at:   results, line: "register(s, huma.Operation{\n		OperationID: \"submit-batch\"", about: "submit-batch",
	},
	{
		name: "an operation that the document does not have", rule: "operation-undocumented", file: "openapi.yaml",
		from: "operationId: get-stats\n", to: "operationId: get-figures\n",
		at: stats, line: "register(s, huma.Operation{\n		OperationID: \"get-stats\"", about: "get-stats",
	},
	{
		name: "a client without an operation", rule: "operation-without-client", file: "clients/typescript/src/api.gen.ts",
		from: `operations["get-stats"]`, to: `operations["get-figures"]`,
		more: []change{{"clients/typescript/src/api.gen.ts", `"get-stats": {`, `"get-figures": {`}},
		at:   "clients/typescript/src/api.gen.ts", about: "get-stats",
	},
	{
		name: "a query whose plan reads a table as a whole", rule: "plan-reads-large-table", file: "db/runs.sql.go",
		from: "where batch_id = $1::text\norder by started_at, id\n", to: "where batch_id || '' = $1::text\norder by started_at, id\n",
		at: runsSQL, line: "-- name: ListRunsByBatch", about: "ListRunsByBatch",
	},
	{
		name: "a list that reads an index to its end to sort it", rule: "plan-reads-large-table", file: "db/runs.sql.go",
		from: "where (started_at, id) < ($1::timestamptz, $2::bigint)\norder by started_at desc, id desc\n",
		to:   "where (started_at, id) < ($1::timestamptz, $2::bigint)\norder by tier, started_at desc, id desc\n",
		at:   runsSQL, line: "-- name: ListRuns ", about: "ListRuns",
	},
	{
		name: "a list planned once for all values", rule: "plan-reads-large-table", file: "api/runs.go",
		from: "db.New(db.PlanForValues{DBTX: s.Pool}).ListRunsByFilters", to: "s.queries.ListRunsByFilters",
		at: runsSQL, line: "-- name: ListRunsByFilters", about: "ListRunsByFilters",
	},
	{
		name: "a constraint that no test violates", rule: "constraint-untested", file: upSQL,
		from: "    constraint run_telemetry_pkey primary key (run_id),\n",
		to: "    constraint run_telemetry_pkey primary key (run_id),\n" +
			"    constraint run_telemetry_cost_usd_check check (cost_usd >= 0),\n",
		schema: "alter table run_telemetry add constraint run_telemetry_cost_usd_check check (cost_usd >= 0)",
		at:     upSQL, line: "constraint run_telemetry_cost_usd_check", about: "run_telemetry_cost_usd_check",
	},
	{
		name: "an index that no query uses", rule: "index-unused", file: upSQL,
		from:   "-- A batch with its runs, oldest first.\n",
		to:     "create index benchmark_runs_model_idx on benchmark_runs (model);\n-- A batch with its runs, oldest first.\n",
		schema: "create index benchmark_runs_model_idx on benchmark_runs (model)",
		at:     upSQL, line: "create index benchmark_runs_model_idx", about: "benchmark_runs_model_idx",
	},
	{
		name: "a migration without a way down", rule: "migration-down", file: downSQL,
		at: upSQL, about: "no way down",
	},
	{
		name: "a way down that leaves something", rule: "migration-down", file: downSQL, from: "drop domain nullable_score;\n", to: "",
		at: downSQL, about: "leaves something",
	},
	{
		name: "a way down that fails", rule: "migration-down", file: downSQL, from: "drop view batch_summaries;\n", to: "drop view batch_figures;\n",
		at: downSQL, about: "fails",
	},
	{
		name: "a statement of the earlier audit without a query", rule: "seed", file: "docs/audit-seed.yaml",
		from: "stats.ts:11 select benchmarkRuns: [GetStats]", to: "stats.ts:11 select benchmarkRuns: [GetFigures]",
		at: "docs/audit-seed.yaml", line: "stats.ts:11", about: "stats.ts:11",
	},
	{
		name: "a statement of the earlier audit whose query no test ran", rule: "seed",
		record: without(func(e recorder.Entry) bool { return e.Query == "ListAgentStats" }),
		at:     "docs/audit-seed.yaml", line: "stats.ts:33", about: "stats.ts:33",
	},
	{
		name: "SQL through an interface of one's own", rule: "sql-in-go", file: "db/tx.go",
		to: "\ntype execer interface {\n	Exec(context.Context, string, ...any) (pgconn.CommandTag, error)\n}\n\n" +
			"func touch(ctx context.Context, on execer) { _, _ = on.Exec(ctx, \"select 1\") }\n",
		more: []change{{"db/tx.go", "	\"github.com/jackc/pgx/v5\"\n", "	\"github.com/jackc/pgx/v5\"\n	\"github.com/jackc/pgx/v5/pgconn\"\n"}},
		at:   "db/tx.go", line: "on.Exec",
	},
	{
		name: "SQL through a method that is taken as a value", rule: "sql-in-go", file: stats,
		from: "	row, err := s.queries.GetStats(ctx)\n",
		to:   "	run := s.Pool.Exec\n	_, _ = run(ctx, \"select 1\")\n	row, err := s.queries.GetStats(ctx)\n",
		at:   stats, line: "s.Pool.Exec",
	},
	{
		name: "a query in a program's function that nothing calls", rule: "query-unused", file: stats,
		from: "	rows, err := s.queries.ListAgentStats(ctx)\n",
		to:   "	_, err := s.queries.GetStats(ctx)\n	rows := []db.ListAgentStatsRow{}\n",
		more: []change{
			{stats, "	\"github.com/danielgtaylor/huma/v2\"\n", "	\"github.com/danielgtaylor/huma/v2\"\n\n	\"github.com/benchledger/benchledger/db\"\n"},
			{"cmd/benchledger/keys.go", "", "\nfunc forgotten(ctx context.Context, q *db.Queries) { _, _ = q.ListAgentStats(ctx) }\n"},
		},
		at: "sql/queries/stats.sql", line: "-- name: ListAgentStats", about: "ListAgentStats",
	},
	{
		name: "a change that no test sees", rule: "query-unasserted", file: mutations,
		from: `"query":"GetStats","mutants":1,"stillborn":0,"survived":[]`, to: `"query":"GetStats","mutants":1,"stillborn":0,"survived":["drop filter"]`,
		at: "sql/queries/stats.sql", line: "-- name: GetStats", about: "drop filter",
	},
	{
		name: "a query that no change was tried of", rule: "query-unasserted", file: mutations,
		from: `"query":"GetStats","mutants":1`, to: `"query":"GetStats","mutants":0`,
		at: "sql/queries/stats.sql", line: "-- name: GetStats", about: "no change to GetStats",
	},
	{
		name: "what a test reads, changed since", rule: "query-unasserted", file: "api/testdata/exchanges.json", to: "\n",
		at: "sql/queries/stats.sql", line: "-- name: GetStats", about: "GetStats",
	},
	{
		name: "a query that an operation runs and its code does not show", rule: "query-unforeseen",
		record: func(entries []recorder.Entry) []recorder.Entry {
			return append(slices.Clone(entries), recorder.Entry{Package: "api", Test: "Test", Query: "GetBatch", Operation: "get-stats"})
		},
		at: stats, line: "func (s *server) getStats(", about: "GetBatch",
	},
	{
		name: "a transaction for each row", rule: "writes-apart", file: results,
		from: "	if err := db.Retry(ctx, func() error { return s.queries.UpsertBatch(ctx, params) }); err != nil {\n",
		to: "	for range 3 {\n		_ = db.WithTx(ctx, s.Pool, pgx.TxOptions{}, func(q *db.Queries) error { return q.UpsertBatch(ctx, params) })\n	}\n" +
			"	if err := ctx.Err(); err != nil {\n",
		at: results, line: "func (s *server) submitBatch(", about: "in a loop",
	},
	{
		name: "a further write of an operation whose others may be apart", rule: "writes-apart", file: results,
		from: "	// The run is there already.\n", to: "	_ = s.queries.UpsertBatch(ctx, db.UpsertBatchParams{})\n",
		at: results, line: "func (s *server) submitRun(", about: "UpsertBatch",
	},
	{
		name: "a write that goes around the transaction by a variable of its own", rule: "writes-apart", file: results,
		from: "	if err := db.Retry(ctx, func() error { return s.queries.UpsertBatch(ctx, params) }); err != nil {\n",
		to: "	if err := db.WithTx(ctx, s.Pool, pgx.TxOptions{}, func(*db.Queries) error {\n" +
			"		q := s.queries\n		return q.UpsertBatch(ctx, params)\n	}); err != nil {\n",
		at: results, line: "func (s *server) submitBatch(", about: "around the transaction",
	},
	{
		name: "a condition that most rows meet", rule: "plan-reads-large-table", file: "sql/queries/stats.sql",
		from: "-- as a run. No row when there is no such run.\n-- audit: figures over all completed runs read all of them; the index spares the table.\n",
		to:   "-- as a run. No row when there is no such run.\n",
		at:   "sql/queries/stats.sql", line: "-- name: ListAgentStats", about: "ListAgentStats",
	},
	{
		name: "a limit on what is computed of all rows", rule: "plan-reads-large-table", file: "db/stats.sql.go",
		from: "where status = 'completed'\n`", to: "where status = 'completed'\nlimit 1\n`",
		more: []change{{"sql/queries/stats.sql", "-- audit: figures over all completed runs read all of them; the index spares the table.\n", ""}},
		at:   "sql/queries/stats.sql", line: "-- name: GetStats", about: "GetStats",
	},
	{
		name: "a parameter without a value to plan with", rule: "plan-reads-large-table", file: configFile, from: ", row_limit: '51' }", to: " }",
		at: runsSQL, line: "-- name: ListRunsByFilters", about: "row_limit",
	},
	{
		name: "a way down that leaves a default", rule: "migration-down", file: "sql/schema/0002_create_api_keys.up.sql",
		to: "\nalter table batch_runs alter column created_at set default now();\n",
		at: "sql/schema/0002_create_api_keys.down.sql", about: "leaves something",
	},
	{
		name: "a statement of the earlier audit that was taken out", rule: "seed", file: "docs/audit-seed.yaml",
		from: "stats.ts:33 select benchmarkRuns: [ListAgentStats]\n", to: "",
		at: "docs/audit-seed.yaml", about: "stats.ts:33",
	},
	{
		name: "a statement of the earlier audit whose query reads another table", rule: "seed", file: "docs/audit-seed.yaml",
		from: "runs.ts:115 select runTelemetry: [GetRunTelemetry]", to: "runs.ts:115 select runTelemetry: [GetBatch]",
		at: "docs/audit-seed.yaml", line: "runs.ts:115", about: "run_telemetry",
	},
	{
		name: "a statement of the earlier audit whose query does something else", rule: "seed", file: "docs/audit-seed.yaml",
		from: "submit.ts:18 insert benchmarkRuns: [CreateRun]", to: "submit.ts:18 insert benchmarkRuns: [GetRun]",
		at: "docs/audit-seed.yaml", line: "submit.ts:18", about: "insert",
	},
	{
		name: "a statement that the earlier audit does not have", rule: "seed", file: "docs/audit-seed.yaml", to: "stats.ts:34 select benchmarkRuns: [GetStats]\n",
		at: "docs/audit-seed.yaml", line: "stats.ts:34", about: "stats.ts:34",
	},
	{
		name: "an exemption that nothing needs", rule: "exemption-stale", file: configFile, from: "without_query:\n", to: "without_query:\n  get-stats: it is quick\n",
		at: configFile, line: "without_query:", about: "get-stats",
	},
	{
		name: "a folder that may execute SQL and does not", rule: "exemption-stale", file: configFile, from: "sql_allowed:\n", to: "sql_allowed:\n  sql/schema: it might\n",
		at: configFile, line: "sql_allowed:", about: "sql/schema",
	},
	{
		name: "an accepted change that a test sees", rule: "exemption-stale", file: configFile, from: "accepted_mutants:", to: "accepted_mutants:\n  'GetStats: drop filter': why not",
		at: configFile, line: "accepted_mutants:", about: "drop filter",
	},
	{
		name: "a reason beside a query that reads little", rule: "exemption-stale", file: "sql/queries/batches.sql",
		from: "-- A batch. No row when it is not there.\n", to: "-- A batch. No row when it is not there.\n-- audit: it is quick.\n",
		at: "sql/queries/batches.sql", line: "-- name: GetBatch", about: "GetBatch",
	},
	{
		name: "a record that is empty", rule: "query-untested", record: func([]recorder.Entry) []recorder.Entry { return nil },
		at: configFile, about: "nothing to look at",
	},
	{
		name: "a handler that is a literal", rule: "operation-handler", file: stats,
		from: "	}, s.getStats)\n", to: "	}, func(ctx context.Context, in *struct{}) (*getStatsOutput, error) { return s.getStats(ctx, in) })\n",
		at: stats, line: "register(s, huma.Operation{\n		OperationID: \"get-stats\"", about: "get-stats",
	},
	{
		name: "a query without a comment", rule: "query-comment", file: "sql/queries/batches.sql",
		from: "-- A batch. No row when it is not there.\n", to: "",
		at: "sql/queries/batches.sql", line: "-- name: GetBatch", about: "GetBatch",
	},
}

// linted are broken in one copy, since the linters take long to start.
var linted = []fault{
	{
		name: "a context not passed on", rule: "lint", file: stats,
		from: "	row, err := s.queries.GetStats(ctx)\n", to: "	row, err := s.queries.GetStats(context.Background())\n",
		at: stats, line: "s.queries.GetStats(context.Background())", about: "contextcheck",
	},
	{
		name: "an error left unchecked", rule: "lint", file: results,
		from: "	if err := db.Retry(ctx, func() error { return s.queries.UpsertBatch(ctx, params) }); err != nil {\n",
		to:   "	s.queries.UpsertBatch(ctx, params)\n	if err := ctx.Err(); err != nil {\n",
		at:   results, line: "	s.queries.UpsertBatch(ctx, params)", about: "errcheck",
	},
	{
		name: "rows left unchecked", rule: "lint", file: "db/tx.go",
		to: "\n// Count counts.\nfunc Count(ctx context.Context, pool *pgxpool.Pool) (n int) {\n	rows, err := pool.Query(ctx, \"select 1\")\n" +
			"	if err != nil {\n		return 0\n	}\n	defer rows.Close()\n	for rows.Next() {\n		n++\n	}\n	return n\n}\n",
		at: "db/tx.go", line: "pool.Query(", about: "rowserrcheck",
	},
}

func without(drop func(recorder.Entry) bool) func([]recorder.Entry) []recorder.Entry {
	return func(entries []recorder.Entry) []recorder.Entry { return slices.DeleteFunc(slices.Clone(entries), drop) }
}

func TestFaultsAreFound(t *testing.T) {
	t.Parallel()
	base := wholeProject(t)
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			root, record := copyOf(t, base), base.record
			breakIt(t, root, f)
			if f.record != nil {
				record = f.record(record)
			}
			url := base.url
			if f.schema != "" {
				url = testdb.URL(t)
				execute(t, url, f.schema)
			}
			input := Input{Record: record, DatabaseURL: url, EmptyURL: testdb.Empty(t), SkipLint: true, Complete: true}
			if !strings.HasSuffix(f.file, ".go") || strings.HasSuffix(f.file, "_test.go") {
				input.code = base.code
			}
			found := auditOf(t, root, input).Findings
			wantFinding(t, root, f, newFindings(found, base.findings))
		})
	}
	t.Run("linters", func(t *testing.T) {
		t.Parallel()
		root := copyOf(t, base)
		for _, f := range linted {
			breakIt(t, root, f)
		}
		found := auditOf(t, root, Input{}).Findings
		for _, f := range linted {
			t.Run(f.name, func(t *testing.T) { wantFinding(t, root, f, found) })
		}
	})
}

// Every rule is broken at least once.
func TestEveryRuleHasItsFault(t *testing.T) {
	t.Parallel()
	for _, rule := range rules {
		if !slices.ContainsFunc(append(slices.Clone(faults), linted...), func(f fault) bool { return f.rule == rule.ID }) {
			t.Errorf("no fault breaks %s", rule.ID)
		}
	}
}

// project is this one, as it is, with everything that the audit needs.
type project struct {
	root, url string
	record    []recorder.Entry
	findings  []Finding
	code      *code
}

// wholeProject copies this project and makes all rules hold that depend on a run
// of its tests: each query, operation and constraint has a test, each query's
// mutants were tried.
func wholeProject(t *testing.T) project {
	t.Helper()
	p := project{root: t.TempDir()}
	if err := copyProject("..", p.root); err != nil {
		t.Fatal(err)
	}
	p.url = testdb.URL(t)
	content, err := os.ReadFile("../sql/volume/volume.sql")
	if err != nil {
		t.Fatal(err)
	}
	for statement := range strings.SplitSeq(string(content), ";\n") {
		if strings.TrimSpace(statement) != "" {
			execute(t, p.url, statement)
		}
	}
	a := auditOf(t, p.root, Input{DatabaseURL: p.url, SkipLint: true})
	for _, query := range a.Queries {
		operation := ""
		if len(query.Operations) > 0 {
			operation = query.Operations[0]
		}
		p.record = append(p.record, recorder.Entry{Package: "db", Test: "Test" + query.Name, Query: query.Name, Operation: operation})
		for _, operation := range query.Operations {
			p.record = append(p.record, recorder.Entry{Package: "api", Test: "Test", Query: query.Name, Operation: operation})
		}
	}
	for _, operation := range a.Operations {
		p.record = append(p.record, recorder.Entry{Package: "api", Test: "TestExchanges", Operation: operation.ID})
	}
	p.record = append(p.record, recorder.Entry{Package: "api", Test: "TestExchanges", Query: "GetStats", Operation: "get-stats"})
	for _, constraint := range a.Constraints {
		p.record = append(p.record, recorder.Entry{Package: "db", Test: "TestConstraints", Constraint: constraint.Name})
	}
	p.code = a.code
	a = auditOf(t, p.root, Input{Record: p.record, DatabaseURL: p.url, SkipLint: true, code: p.code})
	var tried []Mutations
	for _, query := range a.Queries {
		survived := []string{}
		for name := range a.config.AcceptedMutants {
			if of, ok := strings.CutPrefix(name, query.Name+": "); ok {
				survived = append(survived, of)
			}
		}
		tried = append(tried, Mutations{Query: query.Name, Hash: a.mutationHash(query), Mutants: 1, Survived: survived})
	}
	encoded, err := json.Marshal(tried)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.root, a.config.Mutations), encoded, 0o600); err != nil {
		t.Fatal(err)
	}
	p.findings = auditOf(t, p.root, Input{Record: p.record, DatabaseURL: p.url, EmptyURL: testdb.Empty(t), SkipLint: true, code: p.code}).Findings
	for _, finding := range p.findings {
		t.Errorf("on the tree as it is: %s", finding)
	}
	return p
}

func auditOf(t *testing.T, root string, input Input) *Audit {
	t.Helper()
	config, err := ReadConfig(root)
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(t.Context(), config, input)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func copyOf(t *testing.T, p project) string {
	t.Helper()
	root := t.TempDir()
	if err := copyProject(p.root, root); err != nil {
		t.Fatal(err)
	}
	return root
}

func execute(t *testing.T, url, statement string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context()) // In a cleanup it is cancelled.
	connection, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close(ctx) }()
	if _, err := connection.Exec(ctx, statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func breakIt(t *testing.T, root string, f fault) {
	t.Helper()
	for _, c := range append([]change{{f.file, f.from, f.to}}, f.more...) {
		if c.file == "" {
			continue
		}
		path := filepath.Join(root, c.file)
		if c.from == "" && c.to == "" {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text := string(content) + c.to
		if c.from != "" {
			if !strings.Contains(string(content), c.from) {
				t.Fatalf("%s has no %q: the fault has to follow the code", c.file, c.from)
			}
			text = strings.Replace(string(content), c.from, c.to, 1)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// newFindings are those that are not on the tree as it is, wherever they moved to.
func newFindings(found, before []Finding) []Finding {
	return slices.DeleteFunc(slices.Clone(found), func(f Finding) bool {
		return slices.ContainsFunc(before, func(b Finding) bool { return b.Rule == f.Rule && b.Message == f.Message })
	})
}

func wantFinding(t *testing.T, root string, f fault, found []Finding) {
	t.Helper()
	want := Position{File: f.at}
	if f.line != "" {
		content, err := os.ReadFile(filepath.Join(root, f.at))
		if err != nil {
			t.Fatal(err)
		}
		before, _, ok := strings.Cut(string(content), f.line)
		if !ok {
			t.Fatalf("%s has no line %q", f.at, f.line)
		}
		want.Line = strings.Count(before, "\n") + 1
	}
	for _, finding := range found {
		if finding.Rule == f.rule && finding.Position == want && strings.Contains(finding.Message, f.about) {
			if finding.Remedy == "" {
				t.Error("the finding has no remedy")
			}
			return
		}
	}
	t.Errorf("no %s at %s about %q in:\n%v", f.rule, want, f.about, found)
}
