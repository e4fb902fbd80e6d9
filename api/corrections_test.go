package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/benchledger/benchledger/keys"
)

// corrections are the corrections of a response, as "action run by".
func corrections(a answer) []string {
	list := []string{}
	for _, c := range decode[[]object](a) {
		list = append(list, fmt.Sprint(c["action"], " ", c["runId"], " ", c["by"]))
	}
	return list
}

func TestVoidRun(t *testing.T) {
	t.Parallel()
	s := setup(t)
	admin := s.makeKey("alice", keys.ScopeAdmin)
	for _, id := range []string{"run-1", "run-2"} {
		s.submit(leastRun(id, object{"batchId": "batch-a", "isSuccessful": true, "totalScore": 0.5, "weightedScore": 5})).want(http.StatusCreated)
	}
	counted := func() string {
		batch := decode[object](s.get("/api/batches/batch-a"))
		stats := decode[object](s.get("/api/stats"))
		agents := decode[[]object](s.get("/api/stats/agents"))
		list := decode[[]object](s.get("/api/batches"))
		return fmt.Sprintln(runIDs(s.get("/api/runs")), runIDs(s.get("/api/runs?agent=agent-a&status=completed")), len(batch["runs"].([]any)),
			batch["totalRuns"], list[0]["totalRuns"], stats["totalRuns"], agents[0]["runs"])
	}
	const both, one = "[run-2 run-1] [run-2 run-1] 2 2 2 2 2\n", "[run-2] [run-2] 1 1 1 1 1\n"
	want := func(figures string) {
		t.Helper()
		if got := counted(); got != figures {
			t.Errorf("%s, want %s", got, figures)
		}
	}
	want(both)
	const reason = "The workspace had the solution in it."
	void := func(id string, body any) answer { return s.with(admin, http.MethodPost, "/api/runs/"+id+"/void", body) }

	voided := decode[object](void("run-1", object{"reason": reason}).want(http.StatusOK))
	details, _ := voided["voided"].(object)
	if voided["runId"] != "run-1" || details["by"] != "alice" || details["reason"] != reason || details["at"] == nil {
		t.Errorf("voided run %v", voided)
	}
	want(one)
	if run := decode[object](s.get("/api/runs/run-1"))["run"].(object); fmt.Sprint(run["voided"]) != fmt.Sprint(details) {
		t.Errorf("the page of the run %v", run)
	}

	t.Run("lists have it if they are asked for", func(t *testing.T) {
		for _, path := range []string{"/api/runs?voided=true", "/api/runs?voided=true&agent=agent-a", "/api/runs?limit=1&voided=true"} {
			var found []string
			for path != "" {
				page := s.get(path).want(http.StatusOK)
				for _, run := range decode[[]object](page) {
					found = append(found, fmt.Sprint(run["runId"], run["voided"] != nil))
				}
				path = nextPage(page)
			}
			if !slices.Equal(found, []string{"run-2false", "run-1true"}) {
				t.Errorf("%v", found)
			}
		}
		if runs := decode[object](s.get("/api/batches/batch-a?voided=true"))["runs"].([]any); len(runs) != 2 {
			t.Errorf("%v", runs)
		}
		s.get("/api/runs?voided=yes").wantProblem(http.StatusUnprocessableEntity)
	})

	t.Run("voiding again changes nothing", func(t *testing.T) {
		again := decode[object](void("run-1", object{"reason": reason}).want(http.StatusOK))
		if fmt.Sprint(again["voided"]) != fmt.Sprint(details) {
			t.Errorf("%v", again)
		}
		void("run-1", object{"reason": "another"}).wantProblem(http.StatusConflict)
		if got := corrections(s.get("/api/corrections")); !slices.Equal(got, []string{"void run-1 alice"}) {
			t.Errorf("%v", got)
		}
	})

	t.Run("what is submitted again does not restore it", func(*testing.T) {
		s.submit(leastRun("run-1", object{"batchId": "batch-a", "isSuccessful": true, "totalScore": 0.5, "weightedScore": 5})).want(http.StatusOK)
		want(one)
	})

	t.Run("it needs a reason, a run, and a key of scope admin", func(t *testing.T) {
		for _, body := range []any{
			object{},
			object{"reason": nil},
			object{"reason": ""},
			object{"reason": " \t "},
			object{"reason": 5},
			object{"reason": "x", "why": "y"},
			object{"reason": "a\x00"},
			object{"reason": strings.Repeat("a", 2001)},
		} {
			if faults := void("run-2", body).wantProblem(http.StatusUnprocessableEntity); len(faults) != 1 {
				t.Errorf("%v: %v", body, faults)
			}
		}
		s.with(admin, http.MethodPost, "/api/runs/run-2/void", nil).wantProblem(http.StatusBadRequest)
		void("RUN-1", object{"reason": reason}).wantProblem(http.StatusNotFound)
		s.with("", http.MethodPost, "/api/runs/run-2/void", object{"reason": reason}).wantProblem(http.StatusUnauthorized)
		for _, scope := range []keys.Scope{keys.ScopeRead, keys.ScopeSubmit} {
			s.with(s.makeKey(string(scope), scope), http.MethodPost, "/api/runs/run-2/void", object{"reason": reason}).wantProblem(http.StatusForbidden)
		}
		want(one)
	})

	t.Run("restoring undoes it", func(t *testing.T) {
		restore := func(id string, body any) answer {
			return s.with(key, http.MethodPost, "/api/runs/"+id+"/restore", body)
		}
		for range 2 { // The second changes nothing.
			if run := decode[object](restore("run-1", nil).want(http.StatusOK)); run["runId"] != "run-1" || run["voided"] != nil {
				t.Errorf("%v", run)
			}
		}
		want(both)
		restore("RUN-1", object{"reason": "It was right."}).wantProblem(http.StatusNotFound)
		for _, body := range []object{{"reason": "a\x00"}, {"reason": " "}, {"why": "x"}} {
			restore("run-1", body).wantProblem(http.StatusUnprocessableEntity)
		}
		s.with(s.makeKey("ci", keys.ScopeSubmit), http.MethodPost, "/api/runs/run-1/restore", nil).wantProblem(http.StatusForbidden)

		void("run-1", object{"reason": "another"}).want(http.StatusOK)
		restore("run-1", object{"reason": "It was right."}).want(http.StatusOK)
		got := s.get("/api/corrections").want(http.StatusOK)
		if list := corrections(got); !slices.Equal(list, []string{"restore run-1 <nil>", "void run-1 alice", "restore run-1 <nil>", "void run-1 alice"}) {
			t.Errorf("%v", list)
		}
		if reasons := decode[[]object](got); reasons[0]["reason"] != "It was right." || reasons[2]["reason"] != nil || reasons[3]["reason"] != reason {
			t.Errorf("%v", reasons)
		}
	})
}

