package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	benchledger "github.com/benchledger/benchledger/clients/go"
)

type voidCommand struct {
	serverFlags `embed:""`
	IDs         []string `arg:"" name:"id" help:"The run IDs."`
	Reason      string   `required:"" placeholder:"TEXT" help:"Why the runs are wrong. Everyone who can read runs sees it."`
}

func (voidCommand) Help() string {
	return "A voided run stays stored, but lists and statistics leave it out. benchledger restore undoes this; benchledger corrections " +
		"shows who voided and restored runs, and why. Requires a key with the scope admin."
}

// Run voids runs.
func (c *voidCommand) Run() error {
	if strings.TrimSpace(c.Reason) == "" {
		return errors.New("--reason is empty: say why the runs are wrong")
	}
	ctx, stop := interruptible()
	defer stop()
	client, err := c.connect()
	if err != nil {
		return err
	}
	for _, id := range c.IDs {
		response, err := client.VoidRun(ctx, id, benchledger.VoidRequest{Reason: c.Reason}) //nolint:bodyclose // get closes it
		if _, _, err := get[runRow](response, err, "runId"); err != nil {
			return fmt.Errorf("%s: %w", strconv.Quote(id), err)
		}
		printf("voided %s\n", strconv.Quote(id))
	}
	return nil
}

type restoreCommand struct {
	serverFlags `embed:""`
	IDs         []string `arg:"" name:"id" help:"The run IDs."`
	Reason      string   `placeholder:"TEXT" help:"Why the runs count again."`
}

// Run restores runs.
func (c *restoreCommand) Run() error {
	ctx, stop := interruptible()
	defer stop()
	client, err := c.connect()
	if err != nil {
		return err
	}
	var request benchledger.RestoreRequest
	if c.Reason != "" {
		request.Reason = &c.Reason
	}
	for _, id := range c.IDs {
		response, err := client.RestoreRun(ctx, id, request) //nolint:bodyclose // get closes it
		if _, _, err := get[runRow](response, err, "runId"); err != nil {
			return fmt.Errorf("%s: %w", strconv.Quote(id), err)
		}
		printf("restored %s\n", strconv.Quote(id))
	}
	return nil
}

type correctionsCommand struct {
	readFlags `embed:""`
	RunID     string `name:"run" placeholder:"ID" help:"Only the corrections of this run."`
	Limit     int    `default:"50" help:"Maximum number of corrections to print, newest first; 0 prints all. ${default} by default."`
}

// Validate checks the flags.
func (c *correctionsCommand) Validate() error { return validLimit(c.Limit) }

// Run prints corrections.
func (c *correctionsCommand) Run() error {
	ctx, stop := interruptible()
	defer stop()
	client, err := c.connect()
	if err != nil {
		return err
	}
	params := benchledger.ListCorrectionsParams{Limit: pageSize(c.Limit)}
	if c.RunID != "" {
		params.RunID = &c.RunID
	}
	if c.JSON {
		return printLines(benchledger.EachCorrectionAs[json.RawMessage](ctx, client, params), c.Limit)
	}
	params.Limit = pageSize(oneMore(c.Limit))
	corrections, hasMore, err := first(benchledger.EachCorrectionAs[benchledger.Correction](ctx, client, params), c.Limit)
	if err != nil {
		return err
	}
	if len(corrections) == 0 {
		fmt.Fprintln(os.Stderr, "No run was voided or restored.")
	}
	if len(corrections) > 0 || terminalWidth() == 0 {
		hidden := printTable(tableFlags{}, correctionColumns, corrections)
		printFooter("correction", len(corrections), c.Limit, hasMore, hidden, "The run: "+c.with("run")+" RUN")
	}
	return nil
}

var correctionColumns = []column[benchledger.Correction]{
	{name: "time", value: func(c benchledger.Correction) any { return c.At }},
	{name: "action", value: func(c benchledger.Correction) any { return c.Action }},
	{name: "run", value: func(c benchledger.Correction) any { return c.RunID }},
	{name: "key", value: func(c benchledger.Correction) any { return c.By }},
	{name: "reason", value: func(c benchledger.Correction) any { return c.Reason }},
}
