package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
)

// results are what is written as JSON. Rates are per second, times in milliseconds.
type results struct {
	Machine    string        `json:"machine,omitempty"`
	Go         string        `json:"go,omitempty"`
	PostgreSQL string        `json:"postgresql,omitempty"`
	Commit     string        `json:"commit"`
	Start      []startResult `json:"start,omitempty"`
	Scenarios  []*result     `json:"scenarios"`
	Mixed      []mixedResult `json:"mixed,omitempty"`
	samples    map[*result]*sample
	limits     map[*result]*sample
}

type startResult struct {
	Runs          int     `json:"runs"`
	FirstAnswerMs float64 `json:"firstAnswerMs"`
	ResidentMiB   float64 `json:"residentMiB"`
}

type mixedResult struct {
	Runs        int     `json:"runs"`
	ResidentMiB float64 `json:"residentMiB"`
}

// result is a scenario on data of a size, over all rounds. A bulk submission counts by
// its runs.
type result struct {
	Name  string  `json:"name"`
	Runs  int     `json:"runs"`
	Rate  float64 `json:"rate,omitempty"`
	P50Ms float64 `json:"p50Ms,omitempty"`
	P99Ms float64 `json:"p99Ms,omitempty"`
	// Limit is what PostgreSQL does, and Ratio what of that the server reaches.
	Limit      float64 `json:"limit,omitempty"`
	LimitP99Ms float64 `json:"limitP99Ms,omitempty"`
	Ratio      float64 `json:"ratio,omitempty"`
	// ProcessorMs and Allocations are the server's, per request.
	ProcessorMs float64 `json:"processorMs,omitempty"`
	Allocations float64 `json:"allocations,omitempty"`
	rounds      int
	limited     int
}

func newResults(ctx context.Context, c *cluster) *results {
	r := &results{Go: runtime.Version(), samples: map[*result]*sample{}, limits: map[*result]*sample{}}
	if err := c.admin.QueryRow(ctx, "show server_version").Scan(&r.PostgreSQL); err != nil {
		r.PostgreSQL = err.Error()
	}
	if commit, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output(); err == nil {
		r.Commit = strings.TrimSpace(string(commit))
	}
	r.Machine = fmt.Sprintf("%d cores", runtime.NumCPU())
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if model := regexp.MustCompile(`model name\s*:\s*(.*)`).FindSubmatch(info); model != nil {
			r.Machine += ", " + string(model[1])
		}
	}
	return r
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// add adds a round of a scenario.
func (r *results) add(name string, size, runs int, got sample, limit *sample) {
	into := r.find(name, size)
	if into == nil {
		into = &result{Name: name, Runs: size}
		r.Scenarios = append(r.Scenarios, into)
		r.samples[into], r.limits[into] = &sample{}, &sample{}
	}
	all := r.samples[into]
	all.latencies = append(all.latencies, got.latencies...)
	mean := func(before, now float64) float64 { return before + (now-before)/float64(into.rounds+1) }
	into.Rate = mean(into.Rate, got.rate*float64(runs))
	into.ProcessorMs = mean(into.ProcessorMs, float64(got.processor.Nanoseconds())/1e6)
	into.Allocations = mean(into.Allocations, got.allocations)
	into.rounds++
	into.P50Ms, into.P99Ms = milliseconds(all.quantile(0.5)), milliseconds(all.quantile(0.99))
	if limit != nil {
		if limit.rate > 0 {
			into.Limit += (limit.rate - into.Limit) / float64(into.limited+1)
			into.limited++
			into.Ratio = into.Rate / into.Limit
		}
		beside := r.limits[into]
		beside.latencies = append(beside.latencies, limit.latencies...)
		into.LimitP99Ms = milliseconds(beside.quantile(0.99))
	}
}

// limitBulk says what COPY stores in a second.
func (r *results) limitBulk(size int, rate float64) {
	if into := r.find("submit in bulk", size); into != nil {
		into.Limit, into.Ratio = rate, into.Rate/rate
	}
}

