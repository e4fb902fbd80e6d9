package api_test

import (
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
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
	own := map[string]string{
		"evaluator": "install", "since": "2025-11-17T10:00:00Z", "until": "2025-11-17T10:00:00.000001Z", "isSuccessful": "true",
		"metadata.packageManager": "pnpm", "metadata[big]": "9007199254740993",
	}
	other := map[string]string{
		"since": "2025-11-17T11:00:00.000001+01:00", "until": "2025-11-17T10:00:00Z", "isSuccessful": "false", "status": "failed",
		"metadata[big]": "9007199254740992",
	}
	for field := range reflect.TypeFor[api.RunFilters]().Fields() {
		if name, _, _ := strings.Cut(field.Tag.Get("query"), ","); name != "" && own[name] == "" {
			own[name] = run[name].(string)
		}
	}
	for path, count := range map[string]func(url.Values) int{
		"/api/runs": func(filters url.Values) int { return len(runIDs(s.get("/api/runs?suite=suite-a&" + filters.Encode()))) },
		"/api/stats/matrix": func(filters url.Values) int {
			return len(decode[struct{ Rows []any }](s.get("/api/stats/matrix?suite=suite-a&" + filters.Encode()).want(http.StatusOK)).Rows)
		},
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			all := url.Values{}
			for name, value := range own {
				all.Set(name, value)
			}
			if count(all) != 1 {
				t.Error("all filters leave the run out")
			}
			for name := range own {
				value := other[name]
				if value == "" {
					value = "other"
				}
				all.Set(name, value)
				if count(all) != 0 || count(url.Values{name: {value}}) != 0 {
					t.Errorf("%s=%s selects the run", name, value)
				}
				if name != "since" && name != "until" && name != "isSuccessful" { // These cannot be repeated.
					all[name] = []string{value, own[name]}
					if count(all) != 1 {
						t.Errorf("%s leaves the run out if one of two values is its own", name)
					}
				}
				all.Set(name, own[name])
			}
		})
	}
}

// The Link header leads through a list in each order, with the same filters.
func TestSort(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for i, run := range []object{
		{"totalScore": 0.2, "weightedScore": 3, "telemetry": object{"costUsd": 1, "durationMs": 2000}},
		{"totalScore": 0.9, "weightedScore": 1, "telemetry": object{"costUsd": 3}},
		{"weightedScore": 2, "telemetry": object{"costUsd": 2, "durationMs": 1000}},
		{"totalScore": 0.5},
		{"suite": "suite-b", "totalScore": 1},
		{"suite": "suite-c", "totalScore": 2},
	} {
		run["startedAt"] = fmt.Sprintf("2025-11-17T10:00:0%dZ", i)
		run["metadata"] = object{"commit": "abc"}
		s.submit(leastRun(fmt.Sprint(i), run)).want(http.StatusCreated)
	}
	for sort, want := range map[string]string{
		"newest": "43210", "oldest": "01234", "score": "41302", "weightedScore": "02143", "cost": "12043", "duration": "02431",
	} {
		got, pages := "", 0
		address := "/api/runs?suite=suite-a&suite=suite-b&metadata.commit=abc&limit=2&sort=" + sort
		for ; address != ""; pages++ {
			page := s.get(address)
			got += strings.Join(runIDs(page), "")
			address = nextPage(page)
		}
		if pages != 3 || got != want {
			t.Errorf("%s: %s in %d pages, want %s in 3", sort, got, pages, want)
		}
	}
	cursor := func(sort string) string {
		next, err := url.Parse(nextPage(s.get("/api/runs?limit=1&sort=" + sort)))
		if err != nil {
			t.Fatal(err)
		}
		return next.Query().Get("cursor")
	}
	for _, query := range []string{"sort=oldest&cursor=" + cursor("newest"), "sort=cost&cursor=" + cursor("duration"), "cursor=" + cursor("score")} {
		if faults := s.get("/api/runs?" + query).wantProblem(http.StatusUnprocessableEntity); faults["query.cursor"] == "" {
			t.Errorf("%s: %v", query, faults)
		}
	}
	if got := runIDs(s.get("/api/runs?sort=&suite=suite-c")); !cmp.Equal(got, []string{"5"}) {
		t.Errorf("an empty sort: %v", got)
	}
}
