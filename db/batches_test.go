package db_test

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/benchledger/benchledger/db"
)

func TestGetBatch(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)

	t.Run("gives what was reported, whatever its runs say", func(t *testing.T) {
		q, _ := begin(t, pool)
		upsertBatch(t, q, fullBatch("batch-a"))
		create(t, q, fullRun("run-1"))
		wantEqual(t, getBatch(t, q, "batch-a"), summaryOf(fullBatch("batch-a")))
	})

	t.Run("gives no row for a batch that is not there", func(t *testing.T) {
		q, _ := begin(t, pool)
		upsertBatch(t, q, fullBatch("batch-a"))
		_, err := q.GetBatch(t.Context(), "batch-b")
		wantKind(t, err, db.NotFound)
	})

	t.Run("counts nothing, and has no averages, without runs", func(t *testing.T) {
		q, _ := begin(t, pool)
		upsertBatch(t, q, db.UpsertBatchParams{BatchID: "batch-a", CreatedAt: new(noon)})
		create(t, q, otherRun("run-1"))
		wantEqual(t, getBatch(t, q, "batch-a"), db.BatchSummary{BatchID: "batch-a", CreatedAt: noon})
	})

	t.Run("counts over all of its runs, averages over its completed ones", func(t *testing.T) {
		q, _ := begin(t, pool)
		want := storeScoredRuns(t, q)
		wantSummary(t, getBatch(t, q, "batch-a"), want)
		wantSummary(t, getBatch(t, q, "batch-b"), scores{total: []float64{99}, weighted: []float64{99}, runs: 1, successful: 1})
	})

	t.Run("computes each figure that was not reported, and no other", func(t *testing.T) {
		q, _ := begin(t, pool)
		upsertBatch(t, q, fullBatch("batch-a"))
		computed := storeScoredRuns(t, q)
		for _, leaveOut := range []func(*db.UpsertBatchParams){
			func(b *db.UpsertBatchParams) { b.TotalRuns = nil },
			func(b *db.UpsertBatchParams) { b.SuccessfulRuns = nil },
			func(b *db.UpsertBatchParams) { b.AvgScore = nil },
			func(b *db.UpsertBatchParams) { b.AvgWeightedScore = nil },
		} {
			batch := with(fullBatch("batch-a"), leaveOut)
			upsertBatch(t, q, batch)
			got := getBatch(t, q, "batch-a")
			if want := cmp.Or(value64(batch.TotalRuns), computed.runs); got.TotalRuns != want {
				t.Errorf("%d runs, want %d", got.TotalRuns, want)
			}
			if want := cmp.Or(value64(batch.SuccessfulRuns), computed.successful); got.SuccessfulRuns != want {
				t.Errorf("%d successful runs, want %d", got.SuccessfulRuns, want)
			}
			wantAverage(t, got.AvgScore, orMean(batch.AvgScore, computed.total))
			wantAverage(t, got.AvgWeightedScore, orMean(batch.AvgWeightedScore, computed.weighted))
		}
	})

	t.Run("has no averages where no completed run has the score", func(t *testing.T) {
		q, _ := begin(t, pool)
		create(t, q, inBatch("run-1", func(r *db.Submission) { r.TotalScore = nil }))
		create(t, q, inBatch("run-2", func(r *db.Submission) { r.Status, r.WeightedScore = "failed", new(3.0) }))
		got := getBatch(t, q, "batch-a")
		if got.AvgScore != nil || got.AvgWeightedScore != nil || got.TotalRuns != 2 {
			t.Errorf("%d runs, averages %v and %v", got.TotalRuns, deref(got.AvgScore), deref(got.AvgWeightedScore))
		}
	})

	t.Run("averages scores at the ends of the range", func(t *testing.T) {
		q, _ := begin(t, pool)
		storeExtremes(t, q)
		for name, extreme := range extremes {
			got := getBatch(t, q, name)
			wantAverage(t, got.AvgScore, mean(extreme))
			wantAverage(t, got.AvgWeightedScore, mean(extreme))
		}
	})
}

// extremes are scores for which a plain sum, or a plain scaling, overflows or underflows.
var extremes = map[string][]float64{
	"largest":              {math.MaxFloat64, math.MaxFloat64, math.MaxFloat64},
	"large":                {1.7e308, 1.6e308, 1.7e308, 1.5e308},
	"large and negative":   {-1.7e308, -1.7e308, -1.6e308},
	"large that cancel":    {1.7e308, 1.7e308, -1.7e308, -1.7e308, 1.7e308},
	"smallest":             {math.SmallestNonzeroFloat64, -math.SmallestNonzeroFloat64},
	"small, and one other": {1e-310, 3, -1e-305},
	"around the threshold": {1e-200, 0.9e-200, -1e-200, 1e-199},
	"zero":                 {0, 0},
}

// storeExtremes stores a batch of runs for each.
func storeExtremes(t testing.TB, q *db.Queries) {
	t.Helper()
	for name, extreme := range extremes {
		for i, score := range extreme {
			create(t, q, with(leastRun(fmt.Sprint(name, i)), func(r *db.Submission) {
				r.BatchID, r.TotalScore, r.WeightedScore = &name, &score, &score
			}))
		}
	}
}

// mean is computed without leaving the range.
func mean(scores []float64) float64 {
	var mean float64
	for _, score := range scores {
		mean += score / float64(len(scores))
	}
	return mean
}

func orMean(reported *float64, scores []float64) float64 {
	if reported != nil {
		return *reported
	}
	return mean(scores)
}

