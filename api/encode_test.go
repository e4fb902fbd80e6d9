package api

import (
	"bytes"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"

	"github.com/benchledger/benchledger/db"
)

// TestAppendJSONMatchesReflection compares what appendJSON and package json write: of every
// field, absent and not, with every kind of text, number and time.
func TestAppendJSONMatchesReflection(t *testing.T) {
	t.Parallel()
	moment := rapid.Custom(func(t *rapid.T) UTCTime {
		micros := rapid.Int64Range(-62135596800e6, 253402300799e6).Draw(t, "microseconds")
		if rapid.Bool().Draw(t, "whole milliseconds") {
			micros -= micros % 1000
		}
		return UTCTime{time.UnixMicro(micros)}
	})
	number := rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{
		0, math.Copysign(0, -1), 1e-6, 1e-7, 9.5e-7, 1e21, 1e20, 1e100, -1.5e-300, math.MaxFloat64, math.SmallestNonzeroFloat64, 0.1, 8.5,
	}))
	text := rapid.String()
	run := rapid.Custom(func(t *rapid.T) Run {
		var run Run
		for field, value := range reflect.ValueOf(&run).Elem().Fields() {
			if field.Type.Kind() == reflect.Pointer {
				if rapid.Bool().Draw(t, field.Name+" is absent") {
					continue
				}
				value.Set(reflect.New(field.Type.Elem()))
				value = value.Elem()
			}
			var drawn any
			switch value.Interface().(type) {
			case int64:
				drawn = rapid.Int64().Draw(t, field.Name)
			case bool:
				drawn = rapid.Bool().Draw(t, field.Name)
			case float64:
				drawn = number.Draw(t, field.Name)
			case string:
				drawn = text.Draw(t, field.Name)
			case Status:
				drawn = rapid.SampledFrom(statuses).Draw(t, field.Name)
			case UTCTime:
				drawn = moment.Draw(t, field.Name)
			case Void:
				drawn = Void{At: moment.Draw(t, field.Name), Reason: text.Draw(t, field.Name)}
			case Metadata:
				drawn = Metadata{rapid.SampledFrom([]jsontext.Value{nil, jsontext.Value(`{}`), jsontext.Value(`{"a":[1,9007199254740993]}`)}).Draw(t, field.Name), rapid.Bool().Draw(t, "asText")}
			default:
				t.Fatalf("draw a %s for %s", value.Type(), field.Name)
			}
			value.Set(reflect.ValueOf(drawn))
		}
		return run
	})
	rapid.Check(t, func(t *rapid.T) {
		runs := rapid.SliceOfN(run, 0, 3).Draw(t, "runs")
		for _, value := range []any{runs, BatchDetails{Batch{BatchID: "batch-a"}, runs}} {
			want, err := json.Marshal(value)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if err := marshal(&got, value); err != nil {
				t.Fatal(err)
			}
			if got.String() != string(want) {
				t.Errorf("appendJSON %s\njson %s", got.String(), want)
			}
		}
		for _, run := range runs {
			layout := "2006-01-02T15:04:05.000Z"
			if run.StartedAt.Nanosecond()%1e6 != 0 {
				layout = "2006-01-02T15:04:05.000000Z"
			}
			if got := string(appendUTC(nil, run.StartedAt)); got != run.StartedAt.UTC().Format(`"`+layout+`"`) {
				t.Errorf("%v is written as %s", run.StartedAt, got)
			}
		}
	})
}

// TestEveryColumnIsRead compares what the API returns with the columns of the tables: a new
// column that the API does not return has to be listed here.
func TestEveryColumnIsRead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		row, read reflect.Type
		hidden    []string
	}{
		{reflect.TypeFor[db.BenchmarkRun](), reflect.TypeFor[Run](), []string{
			"started_at_given",
			"metadata_text",                         // metadata
			"voided_at", "voided_by", "void_reason", // voided
		}},
		{reflect.TypeFor[db.EvaluationResult](), reflect.TypeFor[Evaluation](), []string{"position"}}, // their order
		{reflect.TypeFor[db.RunTelemetry](), reflect.TypeFor[Telemetry](), nil},
		{reflect.TypeFor[db.BatchSummary](), reflect.TypeFor[Batch](), []string{"metadata_text"}}, // metadata
	} {
		read := map[string]bool{}
		for _, field := range reflect.VisibleFields(c.read) {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			read[name] = true
		}
		for _, field := range reflect.VisibleFields(c.row) {
			column := field.Tag.Get("json")
			words := strings.Split(column, "_")
			for i, word := range words[1:] {
				words[i+1] = strings.ToUpper(word[:1]) + word[1:]
			}
			if name := strings.Join(words, ""); read[name] == slices.Contains(c.hidden, column) {
				t.Errorf("%s.%s: %s has a field %s: %v", c.row.Name(), field.Name, c.read, name, read[name])
			}
		}
	}
}
