package main

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/benchledger/benchledger/audit"
	"github.com/benchledger/benchledger/audit/recorder"
	"github.com/benchledger/benchledger/internal/localpg"
)

// databases are made once: one of realistic volume, one that is empty, and the
// server that they are on.
var databases = sync.OnceValues(func() ([3]string, error) {
	dir, err := os.MkdirTemp("", "benchledger-audit-test-")
	if err != nil {
		return [3]string{}, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return [3]string{}, err
	}
	server, err := localpg.Start(context.Background(), localpg.Options{DataDir: filepath.Join(dir, "data"), Settings: settings})
	if err != nil {
		return [3]string{}, err
	}
	stop = func() { _ = server.Stop(); _ = os.RemoveAll(dir) }
	volume, empty, err := prepare(context.Background(), server.URL(), "../../sql/volume")
	return [3]string{server.URL(), volume, empty}, err
})

var stop = func() {}

func TestMain(m *testing.M) {
	code := m.Run()
	stop()
	os.Exit(code)
}

// project is a scratch copy of the real tree.
type project struct {
	t      *testing.T
	root   string
	record []recorder.Entry
	// volume and empty are databases, and statements run on copies of them before.
	onVolume, onEmpty string
	lint              bool
}

// edit replaces a text that has to be there.
func (p *project) edit(file, old, replacement string) {
	p.t.Helper()
	path := filepath.Join(p.root, file)
	content, err := os.ReadFile(path)
	if err != nil {
		p.t.Fatal(err)
	}
	if !strings.Contains(string(content), old) {
		p.t.Fatalf("%s has no %q", file, old)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(content), old, replacement, 1)), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

