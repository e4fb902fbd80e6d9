package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/benchledger/benchledger/api"
)

func TestSubmitRun(t *testing.T) {
	t.Parallel()

	t.Run("a run with all fields is read back", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		got := s.submit(fullRun("run-1")).want(http.StatusCreated)
		if want := `{"success":true,"runId":"run-1"}`; got.body != want {
			t.Errorf("receipt %s, want %s", got.body, want)
		}
		if got.header.Get("Idempotent-Replayed") != "" {
			t.Error("a first submission is called a replay")
		}
		wantRun(t, s, fullRun("run-1"))
	})

	t.Run("a run with only the required fields is read back with nulls", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.submit(leastRun("run-1")).want(http.StatusCreated)
		wantRun(t, s, leastRun("run-1"))
	})

	t.Run("null is absent, and unknown fields are ignored", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		optional := object{}
		for _, field := range []string{
			"batchId", "model", "completedAt", "totalScore", "weightedScore", "isSuccessful", "successMetric",
			"specialistEnabled", "specialistName", "specialistVersion", "metadata", "evaluations", "telemetry",
		} {
			optional[field] = nil
		}
		s.submit(leastRun("run-1", optional, object{"unknown": object{"a": 1}})).want(http.StatusCreated)
		wantRun(t, s, leastRun("run-1"))
		s.submit(leastRun("run-1")).want(http.StatusOK)
	})

	t.Run("an ID that has to be encoded in a path can be read", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		for _, id := range []string{"läuft/ein zweites?", "a%2Fb", "a/../b", "…", "...", ".a", "日本語", strings.Repeat("🐘", 150), "a;b&c=d#e+f"} {
			s.submit(leastRun(id)).want(http.StatusCreated)
			wantRun(t, s, leastRun(id))
		}
	})

	t.Run("40 evaluations are read back in their order", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		evaluations := []object{}
		for i := range 40 {
			evaluations = append(evaluations, object{"evaluatorName": fmt.Sprint("e", 40-i), "score": i, "maxScore": 40})
		}
		run := leastRun("run-1", object{"evaluations": evaluations})
		s.submit(run).want(http.StatusCreated)
		wantRun(t, s, run)
	})

	t.Run("a prompt of 700 KB is read back byte by byte", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		prompt := strings.Repeat("Zeile \"eins\"\r\n\t\\ äöü 🐘 \u2028 </script> \u007f", 16000)[:700_000]
		run := leastRun("run-1", object{"telemetry": object{"promptSent": strings.ToValidUTF8(prompt, "")}})
		s.submit(run).want(http.StatusCreated)
		wantRun(t, s, run)
	})

	t.Run("metadata is read back as it was sent, except white space", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		const metadata = `{"zz":9007199254740993,"b":1.10,"a":[1e308,5e-324,true,null,"x  y"],"d":{},"\u0065":"<\u006e&😀>","f":-0.1000000000000000055511151231257827,"":"\\u0000"}`
		spaced := "{ \n\t" + strings.TrimPrefix(metadata, "{")
		run := func(id string) string {
			return strings.TrimSuffix(encode(t, leastRun(id, object{"batchId": "batch-a"})), "}") + `,"metadata":` + spaced + `}`
		}
		s.submit(run("run-1")).want(http.StatusCreated)
		s.submitBulk("", "["+run("run-2")+","+run("run-3")+"]").want(http.StatusOK)
		s.submitBatch(`{"batchId":"batch-a","metadata":` + spaced + `}`).want(http.StatusCreated)
		for path, times := range map[string]int{
			"/api/runs/run-1": 1, "/api/runs/run-2": 1, "/api/runs": 3, "/api/batches": 1, "/api/batches/batch-a": 4,
		} {
			if body := s.get(path).body; strings.Count(body, `"metadata":`+metadata) != times {
				t.Errorf("%s: %s", path, body)
			}
		}
		s.submit(run("run-1")).want(http.StatusOK)
	})

	t.Run("metadata is never longer in a response than it was sent", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		metadata := `{"a":[1e308` + strings.Repeat(",1e308", 9999) + `]}`
		s.submit(strings.TrimSuffix(encode(t, leastRun("run-1")), "}") + `,"metadata":` + metadata + `}`).want(http.StatusCreated)
		if size := len(s.get("/api/runs").body); size > len(metadata)+1000 {
			t.Errorf("%d bytes for %d", size, len(metadata))
		}
	})

	t.Run("times are accepted in every notation", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		for i, test := range []struct {
			sent any
			want string
		}{
			{"2025-11-17T10:00:00Z", "2025-11-17T10:00:00.000Z"},
			{"2025-11-17t12:00:00.5+02:00", "2025-11-17T10:00:00.500Z"},
			{"2025-11-17T10:00:00.123456789Z", "2025-11-17T10:00:00.123456Z"},
			{1763373600000, "2025-11-17T10:00:00.000Z"},
			{1763373600000.25, "2025-11-17T10:00:00.000250Z"},
			{-1, "1969-12-31T23:59:59.999Z"},
			{0, "1970-01-01T00:00:00.000Z"},
			{"0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"},
			{"9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"},
			{"2024-02-29T23:59:59-12:00", "2024-03-01T11:59:59.000Z"},
		} {
			id := fmt.Sprint("run-", i)
			s.submit(leastRun(id, object{"startedAt": test.sent, "completedAt": test.sent})).want(http.StatusCreated)
			run := decode[struct{ Run object }](s.get("/api/runs/" + id)).Run
			if run["startedAt"] != test.want || run["completedAt"] != test.want {
				t.Errorf("%v reads %v and %v, want %s", test.sent, run["startedAt"], run["completedAt"], test.want)
			}
			s.submit(leastRun(id, object{"startedAt": test.sent, "completedAt": test.sent})).want(http.StatusOK)
		}
	})

	t.Run("numbers are accepted up to the ends of their range", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		body := strings.TrimSuffix(encode(t, leastRun("run-1")), "}") + `,"totalScore":-1.7976931348623157e308,"weightedScore":5e-324,` +
			`"evaluations":[{"evaluatorName":"e","score":0.1,"maxScore":1e-320}],` +
			`"telemetry":{"toolCalls":5.0,"tokensIn":9223372036854775807,"tokensOut":9.007199254740993e15,"durationMs":0}}`
		s.submit(body).want(http.StatusCreated)
		details := decode[struct {
			Run, Telemetry object
			Evaluations    []object
		}](s.get("/api/runs/run-1"))
		for _, test := range []struct{ got, want any }{
			{details.Run["totalScore"], json.Number("-1.7976931348623157e+308")},
			{details.Run["weightedScore"], json.Number("5e-324")},
			{details.Evaluations[0]["maxScore"], json.Number("1e-320")},
			{details.Telemetry["toolCalls"], json.Number("5")},
			{details.Telemetry["tokensIn"], json.Number("9223372036854775807")},
			{details.Telemetry["tokensOut"], json.Number("9007199254740993")},
			{details.Telemetry["durationMs"], json.Number("0")},
		} {
			if test.got != test.want {
				t.Errorf("%v, want %v", test.got, test.want)
			}
		}
		s.submit(body).want(http.StatusOK)
	})

	t.Run("a body of 8 MiB is accepted, one byte more is not", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		frame := encode(t, leastRun("run-1", object{"telemetry": object{"promptSent": ""}}))
		before, after, _ := strings.Cut(frame, `"promptSent":""`)
		fill := 8<<20 - len(frame)
		full := before + `"promptSent":"` + strings.Repeat("x", fill) + `"` + after
		s.submit(full).want(http.StatusCreated)
		s.submit(full + " ").wantProblem(http.StatusRequestEntityTooLarge)
	})
}

