package db

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"regexp"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/golang-migrate/migrate/v4"
	"github.com/golang-migrate/migrate/v4/database"
	migratepgx "github.com/golang-migrate/migrate/v4/database/pgx/v5"
	"github.com/golang-migrate/migrate/v4/source"
	"github.com/golang-migrate/migrate/v4/source/iofs"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/benchledger/benchledger/sql/schema"
)

// Migrations moves the schema of one database between versions. Several may run
// at once: one works, the others wait for it.
type Migrations struct {
	migrate *migrate.Migrate
	latest  uint
}

// SchemaVersion is where a database stands.
type SchemaVersion struct {
	// Current is the version of the database, 0 when it has no schema.
	Current uint
	// Latest is the newest version that this program knows.
	Latest uint
	// Dirty says that a migration to Current broke off half-way, unless it is running.
	Dirty bool
	// Running says that a migration is running.
	Running bool
}

// OpenMigrations connects to the database at url. Close it after use. The
// connection holds a lock of its session, so url must not lead through a pooler
// that shares sessions.
func OpenMigrations(url string) (*Migrations, error) {
	config, err := pgxpool.ParseConfig(url) // It takes the pool_… parameters out, which PostgreSQL does not know.
	if err != nil {
		return nil, fmt.Errorf("database url: %w", err)
	}
	files, err := iofs.New(schema.Files, ".")
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	latest, err := latestVersion(files)
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	driver := &driver{ctx: context.Background()}
	connection := stdlib.OpenDB(*config.ConnConfig, stdlib.OptionAfterConnect(func(_ context.Context, session *pgx.Conn) error {
		driver.session = session
		return nil
	}))
	connection.SetMaxOpenConns(1) // All in the session that has the lock.
	if driver.lock, err = migrationLock(config.ConnConfig); err != nil {
		return nil, errors.Join(err, connection.Close())
	}
	if driver.Driver, err = driver.open(connection); err != nil {
		return nil, errors.Join(fmt.Errorf("connect for migrations: %w", err), connection.Close())
	}
	m, err := migrate.NewWithInstance("iofs", files, "pgx5", driver)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare migrations: %w", err), driver.Close())
	}
	m.LockTimeout = math.MaxInt64 // A migration of a large table takes as long as it takes.
	return &Migrations{migrate: m, latest: latest}, nil
}

// LatestSchemaVersion is the newest version that this program knows.
func LatestSchemaVersion() (uint, error) {
	files, err := iofs.New(schema.Files, ".")
	if err != nil {
		return 0, fmt.Errorf("read migrations: %w", err)
	}
	return latestVersion(files)
}

func latestVersion(files source.Driver) (uint, error) {
	version, err := files.First()
	for err == nil {
		var next uint
		if next, err = files.Next(version); err == nil {
			version = next
		}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	return version, nil
}

// Version returns where the database stands.
func (m *Migrations) Version() (SchemaVersion, error) {
	current, dirty, err := m.migrate.Version()
	if err != nil && !errors.Is(err, migrate.ErrNilVersion) {
		return SchemaVersion{}, fmt.Errorf("read schema version: %w", err)
	}
	return SchemaVersion{Current: current, Latest: m.latest, Dirty: dirty}, nil
}

// Up applies every migration that is missing. A schema newer than this program
// stays as it is: an older server may run beside a newer one.
func (m *Migrations) Up() error {
	err := m.migrate.Up()
	if err == nil || errors.Is(err, migrate.ErrNoChange) {
		return nil
	}
	// Asked only now: a newer program may have been at work when this one came.
	if version, versionErr := m.Version(); versionErr == nil && version.Current > version.Latest && !version.Dirty {
		return nil
	}
	return fmt.Errorf("migrate up: %w", explain(err))
}

// Down takes the last migration back, with the data it made room for.
func (m *Migrations) Down() error {
	if err := m.migrate.Steps(-1); err != nil {
		return fmt.Errorf("migrate down: %w", explain(err))
	}
	return nil
}

// Force records version (0: none) as the database's own and clean, and runs nothing.
func (m *Migrations) Force(version uint) error {
	recorded := int(version)
	if version == 0 {
		recorded = -1 // golang-migrate's "no version"
	}
	if err := m.migrate.Force(recorded); err != nil {
		return fmt.Errorf("force schema version: %w", err)
	}
	return nil
}

// Close ends the connection.
func (m *Migrations) Close() error {
	sourceErr, databaseErr := m.migrate.Close()
	return errors.Join(sourceErr, databaseErr)
}

// explain says what to do about a migration that broke off.
func explain(err error) error {
	var dirty migrate.ErrDirty
	if errors.As(err, &dirty) {
		return errors.New(SchemaVersion{Current: uint(max(dirty.Version, 0))}.HowToGoOn())
	}
	return err
}

// HowToGoOn says what to do where a migration broke off.
func (v SchemaVersion) HowToGoOn() string {
	return fmt.Sprintf("the migration to version %d failed halfway. If the schema has everything of that version, record it: "+
		"`benchledger migrate force %[1]d`. Otherwise drop the parts that exist, such as an invalid index, and repeat it: "+
		"`benchledger migrate force %[2]d`, then `benchledger migrate up`", v.Current, max(v.Current, 1)-1)
}

// ReadSchemaVersion returns where the database at url stands, also while a migration
// is running.
func ReadSchemaVersion(ctx context.Context, url string) (version SchemaVersion, err error) {
	if version.Latest, err = LatestSchemaVersion(); err != nil {
		return version, err
	}
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return version, fmt.Errorf("database url: %w", err)
	}
	connection, err := pgx.ConnectConfig(ctx, config.ConnConfig)
	if err != nil {
		return version, fmt.Errorf("connect to the database: %w", err)
	}
	defer func() { err = errors.Join(err, connection.Close(ctx)) }()
	q := New(connection)
	stands, err := q.GetReadiness(ctx)
	var pg *pgconn.PgError
	undefined := errors.As(err, &pg) && pg.Code == "42P01" // The table is not there.
	if err != nil && !undefined && Classify(err) != NotFound {
		return version, fmt.Errorf("read schema version: %w", err)
	}
	version.Current, version.Dirty = uint(max(stands.SchemaVersion, 0)), stands.SchemaDirty
	lock, err := migrationLock(config.ConnConfig)
	if err != nil {
		return version, err
	}
	if version.Running, err = q.GetMigrationRunning(ctx, lock); err != nil {
		return version, fmt.Errorf("look for a migration that is running: %w", err)
	}
	return version, nil
}

