package stats

import (
	"cmp"
	"math"
	"slices"
)

// Coverage says on which items entries are ranked.
type Coverage string

const (
	// CoverageShared ranks the entries that attempted at least MinCoverage of the items, on
	// the items that all of these attempted. The others are not ranked; their figures are
	// over their own items.
	CoverageShared Coverage = "shared"
	// CoverageOwn ranks each entry on the items that it attempted.
	CoverageOwn Coverage = "own"
	// CoverageAll ranks every entry that attempted anything on all items. What it did not
	// attempt counts as failed, with score 0.
	CoverageAll Coverage = "all"
)

// maxRanges is the number of ranked entries above which ranges and groups are not computed.
const maxRanges = 300

// LeaderboardOptions says how entries are formed, judged and ranked.
type LeaderboardOptions struct {
	Scope
	By          By
	Coverage    Coverage
	MinCoverage float64 // 0 to 1, of CoverageShared
}

// A DurationCount counts the attempts of an entry at an item by duration. With neither
// scenario nor tier it counts for the entry on whatever items it is judged.
type DurationCount struct {
	Agent          string
	Model          *string
	Scenario, Tier string
	DurationBin
}

// A Board ranks entries.
type Board struct {
	// Items were attempted by any entry. SharedItems is the number that CoverageShared ranks
	// on, else nil.
	Items       int
	SharedItems *int
	// Rows are in order of rank, agent and model (none first), those without rank last.
	Rows     []BoardRow
	Warnings []Warning // SharedShrunk, MixedTiers
}

// A BoardRow has the figures of an entry. Means are over the items on which it is judged,
// each with the same weight. Rates and coverage are between 0 and 1.
type BoardRow struct {
	// Agent is nil by model, Model by agent. A nil Model can also be that of the runs.
	Agent, Model *string
	// Rank is 1 + the number of entries that are better in the metric; equals share it. It is
	// nil if the entry is not ranked.
	Rank *int
	// RankLow is 1 + the number of entries that are significantly better, and RankHigh the number
	// of ranked entries less those that are significantly worse, by the tests of Compare on the
	// items that each pair shares, adjusted by Holm over all pairs: all ranges hold together at
	// the level. They include Rank. Nil if more than 300 entries are ranked.
	RankLow, RankHigh *int
	// Group numbers ties: the best entry that is left anchors a group, with all that the adjusted
	// tests cannot tell from it. This says nothing of members other than the anchor. Nil like
	// RankLow.
	Group *int

	// Items that the entry attempted, and their share of the items of the board.
	Items    int
	Coverage float64

	// Runs are the attempts at the items on which the entry is judged, Successes those that
	// succeeded, Unscored those without a score.
	Runs, Successes, Unscored int64
	// InfraErrors and OpenRuns are all of the entry, at any item.
	InfraErrors, OpenRuns int64

	// Rate is the success rate, with the bounds and the SE of stats.Rate.
	Rate, RateSE *float64
	RateBounds   Interval
	// RepeatSE is the standard error if the same items were attempted again; nil unless each
	// has two attempts.
	RepeatSE *float64
	// RateErrorsAsFailures is Rate with infra errors counted as failures.
	RateErrorsAsFailures *float64

	// Score is the mean total score; the weighted score if that is the metric.
	Score       *float64
	ScoreBounds Interval

	// CostRuns of the Runs have a cost. CostPerRunUSD and CostPerSuccessUSD are nil unless
	// all do; the latter also if the rate is 0.
	CostRuns                         int64
	CostPerRunUSD, CostPerSuccessUSD *float64
	// TotalCostUSD was spent on all final runs, including infra errors, at any item; nil if
	// none reports it.
	TotalCostUSD *float64
	// Of the runs that report them.
	TokensInPerRun, TokensOutPerRun *float64
	// P50DurationMs and P95DurationMs are from bins, within 1.1 %.
	P50DurationMs, P95DurationMs *float64
	// OnFrontier: no ranked entry is at least as good in both cost and metric, and better in
	// one. Nil if the entry is not ranked or has no CostPerRunUSD.
	OnFrontier *bool

	Warnings []Warning
}

// A contender is an entry while the board is made.
type contender struct {
	BoardRow
	entry    int
	attempts []*Runs   // per item; nil if not attempted
	value    []float64 // per item: the mean of the metric; NaN if there is none
	binary   []bool    // per item: whether value is the outcome of one attempt
	size     float64   // the largest value
	metric   float64   // NaN if undefined
}

