package stats

import (
	"cmp"
	"math"
	"slices"
)

// A Cell has the sufficient statistics of the runs of one entry (an agent with a model) at
// one item (a scenario at a tier). There is at most one Cell for each, as SQL groups them.
//
// Means and standard deviations are computed by the database, exactly, and rounded once. They are
// not sums, because sums of doubles can overflow, and because a variance that is taken from
// rounded sums of squares loses all of its digits by cancellation. A mean, and a standard
// deviation of the population, of doubles are always doubles.
type Cell struct {
	Agent          string
	Model          *string
	Scenario, Tier string
	// Attempts are the final runs that are no infra errors.
	Attempts Runs
	// InfraErrors are the runs that failed by no fault of the entry. They have no successes.
	InfraErrors Runs
	// OpenRuns have not ended. They count nowhere else.
	OpenRuns int64
}

// Runs summarizes runs.
type Runs struct {
	Count, Successes int64
	// TotalScore and WeightedScore: a failed run without a score counts as 0, a completed
	// run without one is left out (N is less than Count).
	TotalScore, WeightedScore Sample
	// Of the runs that report them. CostUSD is in US dollars, DurationMs in milliseconds.
	CostUSD, TokensIn, TokensOut, DurationMs Average
}

// A Sample is the number of values, their mean, and the standard deviation of the
// population: √(Σ(x - mean)²/N). Without values all are 0.
type Sample struct {
	N        int64
	Mean, SD float64
}

// An Average is the number of values and their mean. Without values both are 0.
type Average struct {
	N    int64
	Mean float64
}

// A Metric is what entries are compared by.
type Metric string

// The metrics.
const (
	MetricSuccess       Metric = "success"
	MetricTotalScore    Metric = "totalScore"
	MetricWeightedScore Metric = "weightedScore"
)

// Infra says what an infra error is.
type Infra string

// An infra error is no attempt, or one that failed.
const (
	InfraExclude Infra = "exclude"
	InfraFailure Infra = "failure"
)

// Scope has the parameters that all assemblies share.
type Scope struct {
	Metric Metric
	Infra  Infra
	Level  float64
}

// By is what makes an entry.
type By string

// Entries are agents with their model, agents, or models. Cells of the same entry are merged.
const (
	ByAgentModel By = "agentModel"
	ByAgent      By = "agent"
	ByModel      By = "model"

	// bySide merges all cells of a scenario.
	bySide By = ""
)

// A Warning says why to read a row, a board or a comparison with care.
type Warning string

// The warnings.
const (
	// LowCoverage: the entry attempted less than MinCoverage of the items.
	LowCoverage Warning = "lowCoverage"
	// SharedShrunk: entries are ranked on less than 0.9 of the items.
	SharedShrunk Warning = "sharedShrunk"
	// InfraErrors: more than 5 % of the final runs are infra errors.
	InfraErrors Warning = "infraErrors"
	// UnequalAttempts: items have different numbers of attempts.
	UnequalAttempts Warning = "unequalAttempts"
	// MissingCosts: some attempts have no cost.
	MissingCosts Warning = "missingCosts"
	// MissingScores: some attempts have no score.
	MissingScores Warning = "missingScores"
	// FewScenarios: figures are from fewer than 10 scenarios.
	FewScenarios Warning = "fewScenarios"
	// StillRunning: there are open runs.
	StillRunning Warning = "stillRunning"
	// MixedTiers: figures mix several tiers.
	MixedTiers Warning = "mixedTiers"
	// NoBootstrap: fewer than 10 scenarios, or more than 5,000, so there is no bootstrap interval.
	NoBootstrap Warning = "noBootstrap"
)

// warn adds a warning that holds.
func warn(warnings *[]Warning, holds bool, w Warning) {
	if holds {
		*warnings = append(*warnings, w)
	}
}

const (
	fewScenarios  = 10
	manyErrors    = 0.05
	shrunkenShare = 0.9
)

// merged summarizes both.
func merged(a, b Runs) Runs {
	return Runs{
		Count: a.Count + b.Count, Successes: a.Successes + b.Successes,
		TotalScore: mergedSample(a.TotalScore, b.TotalScore), WeightedScore: mergedSample(a.WeightedScore, b.WeightedScore),
		CostUSD: mergedAverage(a.CostUSD, b.CostUSD), DurationMs: mergedAverage(a.DurationMs, b.DurationMs),
		TokensIn: mergedAverage(a.TokensIn, b.TokensIn), TokensOut: mergedAverage(a.TokensOut, b.TokensOut),
	}
}

func mergedAverage(a, b Average) Average {
	s := mergedSample(Sample{N: a.N, Mean: a.Mean}, Sample{N: b.N, Mean: b.Mean})
	return Average{s.N, s.Mean}
}

// mergedSample combines means and deviations (Chan, Golub and LeVeque 1979), without squares
// that could overflow.
func mergedSample(a, b Sample) Sample {
	if a.N == 0 {
		return b
	}
	if b.N == 0 {
		return a
	}
	n := a.N + b.N
	shareA, shareB := float64(a.N)/float64(n), float64(b.N)/float64(n)
	root := math.Sqrt(shareA * shareB)
	mean := a.Mean
	if a.Mean != b.Mean {
		mean = shareA*a.Mean + shareB*b.Mean
	}
	return Sample{n, mean, math.Hypot(root*b.Mean-root*a.Mean, math.Hypot(math.Sqrt(shareA)*a.SD, math.Sqrt(shareB)*b.SD))}
}

