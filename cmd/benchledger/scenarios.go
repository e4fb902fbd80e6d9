package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	benchledger "github.com/benchledger/benchledger/clients/go"
)

type scenariosCommand struct {
	suiteFlags  `embed:""`
	judgeFlags  `embed:""`
	By          string `enum:"agentModel,agent,model" default:"agentModel" placeholder:"WHAT" help:"What an entry is: agentModel (an agent with its model), agent or model; ${default} by default."`
	Flag        string `enum:",dead,negative,flaky" default:"" placeholder:"FLAG" help:"Only scenarios with this flag: dead, negative or flaky."`
	Sort        string `enum:"difficulty,name,discrimination,flips,attempts" default:"difficulty" placeholder:"ORDER" help:"The order: difficulty (hardest first), name, discrimination (lowest first), flips or attempts (most first); ${default} by default."`
	formatFlags `embed:""`
	tableFlags  `embed:""`
	readFlags   `embed:""`
}

// What a flag of a scenario means, and what to do.
const (
	deadMeaning     = "dead: all entries solve it, or none does. It says nothing about who is better. Replace it, or make it easier or harder"
	negativeMeaning = "negative: entries that are better elsewhere do worse at it. Look for a mistake in the scenario or in its evaluators"
	flakyMeaning    = "flaky: half of the entries, or more, both solved and failed it. Attempt it more often, or look for chance in the scenario"
)

// Help explains the columns.
func (c *scenariosCommand) Help() string {
	return "Example:\n\n  benchledger scenarios --suite=deps --flag=flaky\n\n" +
		"Difficulty is 1 - the mean over entries. Discrimination is how well the scenario agrees with the others on who is better, from -1 to 1. Flips is the share of the entries with both " +
		"outcomes, among those that attempted it twice or more. What the flags mean:\n\n" + deadMeaning + ".\n\n" + negativeMeaning + ".\n\n" + flakyMeaning + ".\n\n" +
		"Columns: " + columnNames(scenarioColumns(unitOf("success"), nil)) + "."
}

// Validate checks the flags.
func (c *scenariosCommand) Validate() error {
	if c.JSON && (c.Flag != "" || c.Sort != "difficulty") {
		return errors.New("--flag and --sort do not change --json, which prints what the API returns: leave them out, or use --csv")
	}
	return errors.Join(c.check(), checkColumns(c.tableFlags, scenarioColumns(unitOf(c.Metric), nil)))
}

// scenarioRow is a scenario with what the API returned.
type scenarioRow struct {
	benchledger.ScenarioStatsRow
	raw []byte
}

// mean is that of the metric.
func (r *scenarioRow) mean() *float64 {
	if r.Difficulty == nil {
		return nil
	}
	return new(1 - *r.Difficulty)
}

// Run prints the scenarios.
func (c *scenariosCommand) Run() error {
	ctx, stop := interruptible()
	defer stop()
	client, err := c.connect()
	if err != nil {
		return err
	}
	p := parameters{}
	c.suiteFlags.addTo(p)
	c.judgeFlags.addTo(p)
	response, err := client.ListScenarioStats(ctx, &benchledger.ListScenarioStatsParams{By: (*benchledger.ListScenarioStatsParamsBy)(&c.By)}, p.addTo) //nolint:bodyclose // get closes it
	body, found, err := get[benchledger.ScenarioStats](response, err, "rows")
	if err != nil {
		return err
	}
	if c.JSON {
		return printBody(body)
	}
	raw, err := rowsOf(body)
	if err != nil {
		return err
	}
	all := make([]scenarioRow, len(raw))
	for i := range raw {
		all[i] = scenarioRow{found.Rows[i], raw[i]}
	}
	rows := c.selected(all)
	if len(all) == 0 {
		err = c.printNoRuns(ctx, client, &c.serverFlags)
	} else if len(rows) == 0 {
		fmt.Fprintf(stderr, "None of %s is %s.\n", counted(int64(len(all)), "scenario"), c.Flag)
	}
	if err != nil {
		return err
	}
	if c.CSV {
		for i := range rows {
			raw[i] = rows[i].raw
		}
		return printCSV[benchledger.ScenarioStatsRow](raw[:len(rows)], "scenario", "tier")
	}
	if len(rows) == 0 && terminalWidth() > 0 {
		return nil
	}
	page := newPage(c.tableFlags, c.formatFlags)
	printOn(page, scenarioColumns(unitOf(c.Metric), rows), rows)
	if len(all) > 0 {
		page.notes(append(c.flagged(all), c.quality(&found)...)...)
	}
	return nil
}