func (p *project) appendTo(file, text string) {
	p.t.Helper()
	path := filepath.Join(p.root, file)
	content, err := os.ReadFile(path)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(path, append(content, text...), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// forget takes entries out of the record.
func (p *project) forget(which func(recorder.Entry) bool) {
	p.record = slices.DeleteFunc(p.record, which)
}

// line returns where a text is.
func (p *project) line(file, text string) int {
	p.t.Helper()
	content, err := os.ReadFile(filepath.Join(p.root, file))
	if err != nil {
		p.t.Fatal(err)
	}
	before, _, found := strings.Cut(string(content), text)
	if !found {
		p.t.Fatalf("%s has no %q", file, text)
	}
	return strings.Count(before, "\n") + 1
}

const unusedQuery = "\n-- name: CountRuns :one\n-- The number of runs.\n-- audit: it counts them all.\nselect count(*) from benchmark_runs;\n"

const unusedMethod = "\nconst countRuns = `-- name: CountRuns :one\nselect count(*) from benchmark_runs\n`\n\n" +
	"// CountRuns counts.\nfunc (q *Queries) CountRuns(ctx context.Context) (int64, error) {\n" +
	"\trow := q.db.QueryRow(ctx, countRuns)\n\tvar n int64\n\terr := row.Scan(&n)\n\treturn n, err\n}\n"

// TestSeededFaults breaks each rule, and sees that the audit names the place.
func TestSeededFaults(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, rule, file, at string
		message              string
		breakIt              func(*project)
	}{
		{"SQL in a handler", "sql-in-go", "api/stats.go", `s.Pool.Exec(`, "", func(p *project) {
			p.edit("api/stats.go", "	row, err := s.queries.GetStats(ctx)", "	_, _ = s.Pool.Exec(ctx, \"select 1\")\n	row, err := s.queries.GetStats(ctx)")
		}},
		{"SQL in a transaction of the data layer", "sql-in-go", "db/tx.go", `tx.Query(`, "", func(p *project) {
			p.edit("db/tx.go", "		return tx.Commit(ctx)", "		if _, err := tx.Query(ctx, \"select 1\"); err != nil {\n			return err\n		}\n		return tx.Commit(ctx)")
		}},
		{"SQL through the generated interface", "sql-in-go", "db/tx.go", `d.QueryRow(`, "", func(p *project) {
			p.appendTo("db/tx.go", "\n// Count counts.\nfunc Count(ctx context.Context, d DBTX) error {\n\tvar n int\n\treturn d.QueryRow(ctx, \"select 1\").Scan(&n)\n}\n")
		}},
		{"a query that nothing uses", "query-unused", "sql/queries/stats.sql", "-- name: CountRuns", "", func(p *project) {
			p.appendTo("sql/queries/stats.sql", unusedQuery)
			p.appendTo("db/stats.sql.go", unusedMethod)
		}},
		{"a query that no test runs", "query-untested", "sql/queries/batches.sql", "-- name: GetBatch", "", func(p *project) {
			p.forget(func(e recorder.Entry) bool { return e.Query == "GetBatch" })
		}},
		{"a query without a comment", "query-comment", "sql/queries/batches.sql", "-- name: GetBatch", "", func(p *project) {
			p.edit("sql/queries/batches.sql", "-- A batch. No row when it is not there.\n", "")
		}},
		{"a query that was changed since its tests were tried", "query-unasserted", "sql/queries/batches.sql", "-- name: GetBatch", "changed since", func(p *project) {
			p.edit("db/batches.sql.go", "where batch_id = $1", "where batch_id = $1 and true")
		}},
		{"a change of a query that no test sees", "query-unasserted", "sql/queries/batches.sql", "-- name: ListBatches", "drop order", func(p *project) {
			p.survive("ListBatches", "drop order")
		}},
		{"an operation that no test calls", "operation-untested", "api/stats.go", "	register(s, huma.Operation{\n		OperationID: \"get-stats\"", "", func(p *project) {
			p.forget(func(e recorder.Entry) bool { return e.Operation == "get-stats" })
		}},
		{"a handler without a name", "operation-handler", "api/stats.go", "	register(s, huma.Operation{\n		OperationID: \"get-stats\"", "", func(p *project) {
			p.edit("api/stats.go", "	}, s.getStats)", "	}, func(ctx context.Context, in *struct{}) (*getStatsOutput, error) { return s.getStats(ctx, in) })")
		}},
		{"a read that reads nothing", "operation-without-query", "api/stats.go", "func (s *server) getStats(", "", func(p *project) {
			p.edit("api/stats.go", "	row, err := s.queries.GetStats(ctx)", "	var row db.GetStatsRow\n	err := ctx.Err()")
			p.edit("api/stats.go", "\n)\n", "\n\n	\"github.com/benchledger/benchledger/db\"\n)\n")
		}},
		{"a write that writes nothing", "operation-without-query", "api/results.go", "func (s *server) submitBatch(", "", func(p *project) {
			p.edit("api/results.go", "return s.queries.UpsertBatch(ctx, params)", "_, err := s.queries.GetBatch(ctx, params.BatchID); return err")
		}},
		{"an operation that is not in the document", "operation-undocumented", "api/stats.go", "	register(s, huma.Operation{\n		OperationID: \"get-stats\"", "", func(p *project) {
			p.edit("openapi.yaml", "operationId: get-stats", "operationId: get-statistics")
		}},
		{"an operation that is not in the code", "operation-undocumented", "openapi.yaml", "", "get-statistics", func(p *project) {
			p.edit("openapi.yaml", "operationId: get-stats", "operationId: get-statistics")
		}},
		{"a write that needs no key", "operation-unsecured", "api/results.go", "	register(s, huma.Operation{\n		OperationID: \"submit-run\"", "", func(p *project) {
			p.edit("openapi.yaml", "security:\n        - bearer: []", "security:\n        - {}")
			p.edit("openapi.yaml", "security:\n        - bearer: []", "security:\n        - {}")
		}},
		{"two writes, each for itself", "writes-apart", "api/results.go", "func (s *server) submitBatch(", "", func(p *project) {
			p.edit("api/results.go", "	return &submitBatchOutput{", "	if err := s.queries.UpdateRun(ctx, db.UpdateRunParams{}); err != nil {\n		return nil, err\n	}\n	return &submitBatchOutput{")
		}},
		{"an error that is not checked", "lint", "api/stats.go", "s.Pool.Ping(ctx)", "errcheck", func(p *project) {
			p.edit("api/stats.go", "	row, err := s.queries.GetStats(ctx)", "	s.Pool.Ping(ctx)\n	row, err := s.queries.GetStats(ctx)")
			p.lint = true
		}},
		{"a context that is not passed on", "lint", "api/stats.go", "fresh()", "contextcheck", func(p *project) {
			p.edit("api/stats.go", "	row, err := s.queries.GetStats(ctx)", "	_ = s.fresh()\n	row, err := s.queries.GetStats(ctx)")
			p.appendTo("api/stats.go", "\nfunc (s *server) fresh() error { return s.Pool.Ping(context.Background()) }\n")
			p.lint = true
		}},
		{"a plan that reads a large table, without a reason", "plan-reads-large-table", "sql/queries/stats.sql", "-- name: GetStats", "", func(p *project) {
			p.edit("sql/queries/stats.sql", "-- audit: figures", "-- figures")
		}},
		{"an index that no query uses", "index-unused", "sql/schema", "", "benchmark_runs_tier_idx", func(p *project) {
			p.onVolume = "create index benchmark_runs_tier_idx on benchmark_runs (tier)"
		}},
		{"a constraint that no test violates", "constraint-untested", "sql/schema", "", "run_telemetry_tokens_in_check", func(p *project) {
			p.forget(func(e recorder.Entry) bool { return e.Constraint == "run_telemetry_tokens_in_check" })
		}},
		{"a migration without a way down", "migration-down", "sql/schema/0001_create_tables.up.sql", "", "no way down", func(p *project) {
			if err := os.Remove(filepath.Join(p.root, "sql/schema/0001_create_tables.down.sql")); err != nil {
				p.t.Fatal(err)
			}
		}},
		{"a way down that leaves something behind", "migration-down", "sql/schema/0001_create_tables.down.sql", "", "leaves something behind", func(p *project) {
			p.edit("sql/schema/0001_create_tables.down.sql", "drop domain nullable_score;\n", "")
		}},
		{"a way down that fails", "migration-down", "sql/schema/0001_create_tables.down.sql", "", "fails", func(p *project) {
			p.edit("sql/schema/0001_create_tables.down.sql", "drop view batch_summaries;\n", "")
		}},
		{"a statement of the earlier audit without a query", "seed", "docs/audit-seed.yaml", "", "stats.ts:33", func(p *project) {
			p.edit("docs/audit-seed.yaml", "query: ListAgentStats", "query: ListAgents")
		}},
		{"a statement of the earlier audit without a test", "seed", "docs/audit-seed.yaml", "", "stats.ts:11", func(p *project) {
			p.forget(func(e recorder.Entry) bool { return e.Query == "GetStats" })
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := scratch(t)
			test.breakIt(p)
			want := audit.Position{File: test.file}
			if test.at != "" {
				want.Line = p.line(test.file, test.at)
			}
			findings := p.audit()
			if !slices.ContainsFunc(findings, func(f audit.Finding) bool {
				return f.Rule == test.rule && f.Position == want && strings.Contains(f.Message, test.message) && f.Remedy != ""
			}) {
				t.Errorf("no finding %s at %s (%s) among %v", test.rule, want, test.message, findings)
			}
		})
	}
	t.Run("nothing is broken", func(t *testing.T) {
		t.Parallel()
		if findings := scratch(t).audit(); len(findings) > 0 {
			t.Errorf("findings %v", findings)
		}
	})
}

// scratch copies the real tree, and makes a record in which every query, operation
// and constraint was tested.
func scratch(t *testing.T) *project {
	t.Helper()
	p := &project{t: t, root: t.TempDir()}
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel("../..", path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if slices.Contains([]string{".git", "node_modules", "cmd/benchledger-audit"}, filepath.ToSlash(relative)) || entry.Name() == "node_modules" {
				return filepath.SkipDir
			}
			return os.MkdirAll(filepath.Join(p.root, relative), 0o755)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(p.root, relative), content, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	committed, err := committedRecord()
	if err != nil {
		t.Fatal(err)
	}
	p.record = slices.Clone(committed)
	return p
}

func (p *project) audit() []audit.Finding {
	p.t.Helper()
	urls, err := databases()
	if err != nil {
		p.t.Fatal(err)
	}
	config, err := audit.ReadConfig(p.root)
	if err != nil {
		p.t.Fatal(err)
	}
	config.Lint = []string{"go", "tool", "-modfile=tools/go.mod", "golangci-lint", "run", "--allow-parallel-runners", "--enable-only", "contextcheck,errcheck", "--output.text.path", "stdout", "./api"}
	result, err := audit.New(p.t.Context(), config, audit.Input{
		Record: p.record, DatabaseURL: p.clone(urls[0], urls[1], p.onVolume), EmptyURL: p.clone(urls[0], urls[2], "select 1"), SkipLint: !p.lint,
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return result.Findings
}

var cloning sync.Mutex // a template admits one copy at a time

// clone copies a database and runs a statement on the copy; without a statement the
// database itself will do.
func (p *project) clone(server, url, statement string) string {
	p.t.Helper()
	if statement == "" {
		return url
	}
	cloning.Lock()
	defer cloning.Unlock()
	ctx := p.t.Context()
	run := func(url, statement string) {
		p.t.Helper()
		connection, err := pgx.Connect(ctx, url)
		if err != nil {
			p.t.Fatal(err)
		}
		defer connection.Close(ctx)
		if _, err := connection.Exec(ctx, statement); err != nil {
			p.t.Fatal(err)
		}
	}
	name := "clone_" + strings.ToLower(filepath.Base(p.root)) + "_" + strings.ToLower(strings.Map(letters, p.t.Name()))
	name = name[:min(len(name), 40)] + string(rune('a'+len(statement)%26))
	from := strings.Split(strings.Split(url, "///")[1], "?")[0]
	run(server, "create database "+name+" template "+from+" strategy file_copy")
	copied := strings.Replace(url, "/"+from+"?", "/"+name+"?", 1)
	run(copied, statement)
	return copied
}

func letters(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
		return r
	}
	return -1
}

// committedRecord is the record behind the committed report.
func committedRecord() ([]recorder.Entry, error) {
	return audit.RecordOf("../../docs/audit.json")
}

// survive writes down that no test saw a change.
func (p *project) survive(query, change string) {
	p.t.Helper()
	path := filepath.Join(p.root, "docs/audit-mutations.json")
	content, err := os.ReadFile(path)
	if err != nil {
		p.t.Fatal(err)
	}
	var results []audit.Mutations
	if err := json.Unmarshal(content, &results); err != nil {
		p.t.Fatal(err)
	}
	for i := range results {
		if results[i].Query == query {
			results[i].Survived = append(results[i].Survived, change)
		}
	}
	if content, err = json.Marshal(results); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		p.t.Fatal(err)
	}
}
