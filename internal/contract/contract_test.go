package contract_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/benchledger/benchledger/api"
	"github.com/benchledger/benchledger/internal/contract"
)

const stats = `{"totalRuns":0,"successfulRuns":0,"avgScore":null,"avgWeightedScore":null}`

const receipt = `{"line":1,"runId":"a","outcome":"recorded"}`

func TestCheck(t *testing.T) {
	t.Parallel()
	document, err := api.OpenAPI("test")
	if err != nil {
		t.Fatal(err)
	}
	c, err := contract.Parse(document)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		path        string
		status      int
		contentType string
		body        string
		want        string // "" conforms
	}{
		"sound":                    {"/api/stats", 200, "application/json", stats, ""},
		"null that is documented":  {"/api/runs/a%2Fb/telemetry", 200, "application/json", "null", ""},
		"any metadata":             {"/api/batches", 200, "application/json", `[` + batch(`"metadata":{"a":{"b":1}}`) + `]`, ""},
		"the largest number":       {"/api/stats", 200, "application/json", strings.Replace(stats, "0", "9223372036854775807", 1), ""},
		"a number too large":       {"/api/stats", 200, "application/json", strings.Replace(stats, "0", "10000000000000000000", 1), "64 bits"},
		"null that is not":         {"/api/runs/a/evaluations", 200, "application/json", "null", "null"},
		"another status":           {"/api/stats", 418, "application/json", stats, "418"},
		"another content type":     {"/api/stats", 200, "text/plain", stats, "content type"},
		"another type":             {"/api/stats", 200, "application/json", strings.Replace(stats, "0", `"0"`, 1), "totalRuns"},
		"a field too few":          {"/api/stats", 200, "application/json", strings.Replace(stats, `"totalRuns":0,`, "", 1), "totalRuns"},
		"a field too many":         {"/api/stats", 200, "application/json", strings.Replace(stats, "{", `{"more":1,`, 1), "more"},
		"a field too many, inside": {"/api/batches", 200, "application/json", `[` + batch(`"metadata":null,"more":1`) + `]`, "more"},
		"no time":                  {"/health", 200, "application/json", `{"status":"ok","timestamp":"today"}`, "date-time"},
		"lines":                    {"/api/results/bulk", 200, "application/x-ndjson", receipt + "\n" + receipt + "\n", ""},
		"a line without fields":    {"/api/results/bulk", 200, "application/x-ndjson", receipt + "\n{}\n", "outcome"},
		"half a line":              {"/api/results/bulk", 200, "application/x-ndjson", receipt + "\n" + receipt[:5], "decoded"},
		"half a body":              {"/api/stats", 200, "application/json", stats[:20], "decoded"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			method := http.MethodGet
			if test.contentType == "application/x-ndjson" {
				method = http.MethodPost
			}
			request, err := http.NewRequest(method, "http://localhost"+test.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			response := &http.Response{StatusCode: test.status, Header: http.Header{
				"Content-Type": {test.contentType}, "X-Request-Id": {"request"},
			}}
			err = c.Check(request, response, []byte(test.body))
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

func batch(fields string) string {
	return `{"batchId":"b","createdAt":"2025-11-17T10:00:00.000Z","completedAt":null,` +
		strings.Trim(stats, "{}") + `,` + fields + `}`
}
