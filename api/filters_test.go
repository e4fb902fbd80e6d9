package api_test

import (
	"net/http"
	"net/url"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/benchledger/benchledger/api"
)

// A filter that run_matches does not know would select all runs.
func TestEveryFilterSelects(t *testing.T) {
	t.Parallel()
	s := setup(t)
	run := fullRun("run-1")
	s.submit(run).want(http.StatusCreated)
	filters := url.Values{}
	for field := range reflect.TypeFor[api.RunFilters]().Fields() {
		if field.Type.Kind() != reflect.String { // TestVoidRun tests voided.
			continue
		}
		name := field.Tag.Get("query")
		filters.Set(name, run[name].(string))
	}
	if got := runIDs(s.get("/api/runs?" + filters.Encode()).want(http.StatusOK)); !cmp.Equal(got, []string{"run-1"}) {
		t.Fatalf("all filters: %v", got)
	}
	for name, own := range filters {
		filters.Set(name, "failed") // Valid for all, also for the status, and of no run.
		for _, query := range []string{filters.Encode(), name + "=failed"} {
			if got := runIDs(s.get("/api/runs?" + query).want(http.StatusOK)); len(got) > 0 {
				t.Errorf("%s: %v", query, got)
			}
		}
		filters[name] = own
	}
}
