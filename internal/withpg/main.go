// Command withpg runs another program with its own PostgreSQL, which
// TEST_DATABASE_URL leads to: go run ./internal/withpg PROGRAM [ARGUMENT…]
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/benchledger/benchledger/internal/localpg"
)

// settings trade durability for speed, and make plans independent of other processes.
// Commits stay synchronous. The test that removes the standby does not use such a server: if
// it were killed halfway, all later commits would wait.
var settings = map[string]string{
	"fsync": "off", "full_page_writes": "off", "max_connections": "300",
	"shared_buffers": "256MB", "max_wal_size": "4GB", "autovacuum": "off",
}

func main() {
	err := run(context.Background(), os.Args[1:])
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	} else if err != nil {
		fmt.Fprintln(os.Stderr, "withpg:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, program []string) (err error) {
	if len(program) == 0 {
		return errors.New("name a program to run")
	}
	dir, err := os.MkdirTemp("", "benchledger-withpg-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // PostgreSQL may run as another user.
		return err
	}
	server, err := localpg.Start(ctx, localpg.Options{DataDir: filepath.Join(dir, "data"), Settings: settings})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	cmd := exec.CommandContext(ctx, program[0], program[1:]...) //nolint:gosec // That is what it is for.
	cmd.Env = append(os.Environ(), "TEST_DATABASE_URL="+server.URL())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}
