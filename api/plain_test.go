package api

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"
)

// TestPlainRuns checks that typical runs pass the quick check.
func TestPlainRuns(t *testing.T) {
	t.Parallel()
	full := exampleSubmission
	full.SpecialistEnabled, full.SpecialistName, full.SpecialistVersion = new(true), new(Text("nextjs")), new(Text("0.0.5"))
	least := RunSubmission{RunID: "run-1", Suite: "s", Scenario: "c", Tier: "t", Agent: "a", Status: "running"}
	for _, run := range []*RunSubmission{&full, &least} {
		if !rulesOfRuns().isPlain(reflect.ValueOf(run).Elem()) {
			t.Errorf("not plain: %+v", run)
		}
	}
}

// strange has rules that the quick check cannot see.
type strange string

// Resolve refuses everything.
func (*strange) Resolve(_ huma.Context, path *huma.PathBuffer) []error {
	return fieldError(path, "expected something else")
}

// TestUnknownTypesAndRules checks that the server does not start if the quick check does not
// support a type or a rule of a body.
func TestUnknownTypesAndRules(t *testing.T) {
	t.Parallel()
	type embedded struct {
		A Name `json:"a"`
	}
	for _, test := range []struct {
		body any
		want string // "" where all is known
	}{
		{struct {
			A Name                   `json:"a"`
			B *Name                  `json:"b" required:"false" nullable:"true" doc:"Words."`
			C *float64               `json:"c" exclusiveMinimum:"0"`
			D []EvaluationSubmission `json:"d" required:"false" maxItems:"9"`
			E *TelemetrySubmission   `json:"e" required:"false"`
		}{}, ""},
		{struct {
			A string `json:"a"`
		}{}, "body.a: the type string has no isPlain"},
		{struct {
			A *int32 `json:"a"`
		}{}, "body.a: the type int32 has no isPlain"},
		{struct {
			A map[string]Name `json:"a"`
		}{}, "body.a: the type map[string]api.Name has no isPlain"},
		{struct {
			A *jsontext.Value `json:"a"`
		}{}, "body.a: the quick check does not know the rule Type"},
		{struct {
			A *strange `json:"a"`
		}{}, "body.a: the type api.strange has a Resolve, but no isPlain"},
		{struct {
			A []struct {
				B *strange `json:"b"`
			} `json:"a"`
		}{}, "body.a[].b: the type api.strange"},
		{struct {
			A *Name `json:"a" maxLength:"20"`
		}{}, "body.a: the quick check does not know the rule MaxLength"},
		{struct {
			A *Text `json:"a" enum:"x,y"`
		}{}, "body.a: the quick check does not know the rule Enum"},
		{struct {
			A *float64 `json:"a" maximum:"1"`
		}{}, "body.a: the quick check does not know the rule Maximum"},
		{struct {
			A *bool `json:"a" default:"true"`
		}{}, "body.a: the quick check does not know the rule Default"},
		{struct {
			A *Time `json:"a" readOnly:"true"`
		}{}, "body.a: the quick check does not know the rule ReadOnly"},
		{struct {
			A *TelemetrySubmission `json:"a" readOnly:"true"`
		}{}, "body.a: the quick check does not know the rule ReadOnly"},
		{struct {
			A []EvaluationSubmission `json:"a" minItems:"3"`
		}{}, "body.a: the quick check does not know the rule MinItems"},
		{struct {
			A *Name `json:"a" dependentRequired:"b"`
			B *Name `json:"b"`
		}{}, "body: the quick check does not know the rule DependentRequired"},
		{struct {
			A Count `json:"a"`
		}{}, "body.a: it is required, and the zero api.Count is valid"},
		{struct {
			A Metadata `json:"a"`
		}{}, "body.a: it is required, and the zero api.Metadata is valid"},
		{struct {
			A []Text `json:"a"`
		}{}, "body.a[]: it is required, and the zero api.Text is valid"},
		{struct {
			A Name `json:"-"`
		}{}, "body.-: the schema does not have the field A"},
		{struct {
			embedded
			B Name `json:"b"`
		}{}, "body.: the schema does not have the field embedded"},
	} {
		got := func() (failure string) {
			defer func() {
				if r := recover(); r != nil {
					failure = fmt.Sprint(r)
				}
			}()
			registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
			schema := huma.SchemaFromType(registry, reflect.TypeOf(test.body))
			for _, s := range append(slices.Collect(maps.Values(registry.Map())), schema) {
				s.AdditionalProperties = nil
			}
			plainChecks{registry}.build(reflect.TypeOf(test.body), schema, "body")
			return ""
		}()
		if test.want == "" && got != "" || !strings.HasPrefix(got, test.want) {
			t.Errorf("%T: %q, want %q", test.body, got, test.want)
		}
	}
}
