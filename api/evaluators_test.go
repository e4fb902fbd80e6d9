package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
)

// scored is an evaluation with a score out of 4.
func scored(evaluator string, score any) object {
	return object{"evaluatorName": evaluator, "score": score, "maxScore": 4}
}

// wantStatistic fails the test unless the answer, without its time, is this JSON, with numbers to eight digits.
func wantStatistic(t *testing.T, a answer, want string) {
	t.Helper()
	got := decode[object](a.want(http.StatusOK))
	delete(got, "asOf")
	for _, row := range got["rows"].([]any) {
		for name, value := range row.(object) {
			if number, isNumber := value.(json.Number); isNumber {
				double, err := number.Float64()
				if err != nil {
					t.Fatal(err)
				}
				row.(object)[name] = math.Round(double*1e8) / 1e8
			}
		}
	}
	wantJSON(t, got, want)
}

func TestListEvaluatorStats(t *testing.T) {
	t.Parallel()
	const path = "/api/stats/evaluators?suite=suite-a"

	t.Run("summarizes each evaluator over scenarios", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		for id, fields := range map[string]object{
			"a-1":          {"scenario": "a", "evaluations": []object{scored("install", 4), scored("judge", 1)}},
			"a-2":          {"scenario": "a", "evaluations": []object{scored("judge", 3), scored("judge", nil)}},
			"b-1":          {"scenario": "b", "status": "failed", "isSuccessful": false, "evaluations": []object{scored("judge", 0)}},
			"b-2":          {"scenario": "b", "tier": "L2", "evaluations": []object{scored("install", 0), scored("Judge", nil)}},
			"no score":     {"scenario": "c", "evaluations": []object{scored("Judge", nil)}},
			"no one":       {"scenario": "c"},
			"failed":       {"scenario": "d", "status": "failed"},
			"infra error":  {"scenario": "e", "status": "failed", "metadata": object{"errorType": "workspace"}, "evaluations": []object{scored("judge", 4)}},
			"infra error2": {"scenario": "e", "status": "failed", "metadata": object{"errorType": "lost"}},
			"running":      {"scenario": "f", "status": "running", "evaluations": []object{scored("judge", 4)}},
			"elsewhere":    {"suite": "suite-b", "evaluations": []object{scored("judge", 4)}},
			"voided":       {"evaluations": []object{scored("judge", 4)}},
		} {
			s.submit(leastRun(id, fields)).want(http.StatusCreated)
		}
		s.do(http.MethodPost, "/api/runs/voided/void", object{"reason": "a test"}, "Authorization", "Bearer "+key).want(http.StatusOK)
		others := `
			{"evaluatorName": "Judge", "evaluations": 2, "runs": 2, "scenarios": 2, "mean": null, "low": null, "high": null, "full": 0, "zero": 0, "unscored": 2},
			{"evaluatorName": "install", "evaluations": 2, "runs": 2, "scenarios": 2, "mean": 0.5, "low": -5.85310237, "high": 6.85310237,
			 "full": 1, "zero": 1, "unscored": 0},`
		wantStatistic(t, s.get(path), `{"runs": 7, "infraErrors": 2, "openRuns": 1, "unscored": 3, "rows": [`+others+`
			{"evaluatorName": "judge", "evaluations": 4, "runs": 3, "scenarios": 2, "mean": 0.25, "low": -2.92655118, "high": 3.42655118,
			 "full": 0, "zero": 1, "unscored": 1}]}`)
		wantStatistic(t, s.get(path+"&infra=failure&level=0.5"), `{"runs": 9, "infraErrors": 2, "openRuns": 1, "unscored": 4, "rows": [
			{"evaluatorName": "Judge", "evaluations": 2, "runs": 2, "scenarios": 2, "mean": null, "low": null, "high": null, "full": 0, "zero": 0, "unscored": 2},
			{"evaluatorName": "install", "evaluations": 2, "runs": 2, "scenarios": 2, "mean": 0.5, "low": 0, "high": 1, "full": 1, "zero": 1, "unscored": 0},
			{"evaluatorName": "judge", "evaluations": 5, "runs": 4, "scenarios": 3, "mean": 0.5, "low": 0.26429774, "high": 0.73570226,
			 "full": 1, "zero": 1, "unscored": 1}]}`)
	})

	t.Run("clusters the tiers of a scenario", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		for i, score := range []int{1, 1, 3, 3} {
			s.submit(leastRun(fmt.Sprint(i), object{
				"scenario": fmt.Sprint(i / 2), "tier": fmt.Sprint(i % 2), "evaluations": []object{scored("judge", score)},
			})).want(http.StatusCreated)
		}
		// The two scenarios have the means 1/4 and 3/4: the same as without tiers.
		wantStatistic(t, s.get(path+"&level=0.5"), `{"runs": 4, "infraErrors": 0, "openRuns": 0, "unscored": 0, "rows": [
			{"evaluatorName": "judge", "evaluations": 4, "runs": 4, "scenarios": 4, "mean": 0.5, "low": 0.25, "high": 0.75, "full": 0, "zero": 0, "unscored": 0}]}`)
	})

	t.Run("takes the filter of evaluators for one of runs", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.submit(leastRun("run-1", object{"evaluations": []object{scored("judge", 1), scored("install", 4)}})).want(http.StatusCreated)
		s.submit(leastRun("run-2", object{"evaluations": []object{scored("install", 0)}})).want(http.StatusCreated)
		wantStatistic(t, s.get(path+"&evaluator=judge"), `{"runs": 1, "infraErrors": 0, "openRuns": 0, "unscored": 0, "rows": [
			{"evaluatorName": "install", "evaluations": 1, "runs": 1, "scenarios": 1, "mean": 1, "low": null, "high": null, "full": 1, "zero": 0, "unscored": 0},
			{"evaluatorName": "judge", "evaluations": 1, "runs": 1, "scenarios": 1, "mean": 0.25, "low": null, "high": null, "full": 0, "zero": 0, "unscored": 0}]}`)
		wantStatistic(t, s.get(path+"&scenario=other"), `{"runs": 0, "infraErrors": 0, "openRuns": 0, "unscored": 0, "rows": []}`)
	})

	t.Run("refuses what is no level", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		for query, location := range map[string]string{"&level=1": "query.level", "&infra=ignore": "query.infra", "&metric=success": "query.metric"} {
			if faults := s.get(path + query).wantProblem(http.StatusUnprocessableEntity); faults[location] == "" {
				t.Errorf("%s: %v", query, faults)
			}
		}
	})
}

