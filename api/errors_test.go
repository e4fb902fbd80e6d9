package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/benchledger/benchledger/api"
	"github.com/benchledger/benchledger/db"
	"github.com/benchledger/benchledger/internal/testdb"
	"github.com/benchledger/benchledger/keys"
)

// TestInvalidRuns breaks each field in each way: 422, the field is named, the
// value is not, and nothing is stored.
func TestInvalidRuns(t *testing.T) {
	t.Parallel()
	s := setup(t)

	type fault struct{ value, location string }
	var faults []fault
	add := func(path string, values ...string) {
		for _, value := range values {
			faults = append(faults, fault{value, path})
		}
	}
	long := `"` + strings.Repeat("x", 151) + `"`
	notText := []string{`5`, `true`, `{}`, `[]`, `1e400`}
	notNumber := []string{`"1"`, `true`, `{}`, `[1]`, `1e400`, `-1e400`}
	notCount := []string{`"1"`, `true`, `{}`, `[]`, `1.5`, `-1`, `-0.5`, `9223372036854775808`, `9223372036854775807.5`, `1e19`, `1e400`, `1e-400`}
	notTime := []string{
		`""`, `"yesterday"`, `"2025-11-17"`, `"2025-11-17T10:00:00"`, `"2025-13-01T00:00:00Z"`, `"2025-11-17T25:00:00Z"`,
		`"2025-11-17 10:00:00Z"`, `"0000-12-31T23:59:59Z"`, `"10000-01-01T00:00:00Z"`, `"9999-12-31T23:59:59-01:00"`,
		`"2025-11-17T10:00:00,5Z"`, `"2025-11-17T10:00:00+24:00"`, `"2025-11-17T10:00:00+01:60"`, `"2016-12-31T22:59:60Z"`, `"2016-12-31T23:59:61Z"`,
		`253402300800000`, `-62135596800001`, `1e300`, `1e400`, `true`, `{}`, `[]`,
	}
	for _, name := range []string{"runId", "suite", "scenario", "tier", "agent"} {
		add(name, append(notText, `null`, `""`, long, `"a\u0000b"`, `"a\nb"`, `"\u007f"`, `"\u0085"`)...)
	}
	for _, name := range []string{"batchId", "model"} {
		add(name, append(notText, `""`, long, `"\u0000"`, `"\u001f"`)...)
	}
	add("runId", `"."`, `".."`)
	add("batchId", `"."`, `".."`)
	add("status", append(notText, `null`, `""`, `"done"`, `"Completed"`)...)
	add("startedAt", notTime...)
	add("completedAt", notTime...)
	for _, name := range []string{"totalScore", "weightedScore", "successMetric"} {
		add(name, notNumber...)
	}
	for _, name := range []string{"isSuccessful", "specialistEnabled"} {
		add(name, `"true"`, `1`, `{}`, `[]`)
	}
	for _, name := range []string{"specialistName", "specialistVersion"} {
		add(name, append(notText, `"\u0000"`)...)
	}
	add("metadata", `5`, `"{}"`, `true`, `[]`, `{"a":"\u0000"}`, `{"\u0000":1}`, `{"a":1e400}`, `{"a":[{"b":1e-400}]}`, `{"a":9e308}`,
		`{"a":`+strings.Repeat("[", 100)+strings.Repeat("]", 100)+`}`)
	add("evaluations", `5`, `"[]"`, `{}`, `true`)
	add("evaluations[0]", `{"evaluations":[5]}`, `{"evaluations":[null]}`, `{"evaluations":["x"]}`)
	add("telemetry", `5`, `"{}"`, `[]`, `true`)

	body := func(field, value string) string {
		run := leastRun("run-1")
		delete(run, field)
		return strings.TrimSuffix(encode(t, run), "}") + `,"` + field + `":` + value + `}`
	}
	inEvaluation := func(field, value string) string {
		evaluation := object{"evaluatorName": "e", "score": 1, "maxScore": 1}
		delete(evaluation, field)
		return body("evaluations", `[{"evaluatorName":"e","score":1,"maxScore":1},`+
			strings.TrimSuffix(encode(t, evaluation), "}")+`,"`+field+`":`+value+`}]`)
	}

	var lines, answers []string
	check := func(body, location string) {
		t.Helper()
		got := s.submit(body)
		lines, answers = append(lines, body), append(answers, encode(t, decode[object](got)["errors"]))
		if found := got.wantProblem(http.StatusUnprocessableEntity); found[location] == "" || len(found) != 1 {
			t.Errorf("%.200s: faults %v, want %s", body, found, location)
		}
		for _, leak := range []string{"api.", "json", "*", "float64", "int64", strings.Repeat("x", 20)} {
			if strings.Contains(got.body, leak) {
				t.Errorf("%.200s: the answer has %q: %s", body, leak, got.body)
			}
		}
	}
	for _, f := range faults {
		if strings.HasPrefix(f.value, `{"evaluations"`) {
			check(strings.TrimSuffix(encode(t, leastRun("run-1")), "}")+","+f.value[1:], "body."+f.location)
			continue
		}
		check(body(f.location, f.value), "body."+f.location)
	}
	for _, value := range append(notText, `null`, `""`, long, `"a\u0000b"`) {
		check(inEvaluation("evaluatorName", value), "body.evaluations[1].evaluatorName")
	}
	for _, value := range notNumber {
		check(inEvaluation("score", value), "body.evaluations[1].score")
		check(inEvaluation("maxScore", value), "body.evaluations[1].maxScore")
	}
	check(inEvaluation("maxScore", `null`), "body.evaluations[1].maxScore")
	for _, value := range []string{`0`, `-1`, `-0`, `0.0`, `1e-400`} {
		check(inEvaluation("maxScore", value), "body.evaluations[1].maxScore")
	}
	for _, value := range append(notText, `"\u0000"`) {
		check(inEvaluation("details", value), "body.evaluations[1].details")
	}
	for _, field := range []string{"toolCalls", "tokensIn", "tokensOut", "durationMs"} {
		for _, value := range notCount {
			check(body("telemetry", `{"`+field+`":`+value+`}`), "body.telemetry."+field)
		}
	}
	for _, value := range notNumber {
		check(body("telemetry", `{"costUsd":`+value+`}`), "body.telemetry.costUsd")
	}
	for _, field := range []string{"workspaceDir", "promptSent"} {
		for _, value := range append(notText, `"\u0000"`) {
			check(body("telemetry", `{"`+field+`":`+value+`}`), "body.telemetry."+field)
		}
	}
	// What is missing is named, all of it, and other names in other case do not count.
	for _, name := range []string{"runId", "suite", "scenario", "tier", "agent", "status"} {
		run := leastRun("run-1", object{name: absent, strings.ToUpper(name): "x"})
		if found := s.submit(run).wantProblem(http.StatusUnprocessableEntity); !strings.Contains(found["body"], name) {
			t.Errorf("without %s: %v", name, found)
		}
	}
	for _, value := range []string{`null`, `5`, `"x"`, `[]`, `true`} {
		check(value, "body")
	}
	// A long number is not even read.
	for _, long := range []string{strings.Repeat("9", 401), "1." + strings.Repeat("0", 1_000_000), "-1e" + strings.Repeat("0", 400) + "1"} {
		check(body("totalScore", long), "body")
		check(body("metadata", `{"a":[`+long+`]}`), "body")
		check(body("telemetry", `{"toolCalls":`+long+`}`), "body")
		check(body("unknown", long), "body")
	}
	// In bulk it is the same.
	receipts := s.submitBulk("", strings.Join(lines, "\n")).wantReceipts()
	if len(receipts) != len(lines) {
		t.Fatalf("%d receipts for %d lines", len(receipts), len(lines))
	}
	for i, receipt := range receipts {
		if receipt.Outcome != "refused" || encode(t, receipt.Errors) != answers[i] {
			t.Errorf("%.200s: in bulk %v, alone %s", lines[i], receipt, answers[i])
		}
	}
	if stored := runIDs(s.get("/api/runs?limit=10000")); len(stored) != 0 {
		t.Errorf("stored: %v", stored)
	}
}