// Leaderboard ranks the entries of the cells of a suite. Golden: leaderboard.json.
func Leaderboard(cells []Cell, durations []DurationCount, o LeaderboardOptions) Board {
	t := tabulate(cells, o.By)
	contenders, universe := gather(t, o)
	eligible, shared := eligibles(contenders, universe, o)

	board := Board{
		Items: countTrue(universe), Rows: make([]BoardRow, 0, len(contenders)), Warnings: boardWarnings(t, universe, shared, o),
	}
	if o.Coverage == CoverageShared {
		board.SharedItems = new(countTrue(shared))
	}

	judged := make([][]bool, len(contenders))
	var ranked []*contender
	var cols columns
	for e, c := range contenders {
		switch {
		case o.Coverage == CoverageAll:
			judged[e] = universe
		case o.Coverage == CoverageShared && eligible[e]:
			judged[e] = shared
		default:
			judged[e] = c.own()
		}
		c.figures(t, judged[e], o, &cols)
		if eligible[e] && !math.IsNaN(c.metric) {
			ranked = append(ranked, c)
		}
	}
	addDurations(t, contenders, judged, durations, o.By)
	rank(t, ranked, judged, o)
	place(ranked)

	slices.SortFunc(contenders, func(a, b *contender) int {
		if a.Rank == nil || b.Rank == nil {
			return cmp.Or(boolToInt(a.Rank == nil)-boolToInt(b.Rank == nil), a.entry-b.entry)
		}
		return cmp.Or(*a.Rank-*b.Rank, a.entry-b.entry)
	})
	for _, c := range contenders {
		board.Rows = append(board.Rows, c.BoardRow)
	}
	return board
}

// gather looks up the attempts of each entry, and the items that anyone attempted.
func gather(t *table, o LeaderboardOptions) (contenders []*contender, universe []bool) {
	universe = make([]bool, len(t.items))
	for e, key := range t.entries {
		c := &contender{
			entry: e, attempts: make([]*Runs, len(t.items)),
			value: make([]float64, len(t.items)), binary: make([]bool, len(t.items)),
		}
		if o.By != ByModel {
			c.Agent = &t.entries[e].agent
		}
		if key.hasModel {
			c.Model = &t.entries[e].model
		}
		for i := range t.items {
			c.value[i] = math.NaN()
			cell := t.at(e, i)
			if cell == nil {
				continue
			}
			c.InfraErrors += cell.InfraErrors.Count
			c.OpenRuns += cell.OpenRuns
			runs := cell.Counted(o.Infra)
			if runs.Count == 0 {
				continue
			}
			universe[i] = true
			c.attempts[i] = runs
			c.Items++
			if s := runs.Sample(o.Metric); s.N > 0 {
				c.value[i] = s.Mean
				c.size = max(c.size, math.Abs(s.Mean))
			}
			c.binary[i] = runs.binary(o.Metric)
		}
		contenders = append(contenders, c)
	}
	return contenders, universe
}

// eligibles are the entries to rank, and the items that all of them attempted.
func eligibles(contenders []*contender, universe []bool, o LeaderboardOptions) (eligible, shared []bool) {
	items := countTrue(universe)
	eligible, shared = make([]bool, len(contenders)), slices.Clone(universe)
	found := false
	for e, c := range contenders {
		if c.Items == 0 {
			continue
		}
		c.Coverage = float64(c.Items) / float64(items)
		eligible[e] = o.Coverage != CoverageShared || c.Coverage >= o.MinCoverage-negligible
		if eligible[e] {
			found = true
			for i, runs := range c.attempts {
				shared[i] = shared[i] && runs != nil
			}
		}
	}
	if !found {
		clear(shared)
	}
	return eligible, shared
}

func boardWarnings(t *table, universe, shared []bool, o LeaderboardOptions) []Warning {
	warnings := []Warning{}
	tiers := map[string]bool{}
	for i, on := range universe {
		if on {
			tiers[t.items[i].tier] = true
		}
	}
	shrunk := float64(countTrue(shared)) < shrunkenShare*float64(countTrue(universe))
	warn(&warnings, o.Coverage == CoverageShared && shrunk, SharedShrunk)
	warn(&warnings, len(tiers) > 1, MixedTiers)
	return warnings
}

func countTrue(items []bool) int {
	count := 0
	for _, on := range items {
		count += boolToInt(on)
	}
	return count
}

func (c *contender) own() []bool {
	own := make([]bool, len(c.attempts))
	for i, runs := range c.attempts {
		own[i] = runs != nil
	}
	return own
}

// A column is a list of values of items, with the scenarios that they are of.
type column struct {
	values   []float64
	clusters []int
}

