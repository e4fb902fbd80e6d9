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

type baselineCommand struct {
	Set    baselineSetCommand    `cmd:"" help:"Name a batch, or move the name from another batch to it."`
	List   baselineListCommand   `cmd:"" help:"List the baselines, by name."`
	Delete baselineDeleteCommand `cmd:"" help:"Take the name away from its batch, which stays."`
}

func (baselineCommand) Help() string {
	return "A baseline is a name of a batch, such as main for the last good runs of the main branch. compare, power and gate take it as --baseline=baseline:main. " +
		"To set and delete baselines takes a key with the scope submit."
}

// batchArgument is the ID of a batch, written as in selectors.
type batchArgument string

// UnmarshalText parses batch:ID. The ID may contain anything.
func (b *batchArgument) UnmarshalText(text []byte) error {
	id, isBatch := strings.CutPrefix(string(text), "batch:")
	if !isBatch || id == "" {
		return fmt.Errorf("%q is no batch: write batch:ID, for example batch:nightly-42", text)
	}
	*b = batchArgument(id)
	return nil
}

type baselineSetCommand struct {
	serverFlags `embed:""`
	Name        string        `arg:"" help:"The name of the baseline, such as main."`
	Batch       batchArgument `arg:"" help:"The batch: batch:ID."`
}

// Run sets a baseline.
func (c *baselineSetCommand) Run() error {
	ctx, stop := interruptible()
	defer stop()
	client, err := c.connect()
	if err != nil {
		return err
	}
	response, err := client.SetBaseline(ctx, c.Name, benchledger.BaselineRequest{BatchID: string(c.Batch)}) //nolint:bodyclose // get closes it
	_, set, err := get[benchledger.Baseline](response, err, "batchId")
	if err != nil {
		return withList(err, &c.serverFlags, "batch", "batches")
	}
	printf("the baseline %s is the batch %s\n", strconv.Quote(set.Name), strconv.Quote(set.BatchID))
	return nil
}

// withList adds, to the error that something does not exist, which command lists what there is.
func withList(err error, server *serverFlags, what string, list ...string) error {
	if refused := (*benchledger.Error)(nil); !errors.As(err, &refused) || refused.Status != http.StatusNotFound {
		return err
	}
	all := "baselines"
	if what == "batch" {
		all = "batches"
	}
	return fmt.Errorf("%w; to see all %s: %s", err, all, server.with(list...))
}

type baselineListCommand struct {
	readFlags   `embed:""`
	formatFlags `embed:""`
	Limit       int `default:"50" help:"Maximum number of baselines to print; 0 prints all. ${default} by default."`
}

// Validate checks the flags.
func (c *baselineListCommand) Validate() error { return validLimit(c.Limit) }

// Run prints the baselines.
func (c *baselineListCommand) Run() error {
	ctx, stop := interruptible()
	defer stop()
	client, err := c.connect()
	if err != nil {
		return err
	}
	params := benchledger.ListBaselinesParams{Limit: pageSize(c.Limit)}
	if c.JSON {
		return printLines(benchledger.EachBaselineAs[json.RawMessage](ctx, client, params), c.Limit)
	}
	if c.CSV {
		return printCSVLines[benchledger.Baseline](benchledger.EachBaselineAs[json.RawMessage](ctx, client, params), c.Limit, "name", "batchId")
	}
	params.Limit = pageSize(oneMore(c.Limit))
	baselines, hasMore, err := first(client.EachBaseline(ctx, params), c.Limit)
	if err != nil {
		return err
	}
	if len(baselines) == 0 {
		printNone("baseline", serverOf(client), false)
		fmt.Fprintf(stderr, "To name a batch: %s NAME batch:ID\n", c.with("baseline", "set"))
	}
	if c.Markdown {
		printMarkdown(tableFlags{}, baselineColumns, baselines)
	} else if len(baselines) > 0 || terminalWidth() == 0 {
		hidden := printTable(tableFlags{}, baselineColumns, baselines)
		printFooter("baseline", len(baselines), c.Limit, hasMore, hidden, "The runs of a batch: "+c.with("batch")+" BATCH")
	}
	return nil
}

var baselineColumns = []column[benchledger.Baseline]{
	{name: "baseline", value: func(b benchledger.Baseline) any { return b.Name }},
	{name: "batch", value: func(b benchledger.Baseline) any { return b.BatchID }},
	{name: "set", rank: 1, value: func(b benchledger.Baseline) any { return b.SetAt }},
	{name: "key", rank: 2, value: func(b benchledger.Baseline) any { return keyName(b.SetBy) }},
}

type baselineDeleteCommand struct {
	serverFlags `embed:""`
	Name        string `arg:"" help:"The name of the baseline."`
}

// Run deletes a baseline.
func (c *baselineDeleteCommand) Run() error {
	ctx, stop := interruptible()
	defer stop()
	client, err := c.connect()
	if err != nil {
		return err
	}
	response, err := client.DeleteBaseline(ctx, c.Name) //nolint:bodyclose // get closes it
	_, was, err := get[benchledger.Baseline](response, err, "batchId")
	if err != nil {
		return withList(err, &c.serverFlags, "baseline", "baseline", "list")
	}
	printf("the baseline %s was deleted; its batch %s stays\n", strconv.Quote(was.Name), strconv.Quote(was.BatchID))
	return nil
}
