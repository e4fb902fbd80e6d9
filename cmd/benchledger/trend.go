package main

import (
	"errors"
	"fmt"

	benchledger "github.com/benchledger/benchledger/clients/go"
)

type trendCommand struct {
	suiteFlags  `embed:""`
	judgeFlags  `embed:""`
	Band        int32 `default:"28" placeholder:"DAYS" help:"How many days before a day say what is expected of it, up to 90; 0 for no expectation. ${default} by default."`
	formatFlags `embed:""`
	tableFlags  `embed:""`
	readFlags   `embed:""`
}

// Help explains the columns.
func (c *trendCommand) Help() string {
	return "Example:\n\n  benchledger trend --suite=deps --model=opus --since=30d\n\n" +
		"Days are in UTC, and a run counts on the day on which it started. A bar has the range that the days before lead to expect (░) and the day (●). A day outside of it is a reason to look, " +
		"not a proof: days mix different scenarios. To decide, compare two batches. Days before --since are not read, so that the first days have no range.\n\n" +
		"Columns: " + columnNames(dayColumns(unitOf("success"), nil)) + "."
}

// Validate checks the flags.
func (c *trendCommand) Validate() error {
	if c.Band < 0 || c.Band > 90 {
		return fmt.Errorf("--band is %d: set a number of days from 0 to 90", c.Band)
	}
	return errors.Join(c.check(), checkColumns(c.tableFlags, dayColumns(unitOf(c.Metric), nil)))
}

// Run prints the days.
func (c *trendCommand) Run() error {
	ctx, stop := interruptible()
	defer stop()
	client, err := c.connect()
	if err != nil {
		return err
	}
	p := parameters{}
	c.suiteFlags.addTo(p)
	c.judgeFlags.addTo(p)
	response, err := client.ListDailyStats(ctx, &benchledger.ListDailyStatsParams{Band: &c.Band}, p.addTo) //nolint:bodyclose // get closes it
	body, found, err := get[benchledger.DailyStats](response, err, "rows")
	if err != nil {
		return err
	}
	if c.JSON {
		return printBody(body)
	}
	if len(found.Rows) == 0 {
		if err := c.printNoRuns(ctx, client, &c.serverFlags); err != nil {
			return err
		}
	}
	if c.CSV {
		rows, err := rowsOf(body)
		if err != nil {
			return err
		}
		return printCSV[benchledger.DailyStatsRow](rows, "day", "runs", "successes", "rate", "score", "expectedLow", "expectedHigh")
	}
	if len(found.Rows) == 0 && terminalWidth() > 0 {
		return nil
	}
	page := newPage(c.tableFlags, c.formatFlags)
	u := unitOf(c.Metric)
	printOn(page, dayColumns(u, found.Rows), found.Rows)
	if len(found.Rows) > 0 {
		page.notes(c.summary(u, &found)...)
	}
	return nil
}

// dayFigure is the metric of a day.
func dayFigure(u unit, r *benchledger.DailyStatsRow) *float64 {
	if u.isRate {
		return r.Rate
	}
	return r.Score
}

// outside says whether a day is above or below what is expected, if it is.
func outside(u unit, r *benchledger.DailyStatsRow) string {
	value := dayFigure(u, r)
	switch {
	case value == nil || r.ExpectedLow == nil || r.ExpectedHigh == nil:
		return ""
	case *value < *r.ExpectedLow:
		return "! below"
	case *value > *r.ExpectedHigh:
		return "! above"
	}
	return ""
}

// dayScale is a scale for all days. Expected bounds of a rate can be below 0 or above 1.
func dayScale(u unit, rows []benchledger.DailyStatsRow) scale {
	var values []*float64
	for i := range rows {
		values = append(values, dayFigure(u, &rows[i]), rows[i].ExpectedLow, rows[i].ExpectedHigh)
	}
	s := scaleOf(values...)
	if u.isRate {
		s = scale{max(s.low, 0), min(s.high, 1)}
	}
	return s
}

