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

// Migrations migrates the schema of one database. Several may run at the same time: one
// works, the others wait for it.
type Migrations struct {
	migrate *migrate.Migrate
	driver  *driver
	latest  uint
}

// SchemaVersion is the state of the schema of a database.
type SchemaVersion struct {
	// Current is the version of the schema, 0 if there is no schema.
	Current uint
	// Latest is the newest version that this program knows.
	Latest uint
	// Dirty is true if a migration to Current failed halfway, or is still running.
	Dirty bool
	// Running is true while a migration runs.
	Running bool
}

// OpenMigrations connects to the database at url. Close it after use. The connection holds
// a session lock, so url must not go through a pooler that shares sessions.
func OpenMigrations(url string) (*Migrations, error) {
	config, err := pgxpool.ParseConfig(url) // It removes the pool_… parameters, which PostgreSQL does not know.
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
		return checkEncoding(session)
	}))
	connection.SetMaxOpenConns(1) // Everything runs in the session that holds the lock.
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
	m.LockTimeout = math.MaxInt64 // A migration of a large table may take long.
	return &Migrations{migrate: m, driver: driver, latest: latest}, nil
}

// LatestSchemaVersion returns the newest schema version that this program knows.
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

// Version returns the state of the schema. Running is not set.
func (m *Migrations) Version() (SchemaVersion, error) {
	current, dirty, err := m.migrate.Version()
	if err != nil && !errors.Is(err, migrate.ErrNilVersion) {
		return SchemaVersion{}, fmt.Errorf("read schema version: %w", err)
	}
	return SchemaVersion{Current: current, Latest: m.latest, Dirty: dirty}, nil
}

// Up applies all missing migrations, and first repeats one that did not finish. It leaves a
// schema that is newer than this program alone: an older server may run next to a newer one.
func (m *Migrations) Up() error {
	m.driver.repeatable = int(m.latest)
	err := m.migrate.Up()
	m.driver.repeatable = 0
	if err == nil || errors.Is(err, migrate.ErrNoChange) {
		return nil
	}
	// Checked only now: a newer program may have migrated while this one waited.
	version, versionErr := m.Version()
	switch {
	case versionErr != nil || !version.Dirty && version.Current <= version.Latest:
		return fmt.Errorf("migrate up: %w", err)
	case !version.Dirty:
		return nil
	case version.Current > version.Latest:
		return fmt.Errorf("migrate up: %s", version.RecoveryAdvice())
	}
	return fmt.Errorf("migrate up: %w\n%s. If the schema already has everything of that version, record it: `benchledger migrate force %d`",
		err, version.RecoveryAdvice(), version.Current)
}

// Down reverts the last migration, and deletes the data that it made room for.
func (m *Migrations) Down() error {
	err := m.migrate.Steps(-1)
	var dirty migrate.ErrDirty
	if errors.As(err, &dirty) {
		return fmt.Errorf("migrate down: %s", SchemaVersion{Current: uint(max(dirty.Version, 0)), Latest: m.latest}.RecoveryAdvice())
	}
	if err != nil {
		return fmt.Errorf("migrate down: %w", err)
	}
	return nil
}

// Force records version (0: no schema) as current and clean. It runs no migration.
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

// Close closes the connection.
func (m *Migrations) Close() error {
	sourceErr, databaseErr := m.migrate.Close()
	return errors.Join(sourceErr, databaseErr)
}

// RecoveryAdvice returns advice for a migration that did not finish.
func (v SchemaVersion) RecoveryAdvice() string {
	if v.Current > v.Latest {
		return fmt.Sprintf("the migration to version %d did not finish, and this program only knows versions up to %d: "+
			"run `benchledger migrate up` of the program that began it", v.Current, v.Latest)
	}
	return fmt.Sprintf("the migration to version %d did not finish: `benchledger migrate up` repeats it", v.Current)
}

