package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/benchledger/benchledger/db"
	"github.com/benchledger/benchledger/internal/localpg"
)

// doctorCommand has the settings of serve, because it checks them.
type doctorCommand struct {
	serveCommand `embed:""`
	Timeout      time.Duration `default:"10s" placeholder:"DURATION" help:"Timeout for the database; ${default} by default."`
}

func (doctorCommand) Help() string {
	return "Checks the settings of serve (flags or environment), the database, and a running server. Prints ok, warn, skip or FAIL for each check, with advice. Changes nothing.\n\n" +
		"Exit status: 0 if no check fails, otherwise 1."
}

const (
	oldestPostgreSQL = 14
	// clockDifference is the largest difference between the clocks without a warning.
	clockDifference = 2 * time.Second
	expiresSoon     = 14 * 24 * time.Hour
	littleDiskBytes = 1 << 30
	createUTF8      = ": create another database with createdb --encoding=UTF8 --template=template0"
)

// diagnosis prints the results of checks, and counts failed ones.
type diagnosis struct{ failed int }

func (d *diagnosis) say(mark, what, format string, args ...any) {
	printf("%-5s %-14s %s\n", mark, what, fmt.Sprintf(format, args...))
}
func (d *diagnosis) ok(what, format string, args ...any)   { d.say("ok", what, format, args...) }
func (d *diagnosis) warn(what, format string, args ...any) { d.say("warn", what, format, args...) }
func (d *diagnosis) fail(what, format string, args ...any) {
	d.failed++
	d.say("FAIL", what, format, args...)
}

// check prints ok with the text well if holds is true, otherwise FAIL.
func (d *diagnosis) check(holds bool, what, well, otherwise string) {
	if holds {
		d.ok(what, "%s", well)
	} else {
		d.fail(what, "%s", otherwise)
	}
}

// Run runs all checks.
func (c *doctorCommand) Run() error {
	ctx, stop := interruptible()
	defer stop()
	d := &diagnosis{}
	ownDatabase := c.DatabaseURL == ""
	taken := c.checkConfiguration(ctx, d)
	if ownDatabase {
		c.checkDisk(d)
		c.DatabaseURL = localpg.URL(c.DataDir)
	}
	c.checkDatabase(ctx, d, ownDatabase)
	c.checkServer(ctx, d, taken)
	if d.failed > 0 {
		return exitError{1, fmt.Sprintf("problems found: %d", d.failed)}
	}
	return nil
}

// checkConfiguration also returns the error of listening on the address of the server, nil if it is free.
func (c *doctorCommand) checkConfiguration(ctx context.Context, d *diagnosis) (taken error) {
	addr, taken := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Addr)
	listening := net.Addr(&net.TCPAddr{})
	if taken == nil {
		listening = addr.Addr()
		_ = addr.Close() // This only tests whether the address is free.
	} else if resolved, resolveErr := net.ResolveTCPAddr("tcp", c.Addr); resolveErr == nil {
		listening = resolved
	}
	if err := c.complete(listening); err != nil {
		d.fail("configuration", "%s", err)
		if c.DataDir, err = filepath.Abs(c.DataDir); err != nil {
			d.fail("configuration", "DATA_DIR: %s", err)
		}
	} else {
		d.ok("configuration", "environment %s, listening on %s", c.Environment, c.Addr)
	}
	if c.Environment == "production" && c.PublicReads {
		d.warn("reads", "everyone who reaches the server can read everything without a key, prompts included: set PUBLIC_READS=false unless that is intended")
	}
	for _, origin := range c.AllowedOrigins {
		if origin == "*" && !c.PublicReads {
			d.warn("origins", "ALLOWED_ORIGINS is *, although reading needs a key: list the origins of your pages")
		}
	}
	if isPublic(c.MetricsAddr) {
		d.warn("metrics", "METRICS_ADDR listens on all addresses, without a key: choose an address that only Prometheus can reach")
	}
	return taken
}