func (r *results) find(name string, size int) *result {
	i := slices.IndexFunc(r.Scenarios, func(s *result) bool { return s.Name == name && s.Runs == size })
	if i < 0 {
		return nil
	}
	return r.Scenarios[i]
}

// print prints a table: a line per scenario and size, and how the largest compares
// with the smallest.
func (r *results) print(sizes []int) {
	t := table.NewWriter()
	t.SetOutputMirror(os.Stdout)
	t.SetStyle(table.StyleLight)
	t.Style().Options = table.OptionsNoBordersAndSeparators
	t.AppendHeader(table.Row{"scenario", "runs", "a second", "limit", "ratio", "p50 ms", "p99 ms", "limit's", "CPU ms", "allocs", "time, of the least data"})
	for _, s := range r.Scenarios {
		times := ""
		if least := r.find(s.Name, slices.Min(sizes)); s.Runs > slices.Min(sizes) && least != nil && s.P50Ms > 0 {
			times = fmt.Sprintf("%.2f", s.P50Ms/least.P50Ms)
		}
		limit, ratio, limitP99 := "", "", ""
		if s.Limit > 0 {
			limit, ratio = fmt.Sprintf("%.0f", s.Limit), fmt.Sprintf("%.2f", s.Ratio)
		}
		if s.LimitP99Ms > 0 {
			limitP99 = fmt.Sprintf("%.2f", s.LimitP99Ms)
		}
		t.AppendRow(table.Row{
			s.Name, s.Runs, fmt.Sprintf("%.0f", s.Rate), limit, ratio, fmt.Sprintf("%.2f", s.P50Ms), fmt.Sprintf("%.2f", s.P99Ms), limitP99,
			fmt.Sprintf("%.3f", s.ProcessorMs), fmt.Sprintf("%.0f", s.Allocations), times,
		})
	}
	fmt.Printf("%s, %s, PostgreSQL %s, %s\n\n", r.Machine, r.Go, r.PostgreSQL, r.Commit)
	t.Render()
	fmt.Println()
	for _, start := range r.Start {
		fmt.Printf("%d runs: the first request is answered %.0f ms after the start; %.1f MiB resident\n", start.Runs, start.FirstAnswerMs, start.ResidentMiB)
	}
	for _, mixed := range r.Mixed {
		fmt.Printf("%d runs: at most %.1f MiB resident under the mixed load\n", mixed.Runs, mixed.ResidentMiB)
	}
}

// compare warns where a ratio to the limit has fallen by more than a third.
func (r *results) compare(path string) {
	content, err := os.ReadFile(path)
	if err != nil {
		fmt.Printf("nothing to compare with: %v\n", err)
		return
	}
	var before results
	if err := json.Unmarshal(content, &before); err != nil {
		fmt.Printf("nothing to compare with: %s: %v\n", path, err)
		return
	}
	fallen := 0
	for _, s := range r.Scenarios {
		old := before.find(s.Name, s.Runs)
		if old != nil && old.Ratio > 0 && s.Ratio > 0 && s.Ratio < old.Ratio*2/3 {
			fmt.Printf("WARNING: %s on %d runs reaches %.2f of the limit, and %.2f in %s\n", s.Name, s.Runs, s.Ratio, old.Ratio, path)
			fallen++
		}
	}
	fmt.Printf("compared with %s (%s): %d ratios have fallen by more than a third\n", path, before.Commit, fallen)
}

// ratios are those of the results that say something about other machines too: what
// the server reaches of the limit.
func (r *results) ratios() *results {
	only := &results{Commit: r.Commit}
	for _, s := range r.Scenarios {
		if s.Ratio > 0 {
			only.Scenarios = append(only.Scenarios, &result{Name: s.Name, Runs: s.Runs, Ratio: math.Round(s.Ratio*1000) / 1000})
		}
	}
	return only
}

func (r *results) write(path string) error {
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(content, '\n'), 0o644)
}
