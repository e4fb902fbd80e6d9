package main

import (
	"bytes"
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
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	benchledger "github.com/benchledger/benchledger/clients/go"
)

// serverFlags select the server of a command.
type serverFlags struct {
	URL    string `name:"url" placeholder:"URL" help:"Server address; BENCHLEDGER_URL, ZE_BENCHMARKS_WORKER_URL, or http://127.0.0.1:8787 by default."`
	APIKey string `name:"api-key" placeholder:"KEY" help:"API key; BENCHLEDGER_API_KEY or ZE_BENCHMARKS_API_KEY by default."`
}

func (f *serverFlags) connect(options ...benchledger.ClientOption) (*benchledger.ClientWithResponses, error) {
	address, key := benchledger.FromEnvironment()
	options = append(options, benchledger.WithHTTPClient(&http.Client{Timeout: 5 * time.Minute}))
	return benchledger.New(cmp.Or(f.URL, address), cmp.Or(f.APIKey, key), options...)
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
	context.AfterFunc(ctx, stop) // A second signal ends the program.
	return ctx, stop
}

// with returns another command for the same server, quoted for a shell.
func (f *serverFlags) with(words ...string) string {
	if f.URL != "" {
		words = append(words, "--url="+f.URL)
	}
	line := "benchledger"
	for _, word := range words {
		if !plainWord.MatchString(word) {
			word = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
		line += " " + word
	}
	return line
}

// plainWord matches words that need no quotes in a shell.
var plainWord = regexp.MustCompile(`^[\w%+,./:=@-]+$`)

// readFlags are the flags of commands that read.
type readFlags struct {
	serverFlags `embed:""`
	JSON        bool `name:"json" xor:"output,columns" help:"Print JSON as the API returns it; of lists, one line per row."`
}

// get returns the body of a response, and the decoded value. The body must contain the member:
// another web server may respond with other JSON.
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
		return nil, value, otherJSON(response, err)
	}
	return body, value, nil
}

// otherJSON returns the error for JSON that the operation does not return, such as an array.
func otherJSON(response *http.Response, err error) error {
	return fmt.Errorf("%s returned other JSON, which is not a response of BenchLedger: is the address right, or the server newer than this program? (%w)",
		response.Request.URL.Redacted(), err)
}

// withHint adds advice to network errors.
func withHint(err error) error {
	var unreachable *url.Error
	if !errors.As(err, &unreachable) || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w: is the server running? Set its address with --url or BENCHLEDGER_URL", err)
}

type runsCommand struct {
	readFlags   `embed:""`
	formatFlags `embed:""`
	tableFlags  `embed:""`
	Suite       []string `sep:"none" placeholder:"NAME" help:"Only runs of this suite."`
	filterFlags `embed:""`
	Voided      bool   `help:"Print voided runs, too."`
	Sort        string `enum:"newest,oldest,score,weightedScore,cost,duration" default:"newest" placeholder:"ORDER" help:"The order: newest or oldest, or the highest score, weightedScore, cost or duration; ${default} by default."`
	Limit       int    `default:"50" help:"Maximum number of runs to print; 0 prints all. ${default} by default."`
}

// Help lists the columns.
func (c *runsCommand) Help() string {
	return "On a terminal, a column with the same value in all rows is printed above the table, and columns that do not fit are left out. Columns: " + columnNames(runColumns) + "."
}

// Validate checks the flags.
func (c *runsCommand) Validate() error {
	return errors.Join(validLimit(c.Limit), c.check(), checkColumns(c.tableFlags, runColumns))
}

// Run prints runs.
func (c *runsCommand) Run() error {
	ctx, stop := interruptible()
	defer stop()
	filters := parameters{}
	filters.set("suite", c.Suite...)
	c.addTo(filters)
	client, err := c.connect(benchledger.WithRequestEditorFn(filters.addTo))
	if err != nil {
		return err
	}
	params := benchledger.ListRunsParams{Sort: (*benchledger.ListRunsParamsSort)(&c.Sort), Limit: pageSize(c.Limit), Voided: &c.Voided}
	if c.JSON {
		return printLines(benchledger.EachRunAs[json.RawMessage](ctx, client, params), c.Limit)
	}
	if c.CSV {
		return printCSVLines[benchledger.Run](benchledger.EachRunAs[json.RawMessage](ctx, client, params), c.Limit, "runId")
	}
	params.Limit = pageSize(oneMore(c.Limit))
	runs, hasMore, err := first(benchledger.EachRunAs[runRow](ctx, client, params), c.Limit)
	if err != nil {
		return err
	}
	if len(runs) == 0 {
		printNone("run", serverOf(client), len(filters) > 0)
		if !c.Voided {
			fmt.Fprintln(stderr, "Voided runs are not shown; see --voided. To submit runs: benchledger submit")
		}
	}
	if c.Markdown {
		printMarkdown(c.tableFlags, runColumns, runs)
	} else if len(runs) > 0 || terminalWidth() == 0 {
		hidden := printTable(c.tableFlags, runColumns, runs)
		printFooter("run", len(runs), c.Limit, hasMore, hidden, "Cost, tokens and evaluations of a run: "+c.with("run")+" RUN")
	}
	return nil
}

