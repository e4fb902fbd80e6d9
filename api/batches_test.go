package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestListBatches(t *testing.T) {
	t.Parallel()
	s := setup(t)
	if got := s.get("/api/batches").want(http.StatusOK); got.body != "[]" {
		t.Errorf("none is %s", got.body)
	}
	var want []string
	for i := range 25 {
		id := fmt.Sprintf("batch-%02d", i)
		want = append(want, id)
		// Equal times in pairs: the last id first.
		s.submitBatch(object{"batchId": id, "createdAt": i / 2 * 1000}).want(http.StatusCreated)
	}
	slices.Reverse(want)
	ids := func(a answer) []string {
		var ids []string
		for _, batch := range decode[[]struct{ BatchID string }](a.want(http.StatusOK)) {
			ids = append(ids, batch.BatchID)
		}
		return ids
	}
	if got := ids(s.get("/api/batches")); !slices.Equal(got, want[:20]) {
		t.Errorf("without a limit: %v, want %v", got, want[:20])
	}
	for _, limit := range []int{1, 3, 25, 10000} {
		var got []string
		for page := fmt.Sprint("/api/batches?limit=", limit); page != ""; {
			answer := s.get(page)
			got = append(got, ids(answer)...)
			page = nextPage(answer)
		}
		if !slices.Equal(got, want) {
			t.Errorf("by pages of %d: %v, want %v", limit, got, want)
		}
	}

	runs := s.submit(leastRun("a"))
	runs.want(http.StatusCreated)
	s.submit(leastRun("b")).want(http.StatusCreated)
	_, runsCursor, _ := strings.Cut(nextPage(s.get("/api/runs?limit=1")), "cursor=")
	runsCursor, _, _ = strings.Cut(runsCursor, "&")
	for query, location := range map[string]string{
		"limit=0": "query.limit", "limit=x": "query.limit", "limit=10001": "query.limit", "suite=a": "query.suite",
		"cursor=x": "query.cursor", "cursor=" + runsCursor: "query.cursor",
	} {
		if faults := s.get("/api/batches?" + query).wantProblem(http.StatusUnprocessableEntity); faults[location] == "" {
			t.Errorf("%s: faults %v, want %s", query, faults, location)
		}
	}
}

func TestGetBatch(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.get("/api/batches/none").wantProblem(http.StatusNotFound)
	if faults := s.get("/api/batches/" + strings.Repeat("x", 151)).wantProblem(http.StatusUnprocessableEntity); faults["path.batchId"] == "" {
		t.Errorf("faults %v", faults)
	}

	s.submitBatch(object{"batchId": "a/b ü"}).want(http.StatusCreated)
	empty := decode[struct {
		BatchID string
		Runs    []object
	}](s.get("/api/batches/" + escape("a/b ü")).want(http.StatusOK))
	if empty.BatchID != "a/b ü" || empty.Runs == nil || len(empty.Runs) != 0 {
		t.Errorf("an empty batch is %+v", empty)
	}

	// Oldest first, equal times as submitted, each whole.
	for i, started := range []int{3000, 1000, 2000, 1000} {
		s.submit(leastRun(fmt.Sprint("run-", i), object{"batchId": "batch-a", "startedAt": started, "metadata": object{"i": i}})).want(http.StatusCreated)
	}
	s.submit(leastRun("elsewhere", object{"batchId": "batch-b"})).want(http.StatusCreated)
	got := decode[struct{ Runs []object }](s.get("/api/batches/batch-a").want(http.StatusOK)).Runs
	var order []string
	for _, run := range got {
		id := run["runId"].(string)
		order = append(order, id)
		wantEqual(t, run, decode[struct{ Run object }](s.get("/api/runs/"+id)).Run)
	}
	if want := []string{"run-1", "run-3", "run-2", "run-0"}; !slices.Equal(order, want) {
		t.Errorf("runs %v, want %v", order, want)
	}
}
