package api

import (
	"context"
	"encoding/binary"
	"math"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/benchledger/benchledger/db"
)

// Correction is an entry of the log of what was voided and restored.
type Correction struct {
	ID     int64   `json:"id" doc:"Increases with each correction."`
	RunID  string  `json:"runId"`
	Action string  `json:"action" enum:"void,restore"`
	Reason *string `json:"reason"`
	By     *string `json:"by,omitempty" doc:"The name of the API key; absent for the shared key, which has no name."`
	At     UTCTime `json:"at"`
}

// VoidRequest says why a run is voided.
type VoidRequest struct {
	Reason Text `json:"reason" minLength:"1" maxLength:"2000" pattern:"\\S" patternDescription:"not blank" doc:"Why the run must not count. Everyone who reads the run sees it."`
}

// RestoreRequest says why a run is restored.
type RestoreRequest struct {
	Reason *Text `json:"reason" required:"false" nullable:"true" minLength:"1" maxLength:"2000" pattern:"\\S" patternDescription:"not blank" doc:"Why the run counts again."`
}

type voidRunInput struct {
	RunID ID `path:"runId" doc:"The run ID, percent-encoded." example:"run-a1"`
	Body  VoidRequest
}

type restoreRunInput struct {
	RunID ID `path:"runId" doc:"The run ID, percent-encoded." example:"run-a1"`
	Body  *RestoreRequest
}

type correctedRunOutput struct {
	Replayed string `header:"Idempotent-Replayed" hidden:"true"`
	Body     Run
}

type listCorrectionsInput struct {
	Limit  int32  `query:"limit" minimum:"1" maximum:"10000" default:"50" doc:"Maximum number of corrections to return."`
	Cursor string `query:"cursor" maxLength:"1000" doc:"Start of the page: the cursor in the Link header of the previous page, with the same filter."`
	RunID  ID     `query:"runId" doc:"Only corrections of this run." example:"run-a1"`
}

type listCorrectionsOutput struct {
	Link string `header:"Link" doc:"The next page, as <URI reference>; rel=\"next\"; absent on the last page."`
	Body []Correction
}

func (s *server) registerCorrections() {
	tags := []string{"Corrections"}
	register(s, huma.Operation{
		OperationID: "void-run", Method: http.MethodPost, Path: "/api/runs/{runId}/void", Tags: tags,
		Summary: "Void a run",
		Description: "Takes back a run that is wrong. It stays stored, but is left out of every list and figure, unless a list is asked for " +
			"voided runs, too. What is submitted later does not restore it. Voiding again with the same reason changes nothing.",
		Security: adminSecurity, Errors: append(slices.Clone(bodyErrors), http.StatusNotFound, http.StatusConflict),
		RequestBody: &huma.RequestBody{Description: "The reason.", Content: example(exampleVoidRequest)},
		Responses:   map[string]*huma.Response{"200": {Description: "The run is voided.", Headers: replayedHeader(), Content: example(exampleVoidedRun)}},
	}, classSubmit, s.voidRun)
	register(s, huma.Operation{
		OperationID: "restore-run", Method: http.MethodPost, Path: "/api/runs/{runId}/restore", Tags: tags,
		Summary: "Restore a voided run", Description: "Lets a voided run count again. A run that is not voided does not change.",
		Security: adminSecurity, Errors: append(slices.Clone(bodyErrors), http.StatusNotFound),
		RequestBody: &huma.RequestBody{Description: "The reason, if there is one.", Content: example(exampleRestoreRequest)},
		Responses:   map[string]*huma.Response{"200": {Description: "The run is not voided.", Headers: replayedHeader(), Content: example(exampleRun)}},
	}, classSubmit, s.restoreRun)
	register(s, huma.Operation{
		OperationID: "list-corrections", Method: http.MethodGet, Path: "/api/corrections", Tags: tags,
		Summary:     "List corrections",
		Description: "Returns who voided or restored which run, when and why, newest first. Entries are never changed, nor deleted with their run.",
		Security:    readSecurity, Errors: []int{http.StatusUnprocessableEntity},
		Responses: map[string]*huma.Response{"200": {Description: "A page of corrections.", Content: example([]Correction{exampleCorrection})}},
	}, classRead, s.listCorrections)
}

