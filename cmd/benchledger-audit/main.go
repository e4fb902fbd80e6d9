// Command benchledger-audit establishes which query each operation reaches, which
// tests ran it and how PostgreSQL plans it, and fails where a rule is broken.
//
// It knows its project, which package audit does not: how a database is migrated
// (package db), and where a PostgreSQL comes from (internal/localpg). Another project
// has a main of its own, which makes a migrated database of realistic volume and an
// empty one, runs the tests with the tracer of package audit/recorder, and calls
// audit.New with the three.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/alecthomas/kong"
	"github.com/jackc/pgx/v5"

	"github.com/benchledger/benchledger/audit"
	"github.com/benchledger/benchledger/audit/recorder"
	"github.com/benchledger/benchledger/db"
	"github.com/benchledger/benchledger/internal/localpg"
)

type commands struct {
	Root   string `default:"." type:"existingdir" help:"The project (${default})."`
	Record string `placeholder:"DIR" help:"What the tests recorded (AUDIT_RECORD of a test run); without it, the tests are run."`
	Volume string `default:"sql/volume" help:"SQL that fills a database, for the plans (${default})."`

	Report reportCommand `cmd:"" default:"withargs" help:"Audit, write the report, and fail on findings."`
	Mutate mutateCommand `cmd:"" help:"Change each query in small ways, and see which changes no test sees. Takes minutes."`
}

func main() {
	cli := kong.Parse(&commands{},
		kong.Name("benchledger-audit"),
		kong.Description("Establishes which query each operation reaches, which tests ran it and how PostgreSQL plans it. Settings are in audit.yaml."),
		kong.UsageOnError(),
	)
	if err := cli.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "benchledger-audit:", err)
		os.Exit(1)
	}
}

type reportCommand struct {
	Check bool `help:"Write nothing; fail unless the committed report is current."`
	JSON  bool `name:"json" help:"Print everything as JSON instead of a summary."`
}

// Run audits.
func (c *reportCommand) Run(parent *commands) error {
	result, config, err := parent.audit(c.Check, nil)
	if err != nil {
		return err
	}
	encoded, err := result.JSON()
	if err != nil {
		return err
	}
	if c.JSON {
		if _, err := os.Stdout.Write(encoded); err != nil {
			return err
		}
	} else {
		printSummary(result)
	}
	if len(result.Findings) > 0 {
		err = fmt.Errorf("%d findings", len(result.Findings))
	}
	report := filepath.Join(parent.Root, config.Report)
	for path, content := range map[string][]byte{report + ".md": result.Markdown(), report + ".json": encoded} {
		if c.Check {
			err = errors.Join(err, wantCurrent(path, content, result.Planner.Version))
		} else {
			err = errors.Join(err, os.WriteFile(path, content, 0o644))
		}
	}
	return err
}

// wantCurrent fails unless a file has the content, and prints how it differs.
func wantCurrent(path string, content []byte, version int) error {
	committed, err := os.ReadFile(path)
	if err == nil && bytes.Equal(committed, content) {
		return nil
	}
	diff := exec.CommandContext(context.Background(), "diff", "-u", path, "-")
	diff.Stdin, diff.Stdout, diff.Stderr = bytes.NewReader(content), os.Stdout, os.Stderr
	_ = diff.Run() // It fails, since they differ.
	var reported audit.Audit
	if json.Unmarshal(committed, &reported) == nil && reported.Planner.Version != version {
		return fmt.Errorf("%s is of PostgreSQL %d, and this is %d, which may plan otherwise: run `make audit` with that version, or commit what it writes with this one",
			path, reported.Planner.Version, version)
	}
	return fmt.Errorf("%s is not current: run `make audit`, and commit what it writes", path)
}

type mutateCommand struct{}

// Run tries the mutations.
func (mutateCommand) Run(parent *commands) error {
	_, _, err := parent.audit(false, func(ctx context.Context, result *audit.Audit, record []recorder.Entry, volume, tests string) error {
		return result.Mutate(ctx, record, volume, tests, func(line string) { fmt.Println(line) })
	})
	return err
}

// settings are those of the audit's own PostgreSQL: what it holds is made anew each
// time. Plans are those of one process.
var settings = map[string]string{
	"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "max_connections": "300",
	"shared_buffers": "256MB", "max_wal_size": "4GB", "autovacuum": "off", "max_parallel_workers_per_gather": "0",
}

