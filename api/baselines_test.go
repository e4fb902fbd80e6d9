package api_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/benchledger/benchledger/keys"
)

func TestBaselines(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for _, batch := range []string{"batch-a", "batch-b"} {
		s.submit(leastRun("run of "+batch, object{"batchId": batch})).want(http.StatusCreated)
	}
	ci, reader := s.makeKey("ci", keys.ScopeSubmit), s.makeKey("reader", keys.ScopeRead)
	set := func(name, batch string) answer {
		return s.with(ci, http.MethodPut, "/api/baselines/"+name, object{"batchId": batch})
	}
	list := func() string {
		text := ""
		for path := "/api/baselines?limit=1"; path != ""; {
			page := s.get(path).want(http.StatusOK)
			for _, b := range decode[[]object](page) {
				text += fmt.Sprint(b["name"], "=", b["batchId"], " by ", b["setBy"], "; ")
			}
			path = nextPage(page)
		}
		return text
	}

	t.Run("a name is set, moved and deleted", func(t *testing.T) {
		wantFields(t, "set", decode[object](set("main", "batch-a").want(http.StatusOK)), object{"name": "main", "batchId": "batch-a", "setBy": "ci"})
		set("a%2Fb%20c", "batch-b").want(http.StatusOK)
		set("main", "batch-b").want(http.StatusOK)
		if got := list(); got != "a/b c=batch-b by ci; main=batch-b by ci; " {
			t.Error(got)
		}
		wantFields(t, "get", decode[object](s.get("/api/baselines/a%2Fb%20c").want(http.StatusOK)), object{"name": "a/b c", "batchId": "batch-b"})
		wantFields(t, "delete", decode[object](s.with(ci, http.MethodDelete, "/api/baselines/main", nil).want(http.StatusOK)), object{"name": "main", "batchId": "batch-b"})
		s.get("/api/baselines/main").wantProblem(http.StatusNotFound)
		s.with(ci, http.MethodDelete, "/api/baselines/main", nil).wantProblem(http.StatusNotFound)
		s.get("/api/batches/batch-b").want(http.StatusOK)
	})

	t.Run("what is wrong is refused", func(t *testing.T) {
		set("main", "none").wantProblem(http.StatusNotFound)
		if faults := set("main", "").wantProblem(http.StatusUnprocessableEntity); faults["body.batchId"] == "" {
			t.Errorf("%v", faults)
		}
		s.with(reader, http.MethodPut, "/api/baselines/main", object{"batchId": "batch-a"}).wantProblem(http.StatusForbidden)
		s.with(reader, http.MethodDelete, "/api/baselines/main", nil).wantProblem(http.StatusForbidden)
		s.get("/api/baselines?cursor=x").wantProblem(http.StatusUnprocessableEntity)
		if allow := s.with(ci, http.MethodPost, "/api/baselines/main", object{}).want(http.StatusMethodNotAllowed).header.Get("Allow"); allow != "GET, HEAD, PUT, DELETE" {
			t.Error(allow)
		}
	})
}