// printNone prints that there are no rows.
func printNone(what, server string, filtered bool) {
	if filtered {
		fmt.Fprintf(stderr, "No %s matches these filters.\n", what)
	} else {
		fmt.Fprintf(stderr, "%s has no %s.\n", server, what)
	}
}

// printFooter prints, on a terminal, the number of rows and how to see more.
func printFooter(what string, rows, limit int, hasMore bool, hidden []string, details string) {
	if terminalWidth() == 0 {
		return
	}
	printf("\n%s", count(rows, what))
	if hasMore {
		printf("; --limit=%d shows more, --limit=0 all", 2*limit)
	}
	printf(". Times are UTC.\n")
	if len(hidden) > 0 {
		printf("Not shown: %s; see --wide and --columns.\n", strings.Join(hidden, ", "))
	}
	printf("%s\n", details)
}

// count returns a number with its noun.
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	if what == "batch" {
		what += "e"
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// first returns the first rows (all if limit is 0), and whether there are more.
func first[T any](rows iter.Seq2[T, error], limit int) (firsts []T, hasMore bool, err error) {
	for row, err := range rows {
		if err != nil {
			return nil, false, withHint(err)
		}
		if limit > 0 && len(firsts) == limit {
			return firsts, true, nil
		}
		firsts = append(firsts, row)
	}
	return firsts, false, nil
}

// oneMore returns a limit that shows whether there are more rows.
func oneMore(limit int) int {
	if limit == 0 {
		return 0
	}
	return limit + 1
}

// printLines prints the first rows unchanged, page by page.
func printLines(rows iter.Seq2[json.RawMessage, error], limit int) error {
	return eachOf(rows, limit, func(row json.RawMessage) error { return printBody(row) })
}

// printCSVLines is like printLines; see printCSV.
func printCSVLines[T any](rows iter.Seq2[json.RawMessage, error], limit int, firstNames ...string) error {
	w := newCSV[T](firstNames...)
	return errors.Join(eachOf(rows, limit, w.write), w.flush())
}

// eachOf does something with the first rows (all if limit is 0).
func eachOf(rows iter.Seq2[json.RawMessage, error], limit int, do func(json.RawMessage) error) error {
	done := 0
	for row, err := range rows {
		if err != nil {
			return withHint(err)
		}
		if err := do(row); err != nil {
			return err
		}
		if done++; done == limit {
			break
		}
	}
	return nil
}

// validLimit checks --limit.
func validLimit(limit int) error {
	if limit < 0 {
		return fmt.Errorf("--limit is %d: set the number of rows to print, or 0 for all", limit)
	}
	return nil
}

// pageSize requests no more rows than are printed.
func pageSize(limit int) *int32 {
	const page = 1000
	size := int32(page)
	if limit > 0 && limit < page {
		size = int32(limit)
	}
	return &size
}

// Rows of tables do not show metadata, which may be an object or, with METADATA_AS_TEXT=true, a
// string.
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

// duration returns the duration of a run, nil if unknown.
func (r runRow) duration() *time.Duration {
	if r.CompletedAt == nil || r.CompletedAt.Before(r.StartedAt) {
		return nil
	}
	return new(r.CompletedAt.Sub(r.StartedAt))
}

// success reports whether a run was successful, nil while it is running.
func (r runRow) success() *bool {
	if r.Status == benchledger.RunStatusRunning {
		return nil
	}
	return &r.IsSuccessful
}

// voided returns true for a voided run, nil for others.
func (r runRow) voided() *bool {
	if r.Voided == nil {
		return nil
	}
	return new(true)
}

var runColumns = []column[runRow]{
	{name: "run", value: func(r runRow) any { return r.RunID }},
	{name: "suite", rank: 5, value: func(r runRow) any { return r.Suite }},
	{name: "scenario", rank: 2, value: func(r runRow) any { return r.Scenario }},
	{name: "tier", rank: 6, extra: true, value: func(r runRow) any { return r.Tier }},
	{name: "agent", rank: 4, value: func(r runRow) any { return r.Agent }},
	{name: "model", rank: 3, value: func(r runRow) any { return r.Model }},
	{name: "status", rank: 1, value: func(r runRow) any { return r.Status }},
	{name: "started", value: func(r runRow) any { return r.StartedAt }},
	{name: "score", value: func(r runRow) any { return r.TotalScore }},
	{name: "weighted", rank: 7, value: func(r runRow) any { return r.WeightedScore }},
	{name: "success", extra: true, value: func(r runRow) any { return r.success() }},
	{name: "duration", extra: true, value: func(r runRow) any { return r.duration() }},
	{name: "batch", rank: 8, extra: true, value: func(r runRow) any { return r.BatchID }},
	{name: "key", rank: 9, extra: true, value: func(r runRow) any { return r.SubmittedBy }},
	{name: "voided", rank: 10, extra: true, value: func(r runRow) any { return r.voided() }},
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
	r := found.Run
	printf("Run %s\n", shown(r.RunID))
	about := section{}
	about.add("suite", r.Suite)
	about.add("scenario", r.Scenario)
	about.add("tier", r.Tier)
	about.add("agent", r.Agent)
	about.add("model", r.Model)
	if r.SpecialistName != nil {
		about.add("specialist", strings.TrimSpace(*r.SpecialistName+" "+shown(r.SpecialistVersion)))
	} else {
		about.add("specialist", r.SpecialistEnabled)
	}
	about.add("batch", r.BatchID)
	about.add("status", r.Status)
	about.addTime("started", &r.StartedAt)
	about.addTime("completed", r.CompletedAt)
	about.add("duration", r.duration())
	about.add("submitted by", r.SubmittedBy)
	about.print()

	if r.Voided != nil {
		voided := section{title: "Voided: lists and statistics leave it out"}
		voided.add("reason", r.Voided.Reason)
		voided.add("key", keyName(r.Voided.By))
		voided.addTime("time", &r.Voided.At)
		voided.print()
	}

	scores := section{title: "Scores"}
	scores.addNumber("score", r.TotalScore)
	scores.addNumber("weighted", r.WeightedScore)
	scores.add("success", r.success())
	scores.addNumber("success metric", r.SuccessMetric)
	scores.print()

	printf("\nEvaluations\n")
	if len(found.Evaluations) == 0 {
		printf("  none\n")
	} else {
		printTable(tableFlags{}, evaluationColumns, found.Evaluations)
	}
	printTelemetry(found.Telemetry)
	printMetadata(r.Metadata)

	next := section{title: "Next"}
	next.add("as JSON", c.with("run", r.RunID, "--json"))
	if r.BatchID != nil {
		next.add("batch", c.with("batch", *r.BatchID))
	}
	next.add("API", serverOf(client)+"/api/runs/"+url.PathEscape(r.RunID))
	next.print()
	return nil
}

var evaluationColumns = []column[benchledger.Evaluation]{
	{name: "evaluator", value: func(e benchledger.Evaluation) any { return e.EvaluatorName }},
	{name: "score", value: func(e benchledger.Evaluation) any { return e.Score }},
	{name: "of", value: func(e benchledger.Evaluation) any { return &e.MaxScore }},
	{name: "details", value: func(e benchledger.Evaluation) any { return e.Details }},
}

func printTelemetry(t *benchledger.Telemetry) {
	if t == nil {
		return
	}
	s := section{title: "Telemetry"}
	if t.CostUSD != nil {
		s.add("cost", "$"+strconv.FormatFloat(*t.CostUSD, 'f', -1, 64))
	}
	if took := milliseconds(t.DurationMs); took != nil {
		s.add("duration", took)
	} else if t.DurationMs != nil {
		s.add("duration", fmt.Sprint(*t.DurationMs, " ms"))
	}
	s.add("tokens in", t.TokensIn)
	s.add("tokens out", t.TokensOut)
	s.add("tool calls", t.ToolCalls)
	s.add("workspace", t.WorkspaceDir)
	if t.PromptSent != nil {
		s.add("prompt", fmt.Sprintf("%d characters; see --json", utf8.RuneCountInString(*t.PromptSent)))
	}
	s.print()
}

// printMetadata prints indented metadata, on a terminal only the first lines.
func printMetadata(metadata json.RawMessage) {
	const most = 40
	if text := ""; json.Unmarshal(metadata, &text) == nil {
		metadata = json.RawMessage(text) // with METADATA_AS_TEXT=true
	}
	var indented bytes.Buffer
	if len(metadata) == 0 || json.Indent(&indented, metadata, "  ", "  ") != nil {
		return
	}
	printf("\nMetadata\n")
	lines := strings.Split("  "+indented.String(), "\n")
	for i, line := range lines {
		if i == most && terminalWidth() > 0 {
			printf("  … %d more lines; see --json\n", len(lines)-most)
			break
		}
		printf("%s\n", shown(line))
	}
}

type batchesCommand struct {
	readFlags   `embed:""`
	formatFlags `embed:""`
	tableFlags  `embed:""`
	Limit       int `default:"20" help:"Maximum number of batches to print, newest first; 0 prints all. ${default} by default."`
}

// Help lists the columns.
func (c *batchesCommand) Help() string {
	return "On a terminal, a column with the same value in all rows is printed above the table, and columns that do not fit are left out. Columns: " + columnNames(batchColumns) + "."
}

// Validate checks the flags.
func (c *batchesCommand) Validate() error {
	return errors.Join(validLimit(c.Limit), checkColumns(c.tableFlags, batchColumns))
}

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
	if c.CSV {
		return printCSVLines[benchledger.Batch](benchledger.EachBatchAs[json.RawMessage](ctx, client, params), c.Limit, "batchId")
	}
	params.Limit = pageSize(oneMore(c.Limit))
	batches, hasMore, err := first(benchledger.EachBatchAs[batchRow](ctx, client, params), c.Limit)
	if err != nil {
		return err
	}
	if len(batches) == 0 {
		printNone("batch", serverOf(client), false)
	}
	if c.Markdown {
		printMarkdown(c.tableFlags, batchColumns, batches)
	} else if len(batches) > 0 || terminalWidth() == 0 {
		hidden := printTable(c.tableFlags, batchColumns, batches)
		printFooter("batch", len(batches), c.Limit, hasMore, hidden, "The runs of a batch: "+c.with("batch")+" BATCH")
	}
	return nil
}

