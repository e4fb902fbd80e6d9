package main

import (
	"errors"
	"os"
	"os/exec"
	"testing"

	"github.com/jackc/pgx/v5"
)

// This test is the program that is run, too.
func TestRun(t *testing.T) {
	if os.Getenv("WITHPG_CHILD") != "" {
		connection, err := pgx.Connect(t.Context(), os.Getenv("TEST_DATABASE_URL"))
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close(t.Context())
		if _, err := connection.Exec(t.Context(), "create database another"); err != nil {
			t.Fatal(err)
		}
		os.Exit(7) //nolint:gocritic // What is left open ends with the process.
	}
	t.Setenv("WITHPG_CHILD", "1")
	var exit *exec.ExitError
	if err := run(t.Context(), []string{os.Args[0], "-test.run=^TestRun$"}); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("a program that makes a database and exits with 7: %v", err)
	}
	if err := run(t.Context(), nil); err == nil {
		t.Error("no program is run")
	}
}
