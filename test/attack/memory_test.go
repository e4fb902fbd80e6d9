package attack

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
)

// mostOfOne is how much more memory a server may take for a single request.
const mostOfOne = 64 << 20

// TestMemory measures how much memory single requests take: the peak of a server that does
// nothing else. The table in docs/performance.md is what it prints.
func TestMemory(t *testing.T) { //nolint:paralleltest // the figures are of one server at a time
	if !*attacks {
		t.Skip("make attack runs this")
	}
	text := func(n int) string { return strings.Repeat("x", n) }
	lines := func(v *victim, n int, more string) []byte { return compress(string(v.lines(n, more))) }
	var evaluations strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&evaluations, `{"evaluatorName":"e%d","score":0.5,"maxScore":1,"details":"%s"},`, i, text(700))
	}
	most := `,"evaluations":[` + strings.TrimSuffix(evaluations.String(), ",") + `]`
	const submit, bulk = "/api/results", "/api/results/bulk"
	store := func(run string) func(*victim) {
		return func(v *victim) { v.must(http.MethodPost, submit, sharedKey, []byte(run)) }
	}
	named := func(more string) string {
		return `{"runId":"one","suite":"s","scenario":"c","tier":"t","agent":"a","status":"completed"` + more + `}`
	}
	smallRuns := func(v *victim) {
		v.must(http.MethodPost, bulk, sharedKey, lines(v, 10_000, `,"batchId":"batch-a","totalScore":0.5,"metadata":{"commit":"0123456789abcdef"}`), gz...)
	}
	var table strings.Builder
	for _, c := range []struct {
		name         string
		prepare      func(v *victim)
		method, path string
		body         func(v *victim) []byte
	}{
		{name: "submit a small run", method: http.MethodPost, path: submit, body: func(v *victim) []byte { return compress(string(v.run(""))) }},
		{name: "submit a run with a prompt of 8 MB", method: http.MethodPost, path: submit, body: func(v *victim) []byte {
			return compress(string(v.run(`,"telemetry":{"promptSent":"` + text(8_000_000) + `"}`)))
		}},
		{name: "submit a run with 8 MB of metadata", method: http.MethodPost, path: submit, body: func(v *victim) []byte {
			return compress(string(v.run(`,"metadata":{"log":"` + text(8_000_000) + `"}`)))
		}},
		{name: "submit a run with 10,000 evaluations, 8 MB", method: http.MethodPost, path: submit, body: func(v *victim) []byte { return compress(string(v.run(most))) }},
		{name: "submit a run that differs from a final one, 8 MB", prepare: store(named(most)), method: http.MethodPost, path: submit, body: func(*victim) []byte {
			return compress(strings.ReplaceAll(named(most), `"score":0.5`, `"score":0.6`))
		}},
		{name: "refuse 800,000 names in metadata, 8 MB", method: http.MethodPost, path: submit, body: func(v *victim) []byte {
			var names strings.Builder
			for i := range 800_000 {
				fmt.Fprintf(&names, `"%05x":0,`, i)
			}
			return compress(string(v.run(`,"metadata":{` + strings.TrimSuffix(names.String(), ",") + `}`)))
		}},
		{name: "refuse 2.79 million empty evaluations", method: http.MethodPost, path: submit, body: func(*victim) []byte { return emptyEvaluations() }},
		{name: "submit 10,000 small runs in bulk", method: http.MethodPost, path: bulk, body: func(v *victim) []byte { return lines(v, 10_000, "") }},
		{name: "submit 20 runs of 8 MB in bulk", method: http.MethodPost, path: bulk, body: func(v *victim) []byte {
			return lines(v, 20, `,"telemetry":{"promptSent":"`+text(8_000_000)+`"}`)
		}},
		{name: "refuse 10,000 faulty lines in bulk", method: http.MethodPost, path: bulk, body: func(*victim) []byte {
			return faultyLines()
		}},
		{name: "submit 16 MB as a whole (mode=atomic)", method: http.MethodPost, path: bulk + "?mode=atomic", body: func(v *victim) []byte {
			return lines(v, 16, `,"telemetry":{"promptSent":"`+text(1_000_000)+`"}`)
		}},
		{name: "list 10,000 small runs", prepare: smallRuns, method: http.MethodGet, path: "/api/runs?limit=10000"},
		{name: "list runs with 1 MB of metadata each", prepare: largeRuns(30), method: http.MethodGet, path: "/api/runs?limit=10000"},
		{name: "read a batch of 10,000 small runs", prepare: smallRuns, method: http.MethodGet, path: "/api/batches/batch-a"},
		{name: "read a run with a prompt of 8 MB", prepare: store(named(`,"telemetry":{"promptSent":"` + text(8_000_000) + `"}`)), method: http.MethodGet, path: "/api/runs/one"},
		{name: "read a run with 10,000 evaluations, 8 MB", prepare: store(named(most)), method: http.MethodGet, path: "/api/runs/one"},
		{name: "statistics", prepare: smallRuns, method: http.MethodGet, path: "/api/stats/agents"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := start(t)
			if c.prepare != nil {
				c.prepare(v)
			}
			var body []byte
			var headers []string
			if c.body != nil {
				body, headers = c.body(v), gz
			}
			// What was the peak so far is forgotten; what the preparation left is still there.
			if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", v.Pid()), []byte("5"), 0o200); err != nil {
				t.Skip(err)
			}
			before := v.memory("VmRSS")
			got, err := v.send(t.Context(), c.method, c.path, sharedKey, body, headers...)
			if err != nil || got.status >= http.StatusInternalServerError {
				t.Fatalf("%d %s, %v", got.status, got.body, err)
			}
			grown := max(0, v.memory("VmHWM")-before)
			fmt.Fprintf(&table, "| %s | %d | %.1f | %d |\n", c.name, got.status, float64(got.size)/1e6, grown>>20)
			if grown > mostOfOne {
				t.Errorf("the server takes %d MiB more", grown>>20)
			}
		})
	}
	t.Logf("\n| request | status | response, MB | memory, MiB |\n|---|---|---|---|\n%s", &table)
}
