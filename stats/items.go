package stats

import (
	"math"
	"slices"
)

// Dead says that an item cannot tell entries apart.
type Dead string

// All entries solved all, or none solved any.
const (
	DeadNot  Dead = ""
	DeadAll  Dead = "all"
	DeadNone Dead = "none"
)

// Flag is what is most conspicuous about an item.
type Flag string

// The flags, the first that applies.
const (
	FlagNone     Flag = ""
	FlagDead     Flag = "dead"
	FlagNegative Flag = "negative" // Discrimination is below 0: better entries fail it
	FlagFlaky    Flag = "flaky"    // Flips is at least one half
)

const (
	discriminationEntries = 3
	flakyShare            = 0.5
)

// An Item is what the entries' attempts tell about a scenario at a tier.
type Item struct {
	Scenario, Tier string
	Attempts       int64
	Entries        int
	// Difficulty is 1 - the mean over entries; nil without values of the metric.
	Difficulty *float64
	// Discrimination is the correlation over entries of the item with the mean of the other items
	// that the entry attempted, -1 to 1 (corrected item-total correlation). Nil with fewer than 3
	// entries, or if either does not vary.
	Discrimination *float64
	Dead           Dead
	// Flips is the share of the entries with both outcomes, among those with at least two
	// attempts; nil without such.
	Flips *float64
	Flag  Flag
}

// ItemReport analyzes the items of a suite.
type ItemReport struct {
	Items []Item // by scenario and tier
	// Alpha is Cronbach's (1951), KR-20 for one attempt each, over the entries that attempted
	// all items; nil with fewer than two of them, or two items.
	Alpha *float64
	// ICC is ICC(1) of Shrout and Fleiss (1979): the share of the variance of single attempts of
	// an entry that is between items, by one-way analysis of variance, pooled over entries. It
	// can be negative. Nil without repeated attempts.
	ICC *float64
	// BetweenVariance (0 if negative) and WithinVariance belong to it.
	BetweenVariance, WithinVariance *float64
}

// Items analyzes the items that any entry attempted. Golden: items.json.
func Items(cells []Cell, by By, o Scope) ItemReport {
	t := tabulate(cells, by)
	m := newMatrix(t, o)
	r := ItemReport{Items: make([]Item, 0, len(t.items))}
	attempted := 0
	for i, key := range t.items {
		item := Item{Scenario: key.scenario, Tier: key.tier}
		repeated, flips := 0, 0
		for e := range t.entries {
			cell := t.at(e, i)
			if cell == nil {
				continue
			}
			runs := cell.Counted(o.Infra)
			if runs.Count == 0 {
				continue
			}
			item.Entries++
			item.Attempts += runs.Count
			repeated += boolToInt(runs.Count > 1)
			flips += boolToInt(runs.Successes > 0 && runs.Successes < runs.Count)
		}
		if item.Entries == 0 {
			continue
		}
		attempted++
		if repeated > 0 {
			item.Flips = nullable(float64(flips) / float64(repeated))
		}
		m.describe(&item, i)
		r.Items = append(r.Items, item)
	}
	r.Alpha = nullable(m.alpha(attempted))
	v := oneWay(m.samples)
	r.ICC = nullable((v.meanBetween - v.within) / (v.meanBetween + (v.size-1)*v.within))
	r.WithinVariance = nullable(v.within * v.scale * v.scale)
	r.BetweenVariance = nullable(max(0, (v.meanBetween-v.within)/v.size) * v.scale * v.scale)
	return r
}

// A matrix has the means of entries (rows) at items, as shares of the largest.
type matrix struct {
	values  [][]float64 // NaN: not attempted
	samples [][]Sample
	sums    []float64 // of the rows
	counts  []int
	scale   float64
}

