package benchledger

import (
	"encoding/json"
	"math"
	"testing"
)

// TestEncodeOfContainers sees what nil and empty containers become: nil metadata keeps
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
			`{"agent":"","evaluations":[{"evaluatorName":"e","maxScore":0,"score":0}],"metadata":{"a":null},"runId":"","scenario":"","status":"","suite":"","tier":""}`,
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

// TestEncodeWithoutFaults sees that a value that JSON cannot write changes nothing of the
// rest, by encoding the same submission with and without it.
func TestEncodeWithoutFaults(t *testing.T) {
	t.Parallel()
	for name, submission := range map[string]RunSubmission{
		"nil":   {RunID: "run"},
		"empty": {RunID: "run", Metadata: map[string]any{}, Evaluations: []EvaluationSubmission{}},
		"items": {RunID: "run", Metadata: map[string]any{"a": 1}, Evaluations: []EvaluationSubmission{{EvaluatorName: "e", Score: 1, MaxScore: 1}}},
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