// ReadSchemaVersion returns the state of the schema of the database at url. It works while
// a migration runs.
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
	if err := checkEncoding(connection); err != nil {
		return version, err
	}
	q := New(connection)
	state, err := q.GetReadiness(ctx)
	var pg *pgconn.PgError
	undefined := errors.As(err, &pg) && pg.Code == "42P01" // The table does not exist.
	if err != nil && !undefined && Classify(err) != NotFound {
		return version, fmt.Errorf("read schema version: %w", err)
	}
	version.Current, version.Dirty = uint(max(state.SchemaVersion, 0)), state.SchemaDirty
	lock, err := migrationLock(config.ConnConfig)
	if err != nil {
		return version, err
	}
	if version.Running, err = q.GetMigrationRunning(ctx, lock); err != nil {
		return version, fmt.Errorf("look for a migration that is running: %w", err)
	}
	return version, nil
}

// migrationLock returns the number of golang-migrate's advisory lock for a database.
func migrationLock(config *pgx.ConnConfig) (int64, error) {
	// Without a database name, PostgreSQL uses the user name.
	text, err := database.GenerateAdvisoryLockId(cmp.Or(config.Database, config.User), "public", migratepgx.DefaultMigrationsTable)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(text, 10, 64)
}

const (
	// lockPause is the time between two attempts to get the lock of migrations.
	lockPause = 100 * time.Millisecond
	// lockTimeout is how long a migration waits for a table lock. All other sessions queue
	// behind it meanwhile, and a backup may hold its lock for hours.
	lockTimeout = "2s"
	// migrationTries is how often it tries, with a pause for the sessions that queued.
	migrationTries = 10
	migrationPause = time.Second
)

// concurrently finds statements that cannot run in a transaction.
var concurrently = regexp.MustCompile(`(?i)\bconcurrently\b`)

// driver changes golang-migrate's driver: it runs a migration and records its version in
// one transaction, so that a failed migration changes nothing. Only a migration with the
// word "concurrently" is marked as dirty, run statement by statement, and marked as clean. It
// can run again from its beginning.
type driver struct {
	database.Driver
	ctx     context.Context // golang-migrate passes no context: a started migration is not canceled.
	session *pgx.Conn
	lock    int64
	// target is the version after the next migration. recorded is true if that migration
	// recorded its version in its own transaction.
	target   int
	recorded bool
	// repeatable is the newest version whose migration is repeated if it is marked as dirty.
	repeatable int
}

// open creates golang-migrate's driver, under the lock because that creates its table.
func (d *driver) open(connection *sql.DB) (database.Driver, error) {
	if err := connection.PingContext(d.ctx); err != nil { // This opens the session.
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

// Lock polls for the lock of migrations. A statement that waits for the lock would block an
// index that another session creates concurrently: that waits for all running statements.
func (d *driver) Lock() error {
	for {
		isTaken, err := New(d.session).GetMigrationLock(d.ctx, d.lock)
		if err != nil || isTaken {
			return err
		}
		time.Sleep(lockPause)
	}
}

// Unlock releases the lock of migrations.
func (d *driver) Unlock() error {
	return New(d.session).DeleteMigrationLock(d.ctx, d.lock)
}

// Version returns the recorded version, or the one before it if its migration has to be
// repeated. The mark stays until the migration has succeeded.
func (d *driver) Version() (version int, dirty bool, err error) {
	version, dirty, err = d.Driver.Version()
	if err != nil || !dirty || version > d.repeatable {
		return version, dirty, err
	}
	if version--; version < 1 {
		version = database.NilVersion
	}
	return version, false, nil
}

// SetVersion is called before a migration, with dirty, and after it. golang-migrate's own
// version truncates the table: it would wait for a backup that reads it, and block all
// other sessions.
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
		// After a failed migration down, the recorded version is the one before it: migrating
		// up to that version again repairs the schema.
		current, _, err := d.Driver.Version()
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
	if _, err := tx.Exec(ctx, migration, pgx.QueryExecModeSimpleProtocol); err != nil { //nolint:forbidigo // the SQL comes from a file in sql/schema
		return err
	}
	if err := q.UpsertSchemaVersion(ctx, UpsertSchemaVersionParams{Version: int64(d.target), Dirty: false}); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

func isLockTimeout(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "55P03" // lock_not_available
}