func dayColumns(u unit, rows []benchledger.DailyStatsRow) []column[benchledger.DailyStatsRow] {
	type row = benchledger.DailyStatsRow
	s := dayScale(u, rows)
	within := func(bound *float64) *float64 { // a rate is
		if bound == nil || !u.isRate {
			return bound
		}
		return new(max(0, min(*bound, 1)))
	}
	return []column[row]{
		{name: "day", value: func(r row) any { return r.Day }},
		{name: "runs", rank: 1, number: true, value: func(r row) any { return r.Runs }},
		{name: u.name(), number: true, value: func(r row) any { return u.value(dayFigure(u, &r)) }},
		{name: "bar", drawn: true, value: func(r row) any { return s.within(r.ExpectedLow, dayFigure(u, &r), r.ExpectedHigh) }},
		{name: "mark", rank: 2, value: func(r row) any { return outside(u, &r) }},
		{name: "expected", rank: 3, number: true, value: func(r row) any { return u.span(within(r.ExpectedLow), within(r.ExpectedHigh)) }},
		{name: "cost", rank: 4, number: true, value: func(r row) any { return dollars(r.CostPerRunUSD) }},
		{name: "mean time", rank: 5, number: true, value: func(r row) any { return took(r.MeanDurationMs) }},
		{name: "total cost", rank: 6, extra: true, number: true, value: func(r row) any { return dollars(r.TotalCostUSD) }},
		{name: "tokens in", wide: true, number: true, value: func(r row) any { return whole(r.TokensInPerRun) }},
		{name: "tokens out", wide: true, number: true, value: func(r row) any { return whole(r.TokensOutPerRun) }},
		{name: "infra errors", rank: 7, extra: true, number: true, value: func(r row) any { return unlessZero(r.InfraErrors) }},
		{name: "open", rank: 10, extra: true, number: true, value: func(r row) any { return unlessZero(r.OpenRuns) }},
	}
}

// summary says how it moved, and which days to look at.
func (c *trendCommand) summary(u unit, found *benchledger.DailyStats) []string {
	rows := found.Rows
	s := dayScale(u, rows)
	sentences := []string{c.lookAt(u, rows)}
	const week = 7
	if len(rows) >= 2*week {
		before, now := rows[len(rows)-2*week:len(rows)-week], rows[len(rows)-week:]
		meanBefore, runsBefore := overall(u, before)
		meanNow, runsNow := overall(u, now)
		if meanBefore != nil && meanNow != nil {
			sentences = append(sentences, fmt.Sprintf("In the last 7 days with runs: %s %s (%s). In the 7 before: %s (%s).",
				u.name(), u.value(meanNow), counted(runsNow, "run"), u.value(meanBefore), counted(runsBefore, "run")))
		}
	}
	return append(sentences,
		fmt.Sprintf("Bars: the day (●) and what is expected of it (░), from %s.", u.span(&s.low, &s.high)),
		leftOut(found.InfraErrors, found.OpenRuns, found.Unscored, &c.judgeFlags))
}

// overall is the mean of the attempts of several days.
func overall(u unit, rows []benchledger.DailyStatsRow) (mean *float64, runs int64) {
	sum := 0.0
	for i := range rows {
		n := rows[i].Runs
		if !u.isRate {
			n -= rows[i].Unscored
		}
		if value := dayFigure(u, &rows[i]); value != nil {
			sum += *value * float64(n)
			runs += n
		}
	}
	if runs > 0 {
		mean = new(sum / float64(runs))
	}
	return mean, runs
}

// lookAt names the days that are not as expected.
func (c *trendCommand) lookAt(u unit, rows []benchledger.DailyStatsRow) string {
	expected := 0
	var days []string
	for i := range rows {
		r := &rows[i]
		if r.ExpectedLow != nil && dayFigure(u, r) != nil {
			expected++
		}
		if outside(u, r) != "" {
			days = append(days, r.Day)
		}
	}
	switch {
	case c.Band == 0:
		return ""
	case expected == 0:
		return fmt.Sprintf("No day has an expected range: that takes 5 days with at least 5 runs each, of the %d before it.", c.Band)
	case len(days) == 0:
		return fmt.Sprintf("All of %s with an expected range are inside of it.", counted(int64(expected), "day"))
	}
	return fmt.Sprintf("Outside of the range that the days before lead to expect: %s (%d of %s; about %.1f by chance). Look at their runs. To decide, compare two batches with benchledger compare.",
		listed(days, 5), len(days), counted(int64(expected), "day"), float64(expected)*(1-float64(c.Level)))
}
