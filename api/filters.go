package api

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// RunFilters select runs; one that is not set selects all. What a filter means is in
// the SQL function run_matches, which knows it by the name of its query parameter.
type RunFilters struct {
	Suite    Name   `query:"suite" doc:"Only runs of this suite." example:"update-deps"`
	Scenario Name   `query:"scenario" doc:"Only runs of this scenario." example:"nx-pnpm-monorepo"`
	Agent    Name   `query:"agent" doc:"Only runs of this agent." example:"claude-code"`
	Status   Status `query:"status" doc:"Only runs with this status."`
	Voided   bool   `query:"voided" doc:"true: return voided runs, too."`
}

func (f RunFilters) values() map[string]string { return filterValues(f) }

// SuiteFilters select the runs of a suite for statistics.
type SuiteFilters struct {
	Suite          Name   `query:"suite" required:"true" doc:"The suite." example:"update-deps"`
	Scenario       Name   `query:"scenario" doc:"Only runs of this scenario." example:"nx-pnpm-monorepo"`
	Tier           Name   `query:"tier" doc:"Only runs of this tier." example:"L1"`
	Agent          Name   `query:"agent" doc:"Only runs of this agent." example:"claude-code"`
	Model          Name   `query:"model" doc:"Only runs of this model." example:"claude-sonnet-4"`
	BatchID        ID     `query:"batchId" doc:"Only runs of this batch." example:"batch-a"`
	SpecialistName Name   `query:"specialistName" doc:"Only runs with this specialist."`
	Evaluator      Name   `query:"evaluator" doc:"Only runs that this evaluator evaluated." example:"install_success"`
	Since          Moment `query:"since" doc:"Only runs that started at this time or later."`
	Until          Moment `query:"until" doc:"Only runs that started before this time."`
}

func (f SuiteFilters) values() map[string]string { return filterValues(f) }

// filterValues returns the filters that are set, by name. A filter is a text or a boolean: one
// that is empty or false is not set.
func filterValues(filters any) map[string]string {
	values := map[string]string{}
	for field, value := range reflect.ValueOf(filters).Fields() {
		if kind := value.Kind(); kind != reflect.String && kind != reflect.Bool {
			panic(fmt.Sprintf("the filter %s is neither a text nor a boolean", field.Name))
		}
		if !value.IsZero() {
			values[field.Tag.Get("query")] = fmt.Sprint(value)
		}
	}
	return values
}

// Moment is a time in a query: RFC 3339, of the years 0001 to 9999.
type Moment string

// Schema documents a Moment.
func (Moment) Schema(huma.Registry) *huma.Schema {
	// An extension, so that huma does not check the format: Resolve does.
	return &huma.Schema{
		Type: huma.TypeString, Description: "RFC 3339, with any offset", Examples: []any{"2025-11-17T10:00:00Z"},
		Extensions: map[string]any{"format": "date-time"},
	}
}

// Resolve rejects what is no time.
func (m *Moment) Resolve(_ huma.Context, path *huma.PathBuffer) []error {
	if _, ok := m.time(); !ok && *m != "" {
		return fieldError(path, "expected RFC 3339 time, in the years 0001 to 9999")
	}
	return nil
}

func (m Moment) time() (moment time.Time, ok bool) {
	moment, ok = parseRFC3339(strings.ToUpper(string(m)))
	moment = moment.UTC().Truncate(time.Microsecond)
	return moment, ok && moment.Year() >= 1 && moment.Year() <= 9999
}

// String returns the time in UTC: PostgreSQL knows no offsets above 16 hours.
func (m Moment) String() string {
	moment, _ := m.time()
	return moment.Format(time.RFC3339Nano)
}
