package main

import (
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creack/pty"
	"github.com/jackc/pgx/v5"

	"github.com/benchledger/benchledger/internal/testdb"
	"github.com/benchledger/benchledger/sql/schema"
)

// latest is the newest version of the schema.
var latest = func() int {
	migrations, err := fs.Glob(schema.Files, "*.up.sql")
	if err != nil {
		panic(err)
	}
	return len(migrations)
}()

// schemaVersion is the output of the program for a database at a version.
func schemaVersion(version int) string {
	if version == latest {
		return fmt.Sprintf("schema version %d of %d: up to date\n", version, latest)
	}
	return fmt.Sprintf("schema version %d of %d: run `benchledger migrate up` to apply the missing migrations\n", version, latest)
}

// TestMigrate migrates a database up and down.
func TestMigrate(t *testing.T) {
	t.Parallel()
	env := []string{"DATABASE_URL=" + testdb.Empty(t)}
	migrate := func(args string, wantCode int, want string) {
		t.Helper()
		code, stdout, stderr := run(t, env, append([]string{"migrate"}, strings.Fields(args)...)...)
		if code != wantCode || stdout+stderr != want {
			t.Errorf("migrate %s: %d %q, want %d %q", args, code, stdout+stderr, wantCode, want)
		}
	}
	migrate("status", 0, schemaVersion(0))
	migrate("down --yes", 1, "benchledger: there is no schema to revert\n")
	migrate("up", 0, schemaVersion(latest))
	migrate("up", 0, schemaVersion(latest))
	migrate("status", 0, schemaVersion(latest))
	migrate("down", 1, "benchledger: cannot ask for confirmation without a terminal: add --yes\n")
	migrate("status", 0, schemaVersion(latest))
	for version := latest - 1; version >= 0; version-- {
		migrate("down --yes", 0, schemaVersion(version))
	}
	migrate(fmt.Sprint("force ", latest+1), 1, fmt.Sprintf("benchledger: there is no version %d; the newest is %d\n", latest+1, latest))
	migrate("force 1", 0, schemaVersion(1))
	migrate("force 0", 0, schemaVersion(0))
	migrate("up", 0, schemaVersion(latest))
}

// TestMigrateRepeats repeats a migration that did not finish, by command and at the start of a server.
func TestMigrateRepeats(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"migrate up", "serve --addr=127.0.0.1:0"} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			url := testdb.URL(t)
			env := []string{"DATABASE_URL=" + url}
			if _, err := testdb.Pool(t, url).Exec(t.Context(), "update schema_migrations set dirty = true"); err != nil {
				t.Fatal(err)
			}
			advice := fmt.Sprintf("the migration to version %d did not finish: `benchledger migrate up` repeats it\n", latest)
			code, stdout, _ := run(t, env, "migrate", "status")
			wantOutput(t, code, stdout, 0, advice)
			code, _, stderr := run(t, env, "migrate", "down", "--yes")
			wantOutput(t, code, stderr, 1, advice)
			p := command(t, env, strings.Fields(args)...).start()
			if strings.HasPrefix(args, "serve") {
				p.ready().submit("run")
			} else if code := p.wait(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			code, stdout, _ = run(t, env, "migrate", "status")
			wantOutput(t, code, stdout, 0, schemaVersion(latest))
		})
	}
}

// TestMigrateNewer uses a schema of a newer program.
func TestMigrateNewer(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	env := []string{"DATABASE_URL=" + url}
	if _, err := testdb.Pool(t, url).Exec(t.Context(), "update schema_migrations set version = 99"); err != nil {
		t.Fatal(err)
	}
	code, stdout, _ := run(t, env, "migrate", "up")
	wantOutput(t, code, stdout, 0, "schema version 99", "newer than this program")
	code, _, stderr := run(t, env, "migrate", "down", "--yes")
	wantOutput(t, code, stderr, 1, "schema version 99", "the program that migrated it")
	serveDatabase(t, url).submit("run")
}