// audit audits the project with a PostgreSQL of its own; complete has every rule look
// at something. With a function, that works on the audit while the PostgreSQL runs.
func (c *commands) audit(complete bool, then func(ctx context.Context, result *audit.Audit, record []recorder.Entry, volume, tests string) error) (result *audit.Audit, config audit.Config, err error) {
	ctx := context.Background()
	if config, err = audit.ReadConfig(c.Root); err != nil {
		return nil, config, err
	}
	dir, err := os.MkdirTemp("", "benchledger-audit-")
	if err != nil {
		return nil, config, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, config, err
	}
	server, err := localpg.Start(ctx, localpg.Options{DataDir: filepath.Join(dir, "data"), Settings: settings})
	if err != nil {
		return nil, config, err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	volume, empty, err := prepare(ctx, server.URL(), filepath.Join(c.Root, c.Volume))
	if err != nil {
		return nil, config, err
	}
	record, err := c.record(ctx, server.URL(), dir)
	if err != nil {
		return nil, config, err
	}
	result, err = audit.New(ctx, config, audit.Input{Record: record, DatabaseURL: volume, EmptyURL: empty, SkipLint: then != nil, Complete: complete})
	if err == nil && then != nil {
		err = then(ctx, result, record, volume, server.URL())
	}
	return result, config, err
}

// prepare makes a migrated database of realistic volume, and an empty one.
func prepare(ctx context.Context, url, folder string) (volume, empty string, err error) {
	connection, err := pgx.Connect(ctx, url)
	if err != nil {
		return "", "", err
	}
	defer func() { _ = connection.Close(ctx) }()
	named := func(name string) (string, error) {
		_, err := connection.Exec(ctx, "create database "+name)
		return strings.Replace(url, "/benchledger?", "/"+name+"?", 1), err
	}
	if empty, err = named("audit_empty"); err != nil {
		return "", "", err
	}
	if volume, err = named("audit_volume"); err != nil {
		return "", "", err
	}
	migrations, err := db.OpenMigrations(volume)
	if err != nil {
		return "", "", err
	}
	if err := errors.Join(migrations.Up(), migrations.Close()); err != nil {
		return "", "", err
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.sql"))
	if err != nil {
		return "", "", err
	}
	// As is usual where the disk is no disk.
	if _, err := connection.Exec(ctx, "alter database audit_volume set random_page_cost = 1.1"); err != nil {
		return "", "", err
	}
	filled, err := pgx.Connect(ctx, volume)
	if err != nil {
		return "", "", err
	}
	defer func() { _ = filled.Close(ctx) }()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", "", err
		}
		for statement := range strings.SplitSeq(string(text), ";\n") {
			if strings.TrimSpace(statement) == "" {
				continue
			}
			if _, err := filled.Exec(ctx, statement); err != nil {
				return "", "", fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	return volume, empty, nil
}

// record returns what the tests ran, and runs them where that is not recorded yet.
func (c *commands) record(ctx context.Context, url, dir string) ([]recorder.Entry, error) {
	if c.Record != "" {
		return recorder.Read(c.Record)
	}
	recorded := filepath.Join(dir, "record")
	if err := os.Mkdir(recorded, 0o700); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "./...")
	cmd.Dir, cmd.Stderr = c.Root, os.Stderr
	cmd.Env = append(os.Environ(), recorder.Variable+"="+recorded, "TEST_DATABASE_URL="+url)
	if output, err := cmd.Output(); err != nil {
		return nil, fmt.Errorf("run the tests: %w: %s", err, output)
	}
	return recorder.Read(recorded)
}

func printSummary(a *audit.Audit) {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "OPERATION\tHANDLER\tQUERIES\tTESTS")
	for _, operation := range a.Operations {
		var queries []string
		for _, use := range operation.Uses {
			queries = append(queries, use.Query)
		}
		shown := strings.Join(queries, ", ")
		if len(queries) > 4 {
			shown = fmt.Sprintf("%s and %d more", strings.Join(queries[:3], ", "), len(queries)-3)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\n", operation.ID, operation.At, shown, len(operation.Tests))
	}
	fmt.Fprintln(table, "\nRULE\tWHAT HAS TO HOLD\tFINDINGS\t")
	for _, rule := range a.Rules {
		fmt.Fprintf(table, "%s\t%s\t%d\t\n", rule.ID, rule.Looks, rule.Findings)
	}
	_ = table.Flush() // To the terminal.
	fmt.Printf("\n%s\n", a.Summary())
	for _, finding := range a.Findings {
		fmt.Println(finding)
	}
}
