package api_test

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/benchledger/benchledger/stats"
)

func TestListDailyStats(t *testing.T) {
	t.Parallel()
	const path = "/api/stats/days?suite=suite-a"

	t.Run("has the figures of each day with runs", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		on := func(day string, fields object) object {
			return with(fields, object{"startedAt": "2025-11-" + day + "T23:59:59.999Z"})
		}
		for id, fields := range map[string]object{
			"1": on("17", object{
				"isSuccessful": true, "totalScore": 0.5, "weightedScore": 8, "telemetry": object{"costUsd": 0.25, "tokensIn": 100, "tokensOut": 10, "durationMs": 4000},
			}),
			"2": on("17", object{"totalScore": 0.25, "telemetry": object{"costUsd": 0.75, "tokensIn": 300, "durationMs": 2000}}),
			"3": on("17", object{
				"status": "failed", "metadata": object{"errorType": "workspace"},
				"telemetry": object{"costUsd": 2, "tokensIn": 2000, "tokensOut": 2000, "durationMs": 9000},
			}),
			"4": on("17", object{"status": "running", "telemetry": object{"costUsd": 50}}),
			"5": on("16", object{"isSuccessful": true, "totalScore": 0.5, "startedAt": "2025-11-17T01:00:00+02:00"}),
			"6": on("19", object{"status": "failed", "telemetry": object{"costUsd": 1}}),
			"7": on("19", object{"weightedScore": 3}),
			"8": on("21", object{"status": "incomplete"}),
			"9": on("22", object{"status": "failed", "metadata": object{"errorType": "lost"}, "telemetry": object{"costUsd": 4}}),
			// Left out.
			"voided": on("18", object{"isSuccessful": true}),
			"other":  on("18", object{"suite": "suite-b", "isSuccessful": true}),
		} {
			s.submit(leastRun(id, fields)).want(http.StatusCreated)
		}
		s.submit(leastRun("5b", object{"isSuccessful": false, "startedAt": "2025-11-17T01:00:00+02:00"})).want(http.StatusCreated) // On the 16th.
		s.do(http.MethodPost, "/api/runs/voided/void", object{"reason": "a test"}, "Authorization", "Bearer "+key).want(http.StatusOK)

		none := `"costRuns": 0, "totalCostUsd": null, "costPerRunUsd": null, "tokensInPerRun": null, "tokensOutPerRun": null,
			"durationRuns": 0, "meanDurationMs": null, "expectedLow": null, "expectedHigh": null`
		wantStatistic(t, s.get(path), `{"runs": 6, "infraErrors": 2, "openRuns": 2, "unscored": 0, "rows": [
			{"day": "2025-11-16", "runs": 2, "successes": 1, "infraErrors": 0, "openRuns": 0, "unscored": 1, "rate": 0.5, "score": 0.5, `+none+`},
			{"day": "2025-11-17", "runs": 2, "successes": 1, "infraErrors": 1, "openRuns": 1, "unscored": 0, "rate": 0.5, "score": 0.375,
			 "costRuns": 2, "totalCostUsd": 3, "costPerRunUsd": 0.5, "tokensInPerRun": 200, "tokensOutPerRun": 10, "durationRuns": 2, "meanDurationMs": 3000,
			 "expectedLow": null, "expectedHigh": null},
			{"day": "2025-11-19", "runs": 2, "successes": 0, "infraErrors": 0, "openRuns": 0, "unscored": 1, "rate": 0, "score": 0,
			 "costRuns": 1, "totalCostUsd": 1, "costPerRunUsd": null, "tokensInPerRun": null, "tokensOutPerRun": null, "durationRuns": 0, "meanDurationMs": null,
			 "expectedLow": null, "expectedHigh": null},
			{"day": "2025-11-21", "runs": 0, "successes": 0, "infraErrors": 0, "openRuns": 1, "unscored": 0, "rate": null, "score": null, `+none+`},
			{"day": "2025-11-22", "runs": 0, "successes": 0, "infraErrors": 1, "openRuns": 0, "unscored": 0, "rate": null, "score": null,
			 "costRuns": 0, "totalCostUsd": 4, "costPerRunUsd": null, "tokensInPerRun": null, "tokensOutPerRun": null, "durationRuns": 0, "meanDurationMs": null,
			 "expectedLow": null, "expectedHigh": null}]}`)

		day := func(query string, i int) object {
			t.Helper()
			got := decode[object](s.get(path + query).want(http.StatusOK))
			return with(got["rows"].([]any)[i].(object), object{"all unscored": got["unscored"], "all runs": got["runs"], "all errors": got["infraErrors"]})
		}
		wantFields(t, "infra errors fail", day("&infra=failure", 1), object{
			"runs": 3.0, "successes": 1.0, "infraErrors": 1.0, "openRuns": 1.0, "rate": 1.0 / 3, "score": 0.25, "costRuns": 3.0, "costPerRunUsd": 1.0, "totalCostUsd": 3.0,
			"tokensInPerRun": 800.0, "tokensOutPerRun": 1005.0, "durationRuns": 3.0, "all runs": 8.0, "all errors": 2.0, "all unscored": 0.0,
		})
		wantFields(t, "total score", day("&metric=totalScore", 2), object{"score": 0.0, "unscored": 1.0, "all unscored": 2.0})
		wantFields(t, "weighted score", day("&metric=weightedScore", 2), object{"rate": 0.0, "score": 1.5, "unscored": 0.0, "all unscored": 3.0})
		wantFields(t, "weighted score of the 16th", day("&metric=weightedScore", 0), object{"rate": 0.5, "score": nil, "unscored": 2.0})
		wantFields(t, "since", day("&since=2025-11-19T00:00:00Z", 0), object{"day": "2025-11-19", "all runs": 2.0})
	})

	t.Run("says what the days before a day let expect", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		// Each day has as many runs as successes and failures; those with few runs count in no band.
		days := []struct {
			day, successes, failures int
		}{{1, 4, 1}, {2, 3, 2}, {3, 5, 0}, {5, 4, 2}, {6, 3, 3}, {7, 2, 2}, {8, 6, 1}, {20, 5, 5}}
		date := func(day int) time.Time { return time.Date(2025, 3, 25+day, 12, 0, 0, 0, time.UTC) }
		for _, d := range days {
			for i := range d.successes + d.failures {
				score := float64(d.day) + float64(i)/8
				s.submit(leastRun(fmt.Sprint(d.day, "-", i), object{
					"isSuccessful": i < d.successes, "totalScore": score, "weightedScore": 2 * score, "startedAt": date(d.day).Format(time.RFC3339),
				})).want(http.StatusCreated)
			}
		}
		// expected are the bounds by days of the list.
		expected := func(level float64, metric string, of ...int) stats.Interval {
			var means []stats.Day
			for _, i := range of {
				runs := days[i].successes + days[i].failures
				mean := float64(days[i].successes) / float64(runs)
				if metric != "success" {
					mean = float64(days[i].day) + float64(runs-1)/16
				}
				if metric == "weightedScore" {
					mean *= 2
				}
				means = append(means, stats.Day{Runs: int64(runs), Mean: mean})
			}
			return stats.ExpectedBand(means, level)
		}
		for _, c := range []struct {
			query, metric string
			level         float64
			of            map[int][]int // of a day of the list: the days in its band
		}{
			{"&band=0", "success", 0.95, nil},
			{"", "success", 0.95, nil},
			{"&band=5", "success", 0.95, nil},
			{"&band=6", "success", 0.95, map[int][]int{5: {0, 1, 2, 3, 4}}},
			{"&band=7", "success", 0.95, map[int][]int{5: {0, 1, 2, 3, 4}, 6: {0, 1, 2, 3, 4}}},
			{"&band=90", "success", 0.95, map[int][]int{5: {0, 1, 2, 3, 4}, 6: {0, 1, 2, 3, 4}, 7: {0, 1, 2, 3, 4, 6}}},
			{"&band=90&level=0.8&metric=totalScore", "totalScore", 0.8, map[int][]int{5: {0, 1, 2, 3, 4}, 6: {0, 1, 2, 3, 4}, 7: {0, 1, 2, 3, 4, 6}}},
			{"&band=17&metric=weightedScore", "weightedScore", 0.95, map[int][]int{5: {0, 1, 2, 3, 4}, 6: {0, 1, 2, 3, 4}}},
			{"&band=18&metric=weightedScore", "weightedScore", 0.95, map[int][]int{5: {0, 1, 2, 3, 4}, 6: {0, 1, 2, 3, 4}, 7: {1, 2, 3, 4, 6}}},
			{"&band=90&since=" + date(2).Format(time.RFC3339), "success", 0.95, map[int][]int{7: {1, 2, 3, 4, 6}}},
		} {
			rows := decode[object](s.get(path + c.query).want(http.StatusOK))["rows"].([]any)
			first := len(days) - len(rows)
			for i, row := range rows {
				want := expected(c.level, c.metric, c.of[first+i]...)
				got := row.(object)
				if got["day"] != date(days[first+i].day).Format(time.DateOnly) {
					t.Errorf("%s: row %d is of %v", c.query, i, got["day"])
				}
				for name, bound := range map[string]*float64{"expectedLow": want.Low, "expectedHigh": want.High} {
					if bound == nil {
						wantFields(t, fmt.Sprint(c.query, ", row ", i), got, object{name: nil})
					} else {
						wantFields(t, fmt.Sprint(c.query, ", row ", i), got, object{name: *bound})
					}
				}
			}
		}
	})

	t.Run("counts scores for the band of a score", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		// On each of 6 days 5 runs, of which one has no score.
		for i := range 30 {
			run := leastRun(fmt.Sprint(i), object{"isSuccessful": i%3 == 0, "startedAt": fmt.Sprintf("2025-11-%02dT10:00:00Z", 1+i/5)})
			if i%5 > 0 {
				run["totalScore"] = i
			}
			s.submit(run).want(http.StatusCreated)
		}
		last := func(query string) object {
			rows := decode[object](s.get(path + "&band=30" + query).want(http.StatusOK))["rows"].([]any)
			return rows[len(rows)-1].(object)
		}
		if got := last(""); got["expectedLow"] == nil || got["expectedHigh"] == nil {
			t.Errorf("by success: %v", got)
		}
		wantFields(t, "by total score", last("&metric=totalScore"), object{"expectedLow": nil, "expectedHigh": nil, "score": 27.5, "unscored": 1.0})
		wantFields(t, "by weighted score", last("&metric=weightedScore"), object{"expectedLow": nil, "expectedHigh": nil, "score": nil, "unscored": 5.0})
	})

	t.Run("refuses what is no band", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		for _, band := range []string{"-1", "91", "7.5", "week"} {
			if faults := s.get(path + "&band=" + band).wantProblem(http.StatusUnprocessableEntity); faults["query.band"] == "" {
				t.Errorf("%s: %v", band, faults)
			}
		}
	})
}

