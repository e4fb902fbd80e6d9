package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// scenario is something that clients do all the time, and the statement that does the
// same in the database.
type scenario struct {
	name string
	next func(*rand.Rand) request
	// runs is how many runs a request stores, 1 where it stores none.
	runs int
	// limit is nil where there is none to compare with.
	limit *statement
	// short scenarios are many, and are measured for less long.
	short bool
	// alone has one client ask, where several would but wait for each other's processors.
	alone bool
}

// unique numbers what is submitted.
var unique atomic.Int64

// beyondEveryTime is the position before the first page, as the server has it.
const (
	beyondEveryTime = "10000-01-01 00:00:00+00"
	beyondEveryID   = "9223372036854775807"
	pageSize        = 50
)

// submission is a run of a batch, with three evaluations and telemetry. It is put
// together from text, since who sends it has the same processor as who takes it.
func submission(r *rand.Rand, size int) []byte {
	like := generate(r.IntN(size), size)
	now := time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
	return fmt.Appendf(make([]byte, 0, 2048), `{"runId":"new-%s-%d","batchId":%q,"suite":%q,"scenario":%q,"tier":"L1","agent":%q,"model":"model-%s","status":"completed",`+
		`"startedAt":%q,"completedAt":%q,"totalScore":%g,"weightedScore":%g,"isSuccessful":true,"metadata":%s,"evaluations":%s,"telemetry":{"toolCalls":12,`+
		`"tokensIn":85000,"tokensOut":2200,"costUsd":0.0123,"durationMs":300000,"workspaceDir":"results/workspaces/x","promptSent":%q}}`,
		process, unique.Add(1), like.batch, like.suite, like.scenario, like.agent, like.agent, now, now, like.score, 10*like.score, metadata, evaluations, prompt)
}

// process names what this one submits apart from what others have.
var process = strconv.FormatInt(time.Now().UnixNano(), 36)

const (
	evaluations = `[{"evaluatorName":"evaluator-0","score":1,"maxScore":10,"details":"exited 0"},` +
		`{"evaluatorName":"evaluator-1","score":2,"maxScore":10,"details":"exited 0"},{"evaluatorName":"evaluator-2","score":3,"maxScore":10,"details":"exited 0"}]`
	// The same as rows, for the query; (run) is replaced.
	evaluationRows = `[{"run_id":"(run)","position":0,"evaluator_name":"evaluator-0","score":1,"max_score":10,"details":"exited 0","created_at":"now"},` +
		`{"run_id":"(run)","position":1,"evaluator_name":"evaluator-1","score":2,"max_score":10,"details":"exited 0","created_at":"now"},` +
		`{"run_id":"(run)","position":2,"evaluator_name":"evaluator-2","score":3,"max_score":10,"details":"exited 0","created_at":"now"}]`
)

// submitted is the statement that stores a submission, with values like those of submission.
func submitted(size int) statement {
	return statement{
		query: "CreateRun",
		set: []string{
			`\set n :n + 1`, `\set run_id :start + :client_id * 100000 + :n`, drawBatch(size), `\set suite random_exponential(0, 19, 5)`,
			`\set scenario :suite * 100 + random_exponential(0, 39, 5)`, `\set agent random_exponential(0, 29, 5)`,
		},
		values: map[string]string{
			"tier": "L1", "model": "model-agent-4", "status": "completed", "started_at_given": "true",
			"started_at": "2026-01-01 10:00:00Z", "completed_at": "2026-01-01 10:05:00Z", "total_score": "0.85", "weighted_score": "8.5", "is_successful": "true",
			"metadata_text": metadata, "evaluation_rows": evaluationRows, "has_telemetry": "true", "tool_calls": "12", "tokens_in": "85000", "tokens_out": "2200",
			"cost_usd": "0.0123", "duration_ms": "300000", "workspace_dir": "results/workspaces/x", "prompt_sent": prompt,
		},
		expressions: map[string]string{"evaluations": "replace(:evaluation_rows::text, '(run)', :run_id::text)"},
	}
}

// drawBatch has pgbench draw a batch.
func drawBatch(size int) string {
	return fmt.Sprintf(`\set batch_id random(0, %d)`, batchCount(size)-1)
}

// bulkRuns is how many runs a bulk submission has here.
const bulkRuns = 500

// scenarios are all of them, on data of a size; the far pages are looked up in the server.
func scenarios(ctx context.Context, s *server, size int) ([]scenario, error) {
	drawRun := fmt.Sprintf(`\set run_id random(0, %d)`, size-1)
	get := func(path string) func(*rand.Rand) request {
		return func(*rand.Rand) request { return request{http.MethodGet, path, nil} }
	}
	all := []scenario{
		{
			name: "read a run",
			next: func(r *rand.Rand) request {
				return request{http.MethodGet, "/api/runs/" + strconv.Itoa(r.IntN(size)), nil}
			},
			limit: &statement{query: "GetRun", set: []string{drawRun}},
		},
		{
			name: "read a batch",
			next: func(r *rand.Rand) request {
				return request{http.MethodGet, "/api/batches/" + strconv.Itoa(r.IntN(batchCount(size))), nil}
			},
			limit: &statement{query: "ListRunsByBatch", set: []string{drawBatch(size)}},
		},
		{name: "stats", next: get("/api/stats"), limit: &statement{query: "GetStats"}, alone: true},
		{name: "agent stats", next: get("/api/stats/agents"), limit: &statement{query: "ListAgentStats"}, alone: true},
	}
	lists, err := listScenarios(ctx, s)
	if err != nil {
		return nil, err
	}
	// Last, since they make the data more.
	return append(append(all, lists...),
		scenario{
			name: "submit", runs: 1,
			next:  func(r *rand.Rand) request { return request{http.MethodPost, "/api/results", submission(r, size)} },
			limit: new(submitted(size)),
		},
		scenario{
			name: "submit in bulk", runs: bulkRuns,
			next: func(r *rand.Rand) request {
				var body []byte
				for range bulkRuns {
					body = append(append(body, submission(r, size)...), '\n')
				}
				return request{http.MethodPost, "/api/results/bulk", body}
			},
		},
	), nil
}