func value64(p *int64) int64 {
	if p == nil {
		return 0
	}
	return *p
}

// inBatch is a completed run of batch-a that says little.
func inBatch(id string, change func(*db.Submission)) db.Submission {
	return with(with(leastRun(id), func(r *db.Submission) { r.BatchID = new("batch-a") }), change)
}

// scores is what is to be computed of runs: the scores of completed ones, and counts.
type scores struct {
	total, weighted  []float64
	runs, successful int64
}

// storeScoredRuns stores runs of batch-a in each status, with and without each
// score and success, and one of batch-b.
func storeScoredRuns(t testing.TB, q *db.Queries) scores {
	t.Helper()
	var s scores
	random := rand.New(rand.NewPCG(1, 2))
	for i, status := range []string{"completed", "failed", "completed", "running", "completed", "incomplete", "completed", "completed"} {
		for j := range 8 {
			run := inBatch(fmt.Sprint("run-", i, "-", j), func(r *db.Submission) {
				r.Status, r.IsSuccessful = status, j&1 > 0
				if j&2 > 0 {
					r.TotalScore = new(random.NormFloat64())
				}
				if j&4 > 0 {
					r.WeightedScore = new(10 * random.Float64())
				}
			})
			create(t, q, run)
			s.runs++
			if run.IsSuccessful {
				s.successful++
			}
			if status == "completed" && run.TotalScore != nil {
				s.total = append(s.total, *run.TotalScore)
			}
			if status == "completed" && run.WeightedScore != nil {
				s.weighted = append(s.weighted, *run.WeightedScore)
			}
		}
	}
	create(t, q, inBatch("voided", func(r *db.Submission) { r.TotalScore, r.WeightedScore, r.IsSuccessful = new(99.0), new(99.0), true }))
	void(t, q, "voided")
	create(t, q, inBatch("run-b", func(r *db.Submission) {
		r.BatchID, r.TotalScore, r.WeightedScore, r.IsSuccessful = new("batch-b"), new(99.0), new(99.0), true
	}))
	return s
}

func wantSummary(t testing.TB, got db.BatchSummary, want scores) {
	t.Helper()
	if got.TotalRuns != want.runs || got.SuccessfulRuns != want.successful {
		t.Errorf("%d runs, %d successful, want %d, %d", got.TotalRuns, got.SuccessfulRuns, want.runs, want.successful)
	}
	wantAverage(t, got.AvgScore, mean(want.total))
	wantAverage(t, got.AvgWeightedScore, mean(want.weighted))
}

func TestListBatches(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)

	t.Run("gives all batches, newest first, all of their columns, in pages of any size", func(t *testing.T) {
		q, _ := begin(t, pool)
		want := []db.BatchSummary{}
		for i := range 12 {
			batch := with(fullBatch(fmt.Sprintf("batch-%02d", i)), func(b *db.UpsertBatchParams) {
				b.CreatedAt = new(noon.Add(time.Duration(i*7%5) * time.Microsecond))
				b.TotalRuns, b.AvgScore = new(int64(i)), new(float64(i))
			})
			upsertBatch(t, q, batch)
			want = append(want, summaryOf(batch))
		}
		upsertBatch(t, q, db.UpsertBatchParams{BatchID: "Open", CreatedAt: new(noon)})
		create(t, q, with(fullRun("run-1"), func(r *db.Submission) { r.BatchID = new("Open") }))
		want = append(want, db.BatchSummary{
			BatchID: "Open", CreatedAt: noon, TotalRuns: 1, SuccessfulRuns: 1,
			AvgScore: fullRun("").TotalScore, AvgWeightedScore: fullRun("").WeightedScore,
		})
		slices.SortFunc(want, func(a, b db.BatchSummary) int { // by code point
			return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(b.BatchID, a.BatchID))
		})
		for _, size := range []int{1, 5, len(want), 100} {
			position := db.ListBatchesParams{BeforeCreatedAt: beyondEveryTime, RowLimit: int32(size)}
			for rest := want; ; rest = rest[min(size, len(rest)):] {
				page, err := q.ListBatches(t.Context(), position)
				wantNoError(t, err)
				wantEqual(t, page, append([]db.BatchSummary{}, rest[:min(size, len(rest))]...))
				if len(page) == 0 || len(rest) == 0 { // A page too many is one fault.
					break
				}
				last := page[len(page)-1]
				position.BeforeCreatedAt, position.BeforeBatchID = last.CreatedAt, last.BatchID
			}
		}
	})

	t.Run("gives none where there is none", func(t *testing.T) {
		q, _ := begin(t, pool)
		create(t, q, leastRun("run-1"))
		got, err := q.ListBatches(t.Context(), db.ListBatchesParams{BeforeCreatedAt: beyondEveryTime, RowLimit: 9})
		wantNoError(t, err)
		wantEqual(t, got, []db.BatchSummary{})
	})

	t.Run("averages scores at the ends of the range", func(t *testing.T) {
		q, _ := begin(t, pool)
		storeExtremes(t, q)
		batches, err := q.ListBatches(t.Context(), db.ListBatchesParams{BeforeCreatedAt: beyondEveryTime, RowLimit: 100})
		wantNoError(t, err)
		if len(batches) != len(extremes) {
			t.Errorf("%d batches", len(batches))
		}
		for _, batch := range batches {
			wantAverage(t, batch.AvgScore, mean(extremes[batch.BatchID]))
			wantAverage(t, batch.AvgWeightedScore, mean(extremes[batch.BatchID]))
		}
	})
}