func (c *column) add(value float64, cluster int) {
	c.values = append(c.values, value)
	c.clusters = append(c.clusters, cluster)
}

func (c *column) reset() {
	c.values, c.clusters = c.values[:0], c.clusters[:0]
}

// columns are what the figures of an entry are computed from, one after the other.
type columns struct {
	rates, scores                          column
	withErrors, costs, tokensIn, tokensOut []float64
	repeats                                []Sample
}

func (c *columns) reset() {
	c.rates.reset()
	c.scores.reset()
	c.withErrors, c.costs = c.withErrors[:0], c.costs[:0]
	c.tokensIn, c.tokensOut = c.tokensIn[:0], c.tokensOut[:0]
	c.repeats = c.repeats[:0]
}

// known adds an average if there is one.
func known(values []float64, a Average) []float64 {
	if a.N == 0 {
		return values
	}
	return append(values, a.Mean)
}

// figures computes what needs no other entry, over the judged items.
func (c *contender) figures(t *table, judged []bool, o LeaderboardOptions, cols *columns) {
	cols.reset()
	fewest, most := int64(math.MaxInt64), int64(0)
	missing := int64(0)
	for i, on := range judged {
		if !on {
			continue
		}
		cluster, runs := t.clusters[i], c.attempts[i]
		if runs == nil { // CoverageAll: a failure
			missing++
			cols.rates.add(0, cluster)
			cols.scores.add(0, cluster)
			cols.withErrors = append(cols.withErrors, 0)
			cols.repeats = append(cols.repeats, Sample{})
			continue
		}
		success := runs.Sample(MetricSuccess)
		cols.rates.add(success.Mean, cluster)
		cols.repeats = append(cols.repeats, success)
		cell := t.at(c.entry, i)
		cols.withErrors = append(cols.withErrors,
			float64(cell.Attempts.Successes)/float64(cell.Attempts.Count+cell.InfraErrors.Count))
		score := runs.score(o.Metric)
		if score.N > 0 {
			cols.scores.add(score.Mean, cluster)
		}
		cols.costs = known(cols.costs, runs.CostUSD)
		cols.tokensIn, cols.tokensOut = known(cols.tokensIn, runs.TokensIn), known(cols.tokensOut, runs.TokensOut)
		c.Runs += runs.Count
		c.Successes += runs.Successes
		c.Unscored += runs.Count - score.N
		c.CostRuns += runs.CostUSD.N
		fewest, most = min(fewest, runs.Count), max(most, runs.Count)
	}

	r := rate(cols.rates.values, cols.rates.clusters, c.Runs+missing, o.Level)
	c.Rate, c.RateSE, c.RateBounds = r.Rate, r.SE, r.Interval
	c.RepeatSE = nullable(repeatSE(cols.repeats))
	c.RateErrorsAsFailures = nullable(meanOf(cols.withErrors))
	score, scoreSE, scenarios := estimate(cols.scores.values, cols.scores.clusters)
	c.Score = nullable(score)
	half := margin(scoreSE, o.Level, scenarios)
	c.ScoreBounds = interval(score-half, score+half)
	if c.CostRuns == c.Runs {
		c.CostPerRunUSD = nullable(meanOf(cols.costs))
		if c.CostPerRunUSD != nil && *c.Rate > 0 {
			c.CostPerSuccessUSD = nullable(*c.CostPerRunUSD / *c.Rate)
		}
	}
	c.TokensInPerRun, c.TokensOutPerRun = nullable(meanOf(cols.tokensIn)), nullable(meanOf(cols.tokensOut))

	c.metric = score
	if o.Metric == MetricSuccess {
		c.metric = math.NaN()
		if c.Rate != nil {
			c.metric = *c.Rate
		}
	}

	finals := c.total(t)
	c.Warnings = []Warning{}
	warn(&c.Warnings, c.Coverage < o.MinCoverage-negligible, LowCoverage)
	warn(&c.Warnings, float64(c.InfraErrors) > manyErrors*float64(finals), InfraErrors)
	warn(&c.Warnings, fewest < most, UnequalAttempts)
	warn(&c.Warnings, c.CostRuns < c.Runs, MissingCosts)
	warn(&c.Warnings, c.Unscored > 0, MissingScores)
	warn(&c.Warnings, countClusters(cols.rates.clusters) < fewScenarios, FewScenarios)
	warn(&c.Warnings, c.OpenRuns > 0, StillRunning)
}