func TestSeveralFaultsAreAllNamed(t *testing.T) {
	t.Parallel()
	s := setup(t)
	found := s.submit(`{"runId":5,"suite":"s","scenario":"c\u0000","tier":"t","status":"done","startedAt":"x","totalScore":"1","metadata":{"a":"\u0000"},
		"evaluations":[{"score":1,"maxScore":0}],"telemetry":{"tokensIn":9223372036854775808,"toolCalls":-1,"promptSent":"\u0000"}}`).wantProblem(http.StatusUnprocessableEntity)
	want := []string{
		"body", "body.evaluations[0]", "body.evaluations[0].maxScore", "body.metadata", "body.runId", "body.scenario", "body.startedAt",
		"body.status", "body.telemetry.promptSent", "body.telemetry.tokensIn", "body.telemetry.toolCalls", "body.totalScore",
	}
	if got := slices.Sorted(maps.Keys(found)); !slices.Equal(got, want) {
		t.Errorf("faults %v, want %v", got, want)
	}
	if !strings.Contains(found["body"], "agent") || !strings.Contains(found["body.evaluations[0]"], "evaluatorName") {
		t.Errorf("missing fields are not named: %v", found)
	}
}

func TestInvalidBatches(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for _, test := range []struct{ field, value string }{
		{"batchId", `5`},
		{"batchId", `null`},
		{"batchId", `""`},
		{"batchId", `".."`},
		{"batchId", `"a\u0000"`},
		{"createdAt", `"x"`},
		{"createdAt", `true`},
		{"completedAt", `"2025"`},
		{"completedAt", `1e18`},
		{"totalRuns", `-1`},
		{"totalRuns", `1.5`},
		{"totalRuns", `"1"`},
		{"successfulRuns", `9223372036854775808`},
		{"avgScore", `"1"`},
		{"avgScore", `1e400`},
		{"avgWeightedScore", `{}`},
		{"metadata", `[]`},
		{"metadata", `{"a":"\u0000"}`},
	} {
		batch := object{"batchId": "batch-a"}
		delete(batch, test.field)
		body := strings.Replace(strings.TrimSuffix(encode(t, batch), "}")+`,"`+test.field+`":`+test.value+`}`, "{,", "{", 1)
		if found := s.submitBatch(body).wantProblem(http.StatusUnprocessableEntity); found["body."+test.field] == "" || len(found) != 1 {
			t.Errorf("%s: faults %v", body, found)
		}
	}
	if found := s.submitBatch(object{"totalRuns": 1}).wantProblem(http.StatusUnprocessableEntity); !strings.Contains(found["body"], "batchId") {
		t.Errorf("faults %v", found)
	}
	if got := s.get("/api/batches").body; got != "[]" {
		t.Errorf("stored: %s", got)
	}
}

