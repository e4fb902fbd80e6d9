package api

import (
	"context"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/benchledger/benchledger/db"
)

// Baseline is a name of a batch that others are compared with.
type Baseline struct {
	Name    string  `json:"name"`
	BatchID string  `json:"batchId"`
	SetAt   UTCTime `json:"setAt" doc:"When the name was given to this batch."`
	SetBy   *string `json:"setBy,omitempty" doc:"The name of the API key that did it; absent for the shared key, which has no name."`
}

// BaselineRequest says which batch gets the name.
type BaselineRequest struct {
	BatchID ID `json:"batchId" doc:"A batch that exists."`
}

type setBaselineInput struct {
	Name ID `path:"name" doc:"The name, percent-encoded." example:"main"`
	Body BaselineRequest
}

type baselineInput struct {
	Name ID `path:"name" doc:"The name, percent-encoded." example:"main"`
}

type baselineOutput struct {
	Body Baseline
}

type listBaselinesInput struct {
	Limit  int32  `query:"limit" minimum:"1" maximum:"10000" default:"50" doc:"Maximum number of baselines to return."`
	Cursor string `query:"cursor" maxLength:"1000" doc:"Start of the page: the cursor in the Link header of the previous page."`
}

type listBaselinesOutput struct {
	Link string `header:"Link" doc:"The next page, as <URI reference>; rel=\"next\"; absent on the last page."`
	Body []Baseline
}

func (s *server) registerBaselines() {
	tags := []string{"Baselines"}
	found := func(description string) map[string]*huma.Response {
		return map[string]*huma.Response{"200": {Description: description, Content: example(exampleBaseline)}}
	}
	register(s, huma.Operation{
		OperationID: "set-baseline", Method: http.MethodPut, Path: "/api/baselines/{name}", Tags: tags,
		Summary:     "Set a baseline",
		Description: "Names a batch, or moves the name from another batch to it, so that a pipeline can compare with a baseline whose batch ID it does not know.",
		Security:    submitSecurity, Errors: append(slices.Clone(bodyErrors), http.StatusNotFound),
		RequestBody: &huma.RequestBody{Description: "The batch.", Content: example(BaselineRequest{BatchID: "batch-a"})},
		Responses:   found("The baseline."),
	}, classSubmit, s.setBaseline)
	register(s, huma.Operation{
		OperationID: "list-baselines", Method: http.MethodGet, Path: "/api/baselines", Tags: tags,
		Summary: "List baselines", Description: "Returns the baselines, by name.",
		Security: readSecurity, Errors: []int{http.StatusUnprocessableEntity},
		Responses: map[string]*huma.Response{"200": {Description: "A page of baselines.", Content: example([]Baseline{exampleBaseline})}},
	}, classRead, s.listBaselines)
	register(s, huma.Operation{
		OperationID: "get-baseline", Method: http.MethodGet, Path: "/api/baselines/{name}", Tags: tags,
		Summary: "Read a baseline", Description: "Returns the batch that has this name.",
		Security: readSecurity, Errors: []int{http.StatusNotFound}, Responses: found("The baseline."),
	}, classRead, s.getBaseline)
	register(s, huma.Operation{
		OperationID: "delete-baseline", Method: http.MethodDelete, Path: "/api/baselines/{name}", Tags: tags,
		Summary: "Delete a baseline", Description: "Takes the name away from its batch, which stays.",
		Security: submitSecurity, Errors: []int{http.StatusNotFound}, Responses: found("The baseline as it was."),
	}, classSubmit, s.deleteBaseline)
}

func (s *server) setBaseline(ctx context.Context, q *db.Queries, input *setBaselineInput) (*baselineOutput, error) {
	params := db.UpsertBaselineParams{Name: string(input.Name), BatchID: string(input.Body.BatchID), SetBy: keyName(ctx)}
	var row db.Baseline
	err := db.Retry(ctx, func() (err error) {
		row, err = q.UpsertBaseline(ctx, params)
		return err
	})
	if db.Classify(err) == db.NotFound {
		return nil, notFound("batch", input.Body.BatchID)
	}
	return &baselineOutput{baselineFromRow(row)}, err
}

func (s *server) listBaselines(ctx context.Context, q *db.Queries, input *listBaselinesInput) (*listBaselinesOutput, error) {
	const list = "baselines"
	after := ""
	if input.Cursor != "" {
		position, err := openCursor(list, input.Cursor)
		if err != nil {
			return nil, err
		}
		after = string(position)
	}
	rows, err := q.ListBaselines(ctx, db.ListBaselinesParams{AfterName: after, RowLimit: input.Limit + 1})
	if err != nil {
		return nil, err
	}
	output := &listBaselinesOutput{}
	rows, last := cutPage(rows, input.Limit, db.Budget{})
	if last != nil {
		output.Link = linkToNext(nil, input.Limit, sealCursor(list, []byte(last.Name)))
	}
	output.Body = make([]Baseline, len(rows))
	for i, row := range rows {
		output.Body[i] = baselineFromRow(row)
	}
	return output, nil
}

func (s *server) getBaseline(ctx context.Context, q *db.Queries, input *baselineInput) (*baselineOutput, error) {
	row, err := q.GetBaseline(ctx, string(input.Name))
	if db.Classify(err) == db.NotFound {
		return nil, notFound("baseline", input.Name)
	}
	return &baselineOutput{baselineFromRow(row)}, err
}

func (s *server) deleteBaseline(ctx context.Context, q *db.Queries, input *baselineInput) (*baselineOutput, error) {
	row, err := q.DeleteBaseline(ctx, string(input.Name))
	if db.Classify(err) == db.NotFound {
		return nil, notFound("baseline", input.Name)
	}
	return &baselineOutput{baselineFromRow(row)}, err
}

func baselineFromRow(row db.Baseline) Baseline {
	return Baseline{Name: row.Name, BatchID: row.BatchID, SetAt: UTCTime{row.SetAt}, SetBy: row.SetBy}
}
