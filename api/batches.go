package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"

	"github.com/benchledger/benchledger/db"
)

// Batch is a batch in responses.
type Batch struct {
	BatchID          string   `json:"batchId"`
	CreatedAt        UTCTime  `json:"createdAt"`
	CompletedAt      *UTCTime `json:"completedAt" nullable:"true" doc:"Null while the batch is open."`
	TotalRuns        int64    `json:"totalRuns" doc:"As reported on completion, or else computed over all runs of the batch that are not voided."`
	SuccessfulRuns   int64    `json:"successfulRuns" doc:"As reported on completion, or else computed over all runs of the batch that are not voided."`
	AvgScore         *float64 `json:"avgScore" doc:"As reported on completion, or else computed over completed runs that are not voided."`
	AvgWeightedScore *float64 `json:"avgWeightedScore" doc:"As reported on completion, or else computed over completed runs that are not voided."`
	Metadata         Metadata `json:"metadata" nullable:"true" doc:"As submitted."`
	SubmittedBy      *string  `json:"submittedBy,omitempty" doc:"The name of the API key that submitted it last; absent for the shared key, which has no name."`
}

// BatchDetails is a batch with its runs.
type BatchDetails struct {
	Batch
	Runs []Run `json:"runs" doc:"Oldest startedAt first, then lowest id first."`
}

type listBatchesInput struct {
	Limit  int32  `query:"limit" minimum:"1" maximum:"10000" default:"20" doc:"Maximum number of batches to return."`
	Cursor string `query:"cursor" maxLength:"1000" doc:"Start of the page: the cursor in the Link header of the previous page."`
}

func (i *listBatchesInput) readsMany() bool { return i.Limit > manyRows }

type listBatchesOutput struct {
	Link string `header:"Link" doc:"The next page, as <URI reference>; rel=\"next\"; absent on the last page."`
	Body []Batch
}

// maxBatchRuns is how many runs of a batch a response has.
const maxBatchRuns = 10_000

type getBatchInput struct {
	BatchID ID     `path:"batchId" doc:"The batch ID, percent-encoded." example:"batch-a"`
	Voided  bool   `query:"voided" doc:"true: return voided runs, too."`
	Cursor  string `query:"cursor" maxLength:"1000" doc:"Start of the runs: the cursor in the Link header of the previous response."`
}

func (*getBatchInput) readsMany() bool { return true }

type getBatchOutput struct {
	Link string `header:"Link" doc:"The next runs, as <URI reference>; rel=\"next\"; absent if there are no more."`
	Body BatchDetails
}

func (s *server) registerBatches() {
	register(s, huma.Operation{
		OperationID: "list-batches", Method: http.MethodGet, Path: "/api/batches", Tags: []string{"Batches"},
		Summary: "List batches",
		Description: "Returns batches, newest `createdAt` first, then by `batchId` in descending order. " +
			"If there are more, the `Link` header leads to the next page.",
		Security:  readSecurity,
		Responses: map[string]*huma.Response{"200": {Description: "A page of batches.", Content: example([]Batch{exampleBatch})}},
	}, classRead, s.listBatches)
	register(s, huma.Operation{
		OperationID: "get-batch", Method: http.MethodGet, Path: "/api/batches/{batchId}", Tags: []string{"Batches"},
		Summary: "Read a batch", Description: "Returns a batch with its runs, in one consistent snapshot. Voided runs are left out, unless asked for. " +
			"If the runs are too many or too large for one response, the `Link` header leads to the next ones.",
		Security: readSecurity, Errors: []int{http.StatusNotFound},
		Responses: map[string]*huma.Response{"200": {
			Description: "The batch.", Content: example(BatchDetails{exampleBatch, []Run{exampleRun}}),
		}},
	}, classRead, s.getBatch)
}

func (s *server) listBatches(ctx context.Context, q *db.Queries, input *listBatchesInput) (*listBatchesOutput, error) {
	after := batchPosition{createdAt: beyondEveryTime}
	if input.Cursor != "" {
		var err error
		if after, err = parseBatchCursor(input.Cursor); err != nil {
			return nil, err
		}
	}
	budget := db.Budget{Left: pageBytes}
	rows, err := db.WithBudget(q, &budget).ListBatches(ctx, db.ListBatchesParams{
		BeforeCreatedAt: after.createdAt, BeforeBatchID: after.batchID, RowLimit: input.Limit + 1,
	})
	if err != nil {
		return nil, err
	}
	output := &listBatchesOutput{}
	rows, last := cutPage(rows, input.Limit, budget)
	if last != nil {
		output.Link = linkToNext(nil, input.Limit, batchPosition{last.CreatedAt, last.BatchID}.cursor())
	}
	output.Body = make([]Batch, len(rows))
	for i, row := range rows {
		output.Body[i] = s.batchFromRow(row)
	}
	return output, nil
}

// errPageFull ends the transaction of a statement that was canceled, which cannot be committed.
var errPageFull = errors.New("the page is full")

func (s *server) getBatch(ctx context.Context, q *db.Queries, input *getBatchInput) (*getBatchOutput, error) {
	filters := db.Filters{}
	if input.Voided {
		filters["voided"] = []string{"true"}
	}
	list := listName("batches/"+string(input.BatchID), filters)
	var after db.RunPosition // It is before every run.
	if input.Cursor != "" {
		var err error
		if after, err = parseRunCursor(list, input.Cursor, db.OrderOldest); err != nil {
			return nil, err
		}
	}
	output := &getBatchOutput{}
	// One snapshot, so that the computed totals match the runs.
	snapshot := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := db.WithTx(ctx, q, snapshot, func(q *db.Queries) error {
		batch, err := q.GetBatch(ctx, string(input.BatchID))
		if err != nil {
			return err
		}
		budget := db.Budget{Left: pageBytes}
		rows, err := db.WithBudget(q, &budget).ListRunsByBatch(ctx, db.ListRunsByBatchParams{
			BatchID: string(input.BatchID), WithVoided: input.Voided,
			AfterStartedAt: after.StartedAt, AfterID: after.ID, RowLimit: maxBatchRuns + 1,
		})
		rows, last := cutPage(rows, maxBatchRuns, budget)
		if last != nil {
			output.Link = linkToNext(filters, 0, runCursor(list, db.OrderOldest, db.RunPosition{StartedAt: last.StartedAt, ID: last.ID}))
		}
		output.Body = BatchDetails{s.batchFromRow(batch), s.runsFromRows(rows)}
		if budget.Exceeded {
			return errPageFull
		}
		return err
	})
	if errors.Is(err, errPageFull) {
		return output, nil
	}
	if db.Classify(err) == db.NotFound {
		return nil, notFound("batch", input.BatchID)
	}
	return output, err
}

func (s *server) batchFromRow(row db.BatchSummary) Batch {
	return Batch{
		BatchID:          row.BatchID,
		CreatedAt:        UTCTime{row.CreatedAt},
		CompletedAt:      utcTime(row.CompletedAt),
		TotalRuns:        row.TotalRuns,
		SuccessfulRuns:   row.SuccessfulRuns,
		AvgScore:         row.AvgScore,
		AvgWeightedScore: row.AvgWeightedScore,
		Metadata:         s.metadata(row.MetadataText, row.Metadata),
		SubmittedBy:      row.SubmittedBy,
	}
}