// TestMalformedText sends what is no JSON: 400, nothing echoed, nothing stored.
func TestMalformedText(t *testing.T) {
	t.Parallel()
	s := setup(t)
	run := encode(t, leastRun("run-1"))
	var lines []string
	for name, body := range map[string]string{
		"no JSON":                  `{bad`,
		"empty":                    ``,
		"white space":              " \n",
		"cut off":                  run[:len(run)-1],
		"two documents":            run + run,
		"trailing comma":           strings.TrimSuffix(run, "}") + ",}",
		"comment":                  "/* secret-value */" + run,
		"single quotes":            strings.ReplaceAll(run, `"`, `'`),
		"invalid UTF-8":            strings.Replace(run, "suite-a", "secret-value\xff", 1),
		"invalid UTF-8 in a name":  strings.Replace(run, `"tier"`, "\"ti\xc3er\"", 1),
		"overlong UTF-8":           strings.Replace(run, "suite-a", "\xc0\x80", 1),
		"lone surrogate":           strings.Replace(run, "suite-a", `secret-value\ud800`, 1),
		"reversed surrogates":      strings.Replace(run, "suite-a", `\udc00\ud800`, 1),
		"bare NUL":                 strings.Replace(run, "suite-a", "\x00", 1),
		"bare control character":   strings.Replace(run, "suite-a", "a\nb", 1),
		"duplicate name":           strings.TrimSuffix(run, "}") + `,"suite":"secret-value"}`,
		"duplicate name by escape": strings.TrimSuffix(run, "}") + `,"su\u0069te":"x"}`,
		"duplicate name inside":    strings.TrimSuffix(run, "}") + `,"metadata":{"a":{"b":1,"b":2}}}`,
		"duplicate unknown name":   strings.TrimSuffix(run, "}") + `,"z":1,"z":2}`,
		"byte order mark":          "\ufeff" + run,
		"number with a zero first": strings.TrimSuffix(run, "}") + `,"totalScore":01}`,
		"NaN":                      strings.TrimSuffix(run, "}") + `,"totalScore":NaN}`,
		"hexadecimal":              strings.TrimSuffix(run, "}") + `,"totalScore":0x10}`,
		"nested beyond reason":     strings.TrimSuffix(run, "}") + `,"metadata":` + strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000) + "}",
	} {
		got := s.submit(body)
		got.wantProblem(http.StatusBadRequest)
		if strings.TrimSpace(body) != "" && !strings.Contains(body, "\n") {
			lines = append(lines, body)
		}
		for _, leak := range []string{"secret-value", "jsontext", "api.", "map["} {
			if strings.Contains(got.body, leak) {
				t.Errorf("%s: the answer has %q: %s", name, leak, got.body)
			}
		}
	}
	// In bulk, each spoils its own line alone. None is the first line, where a byte order mark
	// is skipped.
	receipts := s.submitBulk("", strings.Join(append([]string{run}, lines...), "\n")).wantReceipts()
	for i, receipt := range receipts[1:] {
		if receipt.Outcome != "refused" || len(receipt.Errors) != 1 || receipt.Errors[0].Location != "body" {
			t.Errorf("%.200s: %v", lines[i], receipt)
		}
	}
	if stored := runIDs(s.get("/api/runs")); !slices.Equal(stored, []string{"run-1"}) {
		t.Errorf("stored: %v", stored)
	}
}

// Half an emoji, as from "😀".slice(0, 1), or NUL: the field is named, and in bulk the line.
func TestTextThatCannotBeStored(t *testing.T) {
	t.Parallel()
	s := setup(t)
	run := encode(t, leastRun("run-1"))
	for field, want := range map[string]string{
		`"metadata":{"error":"\ud83d"}`:                                                              "a \\u escape is half of a surrogate pair, at byte 170 in metadata.error",
		`"metadata":{"error":{"a":["ok","ok \ude00"]}}`:                                              "a \\u escape is half of a surrogate pair, at byte 184 in metadata.error.a[1]",
		`"evaluations":[{"evaluatorName":"e","score":1,"maxScore":1,"details":"0123456789\ud83d!"}]`: "a \\u escape is half of a surrogate pair, at byte 229 in evaluations[0].details",
		`"metadata":{"error":"\u0000"}`:                                                              "expected text without NUL characters in metadata.error",
		`"metadata":{"a":{"b":["x","\u0000"]}}`:                                                      "expected text without NUL characters in metadata.a.b[1]",
	} {
		body := strings.TrimSuffix(run, "}") + "," + field + "}"
		got := decode[struct{ Errors []api.FieldError }](s.submit(body)).Errors
		if len(got) != 1 || got[0].Message != want {
			t.Errorf("%s: %v, want %s", field, got, want)
		}
		receipts := s.submitBulk("", encode(t, leastRun("good"))+"\n"+body).wantReceipts()
		if receipts[1].Line != 2 || len(receipts[1].Errors) != 1 || receipts[1].Errors[0].Message != want {
			t.Errorf("%s: %v, want %s", field, receipts[1], want)
		}
	}
	if got := s.submitBatch(`{"batchId":"a","metadata":{"x":"\udc00"}}`); got.status != http.StatusBadRequest || !strings.Contains(got.body, "in metadata.x") {
		t.Errorf("a batch: %s", got.body)
	}
}

