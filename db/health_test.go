package db_test

import (
	"testing"
	"time"

	"github.com/benchledger/benchledger/db"
	"github.com/benchledger/benchledger/internal/testdb"
)

func TestGetReadiness(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)
	readiness := func(t *testing.T, q *db.Queries) db.GetReadinessRow {
		t.Helper()
		row, err := q.GetReadiness(t.Context())
		wantNoError(t, err)
		return row
	}
	latest, err := db.LatestSchemaVersion()
	wantNoError(t, err)
	ready := db.GetReadinessRow{SchemaVersion: int64(latest), IsWritable: true, MissingPrivileges: []string{}}

	t.Run("a migrated database is ready", func(t *testing.T) {
		q, _ := begin(t, pool)
		wantEqual(t, readiness(t, q), ready)
	})

	t.Run("a migration that broke off is told", func(t *testing.T) {
		q, tx := begin(t, pool)
		exec(t, tx, "update schema_migrations set version = 1, dirty = true")
		wantEqual(t, readiness(t, q), with(ready, func(r *db.GetReadinessRow) { r.SchemaVersion, r.SchemaDirty = 1, true }))
	})

	t.Run("a transaction that may not write is told", func(t *testing.T) {
		q, tx := begin(t, pool)
		exec(t, tx, "set transaction_read_only = on")
		wantEqual(t, readiness(t, q), with(ready, func(r *db.GetReadinessRow) { r.IsWritable = false }))
	})

	t.Run("privileges that the role lacks are named", func(t *testing.T) {
		for privilege, want := range map[string][]string{
			"insert on benchmark_runs":               {"INSERT on benchmark_runs"},
			"delete on run_telemetry":                {"DELETE on run_telemetry"},
			"select, insert on batch_runs, api_keys": {"SELECT on api_keys", "INSERT on batch_runs", "SELECT on batch_runs"},
		} {
			q := db.New(testdb.Pool(t, testdb.WithoutPrivilege(t, privilege)))
			wantEqual(t, readiness(t, q).MissingPrivileges, want)
		}
	})

	t.Run("there is no row without a schema", func(t *testing.T) {
		q, tx := begin(t, pool)
		exec(t, tx, "delete from schema_migrations")
		_, err := q.GetReadiness(t.Context())
		wantKind(t, err, db.NotFound)
	})

	t.Run("an empty database has no table to ask", func(t *testing.T) {
		_, err := db.New(testdb.Pool(t, testdb.Empty(t))).GetReadiness(t.Context())
		wantKind(t, err, db.Internal)
	})
}

func TestGetDatabaseSettings(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)
	q, tx := begin(t, pool)
	exec(t, tx, "set local synchronous_commit = 'remote_apply'")
	exec(t, tx, "set local random_page_cost = 1.25")
	before := value[time.Time](t, tx, "select clock_timestamp()")
	got, err := q.GetDatabaseSettings(t.Context())
	wantNoError(t, err)
	after := value[time.Time](t, tx, "select clock_timestamp()")
	if got.Clock.Before(before) || got.Clock.After(after) {
		t.Errorf("the clock says %s between %s and %s", got.Clock, before, after)
	}
	show := func(setting string) string { return value[string](t, tx, "show "+setting) }
	wantEqual(t, got, db.GetDatabaseSettingsRow{
		ServerVersion:     value[int32](t, tx, "select setting::int from pg_settings where name = 'server_version_num'"),
		Encoding:          "UTF8",
		Fsync:             show("fsync") == "on",
		FullPageWrites:    show("full_page_writes") == "on",
		SynchronousCommit: "remote_apply",
		RandomPageCost:    1.25,
		MaxConnections:    value[int32](t, tx, "select setting::int from pg_settings where name = 'max_connections'"),
		SizeBytes:         value[int64](t, tx, "select pg_database_size(oid) from pg_database where datname = current_database()"),
		Clock:             got.Clock,
	})
}