// extremeScores are doubles at the ends of their range.
var extremeScores = []float64{math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, 1.8e307, 0, 1}

func TestEvaluatorStatsOfExtremeScores(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for i, score := range extremeScores {
		for j, most := range []float64{math.MaxFloat64, math.SmallestNonzeroFloat64, 1} {
			s.submit(leastRun(fmt.Sprint(i, "-", j), object{
				"scenario": fmt.Sprint(i % 4),
				"evaluations": []object{
					{"evaluatorName": fmt.Sprint("judge-", j), "score": score, "maxScore": most},
					{"evaluatorName": fmt.Sprint("judge of ", score), "score": score, "maxScore": most},
				},
			})).want(http.StatusCreated)
		}
	}
	type row struct {
		EvaluatorName string
		Mean          *json.Number
	}
	for _, got := range decode[struct{ Rows []row }](s.get("/api/stats/evaluators?suite=suite-a").want(http.StatusOK)).Rows {
		if got.Mean == nil {
			t.Errorf("%s has no mean", got.EvaluatorName)
		}
	}
}

// submitTrend submits 60 runs on 10 days, in an order of its own, with figures whose sums in double depend on the order.
func submitTrend(s *service, order int) {
	s.t.Helper()
	figures := rand.New(rand.NewPCG(5, 6))
	runs := make([]object, 60)
	for i := range runs {
		score := figures.NormFloat64() * math.Pow(10, float64(i%9-4))
		runs[i] = leastRun(fmt.Sprint("run-", i), object{
			"scenario": fmt.Sprint("scenario-", i%3), "isSuccessful": i%7 < 4, "status": []string{"completed", "completed", "completed", "failed"}[i%4],
			"startedAt": fmt.Sprintf("2025-11-%02dT%02d:30:00Z", 10+i/6, i%24), "totalScore": score, "weightedScore": score / 3,
			"evaluations": []object{
				{"evaluatorName": "judge", "score": score, "maxScore": 3},
				{"evaluatorName": "judge", "score": score / 7, "maxScore": 0.7},
				{"evaluatorName": "install", "score": score * score, "maxScore": 1e-3},
			},
			"telemetry": object{"costUsd": math.Abs(score) / 9, "tokensIn": i * i, "tokensOut": i, "durationMs": 1000 + i},
		})
	}
	random := rand.New(rand.NewPCG(7, uint64(order)))
	for _, i := range random.Perm(len(runs)) {
		if order == 0 {
			s.submit(runs[i]).want(http.StatusCreated)
			continue
		}
		announced := maps.Clone(runs[i])
		announced["status"] = "running"
		s.submit(announced).want(http.StatusCreated)
		s.submit(runs[i])
		other := maps.Clone(runs[i])
		other["runId"] = fmt.Sprint("voided-", i)
		s.submit(other).want(http.StatusCreated)
		s.do(http.MethodPost, fmt.Sprint("/api/runs/voided-", i, "/void"), object{"reason": "a test"}, "Authorization", "Bearer "+key).want(http.StatusOK)
	}
}

// The same runs give the same answers to the last digit, however they came, beside others that are voided.
func TestOrderOfSubmissionChangesNoTrend(t *testing.T) {
	t.Parallel()
	answers := make([][]string, 3)
	for order := range answers {
		s := setup(t)
		submitTrend(s, order)
		for _, path := range []string{
			"/api/stats/evaluators?suite=suite-a", "/api/stats/evaluators?suite=suite-a&infra=failure&level=0.9", "/api/stats/days?suite=suite-a&band=7",
			"/api/stats/days?suite=suite-a&band=90&metric=totalScore", "/api/stats/days?suite=suite-a&band=8&metric=weightedScore&infra=failure",
		} {
			answers[order] = append(answers[order], asOf.ReplaceAllString(s.get(path).want(http.StatusOK).body, ""))
		}
		if !slices.Equal(answers[order], answers[0]) {
			t.Errorf("another order: %s, want %s", answers[order], answers[0])
		}
	}
}
