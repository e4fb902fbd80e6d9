package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// An unknown field is not stored, and the receipt names it; strict
// refuses it.
func TestUnknownFields(t *testing.T) {
	t.Parallel()
	type receipt struct {
		Success  bool
		Warnings []string
	}
	unknown := object{
		"totalscore": 0.5, "isSucessful": true, "started_at": "2025-11-17T10:00:00Z", "z": nil, "$schema": "https://example.com",
		"evaluations": []object{{"evaluatorName": "e", "score": 1, "maxScore": 1}, {"evaluatorName": "e", "score": 1, "maxScore": 1, "detail": "text"}},
		"telemetry":   object{"costUSD": 1.5},
		"metadata":    object{"totalscore": 1},
	}
	want := []string{
		"body.$schema: unknown field",
		"body.evaluations[1].detail: unknown field; did you mean details?",
		"body.isSucessful: unknown field; did you mean isSuccessful?",
		"body.started_at: unknown field; did you mean startedAt?",
		"body.telemetry.costUSD: unknown field; did you mean costUsd?",
		"body.totalscore: unknown field; did you mean totalScore?",
		"body.z: unknown field",
	}

	t.Run("of a run are named in its receipt", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		for _, status := range []int{http.StatusCreated, http.StatusOK} { // A replay, too.
			got := s.submit(leastRun("run-1", unknown)).want(status)
			if found := decode[receipt](got); !found.Success || !slices.Equal(found.Warnings, want) {
				t.Errorf("%s, want %q", got.body, want)
			}
		}
		if got := s.submit(leastRun("run-2")).want(http.StatusCreated); got.body != `{"success":true,"runId":"run-2"}` {
			t.Errorf("without unknown fields: %s", got.body)
		}
	})

	t.Run("of a batch are named in its receipt", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		got := s.submitBatch(object{"batchId": "batch-a", "avgscore": 1, "metadata": object{"x": 1}}).want(http.StatusCreated)
		if got.body != `{"success":true,"batchId":"batch-a","warnings":["body.avgscore: unknown field; did you mean avgScore?"]}` {
			t.Error(got.body)
		}
		if got := s.submitBatch(object{"batchId": "batch-b"}).want(http.StatusCreated); got.body != `{"success":true,"batchId":"batch-b"}` {
			t.Errorf("without unknown fields: %s", got.body)
		}
	})

	t.Run("of many runs are named by line", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		for _, mode := range []string{"?mode=each", "?mode=atomic"} {
			receipts := s.submitBulk(mode, ndjson(t, leastRun("run-1"), leastRun("run-2", unknown))).wantReceipts()
			if len(receipts) != 2 || receipts[0].Warnings != nil || !slices.Equal(receipts[1].Warnings, want) {
				t.Errorf("%s: %+v", mode, receipts)
			}
		}
	})

	t.Run("are refused if the request is strict", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		strict := func(path string, body any) answer {
			return s.do(http.MethodPost, path, body, "Authorization", "Bearer "+key, "Content-Type", "application/json")
		}
		if faults := strict("/api/results?strict=true", leastRun("run-1", unknown)).wantProblem(http.StatusUnprocessableEntity); len(faults) != len(want) ||
			faults["body.totalscore"] != "unknown field; did you mean totalScore?; " {
			t.Errorf("faults %v", faults)
		}
		if faults := strict("/api/results/batch?strict=true", object{"batchId": "batch-a", "x": 1}).wantProblem(http.StatusUnprocessableEntity); faults["body.x"] == "" {
			t.Errorf("faults %v", faults)
		}
		lines := []object{leastRun("run-2"), leastRun("run-1", unknown)}
		if faults := strict("/api/results/bulk?strict=true&mode=atomic", lines).wantProblem(http.StatusUnprocessableEntity); faults["line 2: body.totalscore"] == "" {
			t.Errorf("faults %v", faults)
		}
		s.get("/api/batches/batch-a").wantProblem(http.StatusNotFound)
		s.get("/api/runs/run-2").wantProblem(http.StatusNotFound)
		receipts := strict("/api/results/bulk?strict=true", lines).wantReceipts()
		if receipts[0].Outcome != "recorded" || receipts[1].Outcome != "refused" || len(receipts[1].Errors) != len(want) {
			t.Errorf("%+v", receipts)
		}
		s.get("/api/runs/run-1").wantProblem(http.StatusNotFound)
		strict("/api/results?strict=true", fullRun("run-3")).want(http.StatusCreated)
	})

	t.Run("up to twenty are named, and long names are truncated", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		many := object{strings.Repeat("x", 10_000): 1}
		for i := range 5000 {
			many["a"+strings.Repeat("b", i%97)+string(rune('a'+i%26))] = json.Number("1")
		}
		got := s.submit(leastRun("run-1", many)).want(http.StatusCreated)
		if found := decode[receipt](got).Warnings; len(found) != 20 || found[19] != fmt.Sprintf("body: and %d more", len(many)-19) || len(got.body) > 5000 {
			t.Errorf("%d warnings: %s", len(found), got.body)
		}
	})
}