// state returns whether runs can still be added.
func (b batchRow) state() string {
	if b.CompletedAt == nil {
		return "open"
	}
	return "completed"
}

var batchColumns = []column[batchRow]{
	{name: "batch", value: func(b batchRow) any { return b.BatchID }},
	{name: "created", value: func(b batchRow) any { return b.CreatedAt }},
	{name: "completed", rank: 2, value: func(b batchRow) any { return b.CompletedAt }},
	{name: "runs", value: func(b batchRow) any { return b.TotalRuns }},
	{name: "successful", value: func(b batchRow) any { return b.SuccessfulRuns }},
	{name: "average", value: func(b batchRow) any { return b.AvgScore }},
	{name: "weighted", rank: 1, value: func(b batchRow) any { return b.AvgWeightedScore }},
	{name: "state", extra: true, value: func(b batchRow) any { return b.state() }},
	{name: "key", rank: 3, extra: true, value: func(b batchRow) any { return b.SubmittedBy }},
}

type batchCommand struct {
	readFlags  `embed:""`
	tableFlags `embed:""`
	Voided     bool   `help:"Print voided runs, too."`
	ID         string `arg:"" help:"The batch ID."`
}

// Help says what --json prints of a large batch.
func (batchCommand) Help() string {
	return "With --json, a batch that is too large for one response (10,000 runs, or 8 MiB) is printed as several lines, each with the batch and some of its runs."
}

