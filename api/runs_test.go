package api_test

import (
	"compress/gzip"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/benchledger/benchledger/api"
)

func escape(id string) string { return strings.ReplaceAll(url.PathEscape(id), "+", "%2B") }

var nextLink = regexp.MustCompile(`^<(\?[^>]*)>; rel="next"$`)

// nextPage returns where a Link header leads, "" on the last page.
func nextPage(a answer) string {
	a.t.Helper()
	link := a.header.Get("Link")
	if link == "" {
		return ""
	}
	match := nextLink.FindStringSubmatch(link)
	if match == nil {
		a.t.Fatalf("Link: %s", link)
	}
	return a.path + match[1]
}

func TestListRuns(t *testing.T) {
	t.Parallel()

	t.Run("no runs are an empty list", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		if got := s.get("/api/runs").want(http.StatusOK); got.body != "[]" || got.header.Get("Link") != "" {
			t.Errorf("%s, Link %q", got.body, got.header.Get("Link"))
		}
	})

	t.Run("every combination of filters selects the same runs as a filter over all", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		statuses := []string{"completed", "failed", "running", "incomplete"}
		var all []object
		for i := range 60 {
			run := leastRun(fmt.Sprint("run-", i), object{
				"suite": fmt.Sprint("s", i%2), "scenario": fmt.Sprint("c", i%3), "agent": fmt.Sprint("a", i/7%2), "status": statuses[i/5%4],
				// Several start at the same time.
				"startedAt": time.Date(2025, 1, 1, 0, (i*7)%20, 0, 0, time.UTC).Format(time.RFC3339),
			})
			s.submit(run).want(http.StatusCreated)
			all = append(all, run)
		}
		for combination := range 16 {
			filters := url.Values{}
			for bit, filter := range []struct{ name, value string }{{"suite", "s1"}, {"scenario", "c2"}, {"agent", "a0"}, {"status", "completed"}} {
				if combination&(1<<bit) != 0 {
					filters.Set(filter.name, filter.value)
				}
			}
			want := []string{}
			matching := slices.Clone(all)
			slices.Reverse(matching) // Equal times: the later submitted first.
			slices.SortStableFunc(matching, func(a, b object) int { return strings.Compare(b["startedAt"].(string), a["startedAt"].(string)) })
			for _, run := range matching {
				if !slices.ContainsFunc(slices.Collect(maps.Keys(filters)), func(name string) bool { return run[name] != filters.Get(name) }) {
					want = append(want, run["runId"].(string))
				}
			}
			filters.Set("limit", "10000")
			if got := runIDs(s.get("/api/runs?" + filters.Encode())); !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", filters.Encode(), got, want)
			}
			// By pages of three, the same.
			filters.Set("limit", "3")
			got := []string{}
			for page := "/api/runs?" + filters.Encode(); page != ""; {
				answer := s.get(page)
				ids := runIDs(answer)
				if page = nextPage(answer); page != "" && len(ids) != 3 {
					t.Errorf("%s: a page of %d before the last", filters.Encode(), len(ids))
				}
				got = append(got, ids...)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s by pages: %v, want %v", filters.Encode(), got, want)
			}
		}
	})

	t.Run("the default limit is 50, and limit sets another one", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		for i := range 51 {
			s.submit(leastRun(fmt.Sprint("run-", i))).want(http.StatusCreated)
		}
		first := s.get("/api/runs")
		if got := len(runIDs(first)); got != 50 || nextPage(first) == "" {
			t.Errorf("%d runs, next %q", got, nextPage(first))
		}
		if got := len(runIDs(s.get(nextPage(first)))); got != 1 {
			t.Errorf("%d runs on the second page", got)
		}
		for limit, want := range map[string]int{"1": 1, "51": 51, "10000": 51} {
			if got := len(runIDs(s.get("/api/runs?limit=" + limit))); got != want {
				t.Errorf("limit %s: %d runs", limit, got)
			}
		}
		if got := s.get("/api/runs?limit=51"); nextPage(got) != "" {
			t.Errorf("a page that holds all leads on to %s", nextPage(got))
		}
	})

	t.Run("following Link misses no run while others are inserted", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		there := map[string]bool{}
		for i := range 30 {
			id := fmt.Sprint("old-", i)
			there[id] = true
			s.submit(leastRun(id, object{"startedAt": i % 4 * 1000})).want(http.StatusCreated)
		}
		seen := map[string]int{}
		for page, i := "/api/runs?limit=4", 0; page != ""; i++ {
			answer := s.get(page)
			for _, id := range runIDs(answer) {
				seen[id]++
			}
			page = nextPage(answer)
			// Before, at and after the position.
			for _, started := range []int{-1, 0, 1000, 2000, 9000} {
				s.submit(leastRun(fmt.Sprint("new-", i, "-", started), object{"startedAt": started})).want(http.StatusCreated)
			}
			if i > 200 {
				t.Fatal("the pages do not end")
			}
		}
		for id := range there {
			if seen[id] != 1 {
				t.Errorf("%s was seen %d times", id, seen[id])
			}
		}
	})

	t.Run("invalid parameters are refused", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		for range 3 {
			s.submit(leastRun(fmt.Sprint("run-", time.Now().UnixNano()))).want(http.StatusCreated)
		}
		next, err := url.Parse(nextPage(s.get("/api/runs?limit=1")))
		if err != nil {
			t.Fatal(err)
		}
		cursor := next.Query().Get("cursor")
		flipped := []byte(cursor)
		flipped[3] ^= 1
		for query, location := range map[string]string{
			"limit=abc":                             "query.limit",
			"limit=-1":                              "query.limit",
			"limit=0":                               "query.limit",
			"limit=10001":                           "query.limit",
			"limit=1.5":                             "query.limit",
			"limit=99999999999999999999":            "query.limit",
			"status=done":                           "query.status",
			"suite=" + strings.Repeat("x", 151):     "query.suite",
			"agent=a%0ab":                           "query.agent",
			"scenario=%00":                          "query",
			"suite=%ff":                             "query",
			"suite=%zz":                             "query",
			"sort=agent":                            "query.sort",
			"Suite=a":                               "query.Suite",
			"cursor=" + string(flipped):             "query.cursor",
			"cursor=" + cursor[:len(cursor)-2]:      "query.cursor",
			"cursor=" + cursor + "AAAA":             "query.cursor",
			"cursor=x":                              "query.cursor",
			"cursor=%20":                            "query.cursor",
			"cursor=" + cursor + "&suite=other":     "query.cursor", // with other filters
			"cursor=" + strings.Repeat("A", 1001):   "query.cursor",
			"cursor=" + strings.Repeat("A", 32):     "query.cursor",
			"limit=1&cursor=" + cursor + "&agent=x": "query.cursor",
		} {
			faults := s.get("/api/runs?" + query).wantProblem(http.StatusUnprocessableEntity)
			if faults[location] == "" {
				t.Errorf("%s: faults %v, want %s", query, faults, location)
			}
		}
		// An empty parameter is an absent one.
		if got := runIDs(s.get("/api/runs?suite=&limit=&cursor=&agent=&status=&scenario=")); len(got) != 3 {
			t.Errorf("empty parameters select %v", got)
		}
	})
}

