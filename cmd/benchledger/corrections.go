package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
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
		return errors.New("--reason is blank: say why the runs are wrong")
	}
	ctx, stop := interruptible()
	defer stop()
	client, err := c.connect()
	if err != nil {
		return err
	}
	return correctEach(c.IDs, "voided", "already voided", func(id string) (*http.Response, error) {
		return client.VoidRun(ctx, id, benchledger.VoidRequest{Reason: c.Reason})
	})
}

// correctEach corrects each run, and prints what became of it. It goes on after an error.
func correctEach(ids []string, done, before string, correct func(id string) (*http.Response, error)) error {
	failed := 0
	for _, id := range ids {
		response, err := correct(id) //nolint:bodyclose // get closes it
		if _, _, err := get[runRow](response, err, "runId"); err != nil {
			failed++
			fmt.Fprintf(stderr, "benchledger: %s: %v\n", strconv.Quote(id), err)
			continue
		}
		if response.Header.Get("Idempotent-Replayed") != "" {
			printf("%s: %s\n", strconv.Quote(id), before)
		} else {
			printf("%s: %s\n", strconv.Quote(id), done)
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %s failed", failed, count(len(ids), "run"))
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
	return correctEach(c.IDs, "restored", "was not voided", func(id string) (*http.Response, error) {
		return client.RestoreRun(ctx, id, request)
	})
}

type correctionsCommand struct {
	readFlags   `embed:""`
	formatFlags `embed:""`
	RunID       string `name:"run" placeholder:"ID" help:"Only the corrections of this run."`
	Limit       int    `default:"50" help:"Maximum number of corrections to print, newest first; 0 prints all. ${default} by default."`
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
	if c.CSV {
		return printCSVLines[benchledger.Correction](benchledger.EachCorrectionAs[json.RawMessage](ctx, client, params), c.Limit)
	}
	params.Limit = pageSize(oneMore(c.Limit))
	corrections, hasMore, err := first(benchledger.EachCorrectionAs[benchledger.Correction](ctx, client, params), c.Limit)
	if err != nil {
		return err
	}
	if len(corrections) == 0 {
		printNone("correction", serverOf(client), c.RunID != "")
	}
	if c.Markdown {
		printMarkdown(tableFlags{}, correctionColumns, corrections)
	} else if len(corrections) > 0 || terminalWidth() == 0 {
		hidden := printTable(tableFlags{}, correctionColumns, corrections)
		printFooter("correction", len(corrections), c.Limit, hasMore, hidden, "The run: "+c.with("run")+" RUN")
	}
	return nil
}

var correctionColumns = []column[benchledger.Correction]{
	{name: "time", value: func(c benchledger.Correction) any { return c.At }},
	{name: "action", value: func(c benchledger.Correction) any { return c.Action }},
	{name: "run", value: func(c benchledger.Correction) any { return c.RunID }},
	{name: "key", rank: 1, value: func(c benchledger.Correction) any { return keyName(c.By) }},
	{name: "reason", value: func(c benchledger.Correction) any { return c.Reason }},
}

// keyName is the name of a key in a table; the shared key has none.
func keyName(name *string) string {
	if name == nil {
		return "(shared key)"
	}
	return *name
}
