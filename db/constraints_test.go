package db_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/benchledger/benchledger/db"
)

type columns = map[string]any

// validRows is a row of each table, in the order in which they can be inserted.
var validRows = []struct {
	table string
	row   columns
}{
	{"batch_runs", columns{"batch_id": "batch-1", "created_at": noon}},
	{"benchmark_runs", columns{
		"run_id": "run-1", "id": 1, "batch_id": "batch-1", "suite": "s", "scenario": "s", "tier": "t", "agent": "a", "model": "m",
		"status": "completed", "started_at": noon, "started_at_given": true, "is_successful": true,
	}},
	{"evaluation_results", columns{
		"run_id": "run-1", "position": 0, "id": 1, "evaluator_name": "e", "score": 1, "max_score": 1, "created_at": noon,
	}},
	{"run_telemetry", columns{"run_id": "run-1", "id": 1}},
	{"baselines", columns{"name": "main", "batch_id": "batch-1", "set_at": noon}},
	{"corrections", columns{"id": 1, "run_id": "run-1", "action": "void", "corrected_at": noon}},
	{"api_keys", columns{"name": "key-1", "hash": `\x` + strings.Repeat("0a", 32), "scope": "submit", "created_at": noon}},
}

// setupRows stores the valid rows.
func setupRows(t testing.TB) *pgxpool.Pool {
	t.Helper()
	_, pool := setup(t)
	for _, valid := range validRows {
		wantNoError(t, insert(t, pool, valid.table, nil))
	}
	return pool
}

// insert inserts the valid row of a table, with changes.
func insert(t testing.TB, on db.DBTX, table string, changes columns) error {
	t.Helper()
	row := columns{}
	for _, valid := range validRows {
		if valid.table == table {
			for name, value := range valid.row {
				row[name] = value
			}
		}
	}
	for name, value := range changes {
		row[name] = value
	}
	encoded, err := json.Marshal(row)
	wantNoError(t, err)
	_, err = on.Exec(t.Context(), "insert into "+table+" overriding system value "+
		"select * from jsonb_populate_record(null::"+table+", $1)", encoded)
	return err
}

// A name of 150 characters, which are more bytes.
var longest = strings.Repeat("🐘", 150)

