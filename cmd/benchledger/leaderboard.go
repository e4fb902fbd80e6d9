package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	benchledger "github.com/benchledger/benchledger/clients/go"
)

type leaderboardCommand struct {
	suiteFlags  `embed:""`
	judgeFlags  `embed:""`
	By          string   `enum:"agentModel,agent,model" default:"agentModel" placeholder:"WHAT" help:"What is ranked: agentModel (an agent with its model), agent or model; ${default} by default."`
	Coverage    string   `enum:"shared,own,all" default:"shared" placeholder:"WHERE" help:"Where entries are ranked. shared: on the scenarios that all of them attempted; own: each on its own; all: on all, and what was not attempted counts as failed. ${default} by default."`
	MinCoverage fraction `default:"0.8" placeholder:"N" help:"The share of the scenarios that an entry must have attempted to be ranked; ${default} by default."`
	formatFlags `embed:""`
	tableFlags  `embed:""`
	readFlags   `embed:""`
}

// Help explains the table.
func (c *leaderboardCommand) Help() string {
	return "Example:\n\n  benchledger leaderboard --suite=deps --since=30d\n\n" +
		"An entry is an agent with its model. Rank 1-3 means: by these data the entry may be first, second or third. The interval is where the rate is expected for other " +
		"scenarios like these. Entries that were ranked on the same scenarios can differ although their intervals overlap. Cost is per run; per success also counts what failed runs cost.\n\n" +
		"Columns: " + columnNames(leaderboardColumns(unitOf("success"), nil)) + ". With a score as --metric, score and success change places."
}

// Validate checks the flags.
func (c *leaderboardCommand) Validate() error {
	return errors.Join(c.check(), checkColumns(c.tableFlags, leaderboardColumns(unitOf(c.Metric), nil)))
}

// Run prints the leaderboard.
func (c *leaderboardCommand) Run() error {
	ctx, stop := interruptible()
	defer stop()
	client, err := c.connect()
	if err != nil {
		return err
	}
	p := parameters{}
	c.suiteFlags.addTo(p)
	c.judgeFlags.addTo(p)
	response, err := client.GetLeaderboard(ctx, &benchledger.GetLeaderboardParams{ //nolint:bodyclose // get closes it
		By: (*benchledger.GetLeaderboardParamsBy)(&c.By), Coverage: (*benchledger.GetLeaderboardParamsCoverage)(&c.Coverage), MinCoverage: (*float64)(&c.MinCoverage),
	}, p.addTo)
	body, board, err := get[benchledger.Leaderboard](response, err, "rows")
	if err != nil {
		return err
	}
	if c.JSON {
		return printBody(body)
	}
	if len(board.Rows) == 0 {
		if err := c.printNoRuns(ctx, client, &c.serverFlags); err != nil {
			return err
		}
	}
	if c.CSV {
		rows, err := rowsOf(body)
		if err != nil {
			return err
		}
		return printCSV[benchledger.LeaderboardRow](rows, "rank", "rankLow", "rankHigh", "group", "agent", "model")
	}
	if len(board.Rows) == 0 && terminalWidth() > 0 {
		return nil
	}
	page := newPage(c.tableFlags, c.formatFlags)
	u := unitOf(c.Metric)
	printOn(page, leaderboardColumns(u, board.Rows), board.Rows)
	if len(board.Rows) == 0 {
		return nil
	}
	best, err := c.best(ctx, client, &board)
	if err != nil {
		return err
	}
	page.notes(append(append(best, c.basis(&board)...), c.warnings(&board)...)...)
	return nil
}

// figure returns the metric of a row, with its interval.
func figure(u unit, r *benchledger.LeaderboardRow) (low, value, high *float64) {
	if u.isRate {
		return r.RateLow, r.Rate, r.RateHigh
	}
	return r.ScoreLow, r.Score, r.ScoreHigh
}

// leaderboardScale is a scale for the intervals of all rows.
func leaderboardScale(u unit, rows []benchledger.LeaderboardRow) scale {
	var values []*float64
	for i := range rows {
		low, value, high := figure(u, &rows[i])
		values = append(values, low, value, high)
	}
	return scaleOf(values...)
}