// batchRunColumns are the columns of the runs of one batch.
var batchRunColumns = slices.DeleteFunc(slices.Clone(runColumns), func(c column[runRow]) bool { return c.name == "batch" })

// Validate checks the flags.
func (c *batchCommand) Validate() error { return checkColumns(c.tableFlags, batchRunColumns) }

// Run prints a batch with its runs.
func (c *batchCommand) Run() error {
	ctx, stop := interruptible()
	defer stop()
	client, err := c.connect()
	if err != nil {
		return err
	}
	type details struct {
		batchRow
		Runs []runRow `json:"runs"`
	}
	params := benchledger.GetBatchParams{Voided: &c.Voided}
	var found details
	for more := true; more; more = params.Cursor != nil { // A response has at most 10,000 runs.
		response, err := client.GetBatch(ctx, c.ID, &params) //nolint:bodyclose // get closes it
		body, page, err := get[details](response, err, "batchId")
		if err != nil {
			return err
		}
		if c.JSON {
			if err := printBody(body); err != nil {
				return err
			}
			page.Runs = nil
		}
		page.Runs = append(found.Runs, page.Runs...)
		found, params.Cursor = page, benchledger.NextCursor(response)
	}
	if c.JSON {
		return nil
	}
	printf("Batch %s\n", shown(found.BatchID))
	about := section{}
	about.add("state", found.state())
	about.addTime("created", &found.CreatedAt)
	about.addTime("completed", found.CompletedAt)
	about.add("submitted by", found.SubmittedBy)
	about.add("runs", found.TotalRuns)
	about.add("successful", found.SuccessfulRuns)
	about.add("average score", found.AvgScore)
	about.add("weighted", found.AvgWeightedScore)
	about.print()
	printMetadata(found.Metadata)
	printf("\n")
	if len(found.Runs) == 0 {
		printf("No runs are in this batch. Voided runs are shown with --voided.\n")
		return nil
	}
	hidden := printTable(c.tableFlags, batchRunColumns, found.Runs)
	printFooter("run", len(found.Runs), 0, false, hidden, "Cost, tokens and evaluations of a run: "+c.with("run")+" RUN")
	return nil
}

