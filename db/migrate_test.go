package db_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/golang-migrate/migrate/v4/database"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/benchledger/benchledger/db"
	"github.com/benchledger/benchledger/internal/testdb"
	"github.com/benchledger/benchledger/sql/schema"
)

// setupMigrations opens the migrations of a database that has nothing.
func setupMigrations(t testing.TB) (*db.Migrations, *pgxpool.Pool) {
	t.Helper()
	url := testdb.Empty(t)
	pool := testdb.Pool(t, url)
	return openMigrations(t, url), pool
}

func openMigrations(t testing.TB, url string) *db.Migrations {
	t.Helper()
	migrations, err := db.OpenMigrations(url)
	wantNoError(t, err)
	t.Cleanup(func() { wantNoError(t, migrations.Close()) })
	return migrations
}

func TestMigrations(t *testing.T) {
	t.Parallel()

	t.Run("up, down and up leave the same schema", func(t *testing.T) {
		t.Parallel()
		migrations, pool := setupMigrations(t)
		wantVersion(t, migrations, 0, false)
		wantNoError(t, migrations.Up())
		latest := wantVersion(t, migrations, latestVersion(t, migrations), false).Latest
		first := catalog(t, pool)
		if !slices.Contains(first, "view batch_summaries") {
			t.Errorf("no view in the catalog: %q", first)
		}
		for version := latest; version > 0; version-- {
			wantNoError(t, migrations.Down())
			wantVersion(t, migrations, version-1, false)
		}
		wantEqual(t, catalog(t, pool), []string{})
		wantNoError(t, migrations.Up())
		wantEqual(t, catalog(t, pool), first)
	})

	t.Run("down keeps metadata, and what an older server stored later", func(t *testing.T) {
		t.Parallel()
		migrations, pool := setupMigrations(t)
		wantNoError(t, migrations.Up())
		for _, id := range []string{"text", "later", "none"} {
			create(t, db.New(pool), with(leastRun(id), func(r *db.Submission) { r.BatchID = &id }))
		}
		for _, table := range []string{"benchmark_runs", "batch_runs"} {
			exec(t, pool, "update "+table+` set metadata_text = '{"a":1}' where batch_id <> 'none'`)
			exec(t, pool, "update "+table+` set metadata = '{"b":2}' where batch_id = 'later'`)
		}
		for version := latestVersion(t, migrations); version > 8; version-- {
			wantNoError(t, migrations.Down())
		}
		for _, table := range []string{"benchmark_runs", "batch_runs"} {
			wantEqual(t, values[*string](t, pool, "select metadata::text from "+table+" order by batch_id"), []*string{new(`{"b": 2}`), nil, new(`{"a": 1}`)})
		}
	})

	t.Run("up changes nothing where everything is applied", func(t *testing.T) {
		t.Parallel()
		migrations, pool := setupMigrations(t)
		wantNoError(t, migrations.Up())
		create(t, db.New(pool), fullRun("run-1"))
		before := catalog(t, pool)
		wantNoError(t, migrations.Up())
		wantEqual(t, catalog(t, pool), before)
		get(t, db.New(pool), "run-1")
	})

	t.Run("down fails where there is no schema", func(t *testing.T) {
		t.Parallel()
		migrations, _ := setupMigrations(t)
		if migrations.Down() == nil {
			t.Error("no error")
		}
		wantVersion(t, migrations, 0, false)
	})

	t.Run("ten at once on an empty database all succeed", func(t *testing.T) {
		t.Parallel()
		url := testdb.Empty(t)
		versions, errs := atOnce(10, func(int) (version db.SchemaVersion, err error) {
			migrations, err := db.OpenMigrations(url)
			if err != nil {
				return version, err
			}
			if err := migrations.Up(); err != nil {
				return version, err
			}
			if version, err = migrations.Version(); err != nil {
				return version, err
			}
			return version, migrations.Close()
		})
		for i, version := range versions {
			if errs[i] != nil || version.Current != version.Latest || version.Dirty {
				t.Errorf("version %+v, error %v", version, errs[i])
			}
		}
		create(t, db.New(testdb.Pool(t, url)), fullRun("run-1"))
	})

	t.Run("one that fails leaves nothing, and goes on when what was in its way is gone", func(t *testing.T) {
		t.Parallel()
		migrations, pool := setupMigrations(t)
		exec(t, pool, "create table api_keys ()") // In the way of the second migration.
		wantState(t, migrations.Up(), "42P07")
		wantVersion(t, migrations, 1, false)
		wantState(t, migrations.Up(), "42P07")
		exec(t, pool, "drop table api_keys")
		wantNoError(t, migrations.Up())
		wantVersion(t, migrations, latestVersion(t, migrations), false)
		create(t, db.New(pool), fullRun("run-1"))
	})

	t.Run("one that is cut off leaves nothing, and goes on", func(t *testing.T) {
		t.Parallel()
		url := testdb.Empty(t)
		pool := testdb.Pool(t, url)
		migrations, err := db.OpenMigrations(url)
		wantNoError(t, err)
		wantNoError(t, migrations.Up())
		downTo(t, migrations, 1)
		before := catalog(t, pool)
		other, err := pool.Begin(t.Context())
		wantNoError(t, err)
		exec(t, other, "lock table benchmark_runs in share update exclusive mode")
		up := make(chan error)
		go func() { up <- migrations.Up() }()
		waitUntilBlocked(t, pool)
		exec(t, pool, "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'")
		wantKind(t, <-up, db.Unavailable)
		wantNoError(t, other.Rollback(t.Context()))
		again := openMigrations(t, url)
		wantVersion(t, again, 1, false)
		wantEqual(t, catalog(t, pool), before)
		wantNoError(t, again.Up())
		wantVersion(t, again, latestVersion(t, again), false)
	})

	for name, c := range map[string]struct {
		from, dirty uint
		migrate     func(*db.Migrations) error
	}{
		"up":   {2, 3, (*db.Migrations).Up},
		"down": {4, 4, (*db.Migrations).Down},
	} {
		t.Run(name+" that cannot be part of a transaction, and is cut off, is repeated", func(t *testing.T) {
			t.Parallel()
			url := testdb.Empty(t)
			pool := testdb.Pool(t, url)
			migrations, err := db.OpenMigrations(url)
			wantNoError(t, err)
			wantNoError(t, migrations.Up())
			after := catalog(t, pool)
			downTo(t, migrations, c.from)
			others, err := pool.Begin(t.Context())
			wantNoError(t, err)
			exec(t, others, "lock table schema_migrations in access share mode") // A backup, which is not waited for.
			exec(t, others, "lock table benchmark_runs in row exclusive mode")   // A submission, which is.
			migrated := make(chan error)
			go func() { migrated <- c.migrate(migrations) }()
			waitUntilBlocked(t, pool)
			exec(t, pool, "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'")
			wantKind(t, <-migrated, db.Unavailable)
			wantNoError(t, others.Rollback(t.Context()))
			again := openMigrations(t, url)
			wantVersion(t, again, c.dirty, true)
			wantNoError(t, again.Up())
			wantVersion(t, again, latestVersion(t, again), false)
			wantEqual(t, catalog(t, pool), after)
			wantEqual(t, value[bool](t, pool, "select bool_and(indisvalid) from pg_index"), true)
		})
	}

	t.Run("one that did not finish has to be repeated before it is reverted", func(t *testing.T) {
		t.Parallel()
		migrations, pool := setupMigrations(t)
		wantNoError(t, migrations.Force(3))
		exec(t, pool, "update schema_migrations set dirty = true")
		if err := migrations.Down(); err == nil || !strings.Contains(err.Error(), "the migration to version 3 did not finish: `benchledger migrate up` repeats it") {
			t.Errorf("error %v", err)
		}
		wantVersion(t, migrations, 3, true)
	})

	t.Run("one that cannot be repeated stays marked, and is explained", func(t *testing.T) {
		t.Parallel()
		migrations, pool := setupMigrations(t)
		wantNoError(t, migrations.Up())
		want := catalog(t, pool)
		downTo(t, migrations, 2)
		exec(t, pool, "update schema_migrations set dirty = true") // Although everything of it is there.
		for range 2 {
			err := migrations.Up()
			wantState(t, err, "42P07")
			if !strings.Contains(err.Error(), "record it: `benchledger migrate force 2`") {
				t.Errorf("error %v", err)
			}
			wantVersion(t, migrations, 2, true)
		}
		wantNoError(t, migrations.Force(2))
		wantNoError(t, migrations.Up())
		wantEqual(t, catalog(t, pool), want)
	})

	t.Run("one that waits for a lock lets others pass meanwhile", func(t *testing.T) {
		t.Parallel()
		migrations, pool := setupMigrations(t)
		wantNoError(t, migrations.Up())
		downTo(t, migrations, 2)
		backup, err := pool.Begin(t.Context())
		wantNoError(t, err)
		t.Cleanup(func() { _ = backup.Rollback(context.Background()) })
		exec(t, backup, "lock table benchmark_runs in access share mode")
		down := make(chan error, 1)
		go func() { down <- migrations.Down() }()
		waitUntilBlocked(t, pool)
		_, err = db.CreateRuns(t.Context(), db.New(pool), fullRun("run-1")) // Queues behind the migration, which gives up for a while.
		wantNoError(t, err)
		wantNoError(t, backup.Rollback(t.Context()))
		wantNoError(t, <-down)
		wantVersion(t, migrations, 1, false)
	})

	t.Run("force records a version and runs nothing", func(t *testing.T) {
		t.Parallel()
		migrations, pool := setupMigrations(t)
		wantNoError(t, migrations.Force(1))
		wantVersion(t, migrations, 1, false)
		wantEqual(t, catalog(t, pool), []string{})
	})

	t.Run("a schema newer than the program is left alone", func(t *testing.T) {
		t.Parallel()
		migrations, pool := setupMigrations(t)
		wantNoError(t, migrations.Up())
		newer := latestVersion(t, migrations) + 3
		wantNoError(t, migrations.Force(newer))
		before := catalog(t, pool)
		wantNoError(t, migrations.Up())
		wantVersion(t, migrations, newer, false)
		if migrations.Down() == nil {
			t.Error("a migration that nobody knows was taken back")
		}
		wantVersion(t, migrations, newer, false)
		wantEqual(t, catalog(t, pool), before)
	})

	t.Run("a newer schema whose migration broke off is explained", func(t *testing.T) {
		t.Parallel()
		migrations, pool := setupMigrations(t)
		wantNoError(t, migrations.Up())
		newer := latestVersion(t, migrations) + 3
		wantNoError(t, migrations.Force(newer))
		exec(t, pool, "update schema_migrations set dirty = true")
		wantVersion(t, migrations, newer, true)
		if err := migrations.Up(); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("the migration to version %d did not finish, and this program only knows", newer)) {
			t.Errorf("error %v", err)
		}
	})

	t.Run("a newer program that migrates at the same time is waited for, and left alone", func(t *testing.T) {
		t.Parallel()
		migrations, pool := setupMigrations(t)
		wantNoError(t, migrations.Up())
		newer := latestVersion(t, migrations) + 1

		lockID, err := database.GenerateAdvisoryLockId(
			value[string](t, pool, "select current_database()"), "public", "schema_migrations")
		wantNoError(t, err)
		other, err := pool.Acquire(t.Context())
		wantNoError(t, err)
		defer other.Release()
		exec(t, other, "select pg_advisory_lock($1::text::bigint)", lockID)
		up := make(chan error)
		go func() { up <- migrations.Up() }()
		waitUntil(t, pool, "exists (select from pg_stat_activity where datname = current_database() and query like '%pg_try_advisory_lock(%' and pid <> pg_backend_pid())")
		exec(t, other, "update schema_migrations set version = $1", int64(newer))
		exec(t, other, "select pg_advisory_unlock($1::text::bigint)", lockID)
		wantNoError(t, <-up)
		wantVersion(t, migrations, newer, false)
	})
}