func TestGetRun(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.submit(leastRun("run-1")).want(http.StatusCreated)
	for _, path := range []string{"", "/evaluations", "/telemetry"} {
		s.get("/api/runs/none" + path).wantProblem(http.StatusNotFound)
		if faults := s.get("/api/runs/" + strings.Repeat("x", 151) + path).wantProblem(http.StatusUnprocessableEntity); faults["path.runId"] == "" {
			t.Errorf("faults %v", faults)
		}
		if faults := s.get("/api/runs/a%00" + path).wantProblem(http.StatusUnprocessableEntity); faults["path"] == "" {
			t.Errorf("faults %v", faults)
		}
		if faults := s.get("/api/runs/run-1" + path + "?x=1").wantProblem(http.StatusUnprocessableEntity); faults["query.x"] == "" {
			t.Errorf("faults %v", faults)
		}
	}
	if got := s.get("/api/runs/run-1/evaluations").want(http.StatusOK); got.body != "[]" {
		t.Errorf("evaluations %s", got.body)
	}
	if got := s.get("/api/runs/run-1/telemetry").want(http.StatusOK); got.body != "null" {
		t.Errorf("telemetry %s", got.body)
	}
}

// A prompt may have hundreds of kilobytes, and pages read the telemetry of many runs.
func TestGetRunTelemetry(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.submit(leastRun("run-1", object{"telemetry": object{"toolCalls": 3, "promptSent": "Do it."}})).want(http.StatusCreated)
	s.submit(leastRun("run-2", object{"telemetry": object{"toolCalls": 3}})).want(http.StatusCreated)
	telemetry := func(path string) object { return decode[object](s.get("/api/runs/" + path).want(http.StatusOK)) }
	if got := telemetry("run-1/telemetry"); got["toolCalls"] != json.Number("3") || got["costUsd"] != nil || len(got) != 8 {
		t.Errorf("without a prompt: %v", got)
	}
	for run, want := range map[string]any{"run-1": "Do it.", "run-2": nil} {
		got := telemetry(run + "/telemetry?include=prompt")
		if prompt, ok := got["promptSent"]; !ok || prompt != want {
			t.Errorf("%s with its prompt: %v", run, got)
		}
		if got := telemetry(run)["telemetry"].(object); got["promptSent"] != want || len(got) != 9 {
			t.Errorf("with the run: %v", got)
		}
	}
	if faults := s.get("/api/runs/run-1/telemetry?include=all").wantProblem(http.StatusUnprocessableEntity); faults["query.include"] == "" {
		t.Errorf("faults %v", faults)
	}
}

