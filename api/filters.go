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
}

// values returns the filters that are set, by name. A filter is a text: an empty one is
// not set.
func (f RunFilters) values() map[string]string {
	values := map[string]string{}
	for field, value := range reflect.ValueOf(f).Fields() {
		if value.Kind() != reflect.String {
			panic(fmt.Sprintf("the filter %s is not a text", field.Name))
		}
		if text := value.String(); text != "" {
			values[field.Tag.Get("query")] = text
		}
	}
	return values
}