// TestMigrationsRepeat stops each migration before it begins and, if it cannot be part of a transaction,
// up and down, after some of its statements and after the last. Each time, migrating up repeats it.
func TestMigrationsRepeat(t *testing.T) {
	t.Parallel()
	migrations, pool := setupMigrations(t)
	wantNoError(t, migrations.Up())
	want := catalog(t, pool)
	for version := latestVersion(t, migrations); version > 0; version-- {
		for direction, from := range map[string]uint{"up": version - 1, "down": version} {
			files, err := fs.Glob(schema.Files, fmt.Sprintf("%04d_*.%s.sql", version, direction))
			wantNoError(t, err)
			text, err := schema.Files.ReadFile(files[0])
			wantNoError(t, err)
			statements := parts(string(text))
			cuts := []int{0, 1, len(statements) / 2, len(statements)}
			if len(statements) == 1 && direction == "up" {
				cuts = []int{0}
			} else if len(statements) == 1 {
				cuts = nil // It is reverted as a whole, and not marked.
			}
			for _, cut := range slices.Compact(cuts) {
				downTo(t, migrations, from)
				for _, statement := range statements[:cut] {
					exec(t, pool, statement)
				}
				wantNoError(t, db.New(pool).UpsertSchemaVersion(t.Context(), db.UpsertSchemaVersionParams{Version: int64(version), Dirty: true}))
				if err := migrations.Up(); err != nil {
					t.Fatalf("%s, stopped after %d statements: %v", files[0], cut, err)
				}
				wantVersion(t, migrations, latestVersion(t, migrations), false)
				wantEqual(t, catalog(t, pool), want)
				wantEqual(t, value[bool](t, pool, "select bool_and(indisvalid) from pg_index"), true)
			}
		}
	}
}