// migrationLock is golang-migrate's advisory lock of a database.
func migrationLock(config *pgx.ConnConfig) (int64, error) {
	// PostgreSQL takes the user's name where none is given.
	text, err := database.GenerateAdvisoryLockId(cmp.Or(config.Database, config.User), "public", migratepgx.DefaultMigrationsTable)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(text, 10, 64)
}

const (
	// lockPause is how often who waits for another's migrations looks whether they ended.
	lockPause = 100 * time.Millisecond
	// lockTimeout is how long a migration waits for a lock, while everybody who wants
	// the table queues behind it: a backup, say, reads it for hours.
	lockTimeout = "2s"
	// migrationTries is how often it tries then, with a pause for those who queued.
	migrationTries = 10
	migrationPause = time.Second
)

// concurrently is what cannot be part of a transaction.
var concurrently = regexp.MustCompile(`(?i)\bconcurrently\b`)

// driver is golang-migrate's, but that it runs a migration and records its version in
// one transaction: one that breaks off leaves nothing, and nobody sees it half-way.
// Only one that says "concurrently" is marked as dirty, run statement by statement, and
// marked as clean.
type driver struct {
	database.Driver
	ctx     context.Context // golang-migrate passes none on: what has begun is finished.
	session *pgx.Conn
	lock    int64
	// target is the version that the next migration leads to, recorded whether it was
	// recorded along with it.
	target   int
	recorded bool
}

// open makes golang-migrate's driver, which takes the lock to create its table.
func (d *driver) open(connection *sql.DB) (database.Driver, error) {
	if err := connection.PingContext(d.ctx); err != nil { // Then there is a session.
		return nil, err
	}
	if err := d.Lock(); err != nil {
		return nil, err
	}
	driver, err := migratepgx.WithInstance(connection, &migratepgx.Config{
		MultiStatementEnabled: true, MultiStatementMaxSize: migratepgx.DefaultMultiStatementMaxSize,
	})
	return driver, errors.Join(err, d.Unlock())
}

// Lock waits for the lock of migrations, in pauses: an index that another creates
// concurrently waits for the end of every statement, and would for one that waits.
func (d *driver) Lock() error {
	for {
		isTaken, err := New(d.session).GetMigrationLock(d.ctx, d.lock)
		if err != nil || isTaken {
			return err
		}
		time.Sleep(lockPause)
	}
}

// Unlock gives the lock of migrations back.
func (d *driver) Unlock() error {
	return New(d.session).DeleteMigrationLock(d.ctx, d.lock)
}

// SetVersion is called before a migration, when it is dirty, and after. golang-migrate's
// own would empty the table, and wait for whoever reads it, a backup, while all others
// wait behind it.
func (d *driver) SetVersion(version int, dirty bool) error {
	wasRecorded := d.recorded
	d.target, d.recorded = version, false
	if dirty || wasRecorded {
		return nil
	}
	return d.record(version, false)
}

func (d *driver) record(version int, dirty bool) error {
	return New(d.session).UpsertSchemaVersion(d.ctx, UpsertSchemaVersionParams{Version: int64(version), Dirty: dirty})
}

// Run runs a migration.
func (d *driver) Run(migration io.Reader) error {
	text, err := io.ReadAll(migration)
	if err != nil {
		return err
	}
	if concurrently.Match(text) {
		// A way down that breaks off leaves the version that it came from: to go up to
		// that again is what mends it.
		current, _, err := d.Version()
		if err != nil {
			return err
		}
		if err := d.record(max(current, d.target), true); err != nil {
			return err
		}
		return d.Driver.Run(bytes.NewReader(text))
	}
	_, err = backoff.Retry(d.ctx, func() (struct{}, error) {
		err := d.runWhole(d.ctx, string(text))
		if kind := Classify(err); err != nil && kind != Transient && !isLockTimeout(err) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(backoff.NewConstantBackOff(migrationPause)), backoff.WithMaxTries(migrationTries))
	d.recorded = err == nil
	if isLockTimeout(err) {
		err = fmt.Errorf("another session holds a lock that the migration needs (a backup, a long transaction?); nothing was changed: %w", err)
	}
	return err
}

func (d *driver) runWhole(ctx context.Context, migration string) (err error) {
	tx, err := d.session.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() {
		_ = tx.Rollback(ctx) // After a commit there is nothing to roll back.
	}()
	q := New(tx)
	if err := q.UpdateLockTimeout(ctx, lockTimeout); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, migration, pgx.QueryExecModeSimpleProtocol); err != nil { //nolint:forbidigo // it is that of a file of sql/schema
		return err
	}
	if err := q.UpsertSchemaVersion(ctx, UpsertSchemaVersionParams{Version: int64(d.target)}); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

func isLockTimeout(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "55P03" // lock_not_available
}