func TestDailyStatsOfExtremeScores(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for i := range 10 * len(extremeScores) {
		score := extremeScores[i%len(extremeScores)]
		s.submit(leastRun(fmt.Sprint(i), object{
			"totalScore": score, "weightedScore": -score, "startedAt": fmt.Sprintf("2025-11-%02dT10:00:00Z", 1+i/len(extremeScores)),
			"telemetry": object{"costUsd": math.Abs(score), "tokensIn": math.MaxInt64, "tokensOut": math.MaxInt64, "durationMs": math.MaxInt64},
		})).want(http.StatusCreated)
	}
	for _, start := range []string{"0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"} {
		s.do(http.MethodPost, "/api/results", leastRun(start, object{"startedAt": start}), "Authorization", "Bearer "+key).want(http.StatusCreated)
	}
	var days []string
	for _, metric := range []string{"success", "totalScore", "weightedScore"} {
		got := decode[object](s.get("/api/stats/days?suite=suite-a&band=90&metric=" + metric).want(http.StatusOK))
		days = nil
		for _, row := range got["rows"].([]any) {
			days = append(days, row.(object)["day"].(string))
		}
		row := got["rows"].([]any)[8].(object)
		if cost, err := strconv.ParseFloat(fmt.Sprint(row["totalCostUsd"]), 64); err != nil || cost != math.MaxFloat64 {
			t.Errorf("total cost %v", row["totalCostUsd"])
		}
	}
	if len(days) != 12 || days[0] != "0001-01-01" || days[11] != "9999-12-31" || !slices.IsSorted(days) {
		t.Errorf("days %v", days)
	}
}

// with returns fields with more.
func with(fields, more object) object {
	merged := object{}
	for _, from := range []object{more, fields} {
		for name, value := range from {
			merged[name] = value
		}
	}
	return merged
}