func TestContentTypes(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for i, contentType := range []string{"", "application/json", "application/json; charset=utf-8", "text/plain", "text/plain;charset=UTF-8", "Text/Plain"} {
		run := encode(t, leastRun(fmt.Sprint("run-", i)))
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/api/results", strings.NewReader(run))
		if err != nil {
			t.Fatal(err)
		}
		request.Header["Content-Type"] = []string{contentType}
		if contentType == "" {
			request.Header["Content-Type"] = nil
		}
		request.Header.Set("Authorization", "Bearer "+key)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusCreated {
			t.Errorf("%q: status %d", contentType, response.StatusCode)
		}
	}
	for _, contentType := range []string{"application/xml", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/cbor"} {
		s.do(http.MethodPost, "/api/results", encode(t, leastRun("x")), "Authorization", "Bearer "+key, "Content-Type", contentType).
			wantProblem(http.StatusUnsupportedMediaType)
	}
	for _, accept := range []string{"application/json", "*/*", "text/html", "application/xml", "application/problem+json", ""} {
		got := s.do(http.MethodGet, "/api/stats", nil, "Accept", accept).want(http.StatusOK)
		if got.header.Get("Content-Type") != "application/json" {
			t.Errorf("Accept %q: %s", accept, got.header.Get("Content-Type"))
		}
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for _, path := range []string{"/api/results", "/api/results/batch", "/api/results/bulk"} {
		for _, authorization := range []string{"", "Basic dXNlcjpwYXNz", "Bearer", "Bearer ", key, "Token " + key} {
			got := s.do(http.MethodPost, path, `{bad`, "Authorization", authorization)
			got.wantProblem(http.StatusUnauthorized)
			if !strings.HasPrefix(got.header.Get("WWW-Authenticate"), "Bearer") {
				t.Errorf("%q: WWW-Authenticate %q", authorization, got.header.Get("WWW-Authenticate"))
			}
		}
		for _, wrong := range []string{"wrong", key + "x", key[:len(key)-1], strings.ToUpper(key)} {
			got := s.do(http.MethodPost, path, `{bad`, "Authorization", "Bearer "+wrong)
			got.wantProblem(http.StatusForbidden)
			if strings.Contains(got.body, wrong) {
				t.Errorf("the answer shows the key: %s", got.body)
			}
		}
		for _, scheme := range []string{"Bearer", "bearer", "BEARER"} {
			s.do(http.MethodPost, path, ` `, "Authorization", scheme+" "+key).wantProblem(http.StatusBadRequest)
		}
	}
	if strings.Contains(s.log.String(), key) {
		t.Error("the log shows the key")
	}
}

// TestKeyBeforeBody checks that a wrong key is refused before the body is sent.
func TestKeyBeforeBody(t *testing.T) {
	t.Parallel()
	s := setup(t)
	connection := s.dial()
	fmt.Fprintf(connection, "POST /api/results HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer wrong\r\nContent-Length: 1000000\r\n\r\n")
	first := make([]byte, len("HTTP/1.1 403"))
	if _, err := io.ReadFull(connection, first); err != nil || string(first) != "HTTP/1.1 403" {
		t.Errorf("%q, %v", first, err)
	}
}

func TestTruncatedBody(t *testing.T) {
	t.Parallel()
	s := setup(t)
	connection := s.dial()
	fmt.Fprintf(connection, "POST /api/results HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 1000\r\n\r\n{\"runId\":", key)
	if err := connection.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(connection)
	if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 400")) {
		t.Errorf("%.200s, %v", answer, err)
	}
}

func TestPathsAndMethods(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for _, path := range []string{"/api", "/api/nope", "/api/runs/", "/api/runs/a/b/c", "/api//runs", "/api/runs/../stats", "/API/runs", "/health/"} {
		s.get(path).wantProblem(http.StatusNotFound)
	}
	if page := s.get("/").want(http.StatusOK); !strings.Contains(page.body, "BenchLedger API") { // A browser sees the documentation.
		t.Errorf("/ leads to %s", page.body)
	}
	for path, allow := range map[string]string{
		"/": "GET", "/health": "GET", "/livez": "GET", "/readyz": "GET", "/api/results": "POST", "/api/results/bulk": "POST", "/api/results/batch": "POST", "/api/runs": "GET", "/api/runs/a": "GET", "/api/runs/a%2Fb": "GET",
		"/api/runs/a/evaluations": "GET", "/api/runs/a/telemetry": "GET", "/api/batches": "GET", "/api/batches/a": "GET", "/api/stats": "GET", "/api/stats/agents": "GET",
	} {
		for _, method := range []string{http.MethodDelete, http.MethodPut, http.MethodPatch, http.MethodGet, http.MethodPost} {
			if method == allow {
				continue
			}
			got := s.do(method, path, nil)
			got.wantProblem(http.StatusMethodNotAllowed)
			if want := strings.Replace(allow, "GET", "GET, HEAD", 1); got.header.Get("Allow") != want {
				t.Errorf("%s %s: Allow %q, want %q", method, path, got.header.Get("Allow"), want)
			}
		}
		s.do(http.MethodOptions, path, nil).want(http.StatusNoContent)
	}
}

func TestCORS(t *testing.T) {
	t.Parallel()
	s := setup(t)
	preflight := func(from string) answer {
		return s.do(http.MethodOptions, "/api/results", nil, "Origin", from,
			"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type").want(http.StatusNoContent)
	}
	allowed := preflight(origin)
	if allowed.header.Get("Access-Control-Allow-Origin") != origin || allowed.header.Get("Access-Control-Allow-Headers") != "authorization,content-type" ||
		allowed.header.Get("Access-Control-Allow-Methods") != "POST" || allowed.header.Get("Access-Control-Max-Age") != "86400" {
		t.Errorf("allowed: %v", allowed.header)
	}
	for _, from := range []string{"https://evil.example", origin + ".evil.example", "http://dashboard.example", "null"} {
		if got := preflight(from); got.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s is allowed", from)
		}
		if got := s.do(http.MethodGet, "/api/runs", nil, "Origin", from); got.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s may read", from)
		}
	}
	for _, path := range []string{"/api/runs", "/api/runs/none", "/nope"} {
		got := s.do(http.MethodGet, path, nil, "Origin", origin)
		if got.header.Get("Access-Control-Allow-Origin") != origin || !strings.Contains(got.header.Get("Vary"), "Origin") {
			t.Errorf("%s: %v", path, got.header)
		}
		if exposed := got.header.Get("Access-Control-Expose-Headers"); exposed != "Link, Idempotent-Replayed, Retry-After, X-Request-Id, Ratelimit-Limit, Ratelimit-Remaining, Ratelimit-Reset" {
			t.Errorf("%s exposes %q", path, exposed)
		}
	}
}