// total adds up the costs of all final runs, and returns the number of these.
func (c *contender) total(t *table) (finals int64) {
	cost, costs := 0.0, int64(0)
	for i := range t.items {
		if cell := t.at(c.entry, i); cell != nil {
			for _, runs := range []*Runs{&cell.Attempts, &cell.InfraErrors} {
				finals += runs.Count
				costs += runs.CostUSD.N
				cost += float64(runs.CostUSD.N) * runs.CostUSD.Mean
			}
		}
	}
	if costs > 0 {
		c.TotalCostUSD = nullable(cost)
	}
	return finals
}

// addDurations computes the percentiles of the durations at the judged items.
func addDurations(t *table, contenders []*contender, judged [][]bool, durations []DurationCount, by By) {
	entries, items := map[entryKey]int{}, map[itemKey]int{{}: -1}
	for e, key := range t.entries {
		entries[key] = e
	}
	for i, key := range t.items {
		items[key] = i
	}
	bins := make([][]DurationBin, len(contenders))
	for _, d := range durations {
		e, isEntry := entries[keyOf(d.Agent, d.Model).by(by)]
		i, isItem := items[itemKey{d.Scenario, d.Tier}]
		if isEntry && isItem && (i < 0 || judged[e][i]) {
			bins[e] = append(bins[e], d.DurationBin)
		}
	}
	for e, c := range contenders {
		c.P50DurationMs, c.P95DurationMs = DurationQuantile(bins[e], 0.5), DurationQuantile(bins[e], 0.95)
	}
}

// rank sets ranks, and from paired tests rank ranges and groups.
func rank(t *table, ranked []*contender, judged [][]bool, o LeaderboardOptions) {
	slices.SortFunc(ranked, func(a, b *contender) int {
		return cmp.Or(cmp.Compare(b.metric, a.metric), a.entry-b.entry)
	})
	for i, c := range ranked {
		place := i + 1
		if i > 0 && equal(c.metric, ranked[i-1].metric) {
			place = *ranked[i-1].Rank
		}
		c.Rank = &place
	}
	n := len(ranked)
	if n > maxRanges {
		return
	}

	// better[i*n+j]: i is significantly better than j.
	better := make([]bool, n*n)
	pValues, signs := make([]float64, 0, n*(n-1)/2), make([]float64, 0, n*(n-1)/2)
	var p pairs
	for i, a := range ranked {
		for _, b := range ranked[i+1:] {
			pValue, sign := p.between(t, a, b, judged[a.entry])
			pValues, signs = append(pValues, pValue), append(signs, sign)
		}
	}
	next := 0
	adjusted := Holm(pValues)
	for i := range ranked {
		for j := i + 1; j < n; j++ {
			if adjusted[next] < 1-o.Level {
				better[i*n+j], better[j*n+i] = signs[next] < 0, signs[next] > 0
			}
			next++
		}
	}
	group := 0
	for i, c := range ranked {
		low, high := 1, n
		for j := range ranked {
			low += boolToInt(better[j*n+i])
			high -= boolToInt(better[i*n+j])
		}
		// Pairs need not share all of the items that the rank is from.
		low, high = min(low, *c.Rank), max(high, *c.Rank)
		c.RankLow, c.RankHigh = &low, &high
		if c.Group != nil {
			continue
		}
		group++
		number := group
		c.Group = &number
		for j, other := range ranked[i+1:] {
			j += i + 1
			if other.Group == nil && !better[i*n+j] && !better[j*n+i] {
				other.Group = &number
			}
		}
	}
}

// equal figures differ by no more than rounding.
func equal(a, b float64) bool {
	return math.Abs(a/2-b/2) <= negligible*max(math.Abs(a), math.Abs(b))
}

// between tests b against a on the judged items that both attempted. Without a test p is 1.
func (p *pairs) between(t *table, a, b *contender, judged []bool) (pValue, sign float64) {
	p.reset()
	for i, on := range judged {
		if x, y := a.value[i], b.value[i]; on && !math.IsNaN(x) && !math.IsNaN(y) {
			p.add(x, y, t.clusters[i], a.binary[i] && b.binary[i])
		}
	}
	r := p.run(max(a.size, b.size))
	if math.IsNaN(r.p) {
		return 1, 0
	}
	return r.p, r.difference
}

// place puts the ranked entries on the frontier of cost and metric, or not.
func place(ranked []*contender) {
	points := make([]Point, len(ranked))
	for i, c := range ranked {
		points[i] = Point{c.CostPerRunUSD, c.metric}
	}
	for i, on := range Frontier(points) {
		ranked[i].OnFrontier = on
	}
}
