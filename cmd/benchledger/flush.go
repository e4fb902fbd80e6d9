package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	benchledger "github.com/benchledger/benchledger/clients/go"
)

type flushCommand struct {
	serverFlags `embed:""`
	Spool       string        `env:"BENCHLEDGER_SPOOL" placeholder:"DIR" help:"Directory where recorders keep undelivered submissions; $$XDG_STATE_HOME/benchledger/spool by default."`
	Refused     bool          `help:"Submit refused submissions again, after you corrected them."`
	From        string        `placeholder:"URL" help:"Deliver submissions for the server at this address, for example after it has moved."`
	RetryFor    time.Duration `default:"2m" placeholder:"DURATION" help:"How long to retry a request while the server is unavailable; 0 does not retry, ${default} by default."`
}

func (flushCommand) Help() string {
	return "Recorders keep finished runs on disk until the server has stored them; the next recorder sends the rest. " +
		"This command does the same without a recorder. If a submission fails, the others are sent nevertheless; if the server is unreachable, or several submissions in a row fail, the command stops.\n\n" +
		"Exit status: 0 if nothing is left, 1 if something could not be delivered or a file in the spool could not be read, 2 if everything was delivered and some was refused."
}

// Validate checks the flags.
func (c *flushCommand) Validate() error { return checkRetryFor(c.RetryFor) }

// checkRetryFor checks the flag --retry-for that several commands have.
func checkRetryFor(retryFor time.Duration) error {
	if retryFor < 0 {
		return errors.New("--retry-for must not be negative; 0 does not retry")
	}
	return nil
}

// Run flushes the spool.
func (c *flushCommand) Run() error {
	ctx, stop := interruptible()
	defer stop()
	flushed, err := benchledger.Flush(ctx, benchledger.FlushOptions{
		RecorderOptions: benchledger.RecorderOptions{URL: c.URL, APIKey: c.APIKey, Spool: c.Spool, RetryFor: &c.RetryFor},
		Refused:         c.Refused, From: c.From,
	})
	printf("%d delivered, %d refused, %d left\n", flushed.Delivered, flushed.Refused, flushed.Left)
	for _, address := range slices.Sorted(maps.Keys(flushed.Elsewhere)) {
		printf("%d for the server at %s: flush with --url=%[2]s, or with --from=%[2]s if this server has replaced it\n", flushed.Elsewhere[address], address)
	}
	var unread error
	for i, why := range flushed.Unreadable {
		if i < maxWarnings {
			printf("skipped: %v\n", why)
		}
		if failed := (*fs.PathError)(nil); errors.As(why, &failed) {
			unread = why
		}
	}
	if n := len(flushed.Unreadable); n > 0 {
		printf("%d files in the spool are not submissions, or cannot be read\n", n)
	}
	switch {
	case err != nil:
		return withHint(err)
	case unread != nil:
		return fmt.Errorf("a file in the spool cannot be read: %w", unread)
	case flushed.Refused > 0:
		return exitError{exitRefused, fmt.Sprintf("%d were refused: see the reasons in the folder \"refused\" of the spool, correct them, and submit them again with --refused", flushed.Refused)}
	}
	return nil
}