func TestRequestIDs(t *testing.T) {
	t.Parallel()
	s := setup(t)
	if got := s.do(http.MethodGet, "/health", nil, "X-Request-Id", "ci-42").header.Get("X-Request-Id"); got != "ci-42" {
		t.Errorf("the client's id became %q", got)
	}
	for _, unsound := range []string{"", "a b", "{}", strings.Repeat("x", 129)} {
		got := s.do(http.MethodGet, "/api/runs/none", nil, "X-Request-Id", unsound).header.Get("X-Request-Id")
		if got == unsound || len(got) < 20 {
			t.Errorf("%q became %q", unsound, got)
		}
		if !strings.Contains(s.log.String(), got) {
			t.Errorf("the log has no line of %s", got)
		}
	}
}

func TestGetHealth(t *testing.T) {
	t.Parallel()
	// Health does not ask the database, which here is not there.
	s := serve(t, testdb.Pool(t, "postgres://nobody@127.0.0.1:1/none"), patience)
	got := decode[object](s.get("/health").want(http.StatusOK))
	if got["status"] != "ok" || len(got) != 2 || differences("", got["timestamp"], "<time>") != nil {
		t.Errorf("%v", got)
	}
}

// Load balancers and people ask in their own ways.
func TestHealthTakesAnyQuery(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for _, path := range []string{"/health", "/livez", "/readyz"} {
		for _, query := range []string{"verbose", "x=1&x=2", "%zz", "a=%00", ";"} {
			s.get(path + "?" + query).want(http.StatusOK)
		}
	}
}

func TestHeadIsAnsweredAsGetIs(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.submit(fullRun("run-1")).want(http.StatusCreated)
	for _, path := range []string{"/health", "/livez", "/readyz", "/api/runs", "/api/runs/run-1", "/api/runs/none", "/api/stats", "/openapi.json", "/docs/", "/nope"} {
		get, head := s.get(path), s.do(http.MethodHead, path, nil)
		if head.status != get.status || head.header.Get("Content-Type") != get.header.Get("Content-Type") || head.body != "" {
			t.Errorf("%s: HEAD %d %s %q, GET %d %s", path, head.status, head.header.Get("Content-Type"), head.body, get.status, get.header.Get("Content-Type"))
		}
	}
	s.do(http.MethodHead, "/api/results", nil).want(http.StatusMethodNotAllowed)
}

func TestQueryParameters(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for path, want := range map[string]string{
		"/api/runs?limt=1":                      "query.limt: unknown query parameter; this operation has metadata.KEY, limit, cursor, sort, suite, scenario, tier, agent, model, status, batchId, isSuccessful, specialistName, evaluator, since, until, voided; ",
		"/api/stats?suite=a":                    "query.suite: unknown query parameter; this operation has none; ",
		"/api/runs?limit=1&limit=2":             "query.limit: expected one value, not 2; ",
		"/api/runs?suite=a&suite=":              "query.suite: expected no empty value beside others; ",
		"/api/runs?status=done":                 `query.status: expected value to be one of "running, completed, failed, incomplete"; `,
		"/api/runs?metadata=a":                  "query.metadata: unknown query parameter; this operation has metadata.KEY, limit, cursor, sort, suite, scenario, tier, agent, model, status, batchId, isSuccessful, specialistName, evaluator, since, until, voided; ",
		"/api/batches?metadata.a=b":             "query.metadata.a: unknown query parameter; this operation has limit, cursor; ",
		"/api/runs?isSuccessful=2":              "query.isSuccessful: invalid boolean; ",
		"/api/leaderboard?suite=a&level=nan":    "query.level: expected finite number; ",
		"/api/leaderboard?suite=a&level=%2BInf": "query.level: expected finite number; ",
		"/api/runs?suite=%zz":                   "query: expected percent-encoded UTF-8 without NUL; ",
		"/api/runs?suite=a%00":                  "query: expected percent-encoded UTF-8 without NUL; ",
		"/api/runs?suite=%ff":                   "query: expected percent-encoded UTF-8 without NUL; ",
		"/api/runs?suite=a;agent=b":             "query: expected & between parameters, not ;; ",
		"/api/runs/none/evaluations?agent":      "query.agent: unknown query parameter; this operation has none; ",
	} {
		faults := s.get(path).wantProblem(http.StatusUnprocessableEntity)
		if got := ""; len(faults) == 1 {
			for location, message := range faults {
				got = location + ": " + message
			}
			if got != want {
				t.Errorf("%s: %s, want %s", path, got, want)
			}
		} else {
			t.Errorf("%s: faults %v, want %s", path, faults, want)
		}
	}
	many := func(n int) map[string]string {
		names := make([]string, n)
		for i := range names {
			names[i] = fmt.Sprint("a", i)
		}
		return s.get("/api/runs?" + strings.Join(names, "&")).wantProblem(http.StatusUnprocessableEntity)
	}
	if faults := many(100); len(faults) != 20 || faults["query"] != "and 81 more; " {
		t.Errorf("%d faults: %v", len(faults), faults)
	}
	for _, n := range []int{101, 10_001} { // Package net/url reads at most 10,000.
		if faults := many(n); len(faults) != 1 || faults["query"] != "expected at most 100 parameters; " {
			t.Errorf("%d faults: %v", len(faults), faults)
		}
	}
	for _, name := range []string{"%3Cscript%3E", "a%20b", strings.Repeat("x", 51), "%1b[31m", "%C3%A9"} {
		if faults := s.get("/api/runs?" + name + "=1").wantProblem(http.StatusUnprocessableEntity); len(faults) != 1 || faults["query"] == "" {
			t.Errorf("%s is repeated: %v", name, faults)
		}
	}
}

