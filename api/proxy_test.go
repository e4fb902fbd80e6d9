package api_test

import (
	"context"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// way leads connections to the database, and can be cut: to its clients the
// database is then gone.
type way struct {
	t                testing.TB
	network, address string // of the database
	at               string // of the way

	mu          sync.Mutex
	listener    net.Listener
	connections []net.Conn
}

func openWay(t testing.TB, database *pgx.ConnConfig) *way {
	t.Helper()
	w := &way{t: t, at: "127.0.0.1:0"}
	w.network, w.address = pgconn.NetworkAddress(database.Host, database.Port)
	w.open()
	w.at = w.listener.Addr().String()
	t.Cleanup(w.cut)
	return w
}

// through returns the connection string that takes the way.
func (w *way) through(connection string) string {
	w.t.Helper()
	parsed, err := url.Parse(connection)
	if err != nil {
		w.t.Fatal(err)
	}
	query := parsed.Query()
	query.Del("host")
	query.Set("sslmode", "disable")
	parsed.Host, parsed.RawQuery = w.at, query.Encode()
	return parsed.String()
}

// open lets connections pass.
func (w *way) open() {
	w.t.Helper()
	listener, err := net.Listen("tcp", w.at)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listener = listener
	go w.accept(listener)
}

func (w *way) accept(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		server, err := (&net.Dialer{}).DialContext(context.Background(), w.network, w.address)
		if err != nil {
			_ = client.Close()
			continue
		}
		w.mu.Lock()
		w.connections = append(w.connections, client, server)
		w.mu.Unlock()
		go pass(client, server)
		go pass(server, client)
	}
}

func pass(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	_ = to.Close()
}

// cut ends the connections, and lets none pass.
func (w *way) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.listener.Close()
	for _, connection := range w.connections {
		_ = connection.Close()
	}
	w.connections = nil
}
