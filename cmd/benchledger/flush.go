package main

import (
	"fmt"
	"time"

	benchledger "github.com/benchledger/benchledger/clients/go"
)

type flushCommand struct {
	serverFlags `embed:""`
	Spool       string        `env:"BENCHLEDGER_SPOOL" placeholder:"DIR" help:"Where recorders keep what is not delivered: $$XDG_STATE_HOME/benchledger/spool by default."`
	Refused     bool          `help:"Submit again what the server refused, once the reason is gone."`
	RetryFor    time.Duration `default:"2m" placeholder:"DURATION" help:"How long to repeat a request that the server cannot take; ${default} by default."`
}

func (flushCommand) Help() string {
	return "The recorders of the clients keep the end of each run on disk until the server has stored it; the next one sends what is left. " +
		"This command does so without one.\n\n" +
		"Exit status: 0 when nothing is left, 1 when something could not be delivered, 2 when all was delivered and some refused."
}

// Run flushes the spool.
func (c *flushCommand) Run() error {
	ctx, stop := interruptible()
	defer stop()
	flushed, err := benchledger.Flush(ctx, benchledger.RecorderOptions{
		URL: c.URL, APIKey: c.APIKey, Spool: c.Spool, RetryFor: c.RetryFor,
	}, c.Refused)
	fmt.Printf("%d delivered, %d refused, %d left\n", flushed.Delivered, flushed.Refused, flushed.Left)
	if flushed.Elsewhere > 0 {
		fmt.Printf("%d for other servers: flush with their --url\n", flushed.Elsewhere)
	}
	if flushed.Unreadable > 0 {
		fmt.Printf("%d files in the spool are no submissions\n", flushed.Unreadable)
	}
	switch {
	case err != nil:
		return explained(err)
	case flushed.Refused > 0:
		return exitError{exitRefused, fmt.Sprintf("%d were refused: see why in the folder refused of the spool, and submit them with --refused", flushed.Refused)}
	}
	return nil
}