func TestGetLiveness(t *testing.T) {
	t.Parallel()
	s := serve(t, testdb.Pool(t, "postgres://nobody@127.0.0.1:1/none"), patience)
	if got := decode[object](s.get("/livez").want(http.StatusOK)); got["status"] != "ok" {
		t.Errorf("%v", got)
	}
}

func TestGetReadiness(t *testing.T) {
	t.Parallel()
	latest, err := db.LatestSchemaVersion()
	if err != nil {
		t.Fatal(err)
	}
	readiness := func(pool *pgxpool.Pool, version uint, stopping <-chan struct{}) answer {
		s := start(t, api.Config{Pool: pool, SchemaVersion: int64(version), Stopping: stopping})
		got := s.get("/readyz")
		if got.status != http.StatusOK {
			got.wantProblem(http.StatusServiceUnavailable)
			if got.header.Get("Retry-After") == "" {
				t.Errorf("no Retry-After with %s", got.body)
			}
		}
		return got
	}
	pool := testdb.New(t)
	if got := readiness(pool, latest, nil).want(http.StatusOK); got.body != `{"status":"ready"}` {
		t.Error(got.body)
	}
	// A migration by a newer server does not make this one unready.
	marked := testdb.New(t)
	if _, err := marked.Exec(t.Context(), "update schema_migrations set version = version + 1, dirty = true"); err != nil {
		t.Fatal(err)
	}
	readiness(marked, latest, nil).want(http.StatusOK)
	stopping := make(chan struct{})
	close(stopping)
	url := testdb.URL(t)
	for why, got := range map[string]answer{
		"older than this server needs": readiness(pool, latest+1, nil),
		"failed halfway":               readiness(marked, latest+1, nil),
		"shutting down":                readiness(pool, latest, stopping),
		"no schema":                    readiness(testdb.Pool(t, testdb.Empty(t)), latest, nil),
		"unavailable":                  readiness(testdb.Pool(t, "postgres://nobody@127.0.0.1:1/none"), latest, nil),
		"read-only":                    readiness(testdb.Pool(t, url+"&default_transaction_read_only=on"), latest, nil),
		"SELECT on schema_migrations":  readiness(testdb.Pool(t, testdb.WithoutPrivilege(t, "select on schema_migrations")), latest, nil),
		"grant SELECT on api_keys":     readiness(testdb.Pool(t, testdb.WithoutPrivilege(t, "select on api_keys")), latest, nil),
	} {
		if got.want(http.StatusServiceUnavailable); !strings.Contains(got.body, why) {
			t.Errorf("%s, want that it says %q", got.body, why)
		}
	}
	// If the connections lead to a standby, the server reconnects to find the primary.
	one := testdb.Pool(t, url+"&pool_max_conns=1")
	if _, err := one.Exec(t.Context(), "set default_transaction_read_only = on"); err != nil {
		t.Fatal(err)
	}
	readiness(one, latest, nil).want(http.StatusServiceUnavailable)
	readiness(one, latest, nil).want(http.StatusOK)
	if got := start(t, api.Config{Pool: pool, Stopping: stopping}).get("/api/stats").want(http.StatusOK); !got.closed {
		t.Error("a server that is about to stop keeps its connections")
	}
}

// A request is not at fault when its key cannot be looked up.
func TestKeyLookupThatFailsIsAnErrorOfTheServer(t *testing.T) {
	t.Parallel()
	s := serve(t, testdb.Pool(t, testdb.WithoutPrivilege(t, "select on api_keys")), patience)
	unknown, _ := keys.New()
	for _, path := range []string{"/api/results", "/api/results/batch", "/api/results/bulk"} {
		got := s.with(unknown, http.MethodPost, path, leastRun("run-1"))
		got.wantProblem(http.StatusInternalServerError)
		if !strings.Contains(s.log.String(), "permission denied for table api_keys") {
			t.Errorf("the log does not say why: %s", s.log.String())
		}
	}
}

// TestDatabaseUnavailable stops the database during a request, and starts it again.
func TestDatabaseUnavailable(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	direct := testdb.Pool(t, url)
	proxy := startProxy(t, direct.Config().ConnConfig)
	s := serve(t, testdb.Pool(t, proxy.through(url)), patience)
	s.submit(leastRun("run-1", object{"status": "running"})).want(http.StatusCreated)

	// A request waits for a lock when the connection goes.
	tx, err := direct.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := tx.Exec(t.Context(), "select 1 from benchmark_runs where run_id = 'run-1' for update"); err != nil {
		t.Fatal(err)
	}
	waiting := make(chan answer)
	go func() { waiting <- s.submit(leastRun("run-1")) }()
	waitUntilBlocked(t, direct, 1)
	proxy.cut()
	wantUnavailable := func(got answer) {
		t.Helper()
		got.wantProblem(http.StatusServiceUnavailable)
		if got.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		body := strings.ReplaceAll(got.body, got.header.Get("X-Request-Id"), "") // which is random, and may have any letters
		for _, leak := range []string{"dial", "EOF", "127.0.0.1", "pgx", "connect"} {
			if strings.Contains(body, leak) {
				t.Errorf("the answer has %q: %s", leak, body)
			}
		}
		if !strings.Contains(s.log.String(), got.header.Get("X-Request-Id")) {
			t.Error("the log has no line of the request")
		}
	}
	wantUnavailable(<-waiting)

	// While it is unavailable, every operation returns 503, and invalid requests still get 4xx.
	for _, path := range []string{"/api/runs", "/api/runs/a", "/api/runs/a/evaluations", "/api/runs/a/telemetry", "/api/batches", "/api/batches/a", "/api/stats", "/api/stats/agents", "/api/runs?agent=a&status=failed"} {
		wantUnavailable(s.get(path))
	}
	wantUnavailable(s.submit(leastRun("run-2")))
	wantUnavailable(s.submitBatch(object{"batchId": "batch-a"}))
	s.submit(`{bad`).wantProblem(http.StatusBadRequest)
	s.get("/api/runs?limit=0").wantProblem(http.StatusUnprocessableEntity)
	s.get("/health").want(http.StatusOK)

	// Back, the next request works.
	proxy.open()
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.submit(leastRun("run-1")).want(http.StatusCreated)
	s.submit(leastRun("run-2")).want(http.StatusCreated)
}