// Counted returns the runs that count as attempts.
func (c *Cell) Counted(infra Infra) *Runs {
	if infra == InfraFailure && c.InfraErrors.Count > 0 {
		runs := merged(c.Attempts, c.InfraErrors)
		return &runs
	}
	return &c.Attempts
}

// Sample is the metric over the runs.
func (r *Runs) Sample(metric Metric) Sample {
	switch metric {
	case MetricTotalScore:
		return r.TotalScore
	case MetricWeightedScore:
		return r.WeightedScore
	case MetricSuccess:
	}
	if r.Count == 0 {
		return Sample{}
	}
	rate := float64(r.Successes) / float64(r.Count)
	return Sample{r.Count, rate, math.Sqrt(rate * (1 - rate))}
}

// binary: the metric is the outcome of one attempt.
func (r *Runs) binary(metric Metric) bool {
	return metric == MetricSuccess && r.Count == 1
}

// score is the metric, or the total score if that is success.
func (r *Runs) score(metric Metric) Sample {
	if metric == MetricWeightedScore {
		return r.WeightedScore
	}
	return r.TotalScore
}

// An itemKey is a scenario at a tier.
type itemKey struct{ scenario, tier string }

func (a itemKey) compare(b itemKey) int {
	return cmp.Or(cmp.Compare(a.scenario, b.scenario), cmp.Compare(a.tier, b.tier))
}

// An entryKey is an agent with a model, which may be none.
type entryKey struct {
	agent, model string
	hasModel     bool
}

func keyOf(agent string, model *string) entryKey {
	if model == nil {
		return entryKey{agent: agent}
	}
	return entryKey{agent, *model, true}
}

func (a entryKey) by(by By) entryKey {
	switch by {
	case ByAgent:
		return entryKey{agent: a.agent}
	case ByModel:
		return entryKey{model: a.model, hasModel: a.hasModel}
	case bySide:
		return entryKey{}
	case ByAgentModel:
	}
	return a
}

// compare: by agent, then model, none first.
func (a entryKey) compare(b entryKey) int {
	return cmp.Or(cmp.Compare(a.agent, b.agent), cmp.Compare(a.model, b.model), boolToInt(a.hasModel)-boolToInt(b.hasModel))
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// A table has the cells of all entries and items, each sorted by its key, so that the order of
// the input does not matter.
type table struct {
	entries  []entryKey
	items    []itemKey
	clusters []int   // of the items: numbers the scenarios
	cells    []*Cell // entry after entry; nil: no runs
}

// at is the cell of an entry at an item; nil without runs.
func (t *table) at(entry, item int) *Cell {
	return t.cells[entry*len(t.items)+item]
}

// tabulate sorts cells into a table, and merges those of the same entry.
func tabulate(cells []Cell, by By) *table {
	entries, entryOf := numbered(len(cells), func(i int) entryKey { return keyOf(cells[i].Agent, cells[i].Model) }, entryKey.compare)
	items, itemOf := numbered(len(cells), func(i int) itemKey { return itemKey{cells[i].Scenario, cells[i].Tier} }, itemKey.compare)
	t := &table{entries: entries, items: items, clusters: make([]int, len(items)), cells: make([]*Cell, len(entries)*len(items))}
	for i := 1; i < len(items); i++ {
		t.clusters[i] = t.clusters[i-1] + boolToInt(items[i].scenario != items[i-1].scenario)
	}
	for i := range cells {
		t.put(entryOf[i]*len(items)+itemOf[i], &cells[i])
	}
	if by == ByAgentModel {
		return t
	}
	groups, groupOf := numbered(len(entries), func(i int) entryKey { return entries[i].by(by) }, entryKey.compare)
	grouped := &table{entries: groups, items: items, clusters: t.clusters, cells: make([]*Cell, len(groups)*len(items))}
	for e := range entries {
		for i := range items {
			if c := t.at(e, i); c != nil {
				grouped.put(groupOf[e]*len(items)+i, c)
			}
		}
	}
	return grouped
}

// put adds a cell to what is at a place.
func (t *table) put(place int, c *Cell) {
	if old := t.cells[place]; old != nil {
		sum := *old
		sum.Attempts = merged(old.Attempts, c.Attempts)
		sum.InfraErrors = merged(old.InfraErrors, c.InfraErrors)
		sum.OpenRuns += c.OpenRuns
		c = &sum
	}
	t.cells[place] = c
}

// numbered returns the different keys in order, and the number of the key of each index.
func numbered[K comparable](n int, key func(int) K, compare func(K, K) int) (keys []K, number []int) {
	seen := map[K]int{}
	number = make([]int, n)
	for i := range n {
		k := key(i)
		if i > 0 && k == keys[number[i-1]] { // of the previous: no need to hash it
			number[i] = number[i-1]
			continue
		}
		found, ok := seen[k]
		if !ok {
			found = len(keys)
			seen[k] = found
			keys = append(keys, k)
		}
		number[i] = found
	}
	sorted := slices.SortedFunc(slices.Values(keys), compare)
	for i, k := range sorted {
		seen[k] = i
	}
	place := make([]int, len(keys))
	for i, k := range keys {
		place[i] = seen[k]
	}
	for i, old := range number {
		number[i] = place[old]
	}
	return sorted, number
}