// selected returns the rows with the flag, in order.
func (c *scenariosCommand) selected(all []scenarioRow) []scenarioRow {
	rows := slices.DeleteFunc(slices.Clone(all), func(r scenarioRow) bool { return c.Flag != "" && (r.Flag == nil || *r.Flag != c.Flag) })
	key := map[string]func(*scenarioRow) *float64{
		"difficulty":     func(r *scenarioRow) *float64 { return r.mean() },
		"discrimination": func(r *scenarioRow) *float64 { return r.Discrimination },
		"flips": func(r *scenarioRow) *float64 {
			if r.Flips == nil {
				return nil
			}
			return new(-*r.Flips)
		},
		"attempts": func(r *scenarioRow) *float64 { return new(float64(-r.Attempts)) },
	}[c.Sort]
	if key == nil {
		return rows // The server sorts by name.
	}
	slices.SortStableFunc(rows, func(a, b scenarioRow) int {
		x, y := key(&a), key(&b)
		switch {
		case x != nil && y != nil:
			return cmp.Compare(*x, *y)
		case x != nil:
			return -1
		case y != nil:
			return 1
		}
		return 0
	})
	return rows
}

func scenarioColumns(u unit, rows []scenarioRow) []column[scenarioRow] {
	type row = scenarioRow
	s := scale{0, 1}
	if !u.isRate {
		values := []*float64{new(0.0), new(1.0)}
		for i := range rows {
			values = append(values, rows[i].mean())
		}
		s = scaleOf(values...)
	}
	number := func(value *float64) string {
		if value == nil {
			return ""
		}
		return fmt.Sprintf("%.2f", *value)
	}
	return []column[row]{
		{name: "scenario", value: func(r row) any { return r.Scenario }},
		{name: "tier", rank: 1, value: func(r row) any { return r.Tier }},
		{name: u.name(), number: true, value: func(r row) any { return u.value(r.mean()) }},
		{name: "bar", drawn: true, value: func(r row) any { return s.filled(r.mean()) }},
		{name: "flag", rank: 2, value: func(r row) any { return r.Flag }},
		{name: "attempts", rank: 3, number: true, value: func(r row) any { return r.Attempts }},
		{name: "flips", rank: 4, number: true, value: func(r row) any { return unit{isRate: true}.value(r.Flips) }},
		{name: "difficulty", rank: 6, number: true, value: func(r row) any {
			if r.Difficulty != nil && *r.Difficulty < 0 {
				return "" // A score above 1.
			}
			return number(r.Difficulty)
		}},
		{name: "discrimination", rank: 5, number: true, value: func(r row) any { return number(r.Discrimination) }},
		{name: "entries", rank: 7, number: true, value: func(r row) any { return r.Entries }},
	}
}

// flagged explains each flag that a scenario has.
func (c *scenariosCommand) flagged(all []scenarioRow) []string {
	var sentences []string
	for _, flag := range []struct{ name, meaning string }{{"dead", deadMeaning}, {"negative", negativeMeaning}, {"flaky", flakyMeaning}} {
		var names []string
		for i := range all {
			if all[i].Flag != nil && *all[i].Flag == flag.name {
				name := entryName(&all[i].Scenario, nil)
				if slices.ContainsFunc(all, func(r scenarioRow) bool { return r.Scenario == all[i].Scenario && r.Tier != all[i].Tier }) {
					name += " at tier " + shown(all[i].Tier)
				}
				names = append(names, name)
			}
		}
		if len(names) > 0 && (c.Flag == "" || c.Flag == flag.name) {
			sentence := fmt.Sprintf("%s (%s).", strings.ToUpper(flag.meaning[:1])+flag.meaning[1:], listed(names, 5))
			if flag.name == "negative" && mostEntries(all) < 10 {
				sentence += " With so few entries it is often chance."
			}
			sentences = append(sentences, sentence)
		}
	}
	if len(sentences) == 0 {
		return []string{"No scenario is dead, negative or flaky."}
	}
	return sentences
}

// mostEntries is how many entries attempted a scenario.
func mostEntries(rows []scenarioRow) (most int64) {
	for i := range rows {
		most = max(most, rows[i].Entries)
	}
	return most
}

// quality says how well the scenarios measure, and what was left out.
func (c *scenariosCommand) quality(found *benchledger.ScenarioStats) []string {
	var sentences []string
	if found.Alpha != nil {
		meaning := "they measure different things, or little at all"
		switch {
		case *found.Alpha >= 0.9:
			meaning = "they agree very well on who is better"
		case *found.Alpha >= 0.7:
			meaning = "they agree well on who is better"
		}
		sentences = append(sentences, fmt.Sprintf("Cronbach's alpha of all scenarios is %.2f: %s.", *found.Alpha, meaning))
	}
	if found.Icc != nil {
		sentences = append(sentences, fmt.Sprintf("%s of the variance of single attempts is between scenarios; the rest is chance, or differs between entries.", percent(roundTo(*found.Icc, 2))))
	}
	return append(sentences, leftOut(found.InfraErrors, found.OpenRuns, found.Unscored, &c.judgeFlags))
}