func TestOpenMigrations(t *testing.T) {
	t.Parallel()
	t.Run("refuses what is no address", func(t *testing.T) {
		t.Parallel()
		if _, err := db.OpenMigrations("postgres://host:port/"); err == nil {
			t.Error("no error")
		}
	})
	t.Run("fails where nothing listens", func(t *testing.T) {
		t.Parallel()
		_, err := db.OpenMigrations(closedPort)
		wantKind(t, err, db.Unavailable)
	})
}

// closedPort is the address of a port where nothing listens.
const closedPort = "postgres://nobody@127.0.0.1:1/none?sslmode=disable"

// latestVersion is the newest that the program knows.
func latestVersion(t testing.TB, migrations *db.Migrations) uint {
	t.Helper()
	version, err := migrations.Version()
	wantNoError(t, err)
	if version.Latest == 0 {
		t.Fatal("no migration")
	}
	return version.Latest
}

func wantVersion(t testing.TB, migrations *db.Migrations, current uint, dirty bool) db.SchemaVersion {
	t.Helper()
	got, err := migrations.Version()
	wantNoError(t, err)
	wantEqual(t, got, db.SchemaVersion{Current: current, Latest: latestVersion(t, migrations), Dirty: dirty})
	return got
}

// downTo reverts migrations until the database has a version.
func downTo(t testing.TB, migrations *db.Migrations, version uint) {
	t.Helper()
	for stands, err := migrations.Version(); stands.Current > version; stands, err = migrations.Version() {
		wantNoError(t, err)
		wantNoError(t, migrations.Down())
	}
	wantVersion(t, migrations, version, false)
}

