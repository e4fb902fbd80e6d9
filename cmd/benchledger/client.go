package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/table"
	"golang.org/x/term"

	benchledger "github.com/benchledger/benchledger/clients/go"
)

// serverFlags say which server a command talks to.
type serverFlags struct {
	URL    string `name:"url" placeholder:"URL" help:"Server address; BENCHLEDGER_URL, ZE_BENCHMARKS_WORKER_URL, or http://127.0.0.1:8787 by default."`
	APIKey string `name:"api-key" placeholder:"KEY" help:"API key; BENCHLEDGER_API_KEY or ZE_BENCHMARKS_API_KEY by default."`
}

func (f *serverFlags) connect() (*benchledger.ClientWithResponses, error) {
	address, key := benchledger.FromEnvironment()
	return benchledger.New(cmp.Or(f.URL, address), cmp.Or(f.APIKey, key), benchledger.WithHTTPClient(&http.Client{Timeout: 5 * time.Minute}))
}

// serverOf returns the address of a client's server.
func serverOf(client *benchledger.ClientWithResponses) string {
	text := client.ClientInterface.(*benchledger.Client).Server
	if address, err := url.Parse(text); err == nil {
		text = address.Redacted()
	}
	return strings.TrimSuffix(text, "/")
}

// interruptible returns a context that ends with Ctrl-C, once.
func interruptible() (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // A second one ends the program.
	return ctx, stop
}

// readFlags are those of commands that read.
type readFlags struct {
	serverFlags `embed:""`
	JSON        bool `name:"json" help:"Print JSON as the API returns it, one line per row."`
}

// show prints rows as a table, or as lines of JSON.
func show[T any](f *readFlags, head table.Row, rows []T, row func(T) table.Row) error {
	if f.JSON {
		encoder := json.NewEncoder(&stdout)
		encoder.SetEscapeHTML(false)
		for _, item := range rows {
			if err := encoder.Encode(item); err != nil {
				return err
			}
		}
		return nil
	}
	writer := table.NewWriter()
	writer.SetOutputMirror(&stdout)
	writer.SetStyle(table.StyleLight)
	writer.Style().Options = table.OptionsNoBordersAndSeparators
	if width, _, err := term.GetSize(int(os.Stdout.Fd())); err == nil {
		writer.SetAllowedRowLength(width)
	}
	writer.AppendHeader(head)
	for _, item := range rows {
		cells := row(item)
		for i, cell := range cells {
			cells[i] = shown(cell)
		}
		writer.AppendRow(cells)
	}
	writer.Render()
	return nil
}

// get returns the body of a response, and what it is. A response of the operation has the
// member: another web server may answer with other JSON.
func get[T any](response *http.Response, err error, member string) (body []byte, value T, _ error) {
	if err != nil {
		return nil, value, withHint(err)
	}
	defer response.Body.Close()
	if body, err = io.ReadAll(response.Body); err != nil {
		return nil, value, withHint(err)
	}
	if err := benchledger.Check(response, body, member); err != nil {
		return nil, value, err
	}
	if err := json.Unmarshal(body, &value); err != nil {
		return nil, value, fmt.Errorf("the response of %s cannot be read: %w", response.Request.URL.Redacted(), err)
	}
	return body, value, nil
}

// shown is a value as a table has it: nothing for null, and no control characters,
// which would speak to the terminal.
func shown(value any) string {
	text := ""
	switch value := value.(type) {
	case *string:
		if value != nil {
			text = *value
		}
	case *float64:
		if value != nil {
			text = fmt.Sprintf("%.4g", *value)
		}
	case *int64:
		if value != nil {
			text = fmt.Sprint(*value)
		}
	case *time.Time:
		if value != nil {
			text = value.Format(time.DateTime)
		}
	case time.Time:
		text = value.Format(time.DateTime)
	default:
		text = fmt.Sprint(value)
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return '·'
		}
		return r
	}, text)
}

// withHint says what to do about an error of the network.
func withHint(err error) error {
	var unreachable *url.Error
	if !errors.As(err, &unreachable) || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w: is the server running? Set its address with --url or BENCHLEDGER_URL", err)
}