func TestConstraints(t *testing.T) {
	t.Parallel()
	pool := setupRows(t)

	violations := []struct {
		constraint, table string
		changes           columns
	}{
		{"batch_runs_pkey", "batch_runs", nil},
		{"batch_runs_batch_id_check", "batch_runs", columns{"batch_id": ""}},
		{"batch_runs_batch_id_check", "batch_runs", columns{"batch_id": longest + "x"}},
		{"batch_runs_total_runs_check", "batch_runs", columns{"batch_id": "new", "completed_at": noon, "total_runs": -1}},
		{"batch_runs_successful_runs_check", "batch_runs", columns{"batch_id": "new", "completed_at": noon, "successful_runs": -1}},
		{"batch_runs_summary_check", "batch_runs", columns{"batch_id": "new", "total_runs": 0}},
		{"batch_runs_summary_check", "batch_runs", columns{"batch_id": "new", "successful_runs": 0}},
		{"batch_runs_summary_check", "batch_runs", columns{"batch_id": "new", "avg_score": 0}},
		{"batch_runs_summary_check", "batch_runs", columns{"batch_id": "new", "avg_weighted_score": 0}},

		{"api_keys_pkey", "api_keys", nil},
		{"api_keys_name_check", "api_keys", columns{"name": ""}},
		{"api_keys_name_check", "api_keys", columns{"name": longest + "x"}},
		{"api_keys_hash_check", "api_keys", columns{"name": "new", "hash": `\x` + strings.Repeat("0a", 31)}},
		{"api_keys_hash_check", "api_keys", columns{"name": "new", "hash": `\x` + strings.Repeat("0a", 33)}},
		{"api_keys_scope_check", "api_keys", columns{"name": "new", "scope": "Submit"}},
		{"api_keys_scope_check", "api_keys", columns{"name": "new", "scope": ""}},

		{"benchmark_runs_pkey", "benchmark_runs", nil},
		{"benchmark_runs_batch_id_fkey", "benchmark_runs", columns{"run_id": "new", "batch_id": "Batch-1"}},
		{"benchmark_runs_names_check", "benchmark_runs", columns{"run_id": ""}},
		{"benchmark_runs_names_check", "benchmark_runs", columns{"run_id": longest + "x"}},
		{"benchmark_runs_names_check", "benchmark_runs", columns{"run_id": "new", "suite": ""}},
		{"benchmark_runs_names_check", "benchmark_runs", columns{"run_id": "new", "suite": longest + "x"}},
		{"benchmark_runs_names_check", "benchmark_runs", columns{"run_id": "new", "scenario": ""}},
		{"benchmark_runs_names_check", "benchmark_runs", columns{"run_id": "new", "scenario": longest + "x"}},
		{"benchmark_runs_names_check", "benchmark_runs", columns{"run_id": "new", "tier": ""}},
		{"benchmark_runs_names_check", "benchmark_runs", columns{"run_id": "new", "tier": longest + "x"}},
		{"benchmark_runs_names_check", "benchmark_runs", columns{"run_id": "new", "agent": ""}},
		{"benchmark_runs_names_check", "benchmark_runs", columns{"run_id": "new", "agent": longest + "x"}},
		{"benchmark_runs_names_check", "benchmark_runs", columns{"run_id": "new", "model": ""}},
		{"benchmark_runs_names_check", "benchmark_runs", columns{"run_id": "new", "model": longest + "x"}},
		{"benchmark_runs_names_check", "benchmark_runs", columns{"run_id": "", "model": nil}},
		{"benchmark_runs_names_check", "benchmark_runs", columns{"run_id": longest + "x", "model": nil}},
		{"benchmark_runs_status_check", "benchmark_runs", columns{"run_id": "new", "status": "Running"}},
		{"benchmark_runs_status_check", "benchmark_runs", columns{"run_id": "new", "status": ""}},
		{"benchmark_runs_metadata_text_check", "benchmark_runs", columns{"run_id": "new", "metadata_text": `["a"]`}},

		{"batch_runs_metadata_text_check", "batch_runs", columns{"batch_id": "new", "metadata_text": `"a"`}},

		{"baselines_pkey", "baselines", nil},
		{"baselines_batch_id_fkey", "baselines", columns{"name": "new", "batch_id": "none"}},
		{"baselines_name_check", "baselines", columns{"name": ""}},
		{"baselines_name_check", "baselines", columns{"name": longest + "x"}},

		{"corrections_pkey", "corrections", nil},
		{"corrections_action_check", "corrections", columns{"id": 2, "action": "delete"}},

		{"evaluation_results_pkey", "evaluation_results", nil},
		{"evaluation_results_run_id_fkey", "evaluation_results", columns{"run_id": "new"}},
		{"evaluation_results_values_check", "evaluation_results", columns{"position": -1}},
		{"evaluation_results_values_check", "evaluation_results", columns{"position": 1, "evaluator_name": ""}},
		{"evaluation_results_values_check", "evaluation_results", columns{"position": 1, "evaluator_name": longest + "x"}},
		{"evaluation_results_values_check", "evaluation_results", columns{"position": 1, "max_score": 0}},
		{"evaluation_results_values_check", "evaluation_results", columns{"position": 1, "max_score": -5e-324}},

		{"run_telemetry_pkey", "run_telemetry", nil},
		{"run_telemetry_run_id_fkey", "run_telemetry", columns{"run_id": "new"}},
		{"run_telemetry_counts_check", "run_telemetry", columns{"run_id": "new", "tool_calls": -1}},
		{"run_telemetry_counts_check", "run_telemetry", columns{"run_id": "new", "tool_calls": 1, "tokens_in": -1, "tokens_out": 1, "duration_ms": 1}},
		{"run_telemetry_counts_check", "run_telemetry", columns{"run_id": "new", "tokens_in": -1}},
		{"run_telemetry_counts_check", "run_telemetry", columns{"run_id": "new", "tokens_out": -1}},
		{"run_telemetry_counts_check", "run_telemetry", columns{"run_id": "new", "duration_ms": -1}},
	}

	t.Run("each refuses what it should, by its name", func(t *testing.T) {
		for _, v := range violations {
			err := insert(t, pool, v.table, v.changes)
			if name := db.ConstraintName(err); name != v.constraint {
				t.Errorf("%v violates %q, want %q: %v", v.changes, name, v.constraint, err)
			}
			want := db.Invalid
			switch {
			case strings.HasSuffix(v.constraint, "_pkey"):
				want = db.Conflict
			case strings.HasSuffix(v.constraint, "_fkey"):
				want = db.Transient
			}
			wantKind(t, err, want)
		}
	})

	t.Run("none is left out above", func(t *testing.T) {
		named := []string{}
		for _, v := range violations {
			named = append(named, v.constraint)
		}
		slices.Sort(named)
		wantEqual(t, slices.Compact(named), values[string](t, pool, `
			select s.conname::text
			from pg_constraint as s
			where s.connamespace = 'public'::regnamespace
				and s.conrelid is distinct from to_regclass('schema_migrations')
				and s.contype <> 'n' -- PostgreSQL 18 names each "not null"
			order by s.conname`))
	})

	t.Run("each accepts what is just allowed", func(t *testing.T) {
		_, tx := begin(t, pool)
		for _, c := range []struct {
			table   string
			changes columns
		}{
			{"batch_runs", columns{"batch_id": longest}},
			{"batch_runs", columns{"batch_id": "b", "completed_at": noon, "total_runs": 0, "successful_runs": 0, "avg_score": -1, "avg_weighted_score": -1}},
			{"benchmark_runs", columns{
				"run_id": longest, "batch_id": longest, "suite": longest, "scenario": longest, "tier": longest, "agent": longest, "model": longest,
			}},
			{"benchmark_runs", columns{"run_id": "r", "batch_id": nil, "model": nil, "status": "running"}},
			{"benchmark_runs", columns{"run_id": "r-failed", "status": "failed"}},
			{"benchmark_runs", columns{"run_id": "r-incomplete", "status": "incomplete"}},
			{"evaluation_results", columns{"run_id": "r", "evaluator_name": longest, "max_score": 5e-324}},
			{"evaluation_results", columns{"run_id": longest, "score": -1}},
			{"run_telemetry", columns{"run_id": longest, "tool_calls": 0, "tokens_in": 0, "tokens_out": 0, "duration_ms": 0, "cost_usd": -1}},
			{"run_telemetry", columns{"run_id": "r"}},
			{"api_keys", columns{"name": longest, "scope": "read"}},
			{"api_keys", columns{"name": "k", "scope": "admin"}},
		} {
			if err := insert(t, tx, c.table, c.changes); err != nil {
				t.Fatalf("%v: %v", c.changes, err)
			}
		}
	})

	t.Run("a run that is deleted takes what it owns with it", func(t *testing.T) {
		_, tx := begin(t, pool)
		exec(t, tx, "delete from benchmark_runs where run_id = 'run-1'")
		for _, table := range []string{"evaluation_results", "run_telemetry"} {
			if n := value[int](t, tx, "select count(*) from "+table); n != 0 {
				t.Errorf("%d rows are left in %s", n, table)
			}
		}
	})

	t.Run("a batch that has runs cannot be deleted", func(t *testing.T) {
		_, err := pool.Exec(t.Context(), "delete from batch_runs where batch_id = 'batch-1'")
		wantKind(t, err, db.Transient)
		if name := db.ConstraintName(err); name != "benchmark_runs_batch_id_fkey" {
			t.Errorf("constraint %q", name)
		}
	})

	t.Run("ids are the database's to give", func(t *testing.T) {
		for _, table := range []string{"benchmark_runs", "evaluation_results", "run_telemetry"} {
			_, err := pool.Exec(t.Context(), "update "+table+" set id = 7")
			wantState(t, err, "428C9")
		}
	})
}