func (s *server) voidRun(ctx context.Context, q *db.Queries, input *voidRunInput) (*correctedRunOutput, error) {
	reason := string(input.Body.Reason)
	params := db.UpdateRunVoidedParams{RunID: string(input.RunID), Reason: reason, CorrectedBy: keyName(ctx)}
	var row db.UpdateRunVoidedRow
	err := db.Retry(ctx, func() (err error) {
		row, err = q.UpdateRunVoided(ctx, params)
		return err
	})
	if db.Classify(err) != db.NotFound {
		return &correctedRunOutput{Body: s.runFromRow(db.BenchmarkRun(row))}, err
	}
	stored, err := s.storedRun(ctx, q, input.RunID)
	switch {
	case err != nil:
	case stored.Voided == nil:
		err = problemOf(http.StatusConflict, "The run was restored at the same time. To void it, send the request again.")
	case stored.Voided.Reason != reason:
		err = problemOf(http.StatusConflict, "The run is voided already, for another reason. Restore it first to void it again.")
	}
	return &correctedRunOutput{"true", stored}, err
}

func (s *server) restoreRun(ctx context.Context, q *db.Queries, input *restoreRunInput) (*correctedRunOutput, error) {
	params := db.UpdateRunRestoredParams{RunID: string(input.RunID), Reason: nil, CorrectedBy: keyName(ctx)}
	if input.Body != nil {
		params.Reason = (*string)(input.Body.Reason)
	}
	var row db.UpdateRunRestoredRow
	err := db.Retry(ctx, func() (err error) {
		row, err = q.UpdateRunRestored(ctx, params)
		return err
	})
	if db.Classify(err) != db.NotFound {
		return &correctedRunOutput{Body: s.runFromRow(db.BenchmarkRun(row))}, err
	}
	stored, err := s.storedRun(ctx, q, input.RunID)
	return &correctedRunOutput{"true", stored}, err
}

func (s *server) storedRun(ctx context.Context, q *db.Queries, id ID) (Run, error) {
	row, err := q.GetRun(ctx, string(id))
	if db.Classify(err) == db.NotFound {
		return Run{}, notFound("run", id)
	}
	return s.runFromRow(row.BenchmarkRun), err
}

// voidOf is nil where the run is not voided.
func voidOf(row db.BenchmarkRun) *Void {
	if row.VoidedAt == nil || row.VoidReason == nil {
		return nil
	}
	return &Void{At: UTCTime{*row.VoidedAt}, By: row.VoidedBy, Reason: *row.VoidReason}
}

func (s *server) listCorrections(ctx context.Context, q *db.Queries, input *listCorrectionsInput) (*listCorrectionsOutput, error) {
	filters := db.Filters{}
	if input.RunID != "" {
		filters["runId"] = []string{string(input.RunID)}
	}
	list := listName("corrections", filters)
	before := int64(math.MaxInt64)
	if input.Cursor != "" {
		position, err := openCursor(list, input.Cursor)
		if err != nil {
			return nil, err
		}
		if len(position) != 8 {
			return nil, badCursor()
		}
		before = int64(binary.BigEndian.Uint64(position))
	}
	budget := db.Budget{Left: pageBytes}
	q = db.WithBudget(q, &budget)
	var rows []db.Correction
	var err error
	if input.RunID == "" {
		rows, err = q.ListCorrections(ctx, db.ListCorrectionsParams{BeforeID: before, RowLimit: input.Limit + 1})
	} else {
		rows, err = q.ListCorrectionsByRun(ctx, db.ListCorrectionsByRunParams{
			RunID: string(input.RunID), BeforeID: before, RowLimit: input.Limit + 1,
		})
	}
	if err != nil {
		return nil, err
	}
	output := &listCorrectionsOutput{}
	rows, last := cutPage(rows, input.Limit, budget)
	if last != nil {
		output.Link = linkToNext(filters, input.Limit, sealCursor(list, binary.BigEndian.AppendUint64(nil, uint64(last.ID))))
	}
	output.Body = make([]Correction, len(rows))
	for i, row := range rows {
		output.Body[i] = Correction{
			ID: row.ID, RunID: row.RunID, Action: row.Action, Reason: row.Reason, By: row.CorrectedBy, At: UTCTime{row.CorrectedAt},
		}
	}
	return output, nil
}