type runsCommand struct {
	readFlags `embed:""`
	Suite     string `placeholder:"NAME" help:"Only runs of this suite."`
	Scenario  string `placeholder:"NAME" help:"Only runs of this scenario."`
	Agent     string `placeholder:"NAME" help:"Only runs of this agent."`
	Status    string `placeholder:"STATUS" help:"Only runs with this status: running, completed, failed or incomplete."`
	Limit     int    `default:"50" help:"Maximum number of runs to print, newest first; 0 prints all. ${default} by default."`
}

// Validate refuses what means nothing.
func (c *runsCommand) Validate() error { return validLimit(c.Limit) }

// Run prints runs.
func (c *runsCommand) Run() error {
	ctx, stop := interruptible()
	defer stop()
	client, err := c.connect()
	if err != nil {
		return err
	}
	nilIfEmpty := func(value string) *string {
		if value == "" {
			return nil
		}
		return &value
	}
	params := benchledger.ListRunsParams{
		Suite: nilIfEmpty(c.Suite), Scenario: nilIfEmpty(c.Scenario), Agent: nilIfEmpty(c.Agent), Status: (*benchledger.RunStatus)(nilIfEmpty(c.Status)), Limit: pageSize(c.Limit),
	}
	if c.JSON {
		return printLines(benchledger.EachRunAs[json.RawMessage](ctx, client, params), c.Limit)
	}
	runs, err := first(benchledger.EachRunAs[runRow](ctx, client, params), c.Limit)
	if err != nil {
		return err
	}
	return showRuns(&c.readFlags, runs)
}

// first returns the first rows, all where limit is 0.
func first[T any](rows iter.Seq2[T, error], limit int) (firsts []T, err error) {
	for row, err := range rows {
		if err != nil {
			return nil, withHint(err)
		}
		if firsts = append(firsts, row); len(firsts) == limit {
			break
		}
	}
	return firsts, nil
}

// printLines prints the first rows as the server has them, to the digit, page by page.
func printLines(rows iter.Seq2[json.RawMessage, error], limit int) error {
	printed := 0
	for row, err := range rows {
		if err != nil {
			return withHint(err)
		}
		if err := printBody(row); err != nil {
			return err
		}
		if printed++; printed == limit {
			break
		}
	}
	return nil
}

// validLimit is what --limit has to be.
func validLimit(limit int) error {
	if limit < 0 {
		return fmt.Errorf("--limit is %d: set the number of rows to print, or 0 for all", limit)
	}
	return nil
}

// pageSize asks for no more than is printed.
func pageSize(limit int) *int32 {
	const page = 1000
	size := int32(page)
	if limit > 0 && limit < page {
		size = int32(limit)
	}
	return &size
}

// The rows of tables do not show metadata, which may be an object or, with METADATA_AS_TEXT=true,
// a text.
type (
	runRow struct {
		benchledger.Run
		Metadata json.RawMessage `json:"metadata"`
	}
	batchRow struct {
		benchledger.Batch
		Metadata json.RawMessage `json:"metadata"`
	}
)

func showRuns(f *readFlags, runs []runRow) error {
	return show(f, table.Row{"run", "suite", "scenario", "agent", "model", "status", "started", "total", "weighted"}, runs, func(r runRow) table.Row {
		return table.Row{r.RunID, r.Suite, r.Scenario, r.Agent, r.Model, r.Status, r.StartedAt, r.TotalScore, r.WeightedScore}
	})
}

type runCommand struct {
	readFlags `embed:""`
	ID        string `arg:"" help:"The run ID."`
}

// Run prints a run with its evaluations and telemetry.
func (c *runCommand) Run() error {
	ctx, stop := interruptible()
	defer stop()
	client, err := c.connect()
	if err != nil {
		return err
	}
	response, err := client.GetRun(ctx, c.ID) //nolint:bodyclose // get closes it
	type details struct {
		benchledger.RunDetails
		Run runRow `json:"run"`
	}
	body, found, err := get[details](response, err, "run")
	if err != nil {
		return err
	}
	if c.JSON {
		return printBody(body)
	}
	if err := showRuns(&c.readFlags, []runRow{found.Run}); err != nil {
		return err
	}
	printf("\n")
	if err := show(&c.readFlags, table.Row{"evaluator", "score", "of", "details"}, found.Evaluations, func(e benchledger.Evaluation) table.Row {
		return table.Row{e.EvaluatorName, e.Score, &e.MaxScore, e.Details}
	}); err != nil || found.Telemetry == nil {
		return err
	}
	printf("\n")
	return show(&c.readFlags, table.Row{"tool calls", "tokens in", "tokens out", "USD", "ms", "workspace"}, []benchledger.Telemetry{*found.Telemetry}, func(t benchledger.Telemetry) table.Row {
		return table.Row{t.ToolCalls, t.TokensIn, t.TokensOut, t.CostUSD, t.DurationMs, t.WorkspaceDir}
	})
}

