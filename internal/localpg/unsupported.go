//go:build !unix || aix || solaris

package localpg

import (
	"context"
	"errors"
)

// Options configure a server.
type Options struct {
	DataDir  string
	Settings map[string]string
	Progress func(string)
}

// Server is not supported on this system.
type Server struct{}

// Start fails: it needs Unix sockets and signals.
func Start(context.Context, Options) (*Server, error) {
	return nil, errors.New("the server cannot start its own PostgreSQL on this operating system: set DATABASE_URL")
}

// ErrInUse is never returned.
var ErrInUse = errors.New("another server is using the data")

// Exists returns false.
func Exists(string) bool { return false }

// URL is never called.
func (*Server) URL() string { return "" }

// URL returns no URL.
func URL(string) string { return "" }

// Exited is never called.
func (*Server) Exited() <-chan struct{} { return nil }

// Stop is never called.
func (*Server) Stop() error { return nil }
