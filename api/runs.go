package api

import (
	"context"
	"maps"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/benchledger/benchledger/db"
)

// Run is a run as it is read back.
type Run struct {
	ID                int64    `json:"id" doc:"Increases with each stored run; orders runs that started at the same time."`
	RunID             string   `json:"runId"`
	BatchID           *string  `json:"batchId"`
	Suite             string   `json:"suite"`
	Scenario          string   `json:"scenario"`
	Tier              string   `json:"tier"`
	Agent             string   `json:"agent"`
	Model             *string  `json:"model"`
	Status            Status   `json:"status"`
	StartedAt         UTCTime  `json:"startedAt"`
	CompletedAt       *UTCTime `json:"completedAt" nullable:"true"`
	TotalScore        *float64 `json:"totalScore"`
	WeightedScore     *float64 `json:"weightedScore"`
	IsSuccessful      bool     `json:"isSuccessful"`
	SuccessMetric     *float64 `json:"successMetric"`
	SpecialistEnabled *bool    `json:"specialistEnabled"`
	SpecialistName    *string  `json:"specialistName"`
	SpecialistVersion *string  `json:"specialistVersion"`
	Metadata          Metadata `json:"metadata" nullable:"true" doc:"As submitted."`
	SubmittedBy       *string  `json:"submittedBy,omitempty" doc:"The name of the API key that submitted it last; absent for the shared key, which has no name."`
	Voided            *Void    `json:"voided,omitzero" doc:"Present if the run is voided: it counts in no figure."`
}

// Void says why a run does not count.
type Void struct {
	At     UTCTime `json:"at"`
	By     *string `json:"by,omitempty" doc:"The name of the API key that voided it; absent for the shared key, which has no name."`
	Reason string  `json:"reason"`
}

// RunDetails is a run with all it owns.
type RunDetails struct {
	Run         Run          `json:"run"`
	Evaluations []Evaluation `json:"evaluations" doc:"In the order of submission."`
	Telemetry   *Telemetry   `json:"telemetry"`
}

// Evaluation is an evaluation as it is read back.
type Evaluation struct {
	ID            int64    `json:"id"`
	RunID         string   `json:"runId"`
	EvaluatorName string   `json:"evaluatorName"`
	Score         *float64 `json:"score" doc:"Null if the evaluator could not score."`
	MaxScore      float64  `json:"maxScore"`
	Details       *string  `json:"details"`
	CreatedAt     UTCTime  `json:"createdAt" doc:"When it was stored."`
}

// Telemetry is the telemetry of a run as it is read back, null where it has none.
type Telemetry struct {
	_            struct{} `nullable:"true"`
	ID           int64    `json:"id"`
	RunID        string   `json:"runId"`
	ToolCalls    *int64   `json:"toolCalls"`
	TokensIn     *int64   `json:"tokensIn"`
	TokensOut    *int64   `json:"tokensOut"`
	CostUSD      *float64 `json:"costUsd"`
	DurationMs   *int64   `json:"durationMs"`
	WorkspaceDir *string  `json:"workspaceDir"`
	PromptSent   Prompt   `json:"promptSent,omitzero" doc:"The full prompt. Reading the telemetry alone leaves it out, unless asked for."`
}

// Prompt is a text or null. It is left out where it was not read.
type Prompt struct {
	text   *string
	isRead bool
}

// Schema documents a Prompt.
func (Prompt) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Nullable: true}
}

// IsZero reports whether it is left out.
func (p Prompt) IsZero() bool { return !p.isRead }

// MarshalJSONTo writes the text.
func (p Prompt) MarshalJSONTo(encoder *jsontext.Encoder) error {
	return json.MarshalEncode(encoder, p.text)
}

type listRunsInput struct {
	Limit  int32       `query:"limit" minimum:"1" maximum:"10000" default:"50" doc:"Maximum number of runs to return."`
	Cursor string      `query:"cursor" maxLength:"1000" doc:"Start of the page: the cursor in the Link header of the previous page, with the same filters and order."`
	Sort   db.RunOrder `query:"sort" enum:"newest,oldest,score,weightedScore,cost,duration" default:"newest" doc:"The order: by startedAt, or the highest figure first and runs without it last. Runs are sorted by a figure if at most 50,000 match the filters."`
	ListFilters
}

func (i *listRunsInput) readsMany() bool { return i.Limit > manyRows }

type listRunsOutput struct {
	Link string `header:"Link" doc:"The next page, as <URI reference>; rel=\"next\"; absent on the last page."`
	Body []Run
}

type runInput struct {
	RunID ID `path:"runId" doc:"The run ID, percent-encoded." example:"run-a1"`
}

