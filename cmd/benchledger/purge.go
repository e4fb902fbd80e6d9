package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/benchledger/benchledger/db"
)

// purgeStep is how many runs one transaction deletes.
const purgeStep = 500

type purgeCommand struct {
	databaseFlags `embed:""`
	OlderThan     age    `placeholder:"WHEN" help:"Only runs that started before: 90d or 12h ago, a date or a time (RFC 3339)."`
	Suite         string `placeholder:"NAME" help:"Only runs of this suite."`
	Scenario      string `placeholder:"NAME" help:"Only runs of this scenario."`
	Agent         string `placeholder:"NAME" help:"Only runs of this agent."`
	Status        string `enum:",running,completed,failed,incomplete" default:"" placeholder:"STATUS" help:"Only runs with this status: running, completed, failed or incomplete."`
	Voided        bool   `help:"Only voided runs."`
	Delete        bool   `help:"Delete the runs, after a confirmation. Without it, purge only prints how many match."`
	Yes           bool   `help:"Do not ask for confirmation."`
}

func (purgeCommand) Help() string {
	return "Permanently deletes runs with their evaluations and telemetry, and batches that have no runs left. Voided runs and open runs match, too. " +
		"To only exclude wrong runs from statistics, use benchledger void. Purge connects to the database, not to the server, which can keep running. " +
		"You can stop purge at any time and run it again. Back up the database first."
}

// age has the time before which a run started, nil for any time.
type age struct{ before *time.Time }

// UnmarshalText parses a duration until now (also in days), a date in UTC, or a time.
func (a *age) UnmarshalText(text []byte) error {
	before, err := parseWhen(string(text), func(ago time.Duration) time.Time { return time.Now().Add(-ago) })
	if err == nil && before.After(time.Now()) {
		return fmt.Errorf("%q is in the future", text)
	}
	a.before = &before
	return err
}

func (c *purgeCommand) purge() (db.Purge, error) {
	purge := db.Purge{Filters: db.Filters{}, StartedBefore: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), OnlyVoided: c.Voided}
	for name, value := range map[string]string{"suite": c.Suite, "scenario": c.Scenario, "agent": c.Agent, "status": c.Status} {
		if value != "" {
			purge.Filters[name] = []string{value}
		}
	}
	if c.OlderThan.before != nil {
		purge.StartedBefore = *c.OlderThan.before
	} else if len(purge.Filters) == 0 && !c.Voided {
		return purge, errors.New("say which runs to delete: --older-than, --suite, --scenario, --agent, --status or --voided")
	}
	return purge, nil
}

// Run prints how many runs match, and deletes them with --delete.
func (c *purgeCommand) Run() error {
	purge, err := c.purge()
	if err != nil {
		return err
	}
	return c.with(func(ctx context.Context, q *db.Queries) error {
		counts, err := db.CountPurge(ctx, q, purge)
		switch {
		case db.IsOldSchema(err):
			return errors.New("the schema of the database is too old: run `benchledger migrate up` first")
		case err != nil:
			return err
		case counts.Runs == 0:
			printf("no run matches\n")
			return nil
		}
		printf("%s, started from %s to %s, %d of them open, %d voided\n", count(int(counts.Runs), "run"),
			counts.FirstStartedAt.UTC().Format(time.RFC3339), counts.LastStartedAt.UTC().Format(time.RFC3339), counts.OpenRuns, counts.VoidedRuns)
		if !c.Delete {
			printf("Nothing was deleted. To delete them permanently, add --delete.\n")
			return nil
		}
		if !c.Yes {
			if err := confirm("Delete them permanently?"); err != nil {
				return err
			}
		}
		purge.LastID = counts.LastID // Not what is submitted meanwhile.
		return deleteRuns(ctx, q, purge, counts.Runs)
	})
}

// deleteRuns deletes in steps. Completed steps are kept if it is stopped.
func deleteRuns(ctx context.Context, q *db.Queries, purge db.Purge, total int64) error {
	bar := progressbar.NewOptions64(
		total, progressbar.OptionSetDescription("deleting runs"), progressbar.OptionSetWriter(os.Stderr),
		progressbar.OptionSetVisibility(onTerminal()), progressbar.OptionShowCount(), progressbar.OptionFullWidth(),
		progressbar.OptionOnCompletion(func() { fmt.Fprintln(os.Stderr) }),
	)
	var done db.Purged
	for {
		purged, err := db.PurgePage(ctx, q, purge, done.Last, purgeStep)
		if err != nil {
			if onTerminal() {
				_ = bar.Exit()
			}
			if ctx.Err() != nil {
				err = errors.New("stopped")
			}
			return fmt.Errorf("%w; %s deleted. To continue, run the same command again", err, count(int(done.Runs), "run"))
		}
		if purged.Runs == 0 {
			break
		}
		done = db.Purged{Runs: done.Runs + purged.Runs, Batches: done.Batches + purged.Batches, Last: purged.Last}
		_ = bar.Set64(min(done.Runs, total)) // Only the progress bar.
	}
	_ = bar.Finish()
	printf("deleted %s and %s\n", count(int(done.Runs), "run"), count(int(done.Batches), "batch"))
	return nil
}
