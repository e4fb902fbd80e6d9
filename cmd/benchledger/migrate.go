package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/benchledger/benchledger/db"
)

type migrateCommand struct {
	databaseFlags      `embed:""`
	DatabaseMigrateURL string `env:"DATABASE_MIGRATE_URL" placeholder:"URL" help:"A direct connection to the same database, if DATABASE_URL goes through a pooler. Takes precedence."`

	Up     migrateUpCommand     `cmd:"" help:"Apply all missing migrations."`
	Down   migrateDownCommand   `cmd:"" help:"Revert the last migration, and delete the data in its tables and columns."`
	Status migrateStatusCommand `cmd:"" help:"Show the current and the newest version of the schema."`
	Force  migrateForceCommand  `cmd:"" help:"Record a version after you repaired the schema by hand. Runs no migration."`
}

// with opens the migrations of the database for fn, and closes them.
func (c *migrateCommand) with(fn func(*db.Migrations) error) error {
	return c.withURL(func(url string) (err error) {
		migrations, err := db.OpenMigrations(url)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, migrations.Close()) }()
		return fn(migrations)
	})
}

// withURL calls fn with the connection string of the database for migrations. A signal ends the
// program at once: a migration cannot be interrupted otherwise, and runs to its end or is repeated.
func (c *migrateCommand) withURL(fn func(url string) error) error {
	ctx, stop := interruptible()
	defer stop()
	database := databaseFlags{DatabaseURL: cmp.Or(c.DatabaseMigrateURL, c.DatabaseURL), DataDir: c.DataDir}
	return database.withURL(ctx, func(url string) error {
		stop()
		return fn(url)
	})
}

type migrateUpCommand struct{}

// Run migrates.
func (migrateUpCommand) Run(parent *commands) error {
	return parent.Migrate.with(func(m *db.Migrations) error {
		if err := m.Up(); err != nil {
			return err
		}
		return printSchemaVersion(m)
	})
}

type migrateDownCommand struct {
	Yes bool `help:"Do not ask for confirmation."`
}

// Run asks for confirmation, and reverts one migration.
func (c *migrateDownCommand) Run(parent *commands) error {
	return parent.Migrate.with(func(m *db.Migrations) error {
		version, err := m.Version()
		if err != nil {
			return err
		}
		switch {
		case version.Current == 0:
			return errors.New("there is no schema to revert")
		case version.Current > version.Latest:
			return fmt.Errorf("the database has schema version %d, and this program only knows versions up to %d: revert it with the program that migrated it",
				version.Current, version.Latest)
		}
		if !c.Yes {
			if err := confirm(fmt.Sprintf("Reverting migration %d deletes the data in its tables and columns. Continue?", version.Current)); err != nil {
				return err
			}
		}
		if err := m.Down(); err != nil {
			return err
		}
		return printSchemaVersion(m)
	})
}

type migrateStatusCommand struct{}

// Run prints the version. It does not wait for a running migration.
func (migrateStatusCommand) Run(parent *commands) error {
	return parent.Migrate.withURL(func(url string) error {
		version, err := db.ReadSchemaVersion(context.Background(), url)
		if err == nil {
			showVersion(version)
		}
		return err
	})
}

type migrateForceCommand struct {
	Version uint `arg:"" help:"The version of the schema; 0 is no schema."`
}

// Run records the version.
func (c *migrateForceCommand) Run(parent *commands) error {
	return parent.Migrate.with(func(m *db.Migrations) error {
		version, err := m.Version()
		if err != nil {
			return err
		}
		if c.Version > version.Latest {
			return fmt.Errorf("there is no version %d; the newest is %d", c.Version, version.Latest)
		}
		if err := m.Force(c.Version); err != nil {
			return err
		}
		return printSchemaVersion(m)
	})
}

func printSchemaVersion(m *db.Migrations) error {
	version, err := m.Version()
	if err == nil {
		showVersion(version)
	}
	return err
}

func showVersion(version db.SchemaVersion) {
	printf("schema version %d of %d", version.Current, version.Latest)
	switch {
	case version.Running:
		printf(": a migration is running\n")
	case version.Dirty:
		printf(": %s\n", version.RecoveryAdvice())
	case version.Current < version.Latest:
		printf(": run `benchledger migrate up` to apply the missing migrations\n")
	case version.Current > version.Latest:
		printf(": the database is newer than this program\n")
	default:
		printf(": up to date\n")
	}
}

// confirm asks for confirmation on the terminal, and fails unless the answer is yes.
func confirm(question string) error {
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return errors.New("cannot ask for confirmation without a terminal: add --yes")
	}
	fmt.Fprint(stderr, question, " [y/N] ")
	answer, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the confirmation: %w", err)
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return errors.New("nothing was changed")
	}
	return nil
}
