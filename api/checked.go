package api

import (
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
)

// checkedRun is a run that is validated while it is read. Nearly all are plainly valid,
// which a look at their fields tells; the others are read as huma reads a body,
// against the schema, which finds everything that is wrong with them.
type checkedRun struct {
	run *RunSubmission
	// id is the run's, where it is one that an answer can repeat.
	id string
	// faults are what is wrong.
	faults []error
}

// Schema documents a RunSubmission.
func (checkedRun) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[RunSubmission](), true, "RunSubmission")
}

// Resolve returns what is wrong. What was not even read was declared as something else.
func (c *checkedRun) Resolve(huma.Context, *huma.PathBuffer) []error {
	if c.run == nil && c.faults == nil {
		return []error{problemOf(http.StatusUnsupportedMediaType, "Send JSON, with Content-Type: application/json.")}
	}
	return c.faults
}

// malformed is what is wrong with a text that is no JSON.
type malformed string

func (m malformed) Error() string { return string(m) }

// GetStatus returns 400.
func (malformed) GetStatus() int { return http.StatusBadRequest }

// ErrorDetail says it of the body.
func (m malformed) ErrorDetail() *huma.ErrorDetail {
	return &huma.ErrorDetail{Location: "body", Message: string(m)}
}

// runSchemas has the schema of a RunSubmission, and those that it refers to.
var runSchemas = sync.OnceValues(func() (huma.Registry, *huma.Schema) {
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	schema := registry.Schema(reflect.TypeFor[RunSubmission](), true, "RunSubmission")
	for _, component := range registry.Map() {
		component.AdditionalProperties = nil // As in the document: unknown fields are ignored.
	}
	return registry, schema
})

// read reads a run, and finds what is wrong with it.
func (c *checkedRun) read(raw []byte) {
	run := &RunSubmission{}
	if json.Unmarshal(raw, run) == nil && run.isPlain() {
		c.run, c.id = run, string(run.RunID)
		return
	}
	run = &RunSubmission{}
	var value any
	if err := decode(raw, &value); err != nil {
		c.faults = []error{malformed(err.Error())}
		return
	}
	registry, schema := runSchemas()
	path, result := huma.NewPathBuffer([]byte("body"), 4), &huma.ValidateResult{}
	huma.Validate(registry, schema, path, huma.ModeWriteToServer, value, result)
	if err := decode(raw, run); err != nil && len(result.Errors) == 0 {
		c.faults = []error{&huma.ErrorDetail{Location: "body", Message: err.Error()}}
		return
	}
	c.run, c.faults = run, slices.Concat(result.Errors, resolve(path, reflect.ValueOf(run)))
	if len(c.faults) == 0 || isID(value) {
		c.id = string(run.RunID)
	}
}

// isPlain reports whether a run is valid beyond doubt: its names are ASCII, and what is
// required is there. What it says no to may still be valid.
func (r *RunSubmission) isPlain() bool {
	return isPlainID(&r.RunID) && (r.BatchID == nil || isPlainID(r.BatchID)) &&
		isPlainName(r.Suite) && isPlainName(r.Scenario) && isPlainName(r.Tier) && isPlainName(r.Agent) && (r.Model == nil || isPlainName(*r.Model)) &&
		slices.Contains(statuses, r.Status) && isPlainTime(r.StartedAt) && isPlainTime(r.CompletedAt) &&
		isPlainText(r.SpecialistName) && isPlainText(r.SpecialistVersion) && r.Metadata.isPlain() &&
		!slices.ContainsFunc(r.Evaluations, func(e EvaluationSubmission) bool { return !e.isPlain() }) &&
		(r.Telemetry == nil || r.Telemetry.isPlain())
}

func (e *EvaluationSubmission) isPlain() bool {
	return isPlainName(e.EvaluatorName) && e.Score != nil && e.MaxScore > 0 && isPlainText(e.Details)
}

func (t *TelemetrySubmission) isPlain() bool {
	for _, count := range []*Count{t.ToolCalls, t.TokensIn, t.TokensOut, t.DurationMs} {
		if count != nil && *count < 0 {
			return false
		}
	}
	return isPlainText(t.WorkspaceDir) && isPlainText(t.PromptSent)
}

func (m *Metadata) isPlain() bool {
	return m.text == nil || m.text.Kind() == '{' && m.Resolve(nil, huma.NewPathBuffer(nil, 0)) == nil
}

func isPlainName[T ~string](name T) bool {
	for i := range len(name) {
		if name[i] < ' ' || name[i] > '~' {
			return false
		}
	}
	return len(name) >= 1 && len(name) <= maxName
}

func isPlainID(id *ID) bool { return isPlainName(*id) && *id != "." && *id != ".." }

func isPlainText(text *Text) bool {
	return text == nil || strings.IndexByte(string(*text), 0) < 0
}

func isPlainTime(t *Time) bool { return t == nil || !t.invalid }

// isID reports whether the run's id is one that an answer can repeat.
func isID(value any) bool {
	run, _ := value.(map[string]any)
	id, ok := run["runId"].(string)
	return ok && id != "" && len(id) <= 4*maxName
}

// resolve has all values within v resolve themselves.
func resolve(path *huma.PathBuffer, v reflect.Value) (found []error) {
	if v.CanAddr() {
		if resolver, ok := v.Addr().Interface().(huma.ResolverWithPath); ok {
			return resolver.Resolve(nil, path)
		}
	}
	switch v.Kind() { //nolint:exhaustive // the others hold no values
	case reflect.Pointer:
		if !v.IsNil() {
			found = resolve(path, v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			path.PushIndex(i)
			found = append(found, resolve(path, v.Index(i))...)
			path.Pop()
		}
	case reflect.Struct:
		for field, value := range v.Fields() {
			if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" {
				path.Push(name)
				found = append(found, resolve(path, value)...)
				path.Pop()
			}
		}
	}
	return found
}

// fieldErrors are the parts of a request at fault.
func fieldErrors(faults []error) []FieldError {
	var fields []FieldError
	for _, fault := range faults {
		var detailer huma.ErrorDetailer
		if errors.As(fault, &detailer) {
			detail := detailer.ErrorDetail()
			fields = append(fields, FieldError{Location: detail.Location, Message: detail.Message})
		}
	}
	return fields
}
