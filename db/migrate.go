package db

import (
	"errors"
	"fmt"
	"io/fs"
	"math"

	"github.com/golang-migrate/migrate/v4"
	migratepgx "github.com/golang-migrate/migrate/v4/database/pgx/v5"
	"github.com/golang-migrate/migrate/v4/source"
	"github.com/golang-migrate/migrate/v4/source/iofs"
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
	// Dirty says that a migration to Current broke off half-way.
	Dirty bool
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
	connection := stdlib.OpenDB(*config.ConnConfig)
	driver, err := migratepgx.WithInstance(connection, &migratepgx.Config{})
	if err != nil {
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
		return fmt.Errorf("migration %d broke off half-way: bring the schema by hand to where version %d or %d has it, "+
			"then record that version with `benchledger migrate force VERSION`", dirty.Version, dirty.Version-1, dirty.Version)
	}
	return err
}