// filter values: common ones, rare ones, and common ones that never meet.
var filterValues = map[string]map[string]string{
	"common": {"suite": "suite-0", "scenario": "scenario-0-0", "agent": "agent-0", "status": "completed"},
	"rare":   {"suite": "suite-rare", "scenario": "scenario-rare", "agent": "agent-rare", "status": "running"},
	"apart":  {"suite": "suite-1", "scenario": "scenario-1-0", "agent": "agent-1", "status": "completed"},
}

// listQueries are those of the combinations that have one of their own; the others
// share one.
var listQueries = map[string]string{
	"": "ListRuns", "suite": "ListRunsBySuite", "scenario": "ListRunsByScenario", "agent": "ListRunsByAgent", "status": "ListRunsByStatus",
}

// listScenarios are the first pages and pages far down of each combination of filters.
func listScenarios(ctx context.Context, s *server) ([]scenario, error) {
	filters := []string{"suite", "scenario", "agent", "status"}
	var all []scenario
	for combination := range 1 << len(filters) {
		var chosen []string
		for i, filter := range filters {
			if combination&(1<<i) != 0 {
				chosen = append(chosen, filter)
			}
		}
		name := strings.Join(chosen, "+")
		for _, kind := range []string{"common", "rare", "apart"} {
			query := url.Values{"limit": {strconv.Itoa(pageSize)}}
			limit := statement{query: listQueries[name], values: map[string]string{
				"before_started_at": beyondEveryTime, "before_id": beyondEveryID, "row_limit": strconv.Itoa(pageSize + 1),
			}}
			values := map[string]string{}
			for _, filter := range chosen {
				query.Set(filter, filterValues[kind][filter])
				values[filter] = filterValues[kind][filter]
			}
			encoded, err := json.Marshal(values)
			if err != nil {
				return nil, err
			}
			values["filters"] = string(encoded) // Of all queries but one, each filter is a parameter.
			maps.Copy(limit.values, values)
			hasSuite, hasAgent := query.Has("suite") || query.Has("scenario"), query.Has("agent")
			if kind == "rare" && name == "" || kind == "apart" && (!hasSuite || !hasAgent) {
				continue
			}
			if limit.query == "" {
				limit.query, limit.perPlan = "ListRunsByFilters", true
			}
			title := "list " + name
			if name == "" {
				title = "list all"
			} else {
				title += ", " + kind
			}
			first := "/api/runs?" + query.Encode()
			all = append(all, scenario{name: title, short: true, limit: &limit, next: func(*rand.Rand) request { return request{http.MethodGet, first, nil} }})
			far, position, err := farPage(ctx, s, query)
			if err != nil {
				return nil, err
			}
			if far == "" {
				continue
			}
			farLimit := limit
			farLimit.values = map[string]string{}
			for name, value := range limit.values {
				farLimit.values[name] = value
			}
			farLimit.values["before_started_at"], farLimit.values["before_id"] = position.StartedAt, strconv.FormatInt(position.ID, 10)
			all = append(all, scenario{name: title + ", far down", short: true, limit: &farLimit, next: func(*rand.Rand) request { return request{http.MethodGet, far, nil} }})
		}
	}
	return all, nil
}

// position is that of the run before a page.
type position struct {
	ID        int64
	StartedAt string
}

// farPages is how far down a far page is: so many pages of 10,000, or as many as there are.
const farPages = 5

// farPage follows the links of large pages, and returns the path of a page after the
// last of them that has a next one; "" where there is but one page.
func farPage(ctx context.Context, s *server, query url.Values) (string, position, error) {
	large := url.Values{}
	for name, values := range query {
		large[name] = values
	}
	path, at, last := "", position{}, "/api/runs?"+with(large, "limit", "10000").Encode()
	for range farPages {
		link, before, err := page(ctx, s, last)
		if err != nil {
			return "", at, err
		}
		if link == "" {
			break
		}
		next, err := url.Parse(link)
		if err != nil {
			return "", at, err
		}
		path, at, last = "/api/runs?"+with(next.Query(), "limit", strconv.Itoa(pageSize)).Encode(), before, link
	}
	if path == "" { // All fit into a large page: the second small one.
		link, before, err := page(ctx, s, "/api/runs?"+with(large, "limit", strconv.Itoa(pageSize)).Encode())
		return link, before, err
	}
	return path, at, nil
}

func with(values url.Values, name, value string) url.Values {
	values.Set(name, value)
	return values
}

// page returns where a page goes on, and its last run.
func page(ctx context.Context, s *server, path string) (string, position, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address+path, http.NoBody)
	if err != nil {
		return "", position{}, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", position{}, err
	}
	defer response.Body.Close()
	var runs []position
	if response.StatusCode != http.StatusOK {
		return "", position{}, fmt.Errorf("%s: %s", path, response.Status)
	}
	if err := json.NewDecoder(response.Body).Decode(&runs); err != nil {
		return "", position{}, err
	}
	link, _, _ := strings.Cut(strings.TrimPrefix(response.Header.Get("Link"), "<"), ">")
	if len(runs) == 0 {
		return "", position{}, nil
	}
	if link != "" { // It is relative to the request.
		list, _, _ := strings.Cut(path, "?")
		link = list + link
	}
	return link, runs[len(runs)-1], nil
}
