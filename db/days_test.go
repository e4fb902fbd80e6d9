package db_test

import (
	"math"
	"testing"
	"time"

	"github.com/benchledger/benchledger/db"
)

func TestListDays(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)
	days := func(t *testing.T, q *db.Queries, filters db.Filters, errorsCount bool) []db.ListDaysRow {
		t.Helper()
		rows, err := db.ListMatchingDays(t.Context(), q, filters, errorsCount)
		wantNoError(t, err)
		for i := range rows {
			rows[i].Day = rows[i].Day.UTC()
		}
		return rows
	}
	// figured is a run, all of whose figures are multiples of one.
	figured := func(id string, figure float64, change func(*db.Submission)) db.Submission {
		return with(fullRun(id), func(r *db.Submission) {
			r.TotalScore, r.WeightedScore = new(figure), new(10*figure)
			r.Telemetry.CostUsd, r.Telemetry.DurationMs = new(figure/8), new(int64(100*figure))
			r.Telemetry.TokensIn, r.Telemetry.TokensOut = new(int64(1000*figure)), new(int64(20*figure))
			if change != nil {
				change(r)
			}
		})
	}
	day := time.Date(2025, 11, 17, 0, 0, 0, 0, time.UTC)

	t.Run("summarizes the attempts of a day, beside the runs that are none", func(t *testing.T) {
		q, _ := begin(t, pool)
		create(t, q, figured("run-1", 1, nil))
		create(t, q, figured("run-2", 6, func(r *db.Submission) { r.IsSuccessful = false }))
		create(t, q, with(fullRun("run-3"), func(r *db.Submission) { r.TotalScore, r.WeightedScore, r.Telemetry = nil, nil, nil }))
		create(t, q, with(leastRun("run-4"), failedBy("agent"))) // has the score 0
		create(t, q, figured("error", 64, failedBy("workspace")))
		create(t, q, figured("running", 16, withStatus("running")))
		create(t, q, figured("incomplete", 16, withStatus("incomplete")))
		create(t, q, figured("incomplete too", 16, withStatus("incomplete")))
		create(t, q, figured("voided", 16, nil))
		void(t, q, "voided")
		row := db.ListDaysRow{
			Day: day, Runs: 8, Attempts: 4, Successes: 2, InfraErrors: 1, OpenRuns: 3,
			Scores: 3, ScoreMean: new(7.0 / 3), WeightedScores: 3, WeightedScoreMean: new(70.0 / 3), TotalCost: new(71.0 / 8),
			Costs: 2, CostMean: new(7.0 / 16), TokensInMean: new(3500.0), TokensOutMean: new(70.0), Durations: 2, DurationMean: new(350.0),
		}
		wantEqual(t, days(t, q, nil, false), []db.ListDaysRow{row})
		row.Attempts, row.Scores, row.ScoreMean, row.WeightedScores, row.WeightedScoreMean = 5, 4, new(71.0/4), 4, new(710.0/4)
		row.Costs, row.CostMean, row.TokensInMean, row.TokensOutMean = 3, new(71.0/24), new(71000.0/3), new(1420.0/3)
		row.Durations, row.DurationMean = 3, new(7100.0/3)
		wantEqual(t, days(t, q, nil, true), []db.ListDaysRow{row})
	})

	t.Run("counts no success of a failed run", func(t *testing.T) {
		q, _ := begin(t, pool)
		create(t, q, with(leastRun("run-1"), func(r *db.Submission) { r.Status, r.IsSuccessful = "failed", true }))
		wantEqual(t, days(t, q, nil, false), []db.ListDaysRow{{
			Day: day, Runs: 1, Attempts: 1, Scores: 1, ScoreMean: new(0.0), WeightedScores: 1, WeightedScoreMean: new(0.0),
		}})
	})

	t.Run("counts each figure where it is known", func(t *testing.T) {
		q, _ := begin(t, pool)
		for i, change := range []func(*db.Submission){
			func(r *db.Submission) { r.TotalScore = new(1.0) },
			func(r *db.Submission) { r.WeightedScore = new(2.0) },
			func(r *db.Submission) { r.Telemetry = &db.RunTelemetry{CostUsd: new(3.0)} },
			func(r *db.Submission) { r.Telemetry = &db.RunTelemetry{TokensIn: new(int64(4))} },
			func(r *db.Submission) { r.Telemetry = &db.RunTelemetry{TokensOut: new(int64(5))} },
			func(r *db.Submission) { r.Telemetry = &db.RunTelemetry{DurationMs: new(int64(6))} },
		} {
			create(t, q, with(leastRun(string(rune('a'+i))), change))
		}
		wantEqual(t, days(t, q, nil, false), []db.ListDaysRow{{
			Day: day, Runs: 6, Attempts: 6, Scores: 1, ScoreMean: new(1.0), WeightedScores: 1, WeightedScoreMean: new(2.0), TotalCost: new(3.0),
			Costs: 1, CostMean: new(3.0), TokensInMean: new(4.0), TokensOutMean: new(5.0), Durations: 1, DurationMean: new(6.0),
		}})
	})

	t.Run("has the days in UTC, oldest first", func(t *testing.T) {
		q, tx := begin(t, pool)
		exec(t, tx, "set local time zone 'Pacific/Kiritimati'") // UTC+14
		var want []db.ListDaysRow
		for i, start := range []time.Time{
			day.Add(-time.Microsecond), day, day.Add(24*time.Hour - time.Microsecond), day.Add(24 * time.Hour),
			time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), day.AddDate(0, 3, 0), day.AddDate(-2, 0, 0),
		} {
			create(t, q, with(leastRun(string(rune('a'+i))), func(r *db.Submission) { r.StartedAt = start }))
		}
		for _, c := range []struct {
			day  time.Time
			runs int64
		}{
			{time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), 1},
			{day.AddDate(-2, 0, 0), 1},
			{day.AddDate(0, 0, -1), 1},
			{day, 2},
			{day.AddDate(0, 0, 1), 1},
			{day.AddDate(0, 3, 0), 1},
			{time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC), 1},
		} {
			want = append(want, db.ListDaysRow{Day: c.day, Runs: c.runs, Attempts: c.runs})
		}
		wantEqual(t, days(t, q, nil, false), want)
		wantEqual(t, days(t, q, db.Filters{"since": {"2025-11-17T00:00:00Z"}, "until": {"2025-11-18T00:00:00Z"}}, false), want[3:4])
	})

	t.Run("is exact at the ends of the range, whatever the digits of the session", func(t *testing.T) {
		const most = math.MaxFloat64
		for name, c := range map[string]struct {
			figures    []float64
			mean, cost float64
		}{
			"largest":  {[]float64{most, most}, most, most},
			"cancel":   {[]float64{most, -most, 1e16, 3, -1e16}, 3.0 / 5, 3},
			"smallest": {[]float64{5e-324, 5e-324}, 0, 0},
			"digits":   {[]float64{0.1234567890123456}, 0.1234567890123456, 0.1234567890123456},
		} {
			t.Run(name, func(t *testing.T) {
				q, tx := begin(t, pool)
				exec(t, tx, "set local extra_float_digits = -15")
				for i, figure := range c.figures {
					create(t, q, with(leastRun(string(rune('a'+i))), func(r *db.Submission) {
						r.TotalScore, r.WeightedScore, r.Telemetry = &figure, &figure, &db.RunTelemetry{CostUsd: &figure}
					}))
				}
				got := days(t, q, nil, false)[0]
				wantEqual(t, []float64{*got.ScoreMean, *got.WeightedScoreMean, *got.CostMean, *got.TotalCost}, []float64{c.mean, c.mean, c.mean, c.cost})
			})
		}
	})

	t.Run("reads the runs that match", func(t *testing.T) {
		q, _ := begin(t, pool)
		want := []db.ListDaysRow{{
			Day: day, Runs: 1, Attempts: 1, Scores: 1, ScoreMean: new(0.25), WeightedScores: 1, WeightedScoreMean: new(-1.5), TotalCost: new(4.5),
			Costs: 1, CostMean: new(4.5), TokensInMean: new(2.0), TokensOutMean: new(3.0), Durations: 1, DurationMean: new(6.0),
		}}
		wantFiltersSelect(t, q, want, func(filters db.Filters) []db.ListDaysRow { return days(t, q, filters, false) })
	})

	t.Run("reads at most the limits", func(t *testing.T) {
		q, _ := begin(t, pool)
		create(t, q, leastRun("run-1"))
		create(t, q, with(leastRun("run-2"), func(r *db.Submission) { r.StartedAt = noon.AddDate(0, 0, 1) }))
		for _, limits := range [][2]int32{{1, 9}, {9, 1}} {
			rows, err := q.ListDays(t.Context(), db.ListDaysParams{Filters: []byte(`{}`), RunLimit: limits[0], GroupLimit: limits[1]})
			wantNoError(t, err)
			if len(rows) != 1 || rows[0].Runs != 1 {
				t.Errorf("limits %v: %+v", limits, rows)
			}
		}
	})
}