func leaderboardColumns(u unit, rows []benchledger.LeaderboardRow) []column[benchledger.LeaderboardRow] {
	type row = benchledger.LeaderboardRow
	s := leaderboardScale(u, rows)
	main := func(r row) any { _, value, _ := figure(u, &r); return u.value(value) }
	other := unit{isRate: !u.isRate}
	return []column[row]{
		{name: "rank", value: func(r row) any { return ranks(&r) }},
		{name: "agent", rank: 1, value: func(r row) any { return r.Agent }},
		{name: "model", rank: 2, value: func(r row) any { return r.Model }},
		{name: u.name(), number: true, value: main},
		{name: "interval", drawn: true, value: func(r row) any { return s.interval(figure(u, &r)) }},
		{name: "low", rank: 8, number: true, value: func(r row) any { low, _, _ := figure(u, &r); return u.value(low) }},
		{name: "high", rank: 9, number: true, value: func(r row) any { _, _, high := figure(u, &r); return u.value(high) }},
		{name: "cost", rank: 4, number: true, value: func(r row) any { return dollars(r.CostPerRunUSD) }},
		{name: "per success", rank: 3, number: true, value: func(r row) any { return dollars(r.CostPerSuccessUSD) }},
		{name: "scenarios", rank: 5, number: true, value: func(r row) any { return r.Scenarios }},
		{name: "runs", rank: 6, number: true, value: func(r row) any { return r.Runs }},
		{name: other.name(), wide: true, number: true, value: func(r row) any { _, value, _ := figure(other, &r); return other.value(value) }},
		{name: "median time", rank: 7, extra: true, number: true, value: func(r row) any { return took(r.P50DurationMs) }},
		{name: "p95 time", wide: true, number: true, value: func(r row) any { return took(r.P95DurationMs) }},
		{name: "tokens in", wide: true, number: true, value: func(r row) any { return whole(r.TokensInPerRun) }},
		{name: "tokens out", wide: true, number: true, value: func(r row) any { return whole(r.TokensOutPerRun) }},
		{name: "total cost", wide: true, number: true, value: func(r row) any { return dollars(r.TotalCostUSD) }},
		{name: "successes", wide: true, number: true, value: func(r row) any { return r.Successes }},
		{name: "infra errors", wide: true, number: true, value: func(r row) any { return unlessZero(r.InfraErrors) }},
		{name: "open", wide: true, number: true, value: func(r row) any { return unlessZero(r.OpenRuns) }},
		{name: "unscored", wide: true, number: true, value: func(r row) any { return unlessZero(r.Unscored) }},
		{name: "coverage", wide: true, number: true, value: func(r row) any { return unit{isRate: true}.value(&r.Coverage) }},
		{name: "tie", wide: true, number: true, value: func(r row) any { return r.Group }},
		{name: "frontier", wide: true, value: func(r row) any { return r.OnFrontier }},
		{name: "warnings", wide: true, value: func(r row) any { return strings.Join(r.Warnings, " ") }},
	}
}

// ranks are the ranks that the data allow, such as 1-5.
func ranks(r *benchledger.LeaderboardRow) string {
	switch {
	case r.Rank == nil:
		return "-"
	case r.RankLow == nil || r.RankHigh == nil:
		return fmt.Sprint(*r.Rank)
	case *r.RankLow == *r.RankHigh:
		return fmt.Sprint(*r.RankLow)
	}
	return fmt.Sprint(*r.RankLow, "-", *r.RankHigh)
}

// unlessZero is a number, nil for 0.
func unlessZero(n int64) *int64 {
	if n == 0 {
		return nil
	}
	return &n
}

// took is a duration of milliseconds, nil if unknown.
func took(milliseconds *float64) *time.Duration {
	if milliseconds == nil || *milliseconds < 0 || *milliseconds > float64(1<<62)/float64(time.Millisecond) {
		return nil
	}
	return new(time.Duration(*milliseconds * float64(time.Millisecond)))
}

// whole is a number without its fraction.
func whole(number *float64) string {
	if number == nil {
		return ""
	}
	return fmt.Sprintf("%.0f", *number)
}

// best says which entries are best, and what it takes to tell them apart.
func (c *leaderboardCommand) best(ctx context.Context, client *benchledger.ClientWithResponses, board *benchledger.Leaderboard) ([]string, error) {
	rows := board.Rows
	u := unitOf(c.Metric)
	drawn := leaderboardScale(u, rows)
	explanation := fmt.Sprintf("Bars: the %s interval of %s, drawn from %s.", percent(float64(c.Level)), u.name(), u.span(&drawn.low, &drawn.high))
	ranked := slices.IndexFunc(rows, func(r benchledger.LeaderboardRow) bool { return r.Rank == nil })
	if ranked < 0 {
		ranked = len(rows)
	}
	switch {
	case ranked == 0:
		return []string{"No entry has a rank: no scenario was attempted by all entries that attempted enough. See --coverage=own, which ranks each on what it attempted.", explanation}, nil
	case ranked == 1:
		return []string{explanation}, nil
	case rows[0].Group == nil:
		return []string{"So many entries are ranked that ranges of ranks are not computed. Select some with --agent or --model.", explanation}, nil
	}
	var tie []int
	for i := range rows[:ranked] {
		if *rows[i].Group == *rows[0].Group {
			tie = append(tie, i)
		}
	}
	name := entryName(rows[0].Agent, rows[0].Model)
	if len(tie) == 1 {
		return []string{name + " is best: the data tell it from every other entry.", explanation}, nil
	}
	last := tie[len(tie)-1]
	sentence := fmt.Sprintf("Ranks 1 to %d are one tie: the best of them, %s, cannot be told from the others", len(tie), name)
	if len(tie) == 2 {
		sentence = fmt.Sprintf("Ranks 1 and 2 are one tie: %s cannot be told from %s", name, entryName(rows[last].Agent, rows[last].Model))
	}
	if last != len(tie)-1 {
		sentence = fmt.Sprintf("The best entry, %s, cannot be told from %d others in the first %d", name, len(tie)-1, last+1)
	}
	more, err := c.moreScenarios(ctx, client, board, ranked, &rows[last])
	return []string{sentence + more + ".", explanation}, err
}

