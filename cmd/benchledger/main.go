// Command benchledger stores the results of AI-agent benchmarks and serves them
// over HTTP.
package main

import (
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/adrg/xdg"
	"github.com/alecthomas/kong"
)

type commands struct {
	Serve       serveCommand       `cmd:"" help:"Start the server. Without DATABASE_URL, it starts its own PostgreSQL."`
	Migrate     migrateCommand     `cmd:"" help:"Migrate the database schema, or show its version."`
	Keys        keysCommand        `cmd:"" help:"Create, list and revoke API keys."`
	Doctor      doctorCommand      `cmd:"" help:"Check the configuration and the database, and give advice."`
	Health      healthCommand      `cmd:"" help:"Check whether a server on this machine is ready."`
	Submit      submitCommand      `cmd:"" help:"Submit runs from files."`
	Flush       flushCommand       `cmd:"" help:"Submit what recorders could not deliver."`
	Runs        runsCommand        `cmd:"" help:"Print runs, newest first."`
	Show        runCommand         `cmd:"" name:"run" help:"Print a run with its evaluations and telemetry."`
	Leaderboard leaderboardCommand `cmd:"" help:"Rank the agents and models of a suite, with intervals and ties."`
	Compare     compareCommand     `cmd:"" help:"Say whether a candidate is better than a baseline: two agents, models or batches."`
	Gate        gateCommand        `cmd:"" help:"Fail a pipeline if a candidate is worse than a baseline: exit status 0, 1 or 2."`
	Baseline    baselineCommand    `cmd:"" help:"Name batches, so that others are compared with them."`
	Scenarios   scenariosCommand   `cmd:"" help:"Say which scenarios of a suite are hard, dead, flaky or misleading."`
	Trend       trendCommand       `cmd:"" help:"Print how a suite moved from day to day, and which days are unusual."`
	Power       powerCommand       `cmd:"" help:"Plan how many scenarios a comparison needs."`
	Batches     batchesCommand     `cmd:"" help:"Print batches, newest first."`
	Batch       batchCommand       `cmd:"" help:"Print a batch with its runs."`
	Stats       statsCommand       `cmd:"" help:"Print statistics over completed runs."`
	Void        voidCommand        `cmd:"" help:"Void wrong runs: lists and statistics leave them out."`
	Restore     restoreCommand     `cmd:"" help:"Restore voided runs."`
	Corrections correctionsCommand `cmd:"" help:"Print who voided and restored runs, newest first."`
	Purge       purgeCommand       `cmd:"" help:"Delete runs permanently, by age and filters."`
	OpenAPI     openAPICommand     `cmd:"" name:"openapi" help:"Print the OpenAPI document."`
	Version     versionCommand     `cmd:"" help:"Print the version, the commit and its date."`

	Completion completionCommand `cmd:"" help:"Print a shell's completion script."`
	Man        manCommand        `cmd:"" hidden:"" help:"Print the manual page."`

	VersionFlag kong.VersionFlag `name:"version" help:"Print the version, the commit and its date."`
}

func main() {
	log.SetOutput(stderr) // slog.Default, too.
	unsetEmpty()
	if err := readSecrets(); err != nil {
		fmt.Fprintln(stderr, "benchledger:", err)
		os.Exit(failed())
	}
	if len(os.Args) == 1 {
		os.Args = append(os.Args, "--help")
	}
	cli := kong.Parse(&commands{},
		kong.Name("benchledger"),
		kong.Description("Stores the results of AI-agent benchmarks, and answers questions about them.\n\n"+
			"Every setting is a flag or an environment variable. A flag takes precedence, but is visible in the process list: do not use flags for secrets."),
		kong.Writers(&stdout, stderr), kong.Exit(exit),
		kong.ShortUsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Vars{"data_dir": defaultDataDir(), "version": buildDescription()},
	)
	if err := cli.Run(); err != nil {
		fmt.Fprintln(stderr, "benchledger:", err)
		var ended exitError
		if errors.As(err, &ended) {
			os.Exit(ended.status)
		}
		os.Exit(failed())
	}
	exit(0)
}

// failed is the status after an error. A gate that could not run must not look like one that found something.
func failed() int {
	if len(os.Args) > 1 && os.Args[1] == "gate" {
		return exitNotRun
	}
	return 1
}

// exit ends the program, with the status after an error if its output is incomplete.
func exit(status int) {
	if status == 0 && stdout.err != nil {
		fmt.Fprintln(stderr, "benchledger: the output is incomplete:", stdout.err)
		status = failed()
	}
	os.Exit(status)
}

// unsetEmpty unsets empty environment variables: compose files pass a missing setting as an
// empty one.
func unsetEmpty() {
	for _, variable := range os.Environ() {
		if name, value, _ := strings.Cut(variable, "="); value == "" {
			_ = os.Unsetenv(name) // It cannot fail: the name is valid.
		}
	}
}

// readSecrets sets secret variables from files, as containers provide them: API_SECRET_KEY
// from the file in API_SECRET_KEY_FILE.
func readSecrets() error {
	for _, name := range []string{"API_SECRET_KEY", "DATABASE_URL", "DATABASE_MIGRATE_URL", "BENCHLEDGER_API_KEY"} {
		file := os.Getenv(name + "_FILE")
		if file == "" {
			continue
		}
		if os.Getenv(name) != "" {
			return fmt.Errorf("%s and %s_FILE are both set: set one of them", name, name)
		}
		content, err := os.ReadFile(file) //nolint:gosec // G304: the file that the operator names
		if err != nil {
			return fmt.Errorf("%s_FILE: %w", name, err)
		}
		value := strings.TrimSpace(string(content))
		if value == "" {
			return fmt.Errorf("%s_FILE: %s is empty", name, file)
		}
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("%s_FILE: %w", name, err)
		}
	}
	return nil
}

// defaultDataDir is in the user's home, but not for root: PostgreSQL then runs as another user,
// which cannot read root's home.
func defaultDataDir() string {
	if os.Geteuid() == 0 {
		return "/var/lib/benchledger"
	}
	return filepath.Join(xdg.DataHome, "benchledger")
}