// The dashboard of the system before parses metadata as text.
func TestMetadataAsText(t *testing.T) {
	t.Parallel()
	stored := setup(t)
	const metadata = `{"a":9007199254740993,"b":"\"😀\""}`
	stored.submit(leastRun("run-1", object{"batchId": "batch-a", "metadata": json.RawMessage(metadata)})).want(http.StatusCreated)
	stored.submit(leastRun("run-2", object{"batchId": "batch-a"})).want(http.StatusCreated)
	stored.submitBatch(object{"batchId": "batch-a", "metadata": json.RawMessage(metadata)}).want(http.StatusCreated)
	server := httptest.NewServer(api.New(api.Config{Pool: stored.pool, MetadataAsText: true, Logger: slog.New(slog.DiscardHandler)}))
	t.Cleanup(server.Close)
	read := func(path string) any { // The document describes an object.
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var body any
		if err := json.NewDecoder(response.Body).Decode(&body); err != nil {
			t.Fatal(err)
		}
		return body
	}
	run := read("/api/runs/run-1").(object)["run"].(object)
	batch := read("/api/batches/batch-a").(object)
	for where, got := range map[string]any{
		"get-run": run["metadata"], "list-runs": read("/api/runs").([]any)[1].(object)["metadata"], "get-batch": batch["metadata"],
		"the runs of get-batch": batch["runs"].([]any)[0].(object)["metadata"], "list-batches": read("/api/batches").([]any)[0].(object)["metadata"],
	} {
		var decoded struct {
			A json.Number
			B string
		}
		if text, ok := got.(string); !ok || json.Unmarshal([]byte(text), &decoded) != nil || decoded.A != "9007199254740993" || decoded.B != `"😀"` {
			t.Errorf("%s: %v", where, got)
		}
	}
	if got, ok := read("/api/runs/run-2").(object)["run"].(object)["metadata"]; !ok || got != nil {
		t.Errorf("no metadata: %v", got)
	}
}