type getRunTelemetryInput struct {
	RunID   ID     `path:"runId" doc:"The run ID, percent-encoded." example:"run-a1"`
	Include string `query:"include" enum:"prompt" doc:"prompt: return promptSent, too."`
}

type getRunOutput struct {
	Body RunDetails
}

type getRunEvaluationsOutput struct {
	Body []Evaluation
}

type getRunTelemetryOutput struct {
	Body *Telemetry
}

func (s *server) registerRuns() {
	register(s, huma.Operation{
		OperationID: "list-runs", Method: http.MethodGet, Path: "/api/runs", Tags: []string{"Runs"},
		Summary: "List runs",
		Description: "Returns the runs that match every given filter, newest `startedAt` first, then highest `id` first, unless `sort` asks for another order. " +
			"A filter that is repeated selects the runs with any of its values. `metadata.KEY=VALUE` selects by a member of the metadata. " +
			"If there are more, the `Link` header leads to the next page; a run that is stored when the first page is read " +
			"is on exactly one of the pages, whatever is submitted meanwhile, unless its own `startedAt` is changed: then it moves in the list, and may be missed or come twice. Voided runs are left out, unless asked for. Prompts are only in the telemetry of each run.",
		Security: readSecurity, Errors: []int{http.StatusUnprocessableEntity},
		Responses: map[string]*huma.Response{"200": {Description: "A page of runs.", Content: example([]Run{exampleRun})}},
	}, classRead, s.listRuns)
	errors := []int{http.StatusNotFound}
	register(s, huma.Operation{
		OperationID: "get-run", Method: http.MethodGet, Path: "/api/runs/{runId}", Tags: []string{"Runs"},
		Summary: "Read a run", Description: "Returns a run with its evaluations and telemetry, in one consistent snapshot; a voided run, too.",
		Security: readSecurity, Errors: errors,
		Responses: map[string]*huma.Response{"200": {Description: "The run.", Content: example(RunDetails{
			Run: exampleRun, Evaluations: []Evaluation{exampleEvaluation}, Telemetry: exampleTelemetry,
		})}},
	}, classRead, s.getRun)
	register(s, huma.Operation{
		OperationID: "get-run-evaluations", Method: http.MethodGet, Path: "/api/runs/{runId}/evaluations", Tags: []string{"Runs"},
		Summary: "Read a run's evaluations", Description: "Returns the scores that evaluators gave a run, in the order of submission.",
		Security: readSecurity, Errors: errors,
		Responses: map[string]*huma.Response{"200": {
			Description: "The evaluations.", Content: example([]Evaluation{exampleEvaluation}),
		}},
	}, classRead, s.getRunEvaluations)
	register(s, huma.Operation{
		OperationID: "get-run-telemetry", Method: http.MethodGet, Path: "/api/runs/{runId}/telemetry", Tags: []string{"Runs"},
		Summary: "Read a run's telemetry", Description: "Returns the telemetry of a run, `null` if the run has none. The prompt is only returned with `include=prompt`, or with the run.",
		Security: readSecurity, Errors: errors,
		Responses: map[string]*huma.Response{"200": {Description: "The telemetry.", Content: example(exampleTelemetry)}},
	}, classRead, s.getRunTelemetry)
}

func (s *server) listRuns(ctx context.Context, q *db.Queries, input *listRunsInput) (*listRunsOutput, error) {
	filters := input.values()
	parameters := maps.Clone(filters)
	if input.Sort != db.OrderNewest {
		parameters["sort"] = []string{string(input.Sort)}
	}
	list := listName("runs", parameters)
	after := input.Sort.First()
	if input.Cursor != "" {
		var err error
		if after, err = parseRunCursor(list, input.Cursor, input.Sort); err != nil {
			return nil, err
		}
	}
	budget := db.Budget{Left: pageBytes}
	rows, err := db.ListRunsPage(ctx, db.WithBudget(q, &budget), filters, input.Sort, after, input.Limit+1)
	if err != nil {
		return nil, err
	}
	output := &listRunsOutput{}
	rows, last := cutPage(rows, input.Limit, budget)
	if last != nil {
		output.Link = linkToNext(parameters, input.Limit, runCursor(list, input.Sort, last.Position))
	}
	output.Body = make([]Run, len(rows))
	for i := range rows {
		output.Body[i] = s.runFromRow(rows[i].BenchmarkRun)
	}
	return output, nil
}