// catalog is all that a schema defines, but for golang-migrate's own table.
func catalog(t testing.TB, on db.DBTX) []string {
	t.Helper()
	return values[string](t, on, `
		with own as (
			select c.oid, c.relname, c.relkind
			from pg_class as c
			where c.relnamespace = 'public'::regnamespace and c.relname !~ '^schema_migrations'
		)
		select format('table %s %s %s %s collate %s not null %s identity %s default %s',
			c.relname, c.relkind, a.attname, format_type(a.atttypid, a.atttypmod), a.attcollation::regcollation,
			a.attnotnull, a.attidentity, pg_get_expr(d.adbin, d.adrelid))
		from own as c
		join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
		left join pg_attrdef as d on d.adrelid = c.oid and d.adnum = a.attnum
		union all
		select format('options of %s: %s', own.relname, c.reloptions) from own join pg_class as c on c.oid = own.oid where c.reloptions is not null
		union all
		select format('constraint %s on %s %s', s.conname, c.relname, pg_get_constraintdef(s.oid))
		from own as c join pg_constraint as s on s.conrelid = c.oid
		union all
		select 'index ' || pg_get_indexdef(c.oid) from own as c where c.relkind in ('i', 'I')
		union all
		select format('view %s', c.relname) from own as c where c.relkind = 'v'
		union all
		select format('view %s is %s', c.relname, pg_get_viewdef(c.oid)) from own as c where c.relkind = 'v'
		union all
		select format('sequence %s', c.relname) from own as c where c.relkind = 'S'
		union all
		select format('type %s %s %s', t.typname, t.typtype, format_type(t.typbasetype, t.typtypmod))
		from pg_type as t
		where t.typnamespace = 'public'::regnamespace and t.typtype in ('d', 'e', 'r')
		union all
		select pg_get_functiondef(p.oid) from pg_proc as p where p.pronamespace = 'public'::regnamespace
		order by 1`)
}

