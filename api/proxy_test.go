package api_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/benchledger/benchledger/internal/testserver"
)

// proxy leads connections to the database, and can be cut: then its clients do not reach
// the database any more.
type proxy struct {
	t                testing.TB
	network, address string // of the database
	at               string // of the proxy

	mu          sync.Mutex
	listener    net.Listener
	connections []net.Conn
}

func startProxy(t testing.TB, database *pgx.ConnConfig) *proxy {
	t.Helper()
	port, err := testserver.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, at: fmt.Sprint("127.0.0.1:", port)}
	p.network, p.address = pgconn.NetworkAddress(database.Host, database.Port)
	p.open()
	t.Cleanup(p.cut)
	return p
}

// through returns the connection string that goes through the proxy.
func (p *proxy) through(connection string) string {
	p.t.Helper()
	parsed, err := url.Parse(connection)
	if err != nil {
		p.t.Fatal(err)
	}
	query := parsed.Query()
	query.Del("host")
	query.Set("sslmode", "disable")
	parsed.Host, parsed.RawQuery = p.at, query.Encode()
	return parsed.String()
}

// open lets connections pass.
func (p *proxy) open() {
	p.t.Helper()
	listener, err := net.Listen("tcp", p.at)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listener = listener
	go p.accept(listener)
}

func (p *proxy) accept(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		server, err := (&net.Dialer{}).DialContext(context.Background(), p.network, p.address)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		if p.listener != listener { // The connection was cut in the meantime.
			p.mu.Unlock()
			_ = client.Close()
			_ = server.Close()
			return
		}
		p.connections = append(p.connections, client, server)
		p.mu.Unlock()
		go pass(client, server)
		go pass(server, client)
	}
}

func pass(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	_ = to.Close()
}

// cut ends the connections, and lets none pass.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		_ = p.listener.Close()
	}
	for _, connection := range p.connections {
		_ = connection.Close()
	}
	p.listener, p.connections = nil, nil
}
