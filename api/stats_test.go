package api_test

import (
	"fmt"
	"math"
	"net/http"
	"testing"
)

func TestGetStats(t *testing.T) {
	t.Parallel()
	s := setup(t)
	if got := s.get("/api/stats").want(http.StatusOK); got.body != `{"totalRuns":0,"successfulRuns":0,"avgScore":null,"avgWeightedScore":null}` {
		t.Errorf("without runs: %s", got.body)
	}
	var total, weighted float64
	for i := range 100 {
		score := math.Sin(float64(i)) * 1e3
		total, weighted = total+score, weighted+score*score
		s.submit(leastRun(fmt.Sprint("run-", i), object{"totalScore": score, "weightedScore": score * score, "isSuccessful": i%4 == 0})).want(http.StatusCreated)
	}
	// Without scores, and not completed: the first counts, the others do not.
	s.submit(leastRun("no-score")).want(http.StatusCreated)
	for _, status := range []string{"failed", "running", "incomplete"} {
		s.submit(leastRun(status, object{"status": status, "totalScore": 1e9, "weightedScore": 1e9, "isSuccessful": true})).want(http.StatusCreated)
	}
	got := decode[struct {
		TotalRuns, SuccessfulRuns  int
		AvgScore, AvgWeightedScore float64
	}](s.get("/api/stats"))
	if got.TotalRuns != 101 || got.SuccessfulRuns != 25 {
		t.Errorf("%+v, want 101 and 25", got)
	}
	if math.Abs(got.AvgScore-total/100) > 1e-9 || math.Abs(got.AvgWeightedScore-weighted/100) > 1e-9*weighted/100 {
		t.Errorf("%+v, want %v and %v", got, total/100, weighted/100)
	}
	if faults := s.get("/api/stats?agent=a").wantProblem(http.StatusUnprocessableEntity); faults["query.agent"] == "" {
		t.Errorf("faults %v", faults)
	}
}

func TestStatsExtremeScores(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for i, score := range []float64{math.MaxFloat64, math.MaxFloat64, -math.MaxFloat64, 1e200} {
		s.submit(leastRun(fmt.Sprint("run-", i), object{
			"totalScore": score, "weightedScore": score, "isSuccessful": true, "batchId": "batch-a",
		})).want(http.StatusCreated)
	}
	for _, path := range []string{"/api/stats", "/api/stats/agents", "/api/batches", "/api/batches/batch-a"} {
		s.get(path).want(http.StatusOK)
	}
	got := decode[struct{ AvgScore float64 }](s.get("/api/stats")).AvgScore
	if want := math.MaxFloat64 / 4; math.Abs(got/want-1) > 1e-9 {
		t.Errorf("average %v, want %v", got, want)
	}
}

func TestListAgentStats(t *testing.T) {
	t.Parallel()
	s := setup(t)
	if got := s.get("/api/stats/agents").want(http.StatusOK); got.body != "[]" {
		t.Errorf("without runs: %s", got.body)
	}
	id := 0
	submit := func(agent string, fields ...object) {
		id++
		s.submit(leastRun(fmt.Sprint(id), append([]object{{"agent": agent, "isSuccessful": true}}, fields...)...)).want(http.StatusCreated)
	}
	submit("null-b")
	submit("null-a")
	submit("tie-b", object{"weightedScore": 5})
	submit("tie-a", object{"weightedScore": 4})
	submit("tie-a", object{"weightedScore": 6})
	submit("tie-a") // without a score
	submit("best", object{"weightedScore": 9.5})
	submit("not-successful", object{"weightedScore": 10, "isSuccessful": false})
	submit("not-completed", object{"weightedScore": 10, "status": "failed"})
	want := `[{"agent":"best","runs":1,"avgScore":9.5,"minScore":9.5,"maxScore":9.5},` +
		`{"agent":"tie-a","runs":3,"avgScore":5,"minScore":4,"maxScore":6},` +
		`{"agent":"tie-b","runs":1,"avgScore":5,"minScore":5,"maxScore":5},` +
		`{"agent":"null-a","runs":1,"avgScore":null,"minScore":null,"maxScore":null},` +
		`{"agent":"null-b","runs":1,"avgScore":null,"minScore":null,"maxScore":null}]`
	if got := s.get("/api/stats/agents").want(http.StatusOK); got.body != want {
		t.Errorf("%s, want %s", got.body, want)
	}
}
