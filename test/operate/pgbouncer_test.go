package operate

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// TestPgBouncer serves through a pooler that shares sessions among transactions, with
// the settings that the documentation names, and with fewer sessions than the server
// has connections.
func TestPgBouncer(t *testing.T) {
	t.Parallel()
	needs(t, "pgbouncer")
	dir, port := newDir(t), freePort(t)
	database := startDatabase(t, filepath.Join(dir, "database"), nil)
	direct, err := url.Parse(database.URL())
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "pgbouncer.ini")
	if err := os.WriteFile(config, fmt.Appendf(nil, `[databases]
benchledger = host=%s port=5432 dbname=benchledger user=benchledger
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
max_client_conn = 100
`, direct.Query().Get("host"), port), 0o644); err != nil {
		t.Fatal(err)
	}
	pooler := exec.Command("pgbouncer", config)
	pooler.Stderr = os.Stderr
	asOwner(t, pooler, filepath.Join(dir, "database", "postgres"))
	if err := pooler.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pooler.Process.Kill(); _ = pooler.Wait() })
	address := fmt.Sprintf("127.0.0.1:%d", port)
	eventually(t, "the pooler listens", func() error {
		connection, err := net.Dial("tcp", address)
		if err == nil {
			_ = connection.Close()
		}
		return err
	})

	s := serve(t, "DATABASE_URL=postgres://benchledger@"+address+"/benchledger?sslmode=disable&default_query_exec_mode=exec", "DATABASE_MIGRATE_URL="+database.URL())
	var ids []string
	var submitting sync.WaitGroup
	for i := range 60 {
		id := fmt.Sprint("run-", i)
		ids = append(ids, id)
		submitting.Go(func() { s.submit(id) })
	}
	submitting.Wait()
	s.wantRuns(ids...)
	s.want(http.StatusConflict, http.MethodPost, "/api/results", `{"runId":"run-1","suite":"s","scenario":"c","tier":"L1","agent":"b","status":"failed"}`)
	for _, path := range []string{
		"/readyz", "/api/runs/run-1", "/api/runs/run-1/evaluations", "/api/runs/run-1/telemetry", "/api/batches", "/api/batches/b", "/api/stats", "/api/stats/agents",
		"/api/runs?suite=s", "/api/runs?scenario=c", "/api/runs?agent=a", "/api/runs?status=completed", "/api/runs?suite=s&scenario=c", "/api/runs?suite=s&agent=a&status=completed",
	} {
		for range 8 { // On whatever session.
			s.want(http.StatusOK, http.MethodGet, path, "")
		}
	}
	for _, mode := range []string{"each", "atomic"} {
		s.want(http.StatusOK, http.MethodPost, "/api/results/bulk?mode="+mode, "["+run("bulk-"+mode)+","+run("run-2")+"]")
		ids = append(ids, "bulk-"+mode)
	}
	s.want(http.StatusCreated, http.MethodPost, "/api/results/batch", `{"batchId":"b","completedAt":"2025-01-01T00:00:00Z"}`)
	s.wantRuns(ids...)
}
