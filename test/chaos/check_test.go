package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// findings are what the database has against what was acknowledged.
type findings struct {
	stored     int
	lost       []string // acknowledged, and not there, or there as it was before
	duplicated []string // there more than once
	partial    []string // there, but not as it was sent
}

// check reads all of the database once, and compares it with the ledger.
func check(ctx context.Context, connection *pgx.Conn, l *ledger) (findings, error) {
	var found findings
	stored, err := readRuns(ctx, connection)
	if err != nil {
		return found, err
	}
	found.stored = len(stored)
	l.mu.Lock()
	defer l.mu.Unlock()
	markers := map[any]string{}
	for id, run := range stored {
		if other, twice := markers[run.Metadata["marker"]]; twice || l.entries[id] == nil {
			found.duplicated = append(found.duplicated, fmt.Sprintf("%s, also as %q", id, other))
		}
		markers[run.Metadata["marker"]] = id
	}
	for id, e := range l.entries {
		run, there := stored[id]
		switch {
		case !there && e.acknowledged >= 0:
			found.lost = append(found.lost, fmt.Sprintf("%s, acknowledged as version %d", id, e.acknowledged))
		case !there: // Nobody was promised anything.
		case slices.ContainsFunc(versions(max(e.acknowledged, 0), e.sent), func(version int) bool {
			return reflect.DeepEqual(run, makeRun(id, version))
		}):
		case slices.ContainsFunc(versions(0, e.acknowledged), func(version int) bool {
			return reflect.DeepEqual(run, makeRun(id, version))
		}):
			found.lost = append(found.lost, fmt.Sprintf("%s, acknowledged as version %d, is there as an older one", id, e.acknowledged))
		case hasMore(run, makeRun(id, e.sent)):
			found.duplicated = append(found.duplicated, fmt.Sprintf("%s: %+v, want %+v", id, run, makeRun(id, e.sent)))
		default:
			found.partial = append(found.partial, fmt.Sprintf("%s: %+v, want %+v", id, run, makeRun(id, e.sent)))
		}
	}
	batches, err := readBatches(ctx, connection)
	if err != nil {
		return found, err
	}
	for id, acknowledged := range l.batches {
		marker, there := batches[id]
		if acknowledged && !there {
			found.lost = append(found.lost, "batch "+id+", acknowledged as complete")
		}
		if there && marker != id {
			found.partial = append(found.partial, fmt.Sprintf("batch %s has the marker %q", id, marker))
		}
	}
	return found, nil
}

// readBatches returns the markers of the batches that are complete and say how many runs.
func readBatches(ctx context.Context, connection *pgx.Conn) (map[string]string, error) {
	stored := map[string]string{}
	rows, err := connection.Query(ctx, "select batch_id, coalesce(metadata_text ->> 'marker', '') from batch_runs where completed_at is not null and total_runs = 7")
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		var id, marker string
		if err := rows.Scan(&id, &marker); err != nil {
			return nil, err
		}
		stored[id] = marker
	}
	return stored, rows.Err()
}

// versions are those from one to another one.
func versions(from, to int) []int {
	var all []int
	for version := from; version <= to; version++ {
		all = append(all, version)
	}
	return all
}

// hasMore reports whether the evaluations that were sent are there, and others too.
func hasMore(run, sent testRun) bool {
	return len(run.Evaluations) > len(sent.Evaluations)
}

func readRuns(ctx context.Context, connection *pgx.Conn) (map[string]testRun, error) {
	stored := map[string]testRun{}
	rows, err := connection.Query(ctx, `select r.run_id, b.batch_id, r.suite, r.scenario, r.tier, r.agent, r.status, r.started_at, r.total_score,
		r.metadata_text, t.tool_calls, t.cost_usd, t.prompt_sent
		from benchmark_runs r left join run_telemetry t using (run_id) left join batch_runs b on b.batch_id = r.batch_id`)
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		var (
			run       testRun
			batch     *string
			metadata  []byte
			toolCalls *int64
			cost      *float64
			prompt    *string
		)
		if err := rows.Scan(&run.RunID, &batch, &run.Suite, &run.Scenario, &run.Tier, &run.Agent, &run.Status, &run.StartedAt, &run.TotalScore,
			&metadata, &toolCalls, &cost, &prompt); err != nil {
			return nil, err
		}
		run.StartedAt = run.StartedAt.In(time.UTC)
		if batch != nil {
			run.BatchID = *batch
		}
		if err := json.Unmarshal(metadata, &run.Metadata); err != nil {
			return nil, err
		}
		if toolCalls != nil && cost != nil && prompt != nil {
			run.Telemetry = &testTelemetry{*toolCalls, *cost, *prompt}
		}
		stored[run.RunID] = run
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	rows, err = connection.Query(ctx, `select run_id, evaluator_name, score, max_score, details from evaluation_results order by run_id, position`)
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		var (
			id         string
			evaluation testEvaluation
		)
		if err := rows.Scan(&id, &evaluation.EvaluatorName, &evaluation.Score, &evaluation.MaxScore, &evaluation.Details); err != nil {
			return nil, err
		}
		run := stored[id]
		run.Evaluations = append(run.Evaluations, evaluation)
		stored[id] = run
	}
	return stored, rows.Err()
}
