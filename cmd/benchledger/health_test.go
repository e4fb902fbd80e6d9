package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"github.com/benchledger/benchledger/internal/testdb"
)

func TestHealth(t *testing.T) {
	t.Parallel()
	server := serveDatabase(t, testdb.URL(t))
	_, port, _ := strings.Cut(strings.TrimPrefix(server.url, "http://"), ":")
	for _, addr := range []string{"127.0.0.1:" + port, "0.0.0.0:" + port, ":" + port} {
		code, stdout, stderr := run(t, []string{"ADDR=" + addr}, "health")
		wantOutput(t, code, stdout+stderr, 0, `{"status":"ready"}`)
	}
	server.signal(syscall.SIGTERM)
	server.wait()
	code, stdout, stderr := run(t, nil, "health", "--addr=127.0.0.1:"+port)
	wantOutput(t, code, stdout+stderr, 1, "connection refused")
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<p>ready") }))
	t.Cleanup(other.Close)
	code, stdout, stderr = run(t, nil, "health", "--addr="+strings.TrimPrefix(other.URL, "http://"))
	wantOutput(t, code, stdout+stderr, 1, other.URL+" answered 200 OK (text/html), which is not a response of BenchLedger")
	array := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, "[]")
	}))
	t.Cleanup(array.Close)
	for _, command := range []string{"health --addr=" + strings.TrimPrefix(array.URL, "http://"), "run x", "batch x", "stats"} {
		code, stdout, stderr := run(t, submitEnv(array.URL), strings.Fields(command)...)
		wantOutput(t, code, stdout+stderr, 1, "returned other JSON, which is not a response of BenchLedger")
	}
	code, stdout, stderr = run(t, nil, "health", "--addr=nowhere")
	wantOutput(t, code, stdout+stderr, 1, "is not HOST:PORT")
}
