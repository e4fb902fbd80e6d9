package api_test

import (
	"fmt"
	"math"
	"net/http"
	"testing"
)

// suiteStatistics are the operations that answer for a suite, without its parameter.
var suiteStatistics = []string{
	"/api/leaderboard?", "/api/comparison?baselineAgent=agent-a&candidateAgent=agent-a&", "/api/stats/scenarios?", "/api/stats/matrix?", "/api/stats/pass?",
	"/api/stats/evaluators?", "/api/stats/days?",
}

func TestStatisticsOfAnUnknownSuiteAreEmpty(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for _, path := range suiteStatistics {
		got := decode[object](s.get(path + "suite=none").want(http.StatusOK))
		if rows, isList := got["rows"].([]any); isList && len(rows) > 0 {
			t.Errorf("%s: %v", path, rows)
		}
	}
	got := decode[object](s.get(suiteStatistics[1] + "suite=none"))
	wantFields(t, "comparison", got, object{"verdict": "insufficient", "pValue": nil, "test": nil, "sharedScenarios": 0.0})
}

func TestStatisticsRefuseWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for _, path := range suiteStatistics {
		for query, location := range map[string]string{
			"":                                   "query.suite",
			"suite=a&suit=b":                     "query.suit",
			"suite=a&since=yesterday":            "query.since",
			"suite=a&until=0000-01-01T00:00:00Z": "query.until",
			"suite=a&batchId=..":                 "query.batchId",
		} {
			if faults := s.get(path + query).wantProblem(http.StatusUnprocessableEntity); faults[location] == "" {
				t.Errorf("%s%s: %v", path, query, faults)
			}
		}
	}
	for path, location := range map[string]string{
		"/api/leaderboard?suite=a&level=1":                                                       "query.level",
		"/api/leaderboard?suite=a&metric=score":                                                  "query.metric",
		"/api/leaderboard?suite=a&minCoverage=1.1":                                               "query.minCoverage",
		"/api/stats/pass?suite=a&kMax=101":                                                       "query.kMax",
		"/api/comparison?suite=a&candidateAgent=b":                                               "query.baselineAgent",
		"/api/comparison?suite=a&baselineBatchId=b":                                              "query.candidateAgent",
		"/api/comparison?suite=a&baselineAgent=a&candidateModel=m&candidateNoModel=true":         "query.candidateNoModel",
		"/api/comparison?suite=a&baselineAgent=a&baselineModel=m&baselineNoModel=true&margin=-1": "query.margin",
	} {
		if faults := s.get(path).wantProblem(http.StatusUnprocessableEntity); faults[location] == "" {
			t.Errorf("%s: %v", path, faults)
		}
	}
}

// A side's own filters replace those that both share.
func TestComparisonSides(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for i, run := range []object{
		{"agent": "a", "model": "m1", "batchId": "old", "isSuccessful": false},
		{"agent": "a", "model": "m1", "batchId": "new", "isSuccessful": true},
		{"agent": "b", "model": "m1", "batchId": "new", "isSuccessful": true},
		{"agent": "b", "batchId": "new", "isSuccessful": true},
	} {
		s.submit(leastRun(fmt.Sprint("run-", i), run)).want(http.StatusCreated)
	}
	for query, want := range map[string]object{
		"baselineBatchId=old&candidateBatchId=new":                         {"baseline": 1.0, "candidate": 3.0},
		"baselineBatchId=old&candidateBatchId=new&agent=a":                 {"baseline": 1.0, "candidate": 1.0},
		"baselineAgent=a&candidateAgent=b":                                 {"baseline": 2.0, "candidate": 2.0},
		"baselineAgent=a&candidateAgent=b&batchId=new&baselineBatchId=old": {"baseline": 1.0, "candidate": 2.0},
		"agent=b&baselineModel=m1&candidateNoModel=true":                   {"baseline": 1.0, "candidate": 1.0},
		"model=m1&baselineAgent=b&candidateNoModel=true":                   {"baseline": 1.0, "candidate": 1.0},
	} {
		got := decode[object](s.get("/api/comparison?suite=suite-a&" + query))
		wantFields(t, query, got["runs"].(object), want)
	}
}

func TestStatisticsOfExtremeScores(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for i, score := range []float64{math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, 1e200, 0, 1} {
		for j, agent := range []string{"agent-a", "agent-b"} {
			s.submit(leastRun(fmt.Sprint("run-", i, agent), object{
				"agent": agent, "scenario": fmt.Sprint("scenario-", (i+j)%4), "totalScore": score, "weightedScore": score,
				"telemetry": object{"costUsd": math.Abs(score), "tokensIn": math.MaxInt64, "tokensOut": math.MaxInt64, "durationMs": math.MaxInt64},
			})).want(http.StatusCreated)
		}
	}
	for _, metric := range []string{"success", "totalScore", "weightedScore"} {
		for _, path := range suiteStatistics {
			if path != "/api/stats/pass?" && path != "/api/stats/evaluators?" {
				path += "metric=" + metric + "&"
			}
			s.get(path + "suite=suite-a").want(http.StatusOK)
		}
		s.get("/api/comparison?suite=suite-a&baselineAgent=agent-a&candidateAgent=agent-b&interval=bootstrap&margin=0.1&metric=" + metric).want(http.StatusOK)
	}
}
