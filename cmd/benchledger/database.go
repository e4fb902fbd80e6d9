package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/shirou/gopsutil/v4/disk"

	"github.com/benchledger/benchledger/db"
	"github.com/benchledger/benchledger/internal/localpg"
)

// databaseFlags say which database a command uses.
type databaseFlags struct {
	DatabaseURL string `env:"DATABASE_URL" placeholder:"URL" help:"PostgreSQL connection string of the database. Without it, the database of the local server (ENVIRONMENT=local) on this machine, which need not be running."`
	DataDir     string `env:"DATA_DIR" default:"${data_dir}" placeholder:"DIR" help:"Directory where the local server keeps its data; ${default} by default."`
}

// with opens the database for fn, and closes it.
func (f *databaseFlags) with(fn func(context.Context, *db.Queries) error) error {
	ctx, stop := interruptible()
	defer stop()
	return f.withURL(ctx, func(url string) error {
		pool, err := db.Open(ctx, url)
		if err != nil {
			return err
		}
		defer pool.Close()
		return fn(ctx, db.New(pool))
	})
}

// withURL calls fn with the connection string of the database. If that is the local server's
// own and the server does not run, it runs the database for fn.
func (f *databaseFlags) withURL(ctx context.Context, fn func(url string) error) error {
	if f.DatabaseURL != "" {
		return fn(f.DatabaseURL)
	}
	dir, err := filepath.Abs(f.DataDir)
	if err != nil {
		return fmt.Errorf("DATA_DIR: %w", err)
	}
	if !localpg.Exists(dir) {
		return fmt.Errorf("no database is configured: set DATABASE_URL or --database-url. Without it, this command uses the data of a local server, "+
			"and there is none in %s (DATA_DIR or --data-dir)", dir)
	}
	local, err := startLocal(ctx, dir, func(step string) { fmt.Fprintln(os.Stderr, step) })
	if errors.Is(err, localpg.ErrInUse) {
		if err = fn(localpg.URL(dir)); db.Classify(err) == db.Unavailable {
			err = fmt.Errorf("%w\nthe local server on %s is starting or stopping: try again", err, dir)
		}
		return err
	}
	if err != nil {
		return err
	}
	return errors.Join(fn(local.URL()), local.Stop())
}

// startLocal starts the local server's own PostgreSQL.
func startLocal(ctx context.Context, dir string, progress func(string)) (*localpg.Server, error) {
	local, err := localpg.Start(ctx, localpg.Options{
		DataDir: dir, Progress: progress,
		Settings: map[string]string{"random_page_cost": "1.1"}, // The default is for spinning disks.
	})
	if err != nil && !errors.Is(err, localpg.ErrInUse) {
		return nil, withDiskHint(err, dir)
	}
	return local, err
}

// fullDiskBytes is what a new database needs. With less, the disk is probably the cause of an error.
const fullDiskBytes = 64 << 20

// withDiskHint adds to an error of the local database that its disk is full, or nearly. PostgreSQL's log,
// which is on the same disk, may not have it.
func withDiskHint(err error, dir string) error {
	usage, usageErr := diskUsage(dir)
	if err == nil || usageErr != nil || usage.Free >= fullDiskBytes && (usage.InodesTotal == 0 || usage.InodesFree > 0) {
		return err
	}
	return fmt.Errorf("%w\nno space left on the disk of %s, or too little (%s and %d inodes free; a new database needs 64 MiB): "+
		"free some, or choose another data directory (DATA_DIR)", err, dir, bytesOf(usage.Free), usage.InodesFree)
}

// diskUsage returns the usage of the disk of a directory, which need not exist.
func diskUsage(dir string) (*disk.UsageStat, error) {
	for dir != filepath.Dir(dir) {
		if _, err := os.Stat(dir); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	return disk.Usage(dir)
}