func TestSubmitRunAgain(t *testing.T) {
	t.Parallel()

	t.Run("the same content is a replay that changes nothing", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		for _, run := range []object{fullRun("full"), leastRun("least"), leastRun("open", object{"status": "running", "startedAt": absent})} {
			first := s.submit(run).want(http.StatusCreated)
			before := s.get("/api/runs/" + run["runId"].(string)).body
			again := s.submit(run).want(http.StatusOK)
			if again.body != first.body || again.header.Get("Idempotent-Replayed") != "true" {
				t.Errorf("replay answers %s, Idempotent-Replayed %q", again.body, again.header.Get("Idempotent-Replayed"))
			}
			if after := s.get("/api/runs/" + run["runId"].(string)).body; after != before {
				t.Errorf("a replay changed the run:\n%s\n%s", before, after)
			}
		}
	})

	t.Run("the same content in another notation is a replay", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		run := fullRun("run-1")
		s.submit(run).want(http.StatusCreated)
		run["startedAt"], run["completedAt"] = 1763373600000, "2025-11-17T11:05:00+01:00"
		run["telemetry"].(object)["toolCalls"] = json.Number("12.0")
		run["metadata"] = json.RawMessage(` { "big" : 9007199254740993.0, "packageManager" : "p\u006epm" } `)
		s.submit(run).want(http.StatusOK)
	})

	t.Run("a leap second is the second after it", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		for sent, want := range map[string]string{
			"2016-12-31T23:59:60Z":          "2017-01-01T00:00:00.000Z",
			"2016-12-31T23:59:60.5Z":        "2017-01-01T00:00:00.500Z",
			"2017-01-01T05:29:60+05:30":     "2017-01-01T00:00:00.000Z",
			"2016-12-31t23:59:59.999999z":   "2016-12-31T23:59:59.999999Z",
			"2017-01-01T23:58:59.000-23:59": "2017-01-02T23:57:59.000Z",
		} {
			s.submit(leastRun(sent, object{"startedAt": sent})).want(http.StatusCreated)
			run := decode[struct{ Run object }](s.get("/api/runs/" + escape(sent)).want(http.StatusOK)).Run
			if run["startedAt"] != want {
				t.Errorf("%s reads back as %s, want %s", sent, run["startedAt"], want)
			}
		}
	})

	t.Run("other content for a finished run is refused, naming the fields", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.submit(fullRun("run-1")).want(http.StatusCreated)
		before := s.get("/api/runs/run-1").body
		other := fullRun("run-1")
		other["suite"], other["totalScore"], other["model"], other["startedAt"] = "suite-b", 0.5, absent, absent
		other = leastRun("run-1", other)
		evaluations := other["evaluations"].([]object)
		evaluations[1]["score"] = 3
		other["evaluations"] = evaluations[:2]
		other["telemetry"].(object)["promptSent"] = "Something else."
		refused := s.submit(other)
		refused.wantProblem(http.StatusConflict)
		want := []api.FieldError{
			{Location: "body.model", Message: `differs from what is stored: "model-a"`},
			{Location: "body.startedAt", Message: `differs from what is stored: "2025-11-17T10:00:00.000Z"`},
			{Location: "body.suite", Message: `differs from what is stored: "suite-a"`},
			{Location: "body.totalScore", Message: "differs from what is stored: 0.85"},
			{Location: "body.evaluations[1].score", Message: "differs from what is stored: -2.5"},
			{Location: "body.evaluations[2]", Message: `differs from what is stored: {"score": 7, "details": null, "max_score": 5, "evaluator_name": "install"}`},
			{Location: "body.telemetry.promptSent", Message: `differs from what is stored: "Update the dependencies."`},
		}
		if got := decode[struct{ Errors []api.FieldError }](refused).Errors; !slices.Equal(got, want) {
			t.Errorf("differences %v, want %v", got, want)
		}
		if after := s.get("/api/runs/run-1").body; after != before {
			t.Error("a refused submission changed the run")
		}
	})

	t.Run("a refused submission leaves no batch behind", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.submit(leastRun("run-1")).want(http.StatusCreated)
		s.submit(leastRun("run-1", object{"batchId": "batch-new"})).wantProblem(http.StatusConflict)
		s.get("/api/batches/batch-new").want(http.StatusNotFound)
	})

	t.Run("running for a finished run is refused", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		for _, status := range []string{"completed", "failed"} {
			s.submit(leastRun(status, object{"status": status})).want(http.StatusCreated)
			if faults := s.submit(leastRun(status, object{"status": "running"})).wantProblem(http.StatusConflict); faults["body.status"] == "" {
				t.Errorf("faults %v", faults)
			}
		}
	})

	t.Run("an open run is replaced as a whole under its id", func(t *testing.T) {
		t.Parallel()
		for _, open := range []string{"running", "incomplete"} {
			s := setup(t)
			announcement := fullRun("run-1")
			announcement["status"] = open
			s.submit(announcement).want(http.StatusCreated)
			id := decode[struct{ Run object }](s.get("/api/runs/run-1")).Run["id"]

			// With less, and without its telemetry, in another batch.
			less := leastRun("run-1", object{
				"status": "incomplete", "batchId": "batch-b", "startedAt": "2025-11-17T09:00:00.000Z",
				"evaluations": []object{{"evaluatorName": "other", "score": 0, "maxScore": 3}},
			})
			s.submit(less).want(http.StatusCreated)
			wantRun(t, s, less)

			// With more.
			s.submit(fullRun("run-1")).want(http.StatusCreated)
			wantRun(t, s, fullRun("run-1"))
			if got := decode[struct{ Run object }](s.get("/api/runs/run-1")).Run["id"]; got != id {
				t.Errorf("id %v became %v", id, got)
			}
			s.submit(fullRun("run-1")).want(http.StatusOK)
		}
	})

	t.Run("an end without a start time keeps the announced one", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.submit(leastRun("given", object{"status": "running"})).want(http.StatusCreated)
		s.submit(leastRun("absent", object{"status": "running", "startedAt": absent})).want(http.StatusCreated)
		for _, id := range []string{"given", "absent"} {
			announced := decode[struct{ Run object }](s.get("/api/runs/" + id)).Run["startedAt"]
			end := leastRun(id, object{"startedAt": absent})
			s.submit(end).want(http.StatusCreated)
			if got := decode[struct{ Run object }](s.get("/api/runs/" + id)).Run["startedAt"]; got != announced {
				t.Errorf("%s: started at %v, announced %v", id, got, announced)
			}
			s.submit(end).want(http.StatusOK)
			s.submit(leastRun(id, object{"startedAt": announced})).want(http.StatusOK)
			s.submit(leastRun(id, object{"startedAt": "2001-01-01T00:00:00Z"})).wantProblem(http.StatusConflict)
		}
	})
}

