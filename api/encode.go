package api

import (
	"math"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Runs are most of what is read. Written by hand they take a third of the time that
// reflection takes; TestAppendJSONMatchesReflection holds this against their fields.

// appendBatch writes a batch with its runs, of which there are many.
func appendBatch(b []byte, batch *BatchDetails) ([]byte, error) {
	fields, err := json.Marshal(batch.Batch)
	if err != nil {
		return nil, err
	}
	b = append(append(b, fields[:len(fields)-1]...), `,"runs":`...)
	return append(appendRuns(b, batch.Runs), '}'), nil
}

func appendRuns(b []byte, runs []Run) []byte {
	b = append(b, '[')
	for i := range runs {
		if i > 0 {
			b = append(b, ',')
		}
		b = runs[i].appendJSON(b)
	}
	return append(b, ']')
}

func (r *Run) appendJSON(b []byte) []byte {
	b = strconv.AppendInt(append(b, `{"id":`...), r.ID, 10)
	b = appendText(append(b, `,"runId":`...), r.RunID)
	b = appendOptional(append(b, `,"batchId":`...), r.BatchID, appendText)
	b = appendText(append(b, `,"suite":`...), r.Suite)
	b = appendText(append(b, `,"scenario":`...), r.Scenario)
	b = appendText(append(b, `,"tier":`...), r.Tier)
	b = appendText(append(b, `,"agent":`...), r.Agent)
	b = appendOptional(append(b, `,"model":`...), r.Model, appendText)
	b = appendText(append(b, `,"status":`...), string(r.Status))
	b = appendUTC(append(b, `,"startedAt":`...), r.StartedAt)
	b = appendOptional(append(b, `,"completedAt":`...), r.CompletedAt, appendUTC)
	b = appendOptional(append(b, `,"totalScore":`...), r.TotalScore, appendNumber)
	b = appendOptional(append(b, `,"weightedScore":`...), r.WeightedScore, appendNumber)
	b = strconv.AppendBool(append(b, `,"isSuccessful":`...), r.IsSuccessful)
	b = appendOptional(append(b, `,"successMetric":`...), r.SuccessMetric, appendNumber)
	b = appendOptional(append(b, `,"specialistEnabled":`...), r.SpecialistEnabled, strconv.AppendBool)
	b = appendOptional(append(b, `,"specialistName":`...), r.SpecialistName, appendText)
	b = appendOptional(append(b, `,"specialistVersion":`...), r.SpecialistVersion, appendText)
	b = append(b, `,"metadata":`...)
	if r.Metadata.text == nil {
		b = append(b, "null"...)
	} else {
		b = append(b, r.Metadata.text...)
	}
	if r.SubmittedBy != nil && *r.SubmittedBy != "" {
		b = appendText(append(b, `,"submittedBy":`...), *r.SubmittedBy)
	}
	return append(b, '}')
}

func appendOptional[T any](b []byte, v *T, appendValue func([]byte, T) []byte) []byte {
	if v == nil {
		return append(b, "null"...)
	}
	return appendValue(b, *v)
}

func appendText(b []byte, text string) []byte {
	b, _ = jsontext.AppendQuote(b, text) // It fails where the text is not UTF-8, and the database has no other.
	return b
}

// appendUTC writes RFC 3339 in UTC, with three fractional digits, six when needed.
func appendUTC(b []byte, t UTCTime) []byte {
	b, _ = t.AppendText(append(b, '"')) // It does not fail.
	return append(b, '"')
}

// appendNumber writes a number as ECMAScript does (ECMA-262, Number::toString).
func appendNumber(b []byte, number float64) []byte {
	format := byte('f')
	if size := math.Abs(number); size != 0 && (size < 1e-6 || size >= 1e21) {
		format = 'e'
	}
	b = strconv.AppendFloat(b, number, format, -1, 64)
	if n := len(b); format == 'e' && b[n-4] == 'e' && b[n-2] == '0' {
		b = append(b[:n-2], b[n-1]) // Go writes 1e-07.
	}
	return b
}