// TestServerTerminatesConnections checks that connections which the database
// ended, as on its restart, fail one request at most.
func TestServerTerminatesConnections(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	direct := testdb.Pool(t, url)
	s := serve(t, testdb.Pool(t, url+"&application_name=under-test"), patience)
	atOnce(8, func(i int) int { return s.submit(leastRun(fmt.Sprint("run-", i))).status })
	if _, err := direct.Exec(t.Context(), "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'under-test'"); err != nil {
		t.Fatal(err)
	}
	if status := s.get("/api/runs").status; status != http.StatusOK && status != http.StatusServiceUnavailable {
		t.Errorf("status %d", status)
	}
	for range 10 {
		s.get("/api/runs").want(http.StatusOK)
	}
}

// TestFullPool uses all connections for submissions: 3 of 8.
func TestFullPool(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	direct := testdb.Pool(t, url)
	s := serve(t, testdb.Pool(t, url+"&pool_max_conns=8"), 0)
	s.submit(leastRun("run-1", object{"status": "running"})).want(http.StatusCreated)
	own := s.makeKey("ci", keys.ScopeSubmit)
	tx, err := direct.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }() // Else a failure waits for the requests.
	if _, err := tx.Exec(t.Context(), "select 1 from benchmark_runs for update"); err != nil {
		t.Fatal(err)
	}
	waiting := make(chan answer)
	for _, key := range []string{key, key, s.makeKey("third", keys.ScopeSubmit)} { // One sender has at most two of the three connections.
		go func() { waiting <- s.with(key, http.MethodPost, "/api/results", leastRun("run-1")) }()
	}
	waitUntilBlocked(t, direct, 3)

	for _, full := range []func() answer{
		func() answer { return s.submit(leastRun("run-2")) },
		func() answer { return s.with(own, http.MethodPost, "/api/results", leastRun("run-2")) },
		func() answer { return s.with(own, http.MethodPost, "/api/results/bulk", leastRun("run-2")) },
	} {
		eventually(t, func() bool { // A busy machine may stop for longer.
			got := full()
			got.wantProblem(http.StatusServiceUnavailable)
			if got.header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			return s.duration(got) <= time.Second
		})
	}
	// None of these waits for a connection of submissions: it would be refused.
	s.get("/api/runs").want(http.StatusOK)
	s.get("/api/stats").want(http.StatusOK)
	s.get("/health").want(http.StatusOK)
	s.get("/readyz").want(http.StatusOK)
	s.with(own, http.MethodPost, "/api/results", `{bad`).wantProblem(http.StatusBadRequest)
	s.submit(`{bad`).wantProblem(http.StatusBadRequest)
	s.submit(object{}).wantProblem(http.StatusUnprocessableEntity)

	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	statuses := map[int]int{}
	for range 3 {
		statuses[(<-waiting).status]++
	}
	if statuses[http.StatusCreated] != 1 || statuses[http.StatusOK] != 2 {
		t.Errorf("statuses %v", statuses)
	}
	s.get("/api/runs").want(http.StatusOK)
}

// duration is how long the server took for a response, according to its log.
func (s *service) duration(a answer) (took time.Duration) {
	s.t.Helper()
	eventually(s.t, func() bool {
		for line := range strings.Lines(s.log.String()) {
			var entry struct {
				RequestID  string
				DurationMs float64
			}
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				s.t.Fatal(err)
			}
			if entry.RequestID == a.header.Get("X-Request-Id") && entry.DurationMs > 0 {
				took = time.Duration(entry.DurationMs * float64(time.Millisecond))
			}
		}
		return took > 0
	})
	return took
}

// TestLateBody has the deadline of a body pass while its request waits for a lock.
func TestLateBody(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t)
	server := httptest.NewUnstartedServer(api.New(api.Config{
		Pool: pool, APISecretKey: key, Logger: api.NewLogger(slog.DiscardHandler), Version: "test", ConnectionWait: patience, RequestTimeout: patience,
	}))
	server.Config.ReadTimeout = 2 * time.Second // A busy machine takes a while to read.
	server.Config.IdleTimeout = patience        // It would be the same: the next request meets the end of its connection.
	server.Start()
	defer server.Close()
	s := &service{t: t, url: server.URL, pool: pool}
	lines := encode(t, leastRun("run-1")) + "\n"
	s.submitBulk("", lines).want(http.StatusOK)
	for _, submit := range []func() answer{
		func() answer { return s.submit(leastRun("run-1")) },
		func() answer { return s.submitBulk("", lines) },
		func() answer { return s.submitBulk("", compressed(t, lines), "Content-Encoding", "gzip") },
	} {
		tx, err := pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), "select 1 from benchmark_runs for update"); err != nil {
			t.Fatal(err)
		}
		waiting := make(chan answer)
		go func() { waiting <- submit() }()
		waitUntilBlocked(t, pool, 1)
		time.Sleep(server.Config.ReadTimeout)
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
		(<-waiting).want(http.StatusOK)
	}
}