func newMatrix(t *table, o Scope) *matrix {
	m := &matrix{}
	largest := 0.0
	for e := range t.entries {
		row, samples := make([]float64, len(t.items)), []Sample{}
		for i := range t.items {
			row[i] = math.NaN()
			if cell := t.at(e, i); cell != nil {
				if s := cell.Counted(o.Infra).Sample(o.Metric); s.N > 0 {
					row[i] = s.Mean
					largest = max(largest, math.Abs(s.Mean))
					samples = append(samples, s)
				}
			}
		}
		m.values, m.samples = append(m.values, row), append(m.samples, samples)
	}
	m.scale = scaleFor(largest)
	for _, row := range m.values {
		sum, count := 0.0, 0
		for i := range row {
			row[i] /= m.scale
			if !math.IsNaN(row[i]) {
				sum += row[i]
				count++
			}
		}
		m.sums, m.counts = append(m.sums, sum), append(m.counts, count)
	}
	return m
}

// describe sets what follows from the column of an item.
func (m *matrix) describe(item *Item, column int) {
	var means, rests []float64
	all := []float64{}
	for e, row := range m.values {
		x := row[column]
		if math.IsNaN(x) {
			continue
		}
		all = append(all, x)
		if m.counts[e] > 1 {
			means = append(means, x)
			rests = append(rests, (m.sums[e]-x)/float64(m.counts[e]-1))
		}
	}
	if len(all) == 0 {
		return
	}
	item.Difficulty = nullable(1 - meanOf(all)*m.scale)
	if low, high := slices.Min(all)*m.scale, slices.Max(all)*m.scale; low == high {
		switch low {
		case 0:
			item.Dead = DeadNone
		case 1:
			item.Dead = DeadAll
		}
	}
	if len(means) >= discriminationEntries {
		item.Discrimination = nullable(correlation(means, rests))
	}
	switch {
	case item.Dead != DeadNot:
		item.Flag = FlagDead
	case item.Discrimination != nil && *item.Discrimination < 0:
		item.Flag = FlagNegative
	case item.Flips != nil && *item.Flips >= flakyShare:
		item.Flag = FlagFlaky
	}
}

// alpha is Cronbach's, over the entries with all of the items; NaN if undefined.
func (m *matrix) alpha(items int) float64 {
	var complete [][]float64
	var totals []float64
	for e, row := range m.values {
		if m.counts[e] == items {
			complete, totals = append(complete, row), append(totals, m.sums[e])
		}
	}
	if len(complete) < 2 || items < 2 {
		return math.NaN()
	}
	sum := 0.0
	column := make([]float64, len(complete))
	for i := range complete[0] {
		for e, row := range complete {
			column[e] = row[i]
		}
		if !math.IsNaN(column[0]) {
			sum += sumOfSquares(column)
		}
	}
	k := float64(items)
	return k / (k - 1) * (1 - sum/sumOfSquares(totals))
}

// sumOfSquares of the deviations from the mean.
func sumOfSquares(values []float64) float64 {
	mean, sum := meanOf(values), 0.0
	for _, x := range values {
		sum += (x - mean) * (x - mean)
	}
	if math.Sqrt(sum) <= negligible*largestOf(values) {
		return 0
	}
	return sum
}

// An analysis of variance. Variances are in units of scale², and NaN if undefined.
type analysis struct {
	meanBetween, within float64
	size                float64 // the attempts of an item; if they differ, their effective number
	scale               float64
}

// oneWay is the one-way analysis of variance of attempts between items, within each row
// and pooled over them.
func oneWay(rows [][]Sample) analysis {
	size := 0.0
	for _, row := range rows {
		for _, s := range row {
			size = max(size, math.Abs(s.Mean), s.SD)
		}
	}
	a := analysis{scale: scaleFor(size)}
	between, within, sizes, dfBetween, dfWithin := 0.0, 0.0, 0.0, 0.0, 0.0
	for _, row := range rows {
		if len(row) == 0 {
			continue
		}
		attempts, squares, mean := 0.0, 0.0, 0.0
		for _, s := range row {
			n := float64(s.N)
			attempts += n
			squares += n * n
			mean += n * (s.Mean / a.scale)
			within += n * (s.SD / a.scale) * (s.SD / a.scale)
		}
		mean /= attempts
		for _, s := range row {
			d := s.Mean/a.scale - mean
			between += float64(s.N) * d * d
		}
		sizes += attempts - squares/attempts
		dfBetween += float64(len(row) - 1)
		dfWithin += attempts - float64(len(row))
	}
	a.meanBetween, a.within, a.size = between/dfBetween, within/dfWithin, sizes/dfBetween
	return a
}