// checkDisk checks the free space for the server's own database.
func (c *doctorCommand) checkDisk(d *diagnosis) {
	usage, err := diskUsage(c.DataDir)
	switch {
	case err != nil:
		d.warn("disk", "%s: %s", c.DataDir, err)
	case usage.Free < littleDiskBytes:
		d.fail("disk", "%s of %s free on the disk of %s: free some space", bytesOf(usage.Free), bytesOf(usage.Total), c.DataDir)
	default:
		d.ok("disk", "%s of %s free on the disk of %s", bytesOf(usage.Free), bytesOf(usage.Total), c.DataDir)
	}
}

func (c *doctorCommand) checkDatabase(ctx context.Context, d *diagnosis, own bool) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	pool, err := db.Open(ctx, c.DatabaseURL)
	if err != nil {
		d.fail("database", "DATABASE_URL: %s", err)
		return
	}
	defer pool.Close()
	queries := db.New(pool)
	_ = pool.Ping(ctx) // The next query then measures no connecting.
	asked := time.Now()
	settings, err := queries.GetDatabaseSettings(ctx)
	took := time.Since(asked)
	switch {
	case err != nil && own:
		d.warn("database", "no local server is running on %s: the database was not checked", c.DataDir)
		return
	case errors.Is(err, db.ErrEncoding):
		d.fail("encoding", "%s", db.ErrEncoding.Error()+createUTF8)
		return
	case err != nil:
		d.fail("database", "%s: is the database running, and are the user and the password in DATABASE_URL correct?", oneLine(err))
		return
	}
	major := settings.ServerVersion / 10_000
	d.check(major >= oldestPostgreSQL, "database",
		fmt.Sprintf("PostgreSQL %d.%d, round trip %s, %s of data", major, settings.ServerVersion%10_000, took.Round(100*time.Microsecond), bytesOf(uint64(max(0, settings.SizeBytes)))),
		fmt.Sprintf("PostgreSQL %d is too old: use %d or newer", major, oldestPostgreSQL))
	d.check(settings.Encoding == "UTF8", "encoding", settings.Encoding, "the encoding of the database is "+settings.Encoding+createUTF8) // db.Open may not see it through a pooler.
	d.check(settings.Fsync && settings.FullPageWrites && settings.SynchronousCommit != "off", "durability",
		"acknowledged data is on disk (fsync, full_page_writes, synchronous_commit)",
		"acknowledged data may be lost in a crash: fsync, full_page_writes and synchronous_commit must be on")
	if settings.RandomPageCost > 2 {
		d.warn("planner", "random_page_cost is %g, which is for spinning disks: with 1.1, statistics use their index (alter system set random_page_cost = 1.1)", settings.RandomPageCost)
	}
	c.checkConnections(d, pool.Config(), settings)
	// The database read its clock at some time during the query.
	apart := max(0, settings.Clock.Sub(asked.Add(took/2)).Abs()-took/2)
	if apart > clockDifference {
		d.warn("clocks", "the clocks of this machine and of the database differ by %s: synchronize both with the same time server (NTP)", apart.Round(time.Millisecond))
	} else {
		d.ok("clocks", "the clocks of this machine and of the database agree")
	}
	if !own {
		d.say("skip", "disk", "the disk of the database server is not checked: monitor it; while it is full, submissions fail, and nothing is lost")
		c.checkMigrateURL(ctx, d)
	}
	c.checkSchema(ctx, d, queries)
}

// checkMigrateURL checks whether the database of DATABASE_MIGRATE_URL is reachable.
func (c *doctorCommand) checkMigrateURL(ctx context.Context, d *diagnosis) {
	if c.DatabaseMigrateURL == "" {
		return
	}
	pool, err := db.Open(ctx, c.DatabaseMigrateURL)
	if err == nil {
		err = pool.Ping(ctx)
		pool.Close()
	}
	if err != nil {
		d.fail("migrations", "%s: serve cannot migrate this database, and will not start: correct DATABASE_MIGRATE_URL", oneLine(err))
		return
	}
	d.ok("migrations", "the database of DATABASE_MIGRATE_URL is reachable")
}