func (s *server) getRun(ctx context.Context, q *db.Queries, input *runInput) (*getRunOutput, error) {
	row, err := q.GetRun(ctx, string(input.RunID))
	if db.Classify(err) == db.NotFound {
		return nil, notFound("run", input.RunID)
	} else if err != nil {
		return nil, err
	}
	evaluations, err := evaluationsFromJSON(row.Evaluations)
	if err != nil {
		return nil, err
	}
	return &getRunOutput{Body: RunDetails{
		Run:         s.runFromRow(row.BenchmarkRun),
		Evaluations: evaluations,
		Telemetry: telemetryFromRow(db.GetRunTelemetryRow{
			RunID: row.BenchmarkRun.RunID, ID: row.TelemetryID, ToolCalls: row.ToolCalls,
			TokensIn: row.TokensIn, TokensOut: row.TokensOut, CostUsd: row.CostUsd, DurationMs: row.DurationMs,
			WorkspaceDir: row.WorkspaceDir, PromptSent: row.PromptSent,
		}, true),
	}}, nil
}

func (s *server) getRunEvaluations(ctx context.Context, q *db.Queries, input *runInput) (*getRunEvaluationsOutput, error) {
	encoded, err := q.GetRunEvaluations(ctx, string(input.RunID))
	if db.Classify(err) == db.NotFound {
		return nil, notFound("run", input.RunID)
	} else if err != nil {
		return nil, err
	}
	evaluations, err := evaluationsFromJSON(encoded)
	return &getRunEvaluationsOutput{Body: evaluations}, err
}

func (s *server) getRunTelemetry(ctx context.Context, q *db.Queries, input *getRunTelemetryInput) (*getRunTelemetryOutput, error) {
	withPrompt := input.Include == "prompt"
	row, err := q.GetRunTelemetry(ctx, db.GetRunTelemetryParams{RunID: string(input.RunID), WithPrompt: withPrompt})
	if db.Classify(err) == db.NotFound {
		return nil, notFound("run", input.RunID)
	} else if err != nil {
		return nil, err
	}
	return &getRunTelemetryOutput{Body: telemetryFromRow(row, withPrompt)}, nil
}

// metadata is stored metadata as it is returned: its text, unless an older server stored other
// metadata later.
func (s *server) metadata(text, later []byte) Metadata {
	if later != nil {
		text = later
	}
	return Metadata{text, s.MetadataAsText}
}

func (s *server) runsFromRows(rows []db.BenchmarkRun) []Run {
	runs := make([]Run, len(rows))
	for i, row := range rows {
		runs[i] = s.runFromRow(row)
	}
	return runs
}

func (s *server) runFromRow(row db.BenchmarkRun) Run {
	return Run{
		ID:                row.ID,
		RunID:             row.RunID,
		BatchID:           row.BatchID,
		Suite:             row.Suite,
		Scenario:          row.Scenario,
		Tier:              row.Tier,
		Agent:             row.Agent,
		Model:             row.Model,
		Status:            Status(row.Status),
		StartedAt:         UTCTime{row.StartedAt},
		CompletedAt:       utcTime(row.CompletedAt),
		TotalScore:        row.TotalScore,
		WeightedScore:     row.WeightedScore,
		IsSuccessful:      row.IsSuccessful,
		SuccessMetric:     row.SuccessMetric,
		SpecialistEnabled: row.SpecialistEnabled,
		SpecialistName:    row.SpecialistName,
		SpecialistVersion: row.SpecialistVersion,
		Metadata:          s.metadata(row.MetadataText, row.Metadata),
		SubmittedBy:       row.SubmittedBy,
		Voided:            voidOf(row),
	}
}

// evaluationsFromJSON reads the array of rows that the queries build.
func evaluationsFromJSON(encoded []byte) ([]Evaluation, error) {
	var rows []db.EvaluationResult
	if err := json.Unmarshal(encoded, &rows); err != nil {
		return nil, err
	}
	evaluations := make([]Evaluation, len(rows))
	for i, row := range rows {
		evaluations[i] = Evaluation{
			ID:            row.ID,
			RunID:         row.RunID,
			EvaluatorName: row.EvaluatorName,
			Score:         row.Score,
			MaxScore:      row.MaxScore,
			Details:       row.Details,
			CreatedAt:     UTCTime{row.CreatedAt},
		}
	}
	return evaluations, nil
}

func telemetryFromRow(row db.GetRunTelemetryRow, withPrompt bool) *Telemetry {
	if row.ID == nil {
		return nil
	}
	return &Telemetry{
		ID:           *row.ID,
		RunID:        row.RunID,
		ToolCalls:    row.ToolCalls,
		TokensIn:     row.TokensIn,
		TokensOut:    row.TokensOut,
		CostUSD:      row.CostUsd,
		DurationMs:   row.DurationMs,
		WorkspaceDir: row.WorkspaceDir,
		PromptSent:   Prompt{row.PromptSent, withPrompt},
	}
}
