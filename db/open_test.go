package db_test

import (
	"context"
	"math"
	"net"
	"strings"
	"testing"
	"time"

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
			runs, err := runsByFilters(t.Context(), use, map[string]string{"agent": "agent-a"})(beyondEveryTime, math.MaxInt64, 9)
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