func (c *doctorCommand) checkConnections(d *diagnosis, config *pgxpool.Config, settings db.GetDatabaseSettingsRow) {
	if config.ConnConfig.DefaultQueryExecMode != pgx.QueryExecModeCacheStatement && c.DatabaseMigrateURL == "" {
		d.warn("pooler", "DATABASE_URL goes through a pooler: set DATABASE_MIGRATE_URL to a direct connection")
	}
	if config.MaxConns > settings.MaxConnections-5 {
		d.fail("connections", "the pool uses up to %d connections, and the database allows %d: lower pool_max_conns in DATABASE_URL, or raise max_connections", config.MaxConns, settings.MaxConnections)
		return
	}
	d.ok("connections", "the pool uses up to %d of %d connections: enough for %d servers", config.MaxConns, settings.MaxConnections, (settings.MaxConnections-5)/config.MaxConns)
}

func (c *doctorCommand) checkSchema(ctx context.Context, d *diagnosis, queries *db.Queries) {
	latest, err := db.LatestSchemaVersion()
	if err != nil {
		d.fail("schema", "%s", err)
		return
	}
	state, err := queries.GetReadiness(ctx)
	switch {
	case err != nil && db.Classify(err) != db.NotFound && !isUndefinedTable(err):
		d.fail("schema", "%s: does the user in DATABASE_URL have permission to read its tables?", oneLine(err))
		return
	case err != nil:
		d.warn("schema", "there is no schema: serve creates it, or run `benchledger migrate up`")
		return
	case state.SchemaDirty:
		d.fail("schema", "the migration to %d is running, or has failed: `benchledger migrate status` shows which, and how to continue", state.SchemaVersion)
	case state.SchemaVersion < int64(latest):
		d.warn("schema", "version %d of %d: serve updates it, or run `benchledger migrate up`", state.SchemaVersion, latest)
		return
	case state.SchemaVersion > int64(latest):
		d.ok("schema", "version %d, newer than this program, which still works with it", state.SchemaVersion)
	default:
		d.ok("schema", "version %d, up to date", state.SchemaVersion)
	}
	d.check(len(state.MissingPrivileges) == 0, "privileges", "the role in DATABASE_URL has all required privileges",
		"the role in DATABASE_URL lacks these privileges; grant "+strings.Join(state.MissingPrivileges, ", "))
	d.check(state.IsWritable, "writes", "the database accepts writes", "the database does not accept writes: it is a standby, or read-only; point DATABASE_URL to the primary (target_session_attrs=read-write)")
	keys, err := queries.ListKeys(ctx)
	if err != nil {
		d.fail("keys", "%s", oneLine(err))
		return
	}
	valid := 0
	for _, key := range keys {
		if key.State != "valid" {
			continue
		}
		valid++
		if key.ExpiresAt != nil && time.Until(*key.ExpiresAt) < expiresSoon {
			d.warn("keys", "%q expires at %s: create a new one", key.Name, key.ExpiresAt.UTC().Format(time.RFC3339))
		}
	}
	d.ok("keys", "%d valid, in addition to API_SECRET_KEY", valid)
}

// checkServer checks the server that is running on the address of serve.
func (c *doctorCommand) checkServer(ctx context.Context, d *diagnosis, taken error) {
	status, body, err := checkReadiness(ctx, c.Addr, c.Timeout)
	switch {
	case taken != nil && status != http.StatusOK && status != http.StatusServiceUnavailable:
		d.fail("server", "another program uses %s (%s): stop it, or choose another ADDR", c.Addr, taken)
	case err != nil:
		d.ok("server", "no server is running at %s", c.Addr)
	case status == http.StatusOK:
		d.ok("server", "the server at %s is ready", c.Addr)
	default:
		d.fail("server", "the server at %s is not ready: %s", c.Addr, body)
	}
}

// isUndefinedTable reports whether the table does not exist.
func isUndefinedTable(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == "42P01"
}

// oneLine joins the lines of an error: pgx writes causes on separate lines.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

func bytesOf(n uint64) string { return units.BytesSize(float64(n)) }