// While servers of two versions run, the older one stores metadata as jsonb only.
func TestMetadataOfAnOlderServer(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.submit(leastRun("run-1", object{"status": "running", "batchId": "batch-a", "metadata": object{"phase": "start"}})).want(http.StatusCreated)
	s.submitBatch(object{"batchId": "batch-a", "metadata": object{"phase": "start"}}).want(http.StatusCreated)
	for _, table := range []string{"benchmark_runs", "batch_runs"} {
		s.exec("update " + table + ` set metadata = '{"phase":"end"}'`)
	}
	wantPhase := func(phase string) {
		t.Helper()
		for _, path := range []string{"/api/runs/run-1", "/api/runs", "/api/batches/batch-a", "/api/batches"} {
			if body := strings.ReplaceAll(s.get(path).body, " ", ""); !strings.Contains(body, `"metadata":{"phase":"`+phase+`"}`) {
				t.Errorf("%s: %s", path, body)
			}
		}
	}
	wantPhase("end")
	s.submit(leastRun("run-1", object{"status": "running", "batchId": "batch-a", "metadata": object{"phase": "end"}})).want(http.StatusOK)
	wantPhase("end")
	s.submit(leastRun("run-1", object{"batchId": "batch-a", "metadata": object{"phase": "final"}})).want(http.StatusCreated)
	s.submitBatch(object{"batchId": "batch-a", "metadata": object{"phase": "final"}}).want(http.StatusCreated)
	wantPhase("final")
}

// A judge that could not score, of which a program makes NaN, hence null in JSON.
func TestEvaluationWithoutScore(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for _, submit := range []func(object) answer{
		func(run object) answer { return s.submit(run) },
		func(run object) answer { return s.submitBulk("", ndjson(t, run, leastRun(run["runId"].(string)+"-2"))) },
	} {
		id := strings.ToLower(rand.Text())
		run := leastRun(id, object{"evaluations": []object{{"evaluatorName": "judge", "score": nil, "maxScore": 5}, {"evaluatorName": "tests", "score": 2, "maxScore": 5}}})
		if got := submit(run); got.status >= http.StatusBadRequest {
			t.Fatal(got.body)
		}
		got := decode[[]object](s.get("/api/runs/" + id + "/evaluations").want(http.StatusOK))
		if score, ok := got[0]["score"]; len(got) != 2 || !ok || score != nil || got[1]["score"] != json.Number("2") {
			t.Errorf("%v", got)
		}
		s.submit(run).want(http.StatusOK) // A replay.
		run["evaluations"].([]object)[0]["score"] = 0
		if faults := s.submit(run).wantProblem(http.StatusConflict); faults["body.evaluations[0].score"] != "differs from what is stored: null; " {
			t.Errorf("faults %v", faults)
		}
	}
}

func TestLargeAnswersAreCompressed(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.submit(leastRun("large", object{"telemetry": object{"promptSent": strings.Repeat("Update the dependencies. ", 10_000)}})).want(http.StatusCreated)
	s.submit(leastRun("a page", object{"metadata": object{"log": strings.Repeat("x", 1024)}})).want(http.StatusCreated)
	s.submit(leastRun("small")).want(http.StatusCreated)
	for id, want := range map[string]string{"large": "gzip", "a page": "gzip", "small": ""} {
		path := "/api/runs/" + url.PathEscape(id)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Accept-Encoding", "gzip") // With an explicit header, the client does not decompress the response.
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body := io.Reader(response.Body)
		defer response.Body.Close()
		if got := response.Header.Get("Content-Encoding"); got != want {
			t.Errorf("%s: content encoding %q, want %q", path, got, want)
		}
		if want == "gzip" {
			if body, err = gzip.NewReader(body); err != nil {
				t.Fatal(err)
			}
		}
		text, err := io.ReadAll(body)
		if err != nil {
			t.Fatal(err)
		}
		if plain := s.do(http.MethodGet, path, nil, "Accept-Encoding", "identity").body; string(text) != plain {
			t.Errorf("%s: unpacked, %d bytes differ from %d that were not compressed", path, len(text), len(plain))
		}
	}
}
