package db_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/benchledger/benchledger/db"
	"github.com/benchledger/benchledger/internal/testdb"
)

func TestOpen(t *testing.T) {
	t.Parallel()

	t.Run("names the program to the database, unless the address does", func(t *testing.T) {
		t.Parallel()
		url := testdb.URL(t)
		for address, want := range map[string]string{url: "benchledger", url + "&application_name=another": "another"} {
			if got := value[string](t, testdb.Pool(t, address), "show application_name"); got != want {
				t.Errorf("application_name %q, want %q", got, want)
			}
		}
	})

	t.Run("gives the same values whatever the defaults of the database are", func(t *testing.T) {
		t.Parallel()
		url := testdb.URL(t)
		odd := testdb.Pool(t, url)
		name := value[string](t, odd, "select current_database()")
		for _, setting := range []string{
			"extra_float_digits = 0", "datestyle = 'SQL, DMY'", "bytea_output = 'escape'", "client_encoding = 'LATIN1'", "timezone = 'America/Caracas'",
		} {
			exec(t, odd, "alter database "+pgx.Identifier{name}.Sanitize()+" set "+setting)
		}
		run := with(fullRun("run-1"), func(r *db.Submission) {
			r.TotalScore, r.WeightedScore, r.SuccessMetric = new(0.30000000000000004), new(math.MaxFloat64), new(math.SmallestNonzeroFloat64)
			r.SpecialistName = new("Zoë 😀")
			r.Evaluations[0].Score, r.Evaluations[0].MaxScore = new(0.30000000000000004), math.MaxFloat64
			r.Evaluations[0].Details = new("Zoë 😀")
			r.Telemetry.CostUsd = new(0.30000000000000004)
		})
		for mode, id := range map[string]string{"cache_statement": "a", "cache_describe": "b", "describe_exec": "c", "exec": "d", "simple_protocol": "e"} {
			pool := testdb.Pool(t, url+"&extra_float_digits=0&default_query_exec_mode="+mode)
			if mode != "cache_statement" { // As behind a pooler, which does not hand parameters on.
				pool = testdb.Pool(t, url+"&default_query_exec_mode="+mode)
			}
			q := db.New(pool)
			run.RunID = id
			isCreated, err := db.CreateRun(t.Context(), q, run)
			wantNoError(t, err)
			wantEqual(t, isCreated, true)
			wantRun(t, q, run, get(t, q, id).BenchmarkRun.ID)
			found, err := db.ListRunsDifferences(t.Context(), q, with(run, func(r *db.Submission) { r.TotalScore = new(0.3) }))
			wantNoError(t, err)
			wantEqual(t, found, []db.ListRunsDifferencesRow{{RunID: id, Field: "total_score", Stored: "0.30000000000000004"}})
			hash := make([]byte, 32)
			copy(hash, "\\x\x00"+id)
			wantNoError(t, q.CreateKey(t.Context(), db.CreateKeyParams{Name: "key-" + id, Hash: hash, Scope: "read"}))
			keys, err := q.ListKeys(t.Context())
			wantNoError(t, err)
			if !slices.ContainsFunc(keys, func(k db.ListKeysRow) bool { return k.Name == "key-"+id && bytes.Equal(k.Hash, hash) }) {
				t.Errorf("%s: keys %v, want one with the hash %x", mode, keys, hash)
			}
		}
	})

	t.Run("refuses a database that cannot store every text", func(t *testing.T) {
		t.Parallel()
		for _, encoding := range []string{"LATIN1", "SQL_ASCII"} {
			address := testdb.WithEncoding(t, encoding)
			_, versionErr := db.ReadSchemaVersion(t.Context(), address)
			_, migrateErr := db.OpenMigrations(address)
			pool, err := db.Open(t.Context(), address)
			wantNoError(t, err)
			for _, err := range []error{pool.Ping(t.Context()), versionErr, migrateErr} {
				if !errors.Is(err, db.ErrEncoding) || !strings.Contains(err.Error(), "is "+encoding+": create another one with createdb --encoding=UTF8") {
					t.Errorf("%s: error %v", encoding, err)
				}
			}
			pool.Close()
		}
	})

	t.Run("takes the size of the pool from the address", func(t *testing.T) {
		t.Parallel()
		if n := testdb.Pool(t, testdb.URL(t)+"&pool_max_conns=3").Config().MaxConns; n != 3 {
			t.Errorf("%d connections at most", n)
		}
	})

	t.Run("does not wait for the database", func(t *testing.T) {
		t.Parallel()
		pool, err := db.Open(t.Context(), closedPort)
		wantNoError(t, err)
		pool.Close()
	})

	t.Run("gives up on what takes its connections and says nothing", func(t *testing.T) {
		t.Parallel()
		silent, err := net.Listen("tcp", "127.0.0.1:0")
		wantNoError(t, err)
		defer silent.Close()
		pool, err := db.Open(t.Context(), "postgres://user@"+silent.Addr().String()+"/database?sslmode=disable")
		wantNoError(t, err)
		defer pool.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		wantKind(t, pool.Ping(ctx), db.Unavailable)
		wantNoError(t, ctx.Err())
	})

	t.Run("refuses what is no address, and keeps its password", func(t *testing.T) {
		t.Parallel()
		_, err := db.Open(t.Context(), "postgres://user:secret@host:port/database")
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("error %v", err)
		}
	})
}

// A statement with a name has its plan kept; one without is planned each time.
func TestCustomPlan(t *testing.T) {
	t.Parallel()
	q, pool := setupOne(t)
	create(t, q, leastRun("run-1"))
	const kept = "select count(*) from pg_prepared_statements where statement like '-- name: ListRunsByFilters %'"
	for use, want := range map[*db.Queries]int{db.WithCustomPlans(q): 0, q: 1} {
		pool.Reset()
		for range 10 {
			runs, err := runsByFilters(t.Context(), use, db.Filters{"agent": {"agent-a"}})(beyondEveryTime, math.MaxInt64, 9)
			wantNoError(t, err)
			if len(runs) != 1 {
				t.Errorf("%d runs", len(runs))
			}
		}
		if n := value[int](t, pool, kept); n != want {
			t.Errorf("%d statements are kept, want %d", n, want)
		}
	}
}
