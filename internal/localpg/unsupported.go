//go:build !unix || aix || solaris

package localpg

import (
	"context"
	"errors"
)

// Options say what to run.
type Options struct {
	DataDir  string
	Settings map[string]string
	Progress func(string)
}

// Server is a PostgreSQL that this system cannot run.
type Server struct{}

// Start fails: the database needs Unix sockets and signals.
func Start(context.Context, Options) (*Server, error) {
	return nil, errors.New("this system cannot run a database of the server's own: set DATABASE_URL")
}

// URL is never called.
func (*Server) URL() string { return "" }

// URL is that of no database.
func URL(string) string { return "" }

// Exited is never called.
func (*Server) Exited() <-chan struct{} { return nil }

// Stop is never called.
func (*Server) Stop() error { return nil }
