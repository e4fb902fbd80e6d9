package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The golden files of package stats, through the running service.

type goldenBoards struct {
	Runs   []object
	Boards []struct {
		Parameters                 map[string]any
		Scenarios, SharedScenarios int
		Rows                       []object
	}
}

func golden[T any](t testing.TB, name string) T {
	t.Helper()
	content, err := os.ReadFile("../stats/testdata/golden/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var parsed T
	if err := json.Unmarshal(content, &parsed); err != nil {
		t.Fatal(err)
	}
	return parsed
}

// boardQuery is the path of a golden leaderboard.
func boardQuery(parameters map[string]any) string {
	query := url.Values{"suite": {"golden"}}
	for name, value := range parameters {
		query.Set(name, metricOf(fmt.Sprint(value)))
	}
	return "/api/leaderboard?" + query.Encode()
}

// metricOf is the metric that the golden files call score, and any other text itself.
func metricOf(text string) string { return strings.Replace(text, "score", "totalScore", 1) }

// wantFields fails the test unless the answer has the expected fields: numbers within 2e-8 (the golden bounds are off by as much), percentiles of
// durations within 1.1 %, all else exactly.
func wantFields(t *testing.T, what string, got, want object) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if name == "ranked" {
			if isRanked := got["rank"] != nil; isRanked != want[name] {
				t.Errorf("%s: ranked is %v", what, isRanked)
			}
			continue
		}
		tolerance := 2e-8
		if strings.HasSuffix(name, "DurationMs") {
			tolerance = 0.011
		}
		x, isNumber := want[name].(float64)
		y, err := strconv.ParseFloat(fmt.Sprint(got[name]), 64)
		if isNumber && err == nil && math.Abs(x-y) <= max(1e-12, tolerance*math.Abs(x)) {
			continue
		}
		if !cmp.Equal(got[name], want[name]) {
			t.Errorf("%s: %s is %v, want %v", what, name, got[name], want[name])
		}
	}
}

func TestGetLeaderboard(t *testing.T) {
	t.Parallel()
	s := setup(t)
	g := golden[goldenBoards](t, "leaderboard")
	for _, run := range g.Runs {
		s.submit(run).want(http.StatusCreated)
	}
	for _, board := range g.Boards {
		what := fmt.Sprint(board.Parameters)
		got := decode[object](s.get(boardQuery(board.Parameters)))
		wantFields(t, what, got, object{"scenarios": float64(board.Scenarios)})
		if board.Parameters["coverage"] == "shared" {
			wantFields(t, what, got, object{"sharedScenarios": float64(board.SharedScenarios)})
		}
		rows := got["rows"].([]any)
		if len(rows) != len(board.Rows) {
			t.Fatalf("%s: %d rows, want %d", what, len(rows), len(board.Rows))
		}
		for i, want := range board.Rows {
			wantFields(t, fmt.Sprintf("%s, row %d", what, i), rows[i].(object), want)
		}
	}
}

func TestGetComparison(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for _, run := range golden[goldenBoards](t, "leaderboard").Runs {
		s.submit(run).want(http.StatusCreated)
	}
	for _, c := range golden[struct {
		Comparisons []struct {
			Baseline, Candidate [2]*string
			Metric              string
			Expected            object
		}
	}](t, "comparison").Comparisons {
		query := url.Values{"suite": {"golden"}, "metric": {metricOf(c.Metric)}}
		for side, entry := range map[string][2]*string{"baseline": c.Baseline, "candidate": c.Candidate} {
			query.Set(side+"Agent", *entry[0])
			if entry[1] != nil {
				query.Set(side+"Model", *entry[1])
			} else {
				query.Set(side+"NoModel", "true")
			}
		}
		got := decode[object](s.get("/api/comparison?" + query.Encode()))
		wantFields(t, query.Encode(), got, c.Expected)
	}
}

// asOf is the one field that differs between answers about the same runs.
var asOf = regexp.MustCompile(`"asOf":"[^"]*",`)

// The same runs give the same answers to the last digit, however they came.
func TestOrderOfSubmissionChangesNoStatistic(t *testing.T) {
	t.Parallel()
	g := golden[goldenBoards](t, "leaderboard")
	var paths []string
	for _, board := range g.Boards {
		paths = append(paths, boardQuery(board.Parameters))
	}
	paths = append(
		paths, "/api/leaderboard?suite=golden&by=agent", "/api/leaderboard?suite=golden&by=model&metric=weightedScore",
		"/api/comparison?suite=golden&baselineAgent=alpha&candidateAgent=beta",
		"/api/comparison?suite=golden&baselineAgent=alpha&candidateAgent=beta&metric=totalScore&interval=bootstrap",
		"/api/stats/scenarios?suite=golden&metric=totalScore", "/api/stats/matrix?suite=golden", "/api/stats/pass?suite=golden",
	)
	answers := func(s *service) (all []string) {
		for _, path := range paths {
			all = append(all, asOf.ReplaceAllString(s.get(path).want(http.StatusOK).body, ""))
		}
		return all
	}
	random := rand.New(rand.NewPCG(1, 2))

	straight := setup(t)
	for _, run := range g.Runs {
		straight.submit(run).want(http.StatusCreated)
	}
	want := answers(straight)

	for name, submit := range map[string]func(s *service, run object){
		"in another order": func(s *service, run object) { s.submit(run).want(http.StatusCreated) },
		"and announced first": func(s *service, run object) {
			announced := maps.Clone(run)
			announced["status"] = "running"
			s.submit(announced).want(http.StatusCreated)
			s.submit(run)
		},
		"and sent twice": func(s *service, run object) {
			s.submit(run).want(http.StatusCreated)
			s.submit(run).want(http.StatusOK)
		},
		"and voided, and restored": func(s *service, run object) {
			s.submit(run).want(http.StatusCreated)
			path := "/api/runs/" + run["runId"].(string)
			s.do(http.MethodPost, path+"/void", object{"reason": "a test"}, "Authorization", "Bearer "+key).want(http.StatusOK)
			s.do(http.MethodPost, path+"/restore", object{}, "Authorization", "Bearer "+key).want(http.StatusOK)
		},
		"beside others that are voided": func(s *service, run object) {
			s.submit(run).want(http.StatusCreated)
			other := maps.Clone(run)
			other["runId"] = "other-" + run["runId"].(string)
			s.submit(other).want(http.StatusCreated)
			s.do(http.MethodPost, "/api/runs/"+other["runId"].(string)+"/void", object{"reason": "a test"}, "Authorization", "Bearer "+key).want(http.StatusOK)
		},
	} {
		order := slices.Clone(g.Runs)
		random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setup(t)
			for _, run := range order {
				submit(s, run)
			}
			for i, got := range answers(s) {
				if got != want[i] {
					t.Errorf("%s: %s", paths[i], cmp.Diff(got, want[i]))
				}
			}
		})
	}
}
