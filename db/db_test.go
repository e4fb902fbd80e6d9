package db_test

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/benchledger/benchledger/db"
	"github.com/benchledger/benchledger/internal/testdb"
)

func TestMain(m *testing.M) { testdb.Main(m) }

// Each query of sql/queries has a test of its name.
func TestEveryQueryHasItsTest(t *testing.T) {
	t.Parallel()
	text := func(pattern string) string {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		var all strings.Builder
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(content)
		}
		return all.String()
	}
	tests := text("*_test.go")
	queries := regexp.MustCompile(`(?m)^-- name: (\w+)`).FindAllStringSubmatch(text("../sql/queries/*.sql"), -1)
	if len(queries) == 0 {
		t.Fatal("no query found")
	}
	for _, query := range queries {
		if test := "func Test" + query[1] + "("; !strings.Contains(tests, test) {
			t.Errorf("there is no %s*testing.T)", test)
		}
	}
}

// setup returns the queries on a database of the test's own, and its pool.
func setup(t testing.TB) (*db.Queries, *pgxpool.Pool) {
	t.Helper()
	pool := testdb.New(t)
	return db.New(pool), pool
}

// noon is when most of what the tests store happened. PostgreSQL keeps microseconds.
var noon = time.Date(2025, 11, 17, 12, 0, 0, 123456000, time.UTC)

// beyondEveryTime is the position before the first page.
var beyondEveryTime = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)

// leastRun is a submission of the least that is stored.
func leastRun(id string) db.Submission {
	return db.Submission{
		BenchmarkRun: db.BenchmarkRun{
			RunID: id, Suite: "suite-a", Scenario: "scenario-a", Tier: "L1", Agent: "agent-a", Status: "completed",
			StartedAt: noon, StartedAtGiven: true,
		},
	}
}

// fullRun is a submission that says everything, no two things the same.
func fullRun(id string) db.Submission {
	return db.Submission{
		BenchmarkRun: db.BenchmarkRun{
			RunID: id, BatchID: new("batch-a"), Suite: "suite-a", Scenario: "scenario-a", Tier: "L1", Agent: "agent-a",
			Model: new("model-a"), Status: "completed", StartedAt: noon, StartedAtGiven: true, CompletedAt: new(noon.Add(5 * time.Minute)),
			TotalScore: new(0.85), WeightedScore: new(8.5), IsSuccessful: true, SuccessMetric: new(0.9),
			SpecialistEnabled: new(true), SpecialistName: new("nextjs"), SpecialistVersion: new("0.0.5"),
			MetadataText: []byte(`{"tool":"pnpm","big":9007199254740993}`),
			SubmittedBy:  new("ci"),
		},
		Evaluations: []db.EvaluationResult{
			{EvaluatorName: "install", Score: new(1.0), MaxScore: 2, Details: new("exited 0")},
			{EvaluatorName: "judge", Score: new(-2.5), MaxScore: 3},
			{EvaluatorName: "install", Score: new(7.0), MaxScore: 5, Details: new("")},
		},
		Telemetry: &db.RunTelemetry{
			ToolCalls: new(int64(12)), TokensIn: new(int64(85000)), TokensOut: new(int64(2200)),
			CostUsd: new(0.0123), DurationMs: new(int64(300000)), WorkspaceDir: new("results/x"), PromptSent: new("Update it."),
		},
	}
}

// otherRun differs from fullRun in everything but the id.
func otherRun(id string) db.Submission {
	return db.Submission{
		BenchmarkRun: db.BenchmarkRun{
			RunID: id, BatchID: new("batch-b"), Suite: "suite-b", Scenario: "scenario-b", Tier: "L2", Agent: "agent-b",
			Model: new("model-b"), Status: "failed", StartedAt: noon.Add(time.Microsecond), StartedAtGiven: true, CompletedAt: new(noon.Add(6 * time.Minute)),
			TotalScore: new(0.25), WeightedScore: new(-1.5), IsSuccessful: false, SuccessMetric: new(0.1),
			SpecialistEnabled: new(false), SpecialistName: new("django"), SpecialistVersion: new("9"),
			MetadataText: []byte(`{"tool":"pnpm","big":9007199254740992}`),
			SubmittedBy:  new("a laptop"),
		},
		Evaluations: []db.EvaluationResult{
			{EvaluatorName: "build", Score: new(4.0), MaxScore: 9, Details: new("warned")},
		},
		Telemetry: &db.RunTelemetry{
			ToolCalls: new(int64(1)), TokensIn: new(int64(2)), TokensOut: new(int64(3)),
			CostUsd: new(4.5), DurationMs: new(int64(6)), WorkspaceDir: new("elsewhere"), PromptSent: new("Undo it."),
		},
	}
}

// openRun is a running run with all fields.
func openRun(id string) db.Submission {
	return with(fullRun(id), func(r *db.Submission) { r.Status, r.CompletedAt = "running", nil })
}

// with returns a value that change was applied to.
func with[T any](value T, change func(*T)) T {
	change(&value)
	return value
}

// create stores a run that is not stored yet, and returns its id.
func create(t testing.TB, q *db.Queries, run db.Submission) int64 {
	t.Helper()
	isCreated, err := db.CreateRun(t.Context(), q, run)
	wantNoError(t, err)
	wantEqual(t, isCreated, true)
	return get(t, q, run.RunID).BenchmarkRun.ID
}

