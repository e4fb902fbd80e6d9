package benchledger

import (
	"encoding/json"
	"math"
	"testing"
)

// TestEncodeOfContainers checks how nil and empty containers are encoded: nil metadata keeps
// what a batch has, empty metadata replaces it, so the two must differ on the wire.
func TestEncodeOfContainers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		submission any
		want       string
	}{
		"a run with nil":   {RunSubmission{}, `{"agent":"","runId":"","scenario":"","status":"","suite":"","tier":""}`},
		"a run with empty": {RunSubmission{Metadata: map[string]any{}, Evaluations: []EvaluationSubmission{}}, `{"agent":"","metadata":{},"runId":"","scenario":"","status":"","suite":"","tier":""}`},
		"a run with items": {
			RunSubmission{Metadata: map[string]any{"a": nil}, Evaluations: []EvaluationSubmission{{EvaluatorName: "e"}}},
			`{"agent":"","evaluations":[{"evaluatorName":"e","maxScore":0,"score":null}],"metadata":{"a":null},"runId":"","scenario":"","status":"","suite":"","tier":""}`,
		},
		"a batch with nil":   {BatchSubmission{}, `{"batchId":""}`},
		"a batch with empty": {BatchSubmission{Metadata: map[string]any{}}, `{"batchId":"","metadata":{}}`},
		"a receipt with nil": {
			Receipt{Line: 1, Outcome: ReceiptOutcomeRecorded}, `{"line":1,"outcome":"recorded"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, faults := encode(test.submission)
			if string(body) != test.want || len(faults) > 0 {
				t.Errorf("%s, want %s; faults: %v", body, test.want, faults)
			}
		})
	}
}

// TestEncodeWithoutFaults checks that a value that JSON cannot represent changes nothing of the
// rest, by encoding the same submission with and without it.
func TestEncodeWithoutFaults(t *testing.T) {
	t.Parallel()
	for name, submission := range map[string]RunSubmission{
		"nil":   {RunID: "run"},
		"empty": {RunID: "run", Metadata: map[string]any{}, Evaluations: []EvaluationSubmission{}},
		"items": {RunID: "run", Metadata: map[string]any{"a": 1}, Evaluations: []EvaluationSubmission{{EvaluatorName: "e", Score: new(1.0), MaxScore: 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, faults := encode(submission)
			if len(faults) > 0 {
				t.Fatal(faults)
			}
			submission.TotalScore = new(math.NaN())
			body, faults := encode(submission)
			if len(faults) != 1 || faults[0].Location != "body.totalScore" {
				t.Errorf("the faults: %v", faults)
			}
			var got, expected map[string]json.RawMessage
			if err := json.Unmarshal(body, &got); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(want, &expected); err != nil {
				t.Fatal(err)
			}
			if len(got) != len(expected) {
				t.Errorf("%s, want %s", body, want)
			}
			for key, value := range expected {
				if string(got[key]) != string(value) {
					t.Errorf("%s is %s, want %s", key, got[key], value)
				}
			}
		})
	}
}

// TestReplaceInvalidText checks that invalid text becomes U+FFFD, and nothing else changes.
func TestReplaceInvalidText(t *testing.T) {
	t.Parallel()
	valid := func(submission any) (string, string) {
		body, faults := encode(submission)
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		body, id, field := replaceInvalidText(body)
		return string(body), id + " " + field
	}
	const rest = `,"runId":"r","scenario":"","status":"","suite":"","tier":""}`
	for _, test := range []struct {
		run         RunSubmission
		want, field string
	}{
		{RunSubmission{RunID: "r", Agent: "a\x00b"}, `{"agent":"a\ufffdb"` + rest, "r body.agent"},
		{RunSubmission{RunID: "r", Agent: "a\xffb"}, `{"agent":"a\ufffdb"` + rest, "r body.agent"},
		{RunSubmission{RunID: "r", Agent: `a\u0000 \` + "\x00"}, `{"agent":"a\\u0000 \\\ufffd"` + rest, "r body.agent"},
		{RunSubmission{RunID: "r", Agent: `\u0000 \ud800 � 😀 <` + "\n"}, `{"agent":"\\u0000 \\ud800 � 😀 \u003c\n"` + rest, " "},
		{
			RunSubmission{RunID: "r", Metadata: map[string]any{"b": []any{1, map[string]any{"\x00": json.Number("1e999")}}, "c": "\x00"}},
			`{"agent":"","metadata":{"b":[1,{"\ufffd":1e999}],"c":"\ufffd"}` + rest, "r body.metadata.b[1].\ufffd",
		},
		{
			RunSubmission{RunID: "r", Metadata: map[string]any{"raw": json.RawMessage(`"\uD83D\uDE00 \uD800 \udc00\ud83d\\ud800 ` + "\xff" + `"`)}},
			`{"agent":"","metadata":{"raw":"\uD83D\uDE00 \ufffd \ufffd\ufffd\\ud800 \ufffd"}` + rest, "r body.metadata.raw",
		},
		{ // Names that become equal stay distinct.
			RunSubmission{RunID: "r", Metadata: map[string]any{"a\x00": json.Number("1e999"), "a\x01": []any{map[string]any{"\x00": 1, "\ufffd": 2}}, "a\xff": "<", "a\ufffd": "\x00", "\xfe": true}},
			`{"agent":"","metadata":{"a\ufffd":1e999,"a\u0001":[{"\ufffd":1,"�\ufffd":2}],"a�\ufffd":"\ufffd","a\ufffd\ufffd\ufffd":"\u003c","\ufffd":true}` + rest, "r body.metadata.\ufffd",
		},
	} {
		if got, field := valid(test.run); got != test.want || field != test.field {
			t.Errorf("%s, %q, want %s, %q", got, field, test.want, test.field)
		}
	}
	if got, field := valid(BatchSubmission{BatchID: "b\x00"}); got != `{"batchId":"b\ufffd"}` || field != "b\ufffd body.batchId" {
		t.Errorf("%s, %q", got, field)
	}
}
