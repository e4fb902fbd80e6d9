package api

import (
	"fmt"
	"reflect"
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

// values returns the filters that are set, by name. A filter is a text or a boolean: one
// that is empty or false is not set.
func (f RunFilters) values() map[string]string {
	values := map[string]string{}
	for field, value := range reflect.ValueOf(f).Fields() {
		if kind := value.Kind(); kind != reflect.String && kind != reflect.Bool {
			panic(fmt.Sprintf("the filter %s is neither a text nor a boolean", field.Name))
		}
		if !value.IsZero() {
			values[field.Tag.Get("query")] = fmt.Sprint(value)
		}
	}
	return values
}