// update replaces a stored run.
func update(t testing.TB, q *db.Queries, run db.Submission) {
	t.Helper()
	wantNoError(t, db.UpdateRuns(t.Context(), q, run))
}

// void voids a run, and returns it.
func void(t testing.TB, q *db.Queries, id string) db.BenchmarkRun {
	t.Helper()
	row, err := q.UpdateRunVoided(t.Context(), db.UpdateRunVoidedParams{RunID: id, Reason: "It was wrong.", CorrectedBy: new("alice")})
	wantNoError(t, err)
	return db.BenchmarkRun(row)
}

// get reads a run.
func get(t testing.TB, q *db.Queries, id string) db.GetRunRow {
	t.Helper()
	row, err := q.GetRun(t.Context(), id)
	wantNoError(t, err)
	return row
}

// getBatch reads a batch.
func getBatch(t testing.TB, q *db.Queries, id string) db.BatchSummary {
	t.Helper()
	row, err := q.GetBatch(t.Context(), id)
	wantNoError(t, err)
	return row
}

// runOf is the row of a run that was submitted with its start.
func runOf(s db.Submission, id int64) db.BenchmarkRun {
	return with(s.BenchmarkRun, func(r *db.BenchmarkRun) { r.ID = id })
}

// wantRun fails the test unless all of a run is what was submitted, with its start.
func wantRun(t testing.TB, q *db.Queries, submitted db.Submission, id int64) {
	t.Helper()
	row := get(t, q, submitted.RunID)
	wantEqual(t, row.BenchmarkRun, runOf(submitted, id))

	stored := decodeEvaluations(t, row.Evaluations)
	want := slices.Clone(submitted.Evaluations)
	for i := range want {
		want[i].RunID, want[i].Position = submitted.RunID, int32(i)
		if i < len(stored) { // Each has its own ID and time.
			want[i].ID, want[i].CreatedAt = stored[i].ID, stored[i].CreatedAt
		}
	}
	if diff := cmp.Diff(want, stored, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("evaluations not as wanted (-want +got):\n%s", diff)
	}

	if submitted.Telemetry == nil {
		if row.TelemetryID != nil {
			t.Error("telemetry is stored, and none was submitted")
		}
		return
	}
	if row.TelemetryID == nil {
		t.Error("no telemetry is stored")
		return
	}
	wantEqual(t, db.RunTelemetry{
		RunID: submitted.RunID, ID: *row.TelemetryID, ToolCalls: row.ToolCalls, TokensIn: row.TokensIn, TokensOut: row.TokensOut, CostUsd: row.CostUsd,
		DurationMs: row.DurationMs, WorkspaceDir: row.WorkspaceDir, PromptSent: row.PromptSent,
	}, with(*submitted.Telemetry, func(r *db.RunTelemetry) { r.RunID, r.ID = submitted.RunID, *row.TelemetryID }))
}

func decodeEvaluations(t testing.TB, encoded []byte) []db.EvaluationResult {
	t.Helper()
	var decoded []db.EvaluationResult
	if err := json.Unmarshal(encoded, &decoded, json.RejectUnknownMembers(true)); err != nil {
		t.Fatalf("%v in %s", err, encoded)
	}
	return decoded
}

// wantEqual compares what a query gave with what it should have.
func wantEqual[T any](t testing.TB, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("not as wanted (-want +got):\n%s", diff)
	}
}

func wantNoError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantKind fails the test unless err means what is wanted.
func wantKind(t testing.TB, err error, want db.Kind) {
	t.Helper()
	if got := db.Classify(err); err == nil || got != want {
		t.Errorf("error of kind %d, want %d: %v", got, want, err)
	}
}

// wantAverage fails the test unless an average is the one computed here.
func wantAverage(t testing.TB, got *float64, want float64) {
	t.Helper()
	if got == nil || math.Abs(*got-want) > 1e-9*math.Max(1, math.Abs(want)) {
		t.Errorf("average %v, want %v", deref(got), want)
	}
}

func deref[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}

// exec runs SQL that no query has.
func exec(t testing.TB, on db.DBTX, sql string, args ...any) {
	t.Helper()
	if _, err := on.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%v in %s", err, sql)
	}
}

// value reads one value by SQL that no query has.
func value[T any](t testing.TB, on db.DBTX, sql string, args ...any) T {
	t.Helper()
	var v T
	if err := on.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%v in %s", err, sql)
	}
	return v
}

// values reads a column by SQL that no query has.
func values[T any](t testing.TB, on db.DBTX, sql string, args ...any) []T {
	t.Helper()
	rows, err := on.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatalf("%v in %s", err, sql)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[T])
	if err != nil {
		t.Fatalf("%v in %s", err, sql)
	}
	return list
}

// begin returns the queries on a transaction that is rolled back when the test
// ends, and the transaction: tests that follow one another share a database.
func begin(t testing.TB, pool *pgxpool.Pool) (*db.Queries, pgx.Tx) {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	wantNoError(t, err)
	t.Cleanup(func() { wantNoError(t, tx.Rollback(context.Background())) })
	return db.New(tx), tx
}