// TestMigrateBesideServer migrates to a newer schema than a running server knows: the server
// continues, and another one of its version starts.
func TestMigrateBesideServer(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	p := serveDatabase(t, url)
	p.submit("before")
	if _, err := testdb.Pool(t, url).Exec(t.Context(), `alter table benchmark_runs add column note text;
		create index note on benchmark_runs (note); update schema_migrations set version = version + 1`, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	p.submit("after")
	p.wantRuns("after", "before")
	another := serveDatabase(t, url)
	another.submit("another")
	another.wantRuns("after", "another", "before")
	if response, body := p.request(http.MethodGet, "/readyz", ""); response.StatusCode != http.StatusOK {
		t.Errorf("%d %s", response.StatusCode, body)
	}
}

// TestMigrateKilled kills a migration halfway: it is rolled back or, outside a transaction, marked.
// Both are repeated.
func TestMigrateKilled(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		version     int // that is there before
		lock, after string
	}{
		{"in a transaction", 1, "access share", schemaVersion(1)},
		{"concurrently", 2, "row exclusive", "the migration to version 3 did not finish"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			url := testdb.URL(t)
			env := []string{"DATABASE_URL=" + url}
			for range latest - c.version {
				if code, _, stderr := run(t, env, "migrate", "down", "--yes"); code != 0 {
					t.Fatal(stderr)
				}
			}
			pool := testdb.Pool(t, url)
			tx, err := pool.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tx.Exec(t.Context(), "lock table benchmark_runs in "+c.lock+" mode"); err != nil { // As a backup does, or a submission.
				t.Fatal(err)
			}
			p := command(t, env, "migrate", "up").start()
			eventually(t, "it is half-way", func() (isWaiting bool) {
				err := pool.QueryRow(t.Context(), "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')").Scan(&isWaiting)
				return err == nil && isWaiting
			})
			if code, stdout, _ := run(t, env, "migrate", "status"); code != 0 || !strings.HasSuffix(stdout, ": a migration is running\n") {
				t.Errorf("status %d %q", code, stdout)
			}
			_ = p.cmd.Process.Kill()
			p.wait()
			if err := tx.Rollback(t.Context()); err != nil {
				t.Fatal(err)
			}
			eventually(t, "it is over", func() bool {
				_, stdout, _ := run(t, env, "migrate", "status")
				return strings.Contains(stdout, c.after)
			})
			if code, stdout, stderr := run(t, env, "migrate", "up"); code != 0 || stdout != schemaVersion(latest) {
				t.Errorf("%d %q %q", code, stdout, stderr)
			}
			serveDatabase(t, url).submit("run")
		})
	}
}

func TestMigrateURL(t *testing.T) {
	t.Parallel()
	migrated, other := testdb.URL(t), testdb.Empty(t)
	code, stdout, _ := run(t, []string{"DATABASE_URL=" + other, "DATABASE_MIGRATE_URL=" + migrated}, "migrate", "status")
	wantOutput(t, code, stdout, 0, schemaVersion(latest))

	dir := newDir(t)
	for _, args := range []string{"status", "up", "down --yes", "force 1"} {
		code, _, stderr := run(t, []string{"DATA_DIR=" + dir}, append([]string{"migrate"}, strings.Fields(args)...)...)
		wantOutput(t, code, stderr, 1, "no database is configured", "DATABASE_URL", "none in "+dir)
	}
	if exists(t, filepath.Join(dir, "*")) {
		t.Error("the data directory was changed")
	}
}

// TestMigrateDownAsks answers the question on a terminal.
func TestMigrateDownAsks(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]struct {
		code   int
		output string
	}{
		"y\n":   {0, schemaVersion(latest - 1)},
		"Yes\n": {0, schemaVersion(latest - 1)},
		"n\n":   {1, "nothing was changed"},
		"\n":    {1, "nothing was changed"},
		"\x04":  {1, "nothing was changed"}, // the end of the input
	} {
		t.Run(answer, func(t *testing.T) {
			t.Parallel()
			terminal, screen, err := pty.Open()
			if err != nil {
				t.Fatal(err)
			}
			defer terminal.Close()
			p := command(t, []string{"DATABASE_URL=" + testdb.URL(t)}, "migrate", "down")
			p.cmd.Stdin = screen
			p.start()
			eventually(t, "it asks", func() bool { return strings.Contains(p.stderr.String(), "deletes the data") })
			if _, err := io.WriteString(terminal, answer); err != nil {
				t.Fatal(err)
			}
			wantOutput(t, p.wait(), p.stdout.String()+p.stderr.String(), want.code, "Continue? [y/N]", want.output)
			screen.Close()
		})
	}
}