type statsCommand struct {
	readFlags   `embed:""`
	formatFlags `embed:""`
	Agents      bool `help:"Print the scores of each agent instead."`
}

// Run prints statistics.
func (c *statsCommand) Run() error {
	ctx, stop := interruptible()
	defer stop()
	client, err := c.connect()
	if err != nil {
		return err
	}
	if c.Agents {
		response, err := client.ListAgentStats(ctx) //nolint:bodyclose // get closes it
		body, agents, err := get[[]benchledger.AgentStats](response, err, "agent")
		if err != nil {
			return err
		}
		if c.CSV {
			rows, err := rowsOf(body)
			if err != nil {
				return err
			}
			return printCSV[benchledger.AgentStats](rows, "agent")
		}
		if c.Markdown {
			printMarkdown(tableFlags{}, agentColumns, agents)
		} else if err := show(c.JSON, agentColumns, agents); err != nil || c.JSON {
			return err
		}
		fmt.Fprintln(stderr, "Weighted scores of completed, successful runs only: failed runs do not count.")
		return nil
	}
	response, err := client.GetStats(ctx) //nolint:bodyclose // get closes it
	body, stats, err := get[benchledger.Stats](response, err, "totalRuns")
	switch {
	case err != nil:
		return err
	case c.CSV:
		return printCSV[benchledger.Stats]([]json.RawMessage{body})
	case c.Markdown:
		printMarkdown(tableFlags{}, statsColumns, []benchledger.Stats{stats})
		return nil
	}
	return show(c.JSON, statsColumns, []benchledger.Stats{stats})
}

var (
	agentColumns = []column[benchledger.AgentStats]{
		{name: "agent", value: func(a benchledger.AgentStats) any { return a.Agent }},
		{name: "successful runs", value: func(a benchledger.AgentStats) any { return a.Runs }},
		{name: "average", value: func(a benchledger.AgentStats) any { return a.AvgScore }},
		{name: "lowest", value: func(a benchledger.AgentStats) any { return a.MinScore }},
		{name: "highest", value: func(a benchledger.AgentStats) any { return a.MaxScore }},
	}
	statsColumns = []column[benchledger.Stats]{
		{name: "completed runs", value: func(s benchledger.Stats) any { return s.TotalRuns }},
		{name: "successful", value: func(s benchledger.Stats) any { return s.SuccessfulRuns }},
		{name: "average", value: func(s benchledger.Stats) any { return s.AvgScore }},
		{name: "weighted", value: func(s benchledger.Stats) any { return s.AvgWeightedScore }},
	}
)

// printBody prints JSON exactly as the server sent it.
func printBody(body []byte) error {
	_, err := io.WriteString(&stdout, strings.TrimSpace(string(body))+"\n")
	return err
}