func TestSubmitRunRaces(t *testing.T) {
	t.Parallel()

	t.Run("50 equal submissions: one is the first, 49 are replays", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		statuses := atOnce(50, func(int) int { return s.submit(fullRun("run-1")).status })
		if statuses[http.StatusCreated] != 1 || statuses[http.StatusOK] != 49 {
			t.Errorf("statuses %v", statuses)
		}
		wantRun(t, s, fullRun("run-1"))
	})

	t.Run("50 different submissions: one is stored, 49 are refused, nothing is mixed", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		variant := func(i int) object {
			evaluations := []object{}
			for j := range i%5 + 1 {
				evaluations = append(evaluations, object{"evaluatorName": fmt.Sprint("e", i), "score": j, "maxScore": 9})
			}
			return leastRun("run-1", object{
				"agent": fmt.Sprint("agent-", i), "totalScore": i, "evaluations": evaluations, "batchId": fmt.Sprint("batch-", i),
				"telemetry": object{"tokensIn": i},
			})
		}
		statuses := atOnce(50, func(i int) int { return s.submit(variant(i)).status })
		if statuses[http.StatusCreated] != 1 || statuses[http.StatusConflict] != 49 {
			t.Errorf("statuses %v", statuses)
		}
		var winner int
		if _, err := fmt.Sscanf(decode[struct{ Run object }](s.get("/api/runs/run-1")).Run["agent"].(string), "agent-%d", &winner); err != nil {
			t.Fatal(err)
		}
		wantRun(t, s, variant(winner))
		if batches := decode[[]object](s.get("/api/batches")); len(batches) != 1 {
			t.Errorf("%d batches, want the winner's", len(batches))
		}
	})

	t.Run("50 ends of an announced run: one is stored, nothing is mixed", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.submit(leastRun("run-1", object{"status": "running"})).want(http.StatusCreated)
		end := func(i int) object {
			evaluations := []object{}
			for j := range i % 7 {
				evaluations = append(evaluations, object{"evaluatorName": fmt.Sprint("e", i), "score": j, "maxScore": 9})
			}
			return leastRun("run-1", object{"totalScore": i, "evaluations": evaluations})
		}
		statuses := atOnce(50, func(i int) int { return s.submit(end(i)).status })
		if statuses[http.StatusCreated] != 1 || statuses[http.StatusConflict] != 49 {
			t.Errorf("statuses %v", statuses)
		}
		winner, err := decode[struct {
			Run struct{ TotalScore json.Number }
		}](s.get("/api/runs/run-1")).Run.TotalScore.Int64()
		if err != nil {
			t.Fatal(err)
		}
		wantRun(t, s, end(int(winner)))
	})

	t.Run("50 runs of a batch that nobody announced are all stored", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		statuses := atOnce(50, func(i int) int {
			return s.submit(leastRun(fmt.Sprint("run-", i), object{"batchId": "batch-new"})).status
		})
		if statuses[http.StatusCreated] != 50 {
			t.Errorf("statuses %v", statuses)
		}
		if runs := decode[struct{ Runs []object }](s.get("/api/batches/batch-new")).Runs; len(runs) != 50 {
			t.Errorf("%d runs", len(runs))
		}
	})
}