// waitUntilBlocked returns when n statements wait for a lock.
func waitUntilBlocked(t *testing.T, pool *pgxpool.Pool, n int) {
	t.Helper()
	eventually(t, func() bool {
		var blocked int
		if err := pool.QueryRow(t.Context(), "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'").Scan(&blocked); err != nil {
			t.Fatal(err)
		}
		return blocked >= n
	})
}

// TestUnexpectedError checks that an unexpected error is a 500 without details.
func TestUnexpectedError(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t)
	s := serve(t, pool, patience)
	if _, err := pool.Exec(t.Context(), "alter table benchmark_runs rename to secret_table"); err != nil {
		t.Fatal(err)
	}
	got := s.get("/api/runs")
	got.wantProblem(http.StatusInternalServerError)
	if strings.Contains(got.body, "benchmark_runs") || strings.Contains(got.body, "42P01") {
		t.Errorf("the answer shows the error: %s", got.body)
	}
	var logged bool
	for line := range strings.Lines(s.log.String()) {
		var entry struct {
			Level, RequestID, Operation, Error string
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		logged = logged || entry.Level == "ERROR" && entry.RequestID == got.header.Get("X-Request-Id") &&
			entry.Operation == "list-runs" && strings.Contains(entry.Error, "42P01")
	}
	if !logged {
		t.Errorf("the log does not say why: %s", s.log)
	}
}

// TestStandbyUnavailable has PostgreSQL wait for a standby that is not there: what is not
// replicated is not acknowledged, however the wait ends.
func TestStandbyUnavailable(t *testing.T) {
	t.Parallel()
	admin, url := testdb.Admin(t), testdb.URL(t)+"&synchronous_commit=on"
	var byDefault string
	if err := admin.QueryRow(t.Context(), "show synchronous_commit").Scan(&byDefault); err != nil {
		t.Fatal(err)
	}
	if byDefault != "off" {
		t.Skip("others on this PostgreSQL would wait too")
	}
	s := serve(t, testdb.Pool(t, url+"&application_name=standby-away"), patience)
	short := start(t, api.Config{Pool: testdb.Pool(t, url), ConnectionWait: patience, RequestTimeout: 200 * time.Millisecond})
	s.submit(leastRun("before")).want(http.StatusCreated)
	change := func(statement string) {
		ctx := context.WithoutCancel(t.Context())
		for _, statement := range []string{statement, "select pg_reload_conf()"} {
			if _, err := admin.Exec(ctx, statement); err != nil {
				t.Fatal(err)
			}
		}
	}
	change("alter system set synchronous_standby_names = 'nobody'")
	defer change("alter system reset synchronous_standby_names")
	// It takes effect a moment later.
	eventually(t, func() bool { return short.submit(leastRun("wait")).status == http.StatusServiceUnavailable })

	lines := encode(t, leastRun("bulk")) + "\n"
	for name, submit := range map[string]func(*service) answer{
		"a run":                func(s *service) answer { return s.submit(leastRun("new")) },
		"a replay":             func(s *service) answer { return s.submit(leastRun("before")) },
		"a batch":              func(s *service) answer { return s.submitBatch(object{"batchId": "batch-a"}) },
		"a bulk submission":    func(s *service) answer { return s.submitBulk("", lines) },
		"an atomic submission": func(s *service) answer { return s.submitBulk("?mode=atomic", lines) },
	} {
		for range 2 { // The second time it is a replay.
			if got := submit(short); got.status != http.StatusServiceUnavailable {
				t.Errorf("%s is answered %d at the deadline", name, got.status)
			}
		}
		canceled := make(chan answer)
		go func() { canceled <- submit(s) }()
		eventually(t, func() (found bool) {
			if err := admin.QueryRow(t.Context(), `select coalesce(bool_or(pg_cancel_backend(pid)), false)
				from pg_stat_activity where application_name = 'standby-away' and wait_event = 'SyncRep'`).Scan(&found); err != nil {
				t.Fatal(err)
			}
			return found
		})
		if got := <-canceled; got.status != http.StatusServiceUnavailable {
			t.Errorf("%s is answered %d when an administrator ends the wait", name, got.status)
		}
	}
}

// A server whose last write failed because the disk is full is not ready.
func TestReadinessDiskFull(t *testing.T) {
	t.Parallel()
	s := start(t, api.Config{Pool: testdb.New(t), ConnectionWait: patience})
	s.exec(`create function full_disk() returns trigger language plpgsql as $$ begin raise exception 'could not extend file' using errcode = '53100'; end $$`)
	s.exec("create trigger full_disk before insert on benchmark_runs execute function full_disk()")
	s.get("/readyz").want(http.StatusOK)
	s.submit(leastRun("run-1")).wantProblem(http.StatusServiceUnavailable)
	eventually(t, func() bool { // The state is cached for a moment.
		got := s.get("/readyz")
		return got.status == http.StatusServiceUnavailable && strings.Contains(got.body, "The disk of the database is full")
	})
	s.get("/api/runs").want(http.StatusOK)
	s.exec("drop trigger full_disk on benchmark_runs")
	s.submit(leastRun("run-1")).want(http.StatusCreated)
	stored := time.Now()
	eventually(t, func() bool { return s.get("/readyz").status == http.StatusOK })
	if after := time.Since(stored); after > 5*time.Second {
		t.Errorf("ready %s after a write that succeeded", after)
	}
}
