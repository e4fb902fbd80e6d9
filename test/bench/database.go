package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/schollz/progressbar/v3"

	"github.com/benchledger/benchledger/db"
	"github.com/benchledger/benchledger/internal/localpg"
	"github.com/benchledger/benchledger/sql/schema"
)

// settings are those of a small production machine. What is acknowledged is on disk.
var settings = map[string]string{
	"shared_buffers": "2GB", "effective_cache_size": "8GB", "random_page_cost": "1.1", "max_wal_size": "8GB", "checkpoint_timeout": "15min",
	"max_connections": "100", "shared_preload_libraries": "", "jit": "off",
}

// cluster is the PostgreSQL that is measured on.
type cluster struct {
	server *localpg.Server
	admin  *pgxpool.Pool
}

func startCluster(ctx context.Context, dir string) (*cluster, error) {
	server, err := localpg.Start(ctx, localpg.Options{DataDir: dir, Settings: settings, Progress: say})
	if err != nil {
		return nil, err
	}
	admin, err := pgxpool.New(ctx, server.URL())
	if err != nil {
		return nil, err
	}
	return &cluster{server, admin}, nil
}

func (c *cluster) stop() {
	c.admin.Close()
	if err := c.server.Stop(); err != nil {
		say(err.Error())
	}
}

// url is the connection string of a database.
func (c *cluster) url(database string) string {
	return strings.Replace(c.server.URL(), "///benchledger?", "///"+database+"?", 1)
}

// prepare returns a database with so many runs, made anew from one that is loaded once
// and kept.
func (c *cluster) prepare(ctx context.Context, size int) (string, error) {
	hash, err := dataHash()
	if err != nil {
		return "", err
	}
	kept := fmt.Sprintf("kept_%d_%s", size, hash)
	var isThere bool
	if err := c.admin.QueryRow(ctx, "select exists (select from pg_database where datname = $1)", kept).Scan(&isThere); err != nil {
		return "", err
	}
	if !isThere {
		if err := c.make(ctx, size, kept); err != nil {
			return "", err
		}
	}
	measured := fmt.Sprint("measured_", size)
	for _, sql := range []string{
		"drop database if exists " + measured + " (force)",
		"create database " + measured + " template " + kept + " strategy file_copy",
	} {
		if _, err := c.admin.Exec(ctx, sql); err != nil {
			return "", err
		}
	}
	return measured, nil
}

// make loads a database, which appears whole or not at all.
func (c *cluster) make(ctx context.Context, size int, name string) error {
	old, err := c.admin.Query(ctx, "select datname from pg_database where datname like $1", fmt.Sprintf("kept\\_%d\\_%%", size))
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(old, pgx.RowTo[string])
	if err != nil {
		return err
	}
	const loading = "loading"
	for _, name := range append(names, loading) {
		if _, err := c.admin.Exec(ctx, "drop database if exists "+name+" (force)"); err != nil {
			return err
		}
	}
	if _, err := c.admin.Exec(ctx, "create database "+loading); err != nil {
		return err
	}
	migrations, err := db.OpenMigrations(c.url(loading))
	if err != nil {
		return err
	}
	if err := migrations.Up(); err != nil {
		return err
	}
	if err := migrations.Close(); err != nil {
		return err
	}
	pool, err := pgxpool.New(ctx, c.url(loading))
	if err != nil {
		return err
	}
	defer pool.Close()
	bar := progressbar.Default(int64(size), "loading")
	if err := load(ctx, pool, size, func(runs int) { _ = bar.Add(runs) }); err != nil {
		return err
	}
	if _, err := pool.Exec(ctx, "vacuum (freeze, analyze)"); err != nil {
		return err
	}
	pool.Close()
	_, err = c.admin.Exec(ctx, "alter database "+loading+" rename to "+name)
	return err
}

// dataHash changes with the schema, and with what makes the data.
func dataHash() (string, error) {
	hash := sha256.New()
	files, err := fs.Glob(schema.Files, "*.up.sql")
	if err != nil {
		return "", err
	}
	for _, file := range files {
		content, err := schema.Files.ReadFile(file)
		if err != nil {
			return "", err
		}
		hash.Write(content)
	}
	content, err := os.ReadFile(filepath.Join("bench", "data.go"))
	hash.Write(content)
	return hex.EncodeToString(hash.Sum(nil)[:4]), err
}
