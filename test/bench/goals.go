package main

import (
	"fmt"
	"os"
	"regexp"

	"github.com/jedib0t/go-pretty/v6/table"
)

// goal is what the project wants of a figure, and what it was: the worst of all
// results that it is about.
type goal struct {
	what, want string
	worst      float64
	of         string // which result that was
	isMet      bool
}

// carried are the lists that have an index, and a query, of their own.
var carried = regexp.MustCompile(`^list (all|suite|scenario|agent|status|suite\+scenario)(,|$)`)

// goals are those that the results say something about.
func (r *results) goals() []goal {
	var all []goal
	most, least := 0, 0
	for _, start := range r.Start {
		most = max(most, start.Runs)
		if least == 0 || start.Runs < least {
			least = start.Runs
		}
	}
	// about takes the worst figure of some results; figure says whether one has it.
	about := func(what, want string, isMet func(float64) bool, name *regexp.Regexp, isHigherBetter bool, figure func(*result) (float64, bool)) {
		g := goal{what: what, want: want}
		for _, s := range r.Scenarios {
			if !name.MatchString(s.Name) {
				continue
			}
			value, has := figure(s)
			if has && (g.of == "" || isHigherBetter == (value < g.worst)) {
				g.worst, g.of, g.isMet = value, fmt.Sprintf("%s, %d runs", s.Name, s.Runs), isMet(value)
			}
		}
		if g.of != "" {
			all = append(all, g)
		}
	}
	atLeast := func(limit float64) func(float64) bool { return func(v float64) bool { return v >= limit } }
	below := func(limit float64) func(float64) bool { return func(v float64) bool { return v < limit } }
	ratio := func(s *result) (float64, bool) { return s.Ratio, s.Ratio > 0 }
	growth := func(s *result) (float64, bool) {
		small := r.find(s.Name, least)
		if s.Runs != most || most == least || small == nil || small.P50Ms == 0 {
			return 0, false
		}
		return s.P50Ms / small.P50Ms, true
	}
	atMost := func(quantile func(*result) float64) func(*result) (float64, bool) {
		return func(s *result) (float64, bool) { return quantile(s), s.Runs == most }
	}
	p50, p99 := func(s *result) float64 { return s.P50Ms }, func(s *result) float64 { return s.P99Ms }
	exactly := regexp.MustCompile
	about("submit, of pgbench", "at least 0.8", atLeast(0.8), exactly(`^submit$`), true, ratio)
	about("submit beside reads, p99 in ms", "below 25", below(25), exactly(`^mixed: submissions$`), false, func(s *result) (float64, bool) { return s.P99Ms, true })
	about("submit in bulk, of single submissions", "at least 10", atLeast(10), exactly(`^submit in bulk$`), true, func(s *result) (float64, bool) {
		single := r.find("submit", s.Runs)
		if single == nil {
			return 0, false
		}
		return s.Rate / single.Rate, true
	})
	about("submit in bulk, of COPY", "at least 0.3", atLeast(0.3), exactly(`^submit in bulk$`), true, ratio)
	about("read a run, of pgbench", "at least 0.5", atLeast(0.5), exactly(`^read a run$`), true, ratio)
	about("lists that an index carries, of pgbench", "at least 0.35", atLeast(0.35), carried, true, ratio)
	about("the same, time at most runs by time at least", "at most 1.25", func(v float64) bool { return v <= 1.25 }, carried, false, growth)
	others := func(figure func(*result) (float64, bool)) func(*result) (float64, bool) {
		return func(s *result) (float64, bool) {
			value, has := figure(s)
			return value, has && !carried.MatchString(s.Name)
		}
	}
	about("other lists, p50 in ms at most runs", "below 20", below(20), exactly(`^list `), false, others(atMost(p50)))
	about("other lists, p99 in ms at most runs", "below 20", below(20), exactly(`^list `), false, others(atMost(p99)))
	about("statistics, p50 in ms at most runs", "below 150", below(150), exactly(`stats$`), false, atMost(p50))
	for _, start := range r.Start {
		all = append(all,
			goal{"memory after the start, in MiB", "below 40", start.ResidentMiB, fmt.Sprint(start.Runs, " runs"), start.ResidentMiB < 40},
			goal{"first answer after the start, in ms", "below 300", start.FirstAnswerMs, fmt.Sprint(start.Runs, " runs"), start.FirstAnswerMs < 300})
	}
	for _, mixed := range r.Mixed {
		all = append(all, goal{"memory under the mixed load, in MiB", "below 200", mixed.ResidentMiB, fmt.Sprint(mixed.Runs, " runs"), mixed.ResidentMiB < 200})
	}
	return all
}

// printGoals says which goals are met.
func (r *results) printGoals() {
	t := table.NewWriter()
	t.SetOutputMirror(os.Stdout)
	t.SetStyle(table.StyleLight)
	t.Style().Options = table.OptionsNoBordersAndSeparators
	t.AppendHeader(table.Row{"goal", "wanted", "worst", "", "of"})
	for _, g := range r.goals() {
		verdict := "met"
		if !g.isMet {
			verdict = "MISSED"
		}
		t.AppendRow(table.Row{g.what, g.want, fmt.Sprintf("%.2f", g.worst), verdict, g.of})
	}
	fmt.Println()
	t.Render()
	fmt.Println()
}