func TestSubmitBatch(t *testing.T) {
	t.Parallel()
	const created, completed = "2025-11-17T09:50:00.000Z", "2025-11-17T10:40:00.000Z"

	batch := func(t *testing.T, s *service) object {
		t.Helper()
		got := decode[object](s.get("/api/batches/batch-a").want(http.StatusOK))
		delete(got, "runs")
		return got
	}

	t.Run("a batch with all fields is read back", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		got := s.submitBatch(object{
			"batchId": "batch-a", "createdAt": 1763373000000, "completedAt": completed, "totalRuns": 7, "successfulRuns": 5,
			"avgScore": 0.5, "avgWeightedScore": 5.5, "metadata": object{"cli": "1.2.0"},
		}).want(http.StatusCreated)
		if want := `{"success":true,"batchId":"batch-a"}`; got.body != want {
			t.Errorf("receipt %s, want %s", got.body, want)
		}
		wantEqual(t, batch(t, s), object{
			"batchId": "batch-a", "createdAt": created, "completedAt": completed, "totalRuns": json.Number("7"),
			"successfulRuns": json.Number("5"), "avgScore": json.Number("0.5"), "avgWeightedScore": json.Number("5.5"),
			"metadata": map[string]any{"cli": "1.2.0"},
		})
	})

	t.Run("an open batch is computed from its runs, not from reported figures", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.submitBatch(object{"batchId": "batch-a", "createdAt": created, "totalRuns": 0, "successfulRuns": 0, "avgScore": 3}).want(http.StatusCreated)
		in := object{"batchId": "batch-a"}
		s.submit(leastRun("1", in, object{"totalScore": 0.5, "weightedScore": 4, "isSuccessful": true})).want(http.StatusCreated)
		s.submit(leastRun("2", in, object{"totalScore": 1})).want(http.StatusCreated)
		s.submit(leastRun("3", in, object{"totalScore": 99, "status": "failed", "isSuccessful": true})).want(http.StatusCreated)
		s.submit(leastRun("4", in, object{"weightedScore": 99, "status": "running"})).want(http.StatusCreated)
		want := object{
			"batchId": "batch-a", "createdAt": created, "completedAt": nil, "totalRuns": json.Number("4"),
			"successfulRuns": json.Number("2"), "avgScore": json.Number("0.75"), "avgWeightedScore": json.Number("4"), "metadata": nil,
		}
		wantEqual(t, batch(t, s), want)
		if list := decode[[]object](s.get("/api/batches")); len(list) != 1 {
			t.Errorf("%d batches", len(list))
		} else {
			wantEqual(t, list[0], want)
		}
	})

	t.Run("a completed batch has the reported figures, and computes the others", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.submitBatch(object{"batchId": "batch-a", "createdAt": created, "metadata": object{"a": 1}}).want(http.StatusCreated)
		s.submit(leastRun("1", object{"batchId": "batch-a", "totalScore": 0.5, "weightedScore": 4})).want(http.StatusCreated)
		s.submitBatch(object{"batchId": "batch-a", "createdAt": "2001-01-01T00:00:00Z", "completedAt": completed, "totalRuns": 9, "avgScore": nil}).want(http.StatusCreated)
		wantEqual(t, batch(t, s), object{
			"batchId": "batch-a", "createdAt": created, "completedAt": completed, "totalRuns": json.Number("9"),
			"successfulRuns": json.Number("0"), "avgScore": json.Number("0.5"), "avgWeightedScore": json.Number("4"),
			"metadata": map[string]any{"a": json.Number("1")},
		})
	})

	t.Run("an announcement never reopens a completed batch", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.submitBatch(object{"batchId": "batch-a", "createdAt": created, "completedAt": completed, "totalRuns": 9}).want(http.StatusCreated)
		before := batch(t, s)
		s.submitBatch(object{"batchId": "batch-a", "totalRuns": 0, "metadata": object{"late": true}}).want(http.StatusCreated)
		wantEqual(t, batch(t, s), before)
	})

	t.Run("a second completion replaces the first", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.submitBatch(object{"batchId": "batch-a", "createdAt": created, "completedAt": created, "totalRuns": 9, "avgScore": 9}).want(http.StatusCreated)
		s.submitBatch(object{"batchId": "batch-a", "completedAt": completed, "totalRuns": 3, "metadata": object{"b": true}}).want(http.StatusCreated)
		wantEqual(t, batch(t, s), object{
			"batchId": "batch-a", "createdAt": created, "completedAt": completed, "totalRuns": json.Number("3"),
			"successfulRuns": json.Number("0"), "avgScore": nil, "avgWeightedScore": nil, "metadata": map[string]any{"b": true},
		})
	})

	t.Run("50 concurrent submissions create one batch", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		statuses := atOnce(50, func(i int) int {
			return s.submitBatch(object{"batchId": "batch-a", "completedAt": completed, "totalRuns": i, "successfulRuns": i}).status
		})
		if statuses[http.StatusCreated] != 50 {
			t.Errorf("statuses %v", statuses)
		}
		if got := batch(t, s); got["totalRuns"] != got["successfulRuns"] {
			t.Errorf("two submissions are mixed: %v", got)
		}
	})
}