// TestMigrationsTakeNoLongLock runs each migration on a database that has data, and
// finds what an older server beside it would wait for: a lock that keeps others from
// writing, on a table that is read or written as a whole under it.
func TestMigrationsTakeNoLongLock(t *testing.T) {
	t.Parallel()

	t.Run("of this schema, none does", func(t *testing.T) {
		t.Parallel()
		files, err := fs.Glob(schema.Files, "*.up.sql")
		wantNoError(t, err)
		pool := testdb.Pool(t, testdb.Empty(t))
		filled := map[string]bool{}
		for _, file := range files {
			migration, err := schema.Files.ReadFile(file)
			wantNoError(t, err)
			for _, valid := range validRows {
				if !filled[valid.table] && value[bool](t, pool, "select to_regclass($1) is not null", valid.table) {
					filled[valid.table] = true
					wantNoError(t, insert(t, pool, valid.table, nil))
				}
			}
			for _, part := range parts(string(migration)) {
				if locks := longLocks(t, pool, part); len(locks) > 0 {
					t.Errorf("%s: %v; make room first, fill it in parts, check constraints later (not valid), and create indexes concurrently", file, locks)
				}
				exec(t, pool, part)
			}
		}
	})

	for migration, want := range map[string][]string{
		"alter table benchmark_runs add column note text":                                                         {},
		"alter table benchmark_runs add column seen bigint not null default 0":                                    {},
		"create table notes (run_id text references benchmark_runs)":                                              {},
		"alter table benchmark_runs add constraint x check (tier <> '') not valid":                                {},
		"create index concurrently x on benchmark_runs (model)":                                                   {},
		"create index x on benchmark_runs (model)":                                                                {"benchmark_runs"},
		"alter table benchmark_runs add constraint x check (tier <> '')":                                          {"benchmark_runs"},
		"alter table benchmark_runs alter column model set not null":                                              {"benchmark_runs"},
		"alter table run_telemetry alter column tool_calls type numeric":                                          {"run_telemetry"},
		"alter table benchmark_runs add column token uuid default gen_random_uuid()":                              {"benchmark_runs"},
		"alter table benchmark_runs add column x text; update benchmark_runs set x = tier where tier is not null": {"benchmark_runs"},
		"alter table benchmark_runs add column x text; update benchmark_runs set x = tier where run_id = 'run-1'": {"benchmark_runs"},
		"update benchmark_runs set model = tier where run_id = 'run-1'":                                           {"benchmark_runs"},
		"alter table run_telemetry add constraint x foreign key (run_id) references benchmark_runs":               {"benchmark_runs", "run_telemetry"},
	} {
		t.Run(migration, func(t *testing.T) {
			t.Parallel()
			q, pool := setup(t)
			create(t, q, fullRun("run-1"))
			wantEqual(t, longLocks(t, pool, migration), want)
		})
	}
}

// parts are what of a migration runs at once: all of it, or each statement where some
// cannot be part of a transaction.
func parts(migration string) []string {
	if !strings.Contains(migration, "concurrently") {
		return []string{migration}
	}
	return strings.SplitAfter(migration, ";")
}

// longLocks returns the tables that a migration locks against writing for as long as
// it reads or rewrites them, as a whole or some of their rows, and reverts the migration.
func longLocks(t *testing.T, pool *pgxpool.Pool, migration string) []string {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	wantNoError(t, err)
	defer func() { wantNoError(t, tx.Rollback(context.WithoutCancel(t.Context()))) }()
	// The statistics may still have what earlier transactions of this connection did.
	exec(t, tx, `
		create temporary table tables on commit drop as
		select c.oid, c.relname, c.relfilenode, s.seq_tup_read, s.n_tup_upd + s.n_tup_del as changed
		from pg_class as c
		inner join pg_stat_xact_user_tables as s on s.relid = c.oid
		where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace`)
	_, err = tx.Exec(t.Context(), migration, pgx.QueryExecModeSimpleProtocol)
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == "25001" { // Concurrently: not in a transaction, and without such a lock.
		return []string{}
	}
	wantNoError(t, err)
	return values[string](t, tx, `
		select distinct t.relname::text
		from tables as t
		inner join pg_class as c on c.oid = t.oid
		inner join pg_locks as l on l.relation = t.oid and l.pid = pg_backend_pid()
		left join pg_stat_xact_user_tables as s on s.relid = t.oid
		where l.mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
		  and (c.relfilenode <> t.relfilenode or s.seq_tup_read > t.seq_tup_read)
		  or s.n_tup_upd + s.n_tup_del > t.changed
		order by 1`)
}