func TestListCorrections(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.get("/api/corrections").want(http.StatusOK)
	var want []string
	for i := range 5 {
		id := fmt.Sprint("run-", i)
		s.submit(leastRun(id)).want(http.StatusCreated)
		s.with(key, http.MethodPost, "/api/runs/"+id+"/void", object{"reason": "It was wrong."}).want(http.StatusOK)
		want = append([]string{"void " + id + " <nil>"}, want...)
	}
	s.with(key, http.MethodPost, "/api/runs/run-2/restore", nil).want(http.StatusOK)
	want = append([]string{"restore run-2 <nil>"}, want...)
	for query, expected := range map[string][]string{
		"limit=1": want, "limit=4": want, "limit=100": want,
		"runId=run-2&limit=1": {"restore run-2 <nil>", "void run-2 <nil>"}, "runId=RUN-2": {},
	} {
		got := []string{}
		for path := "/api/corrections?" + query; path != ""; {
			page := s.get(path).want(http.StatusOK)
			got = append(got, corrections(page)...)
			path = nextPage(page)
		}
		if !slices.Equal(got, expected) {
			t.Errorf("%s: %v, want %v", query, got, expected)
		}
	}
	for _, query := range []string{"cursor=x", "limit=0", "runId=.", "run=1"} {
		s.get("/api/corrections?" + query).wantProblem(http.StatusUnprocessableEntity)
	}
	// A cursor belongs to its filter.
	next := nextPage(s.get("/api/corrections?limit=1"))
	s.get(next + "&runId=run-2").wantProblem(http.StatusUnprocessableEntity)
}