// wantRun reads a run back, by each of the ways, and compares it with what was
// submitted.
func wantRun(t *testing.T, s *service, submitted object) {
	t.Helper()
	id := submitted["runId"].(string)
	path := "/api/runs/" + escape(id)
	details := decode[struct {
		Run         object
		Evaluations []object
		Telemetry   object
	}](s.get(path).want(http.StatusOK))

	want := object{"isSuccessful": false, "id": details.Run["id"]}
	for _, field := range []string{
		"runId", "batchId", "suite", "scenario", "tier", "agent", "model", "status", "startedAt", "completedAt", "totalScore",
		"weightedScore", "isSuccessful", "successMetric", "specialistEnabled", "specialistName", "specialistVersion", "metadata",
	} {
		if value, ok := submitted[field]; ok || field != "isSuccessful" {
			want[field] = value
		}
	}
	if number, ok := details.Run["id"].(json.Number); !ok || number == "0" {
		t.Errorf("id %v", details.Run["id"])
	}
	wantEqual(t, details.Run, want)

	evaluations, _ := submitted["evaluations"].([]object)
	if len(details.Evaluations) != len(evaluations) {
		t.Fatalf("%d evaluations, want %d", len(details.Evaluations), len(evaluations))
	}
	for i, evaluation := range evaluations {
		want := object{"details": nil, "runId": id, "id": details.Evaluations[i]["id"], "createdAt": details.Evaluations[i]["createdAt"]}
		for field, value := range evaluation {
			want[field] = value
		}
		wantEqual(t, details.Evaluations[i], want)
	}
	if telemetry, ok := submitted["telemetry"].(object); ok {
		want := object{"runId": id, "id": details.Telemetry["id"]}
		for _, field := range []string{"toolCalls", "tokensIn", "tokensOut", "costUsd", "durationMs", "workspaceDir", "promptSent"} {
			want[field] = telemetry[field]
		}
		wantEqual(t, details.Telemetry, want)
	} else if details.Telemetry != nil {
		t.Errorf("telemetry %v, want null", details.Telemetry)
	}

	wantEqual(t, decode[any](s.get(path+"/evaluations").want(http.StatusOK)), decode[struct{ Evaluations any }](s.get(path)).Evaluations)
	wantEqual(t, decode[any](s.get(path+"/telemetry?include=prompt").want(http.StatusOK)), decode[struct{ Telemetry any }](s.get(path)).Telemetry)
}

// wantEqual compares values by their canonical JSON.
func wantEqual(t *testing.T, got, want any) {
	t.Helper()
	if g, w := canonical(t, encode(t, got)), canonical(t, encode(t, want)); g != w {
		t.Errorf("got  %s\nwant %s", g, w)
	}
}

func encode(t *testing.T, value any) string {
	t.Helper()
	encoded, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

// canonical sorts the names of JSON, and leaves numbers as they are written.
func canonical(t *testing.T, text string) string {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		t.Fatal(err)
	}
	return encode(t, value)
}

// atOnce calls fn n times at the same moment and counts what it returns.
func atOnce(n int, fn func(int) int) map[int]int {
	var (
		start  = make(chan struct{})
		group  sync.WaitGroup
		mu     sync.Mutex
		counts = map[int]int{}
	)
	for i := range n {
		group.Go(func() {
			<-start
			result := fn(i)
			mu.Lock()
			defer mu.Unlock()
			counts[result]++
		})
	}
	close(start)
	group.Wait()
	return counts
}