func TestUpdateLockTimeout(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)
	q, tx := begin(t, pool)
	wantNoError(t, q.UpdateLockTimeout(t.Context(), "1234ms"))
	wantEqual(t, value[string](t, tx, "show lock_timeout"), "1234ms")
	wantEqual(t, value[string](t, pool, "show lock_timeout"), "1min") // Elsewhere, as in all tests.
}

func TestUpsertSchemaVersion(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)
	q, tx := begin(t, pool)
	for _, step := range []struct {
		version int64
		dirty   bool
		want    []string
	}{
		{7, true, []string{"7 true"}},
		{7, false, []string{"7 false"}},
		{8, false, []string{"8 false"}},
		{8, true, []string{"8 true"}},
		{0, false, []string{"0 false"}},
		{-1, false, []string{}},
		{-1, true, []string{}},
		{1, true, []string{"1 true"}},
	} {
		wantNoError(t, q.UpsertSchemaVersion(t.Context(), db.UpsertSchemaVersionParams{Version: step.version, Dirty: step.dirty}))
		wantEqual(t, values[string](t, tx, "select format('%s %s', version, case when dirty then 'true' else 'false' end) from schema_migrations"), step.want)
	}
}

func TestGetMigrationRunning(t *testing.T) {
	t.Parallel()
	q, pool := setup(t)
	running := func() bool {
		t.Helper()
		is, err := q.GetMigrationRunning(t.Context(), 4294967295)
		wantNoError(t, err)
		return is
	}
	wantEqual(t, running(), false)
	tx, err := pool.Begin(t.Context())
	wantNoError(t, err)
	exec(t, tx, "select pg_advisory_xact_lock(4294967295)")
	wantEqual(t, running(), true)
	wantNoError(t, tx.Rollback(t.Context()))
	wantEqual(t, running(), false)
}

func TestGetMigrationLock(t *testing.T) {
	t.Parallel()
	q, pool := setup(t)
	const lock = 4294967295
	other, err := pool.Acquire(t.Context())
	wantNoError(t, err)
	defer other.Release()
	take := func(q *db.Queries) bool {
		t.Helper()
		isTaken, err := q.GetMigrationLock(t.Context(), lock)
		wantNoError(t, err)
		return isTaken
	}
	wantEqual(t, take(db.New(other)), true)
	wantEqual(t, take(q), false)
	wantNoError(t, db.New(other).DeleteMigrationLock(t.Context(), lock))
	wantEqual(t, take(q), true)
}

func TestDeleteMigrationLock(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)
	const lock = 4294967295
	session, err := pool.Acquire(t.Context())
	wantNoError(t, err)
	defer session.Release()
	q := db.New(session)
	for range 2 { // It is taken twice, and given back once.
		isTaken, err := q.GetMigrationLock(t.Context(), lock)
		wantNoError(t, err)
		wantEqual(t, isTaken, true)
	}
	held := func() int {
		t.Helper()
		return value[int](t, pool, "select count(*) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database()) and objid = 4294967295::bigint::oid")
	}
	wantNoError(t, q.DeleteMigrationLock(t.Context(), lock))
	wantEqual(t, held(), 1)
	wantNoError(t, q.DeleteMigrationLock(t.Context(), lock))
	wantEqual(t, held(), 0)
}

func TestReadSchemaVersion(t *testing.T) {
	t.Parallel()
	url := testdb.Empty(t)
	want := func(want db.SchemaVersion) {
		t.Helper()
		got, err := db.ReadSchemaVersion(t.Context(), url)
		wantNoError(t, err)
		wantEqual(t, got, want)
	}
	latest, err := db.LatestSchemaVersion()
	wantNoError(t, err)
	want(db.SchemaVersion{Latest: latest})
	migrations, pool := openMigrations(t, url), testdb.Pool(t, url)
	want(db.SchemaVersion{Latest: latest})
	wantNoError(t, migrations.Up())
	want(db.SchemaVersion{Current: latest, Latest: latest})
	downTo(t, migrations, 2)

	// While one runs, it is said, and not waited for.
	other, err := pool.Begin(t.Context())
	wantNoError(t, err)
	exec(t, other, "lock table benchmark_runs in access share mode")
	down := make(chan error)
	go func() { down <- migrations.Down() }()
	waitUntilBlocked(t, pool)
	want(db.SchemaVersion{Current: 2, Latest: latest, Running: true})
	wantNoError(t, other.Rollback(t.Context()))
	wantNoError(t, <-down)
	exec(t, pool, "update schema_migrations set dirty = true")
	want(db.SchemaVersion{Current: 1, Latest: latest, Dirty: true})
}