type batchesCommand struct {
	readFlags `embed:""`
	Limit     int `default:"20" help:"Maximum number of batches to print, newest first; 0 prints all. ${default} by default."`
}

// Validate refuses what means nothing.
func (c *batchesCommand) Validate() error { return validLimit(c.Limit) }

// Run prints batches.
func (c *batchesCommand) Run() error {
	ctx, stop := interruptible()
	defer stop()
	client, err := c.connect()
	if err != nil {
		return err
	}
	params := benchledger.ListBatchesParams{Limit: pageSize(c.Limit)}
	if c.JSON {
		return printLines(benchledger.EachBatchAs[json.RawMessage](ctx, client, params), c.Limit)
	}
	batches, err := first(benchledger.EachBatchAs[batchRow](ctx, client, params), c.Limit)
	if err != nil {
		return err
	}
	return showBatches(&c.readFlags, batches)
}

func showBatches(f *readFlags, batches []batchRow) error {
	return show(f, table.Row{"batch", "created", "completed", "runs", "successful", "average", "weighted"}, batches, func(b batchRow) table.Row {
		return table.Row{b.BatchID, b.CreatedAt, b.CompletedAt, b.TotalRuns, b.SuccessfulRuns, b.AvgScore, b.AvgWeightedScore}
	})
}

type batchCommand struct {
	readFlags `embed:""`
	ID        string `arg:"" help:"The batch ID."`
}

// Run prints a batch with its runs.
func (c *batchCommand) Run() error {
	ctx, stop := interruptible()
	defer stop()
	client, err := c.connect()
	if err != nil {
		return err
	}
	response, err := client.GetBatch(ctx, c.ID, nil) //nolint:bodyclose // get closes it
	type details struct {
		batchRow
		Runs []runRow `json:"runs"`
	}
	body, found, err := get[details](response, err, "batchId")
	if err != nil {
		return err
	}
	if c.JSON {
		return printBody(body)
	}
	if err := showBatches(&c.readFlags, []batchRow{found.batchRow}); err != nil {
		return err
	}
	printf("\n")
	return showRuns(&c.readFlags, found.Runs)
}

type statsCommand struct {
	readFlags `embed:""`
	Agents    bool `help:"Print the scores of each agent instead."`
}

// Run prints figures over all runs.
func (c *statsCommand) Run() error {
	ctx, stop := interruptible()
	defer stop()
	client, err := c.connect()
	if err != nil {
		return err
	}
	if c.Agents {
		response, err := client.ListAgentStats(ctx) //nolint:bodyclose // get closes it
		_, agents, err := get[[]benchledger.AgentStats](response, err, "agent")
		if err != nil {
			return err
		}
		return show(&c.readFlags, table.Row{"agent", "runs", "average", "lowest", "highest"}, agents, func(a benchledger.AgentStats) table.Row {
			return table.Row{a.Agent, a.Runs, a.AvgScore, a.MinScore, a.MaxScore}
		})
	}
	response, err := client.GetStats(ctx) //nolint:bodyclose // get closes it
	_, stats, err := get[benchledger.Stats](response, err, "totalRuns")
	if err != nil {
		return err
	}
	return show(&c.readFlags, table.Row{"completed runs", "successful", "average", "weighted"}, []benchledger.Stats{stats}, func(s benchledger.Stats) table.Row {
		return table.Row{s.TotalRuns, s.SuccessfulRuns, s.AvgScore, s.AvgWeightedScore}
	})
}

// printBody prints JSON to the digit, as the server sent it.
func printBody(body []byte) error {
	_, err := io.WriteString(&stdout, strings.TrimSpace(string(body))+"\n")
	return err
}