// moreScenarios says how many scenarios would tell the best entry from the last of its tie.
func (c *leaderboardCommand) moreScenarios(
	ctx context.Context, client *benchledger.ClientWithResponses, board *benchledger.Leaderboard, ranked int, last *benchledger.LeaderboardRow,
) (string, error) {
	best, u := &board.Rows[0], unitOf(c.Metric)
	_, high, _ := figure(u, best)
	_, low, _ := figure(u, last)
	if c.Coverage != "shared" || board.SharedScenarios == nil || high == nil || low == nil || slices.Contains(board.Warnings, "mixedTiers") {
		return "", nil // The figures are over other scenarios than those of a plan.
	}
	// All pairs are tested at once. The smallest significance level of a plan is 0.001.
	const smallest = 0.001
	alpha := (1 - float64(c.Level)) / float64(ranked*(ranked-1)/2)
	attempts := func(r *benchledger.LeaderboardRow) int64 { return r.Runs / max(1, *board.SharedScenarios) }
	needed, shared, err := plannedSize{
		c.side(last), c.side(best), attempts(last), attempts(best), *high - *low, max(alpha, smallest),
	}.get(ctx, client, &c.suiteFlags, &c.judgeFlags)
	if err != nil || needed == nil || shared == nil || *needed <= *shared {
		return "", err
	}
	about := "about"
	if alpha < smallest {
		about = "more than"
	}
	others := "them apart"
	if *best.Group == 1 && len(board.Rows) > 2 {
		others = "the first from the last of them"
	}
	return fmt.Sprintf("; to tell %s, %s %s are needed", others, about, counted(roughlyUp(*needed-*shared), "more scenario")), nil
}

// side selects the runs of a row.
func (c *leaderboardCommand) side(r *benchledger.LeaderboardRow) (s side) {
	if r.Agent != nil {
		s = append(s, selector{key: "agent", value: *r.Agent})
	}
	switch {
	case r.Model != nil:
		s = append(s, selector{key: "model", value: *r.Model})
	case c.By != "agent":
		s = append(s, selector{key: noModel})
	}
	return s
}

// basis says which scenarios and runs the leaderboard is about.
func (c *leaderboardCommand) basis(board *benchledger.Leaderboard) []string {
	about := fmt.Sprintf("%s of %s at %s.", counted(board.Runs, "run"), counted(int64(len(board.Rows)), "entr"), counted(board.Scenarios, "scenario"))
	about = strings.NewReplacer("1 entr ", "1 entry ", "entrs ", "entries ").Replace(about)
	if shared := board.SharedScenarios; shared != nil && *shared > 0 && *shared < board.Scenarios {
		about = strings.TrimSuffix(about, ".") + fmt.Sprintf("; ranked on the %s that all ranked entries attempted.", counted(*shared, "scenario"))
	}
	return []string{frontier(board.Rows), about, leftOut(board.InfraErrors, board.OpenRuns, board.Unscored, &c.judgeFlags)}
}

// frontier names the entries that are worth their cost.
func frontier(rows []benchledger.LeaderboardRow) string {
	var worth []string
	entries := 0
	for i := range rows {
		if on := rows[i].OnFrontier; on != nil {
			entries++
			if *on {
				worth = append(worth, entryName(rows[i].Agent, rows[i].Model))
			}
		}
	}
	switch {
	case entries < 2:
		return ""
	case len(worth) == entries:
		return "Every entry is worth its cost: what is better is not cheaper."
	}
	return "Worth their cost, because no other entry is both cheaper and better: " + listed(worth, 5) + "."
}

// warnings explains each warning once, with the entries that it is about.
func (c *leaderboardCommand) warnings(board *benchledger.Leaderboard) []string {
	var sentences []string
	for _, warning := range board.Warnings {
		sentences = append(sentences, explained(warning, "", &c.judgeFlags))
	}
	var order []string
	entries := map[string][]string{}
	for i := range board.Rows {
		row := &board.Rows[i]
		for _, warning := range row.Warnings {
			if entries[warning] == nil {
				order = append(order, warning)
			}
			entries[warning] = append(entries[warning], entryName(row.Agent, row.Model))
		}
	}
	for _, warning := range order {
		who := listed(entries[warning], 2)
		if len(entries[warning]) == len(board.Rows) {
			who = "every entry"
		}
		sentences = append(sentences, explained(warning, who, &c.judgeFlags))
	}
	return sentences
}
