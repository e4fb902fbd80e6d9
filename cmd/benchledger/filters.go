package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	benchledger "github.com/benchledger/benchledger/clients/go"
)

// filterFlags select runs, of one suite or of several. They are the filters of the API, under their names.
type filterFlags struct {
	Scenario   []string                `sep:"none" placeholder:"NAME" help:"Only runs of this scenario. This flag and the next ones, up to --metadata, can be repeated: runs with any of the values."`
	Tier       []string                `sep:"none" placeholder:"NAME" help:"Only runs of this tier."`
	Agent      []string                `sep:"none" placeholder:"NAME" help:"Only runs of this agent."`
	Model      []string                `sep:"none" placeholder:"NAME" help:"Only runs of this model."`
	Status     []benchledger.RunStatus `sep:"none" enum:"running,completed,failed,incomplete" placeholder:"STATUS" help:"Only runs with this status: running, completed, failed or incomplete."`
	Batch      []string                `sep:"none" placeholder:"ID" help:"Only runs of this batch."`
	Specialist []string                `sep:"none" placeholder:"NAME" help:"Only runs with this specialist."`
	Evaluator  []string                `sep:"none" placeholder:"NAME" help:"Only runs that this evaluator evaluated."`
	Metadata   []member                `sep:"none" placeholder:"KEY=VALUE" help:"Only runs whose metadata have this member: commit=3f2c1ab."`
	Successful *bool                   `negatable:"" help:"Only successful runs; --no-successful: only the others."`
	Since      moment                  `placeholder:"WHEN" help:"Only runs that started at this time or later: 2025-11-01 (in UTC), 2025-11-01T12:00:00Z, or 30d or 12h ago."`
	Until      moment                  `placeholder:"WHEN" help:"Only runs that started before this time."`
}

// moment is a time, zero if it was not given.
type moment struct{ time.Time }

// UnmarshalText parses a date in UTC, a time, or a duration until now (also in days).
func (m *moment) UnmarshalText(value []byte) (err error) {
	m.Time, err = parseWhen(string(value), func(ago time.Duration) time.Time { return time.Now().Add(-ago) })
	return err
}

// member is a member of the metadata of runs.
type member struct{ key, value string }

// UnmarshalText parses KEY=VALUE. The value may contain anything.
func (m *member) UnmarshalText(text []byte) error {
	key, value, ok := strings.Cut(string(text), "=")
	if !ok {
		return fmt.Errorf("%q is not KEY=VALUE, for example commit=3f2c1ab", text)
	}
	*m = member{key, value}
	return nil
}

// parameters are query parameters that several operations have. The client's types for the parameters of operations
// have nothing in common, so that these are added to the request.
type parameters url.Values

func (p parameters) set(name string, values ...string) {
	if len(values) > 0 && !slices.Equal(values, []string{""}) {
		p[name] = values
	}
}

// addTo adds the parameters to a request.
func (p parameters) addTo(_ context.Context, request *http.Request) error {
	query := request.URL.Query()
	for name, values := range p {
		query[name] = values
	}
	request.URL.RawQuery = query.Encode()
	return nil
}

func (f *filterFlags) addTo(p parameters) {
	for _, filter := range f.named() {
		p.set(filter.parameter, filter.values...)
	}
	for _, status := range f.Status {
		p["status"] = append(p["status"], string(status))
	}
	for _, member := range f.Metadata {
		p["metadata."+member.key] = append(p["metadata."+member.key], member.value)
	}
	if f.Successful != nil {
		p.set("isSuccessful", strconv.FormatBool(*f.Successful))
	}
	for name, at := range map[string]moment{"since": f.Since, "until": f.Until} {
		if !at.IsZero() {
			p.set(name, at.UTC().Format(time.RFC3339Nano))
		}
	}
}

type namedFilter struct {
	flag, parameter string
	values          []string
}

// named are the filters whose values are names.
func (f *filterFlags) named() []namedFilter {
	return []namedFilter{
		{"scenario", "scenario", f.Scenario},
		{"tier", "tier", f.Tier},
		{"agent", "agent", f.Agent},
		{"model", "model", f.Model},
		{"batch", "batchId", f.Batch},
		{"specialist", "specialistName", f.Specialist},
		{"evaluator", "evaluator", f.Evaluator},
	}
}

// isSet reports whether there is any filter.
func (f *filterFlags) isSet() bool {
	p := parameters{}
	f.addTo(p)
	return len(p) > 0
}

// check rejects empty names, which the server takes for no filter.
func (f *filterFlags) check() error {
	for _, filter := range f.named() {
		if slices.Contains(filter.values, "") {
			return fmt.Errorf("--%s is empty: set a value, or leave it out for all", filter.flag)
		}
	}
	return nil
}
