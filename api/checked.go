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

// checkedRun is a run that is validated while it is read. The quick check in
// plain.go accepts nearly all runs; the others are validated against the schema, as huma does
// it, which finds all errors.
type checkedRun struct {
	run *RunSubmission
	// id is the run's ID, if it is valid in a response.
	id string
	// faults are the errors.
	faults []error
	// unknown are the unknown fields.
	unknown []FieldError
}

// Schema documents a RunSubmission.
func (checkedRun) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[RunSubmission](), true, "RunSubmission")
}

// Resolve returns the errors.
func (c *checkedRun) Resolve(huma.Context, *huma.PathBuffer) []error {
	if c.run == nil && c.faults == nil {
		return []error{problemOf(http.StatusUnsupportedMediaType, "Send JSON, with Content-Type: application/json.")}
	}
	return c.faults
}

// malformed is the error of a text that is not JSON.
type malformed string

func (m malformed) Error() string { return string(m) }

// GetStatus returns 400.
func (malformed) GetStatus() int { return http.StatusBadRequest }

// ErrorDetail reports it for the body.
func (m malformed) ErrorDetail() *huma.ErrorDetail {
	return &huma.ErrorDetail{Location: "body", Message: string(m)}
}

// runRules validate a RunSubmission.
type runRules struct {
	// schema is its schema; registry has the referenced ones.
	schema   *huma.Schema
	registry huma.Registry
	// isPlain is the quick check.
	isPlain plainCheck
}

// rulesOfRuns are built when the server starts.
var rulesOfRuns = sync.OnceValue(func() runRules {
	t, registry := reflect.TypeFor[RunSubmission](), huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	schema := registry.Schema(t, true, "RunSubmission")
	for _, component := range registry.Map() {
		component.AdditionalProperties = nil // As in the document: unknown fields are ignored.
	}
	return runRules{schema, registry, plainChecks{registry}.build(t, schema, "body")}
})

// read reads and validates a run.
func (c *checkedRun) read(raw []byte) {
	isRead := false
	inTurnIfLarge(len(raw), func() { isRead = c.readPlain(raw) })
	if !isRead { // Finding all errors takes long for any size.
		inTurn(func() { c.readAny(raw) })
	}
}

// readPlain reads a run that passes the quick check, and reports whether it does.
func (c *checkedRun) readPlain(raw []byte) bool {
	if err := tooMuch(raw); err != nil {
		c.faults = []error{err}
		return true
	}
	rules, run := rulesOfRuns(), &RunSubmission{}
	err := json.Unmarshal(raw, run, json.RejectUnknownMembers(true))
	if errors.Is(err, json.ErrUnknownName) {
		c.unknown = unknownFields(raw, runSubmissionFields)
		run = &RunSubmission{}
		err = json.Unmarshal(raw, run)
	}
	if err == nil && rules.isPlain(reflect.ValueOf(run).Elem()) {
		c.run, c.id = run, string(run.RunID)
		return true
	}
	return false
}

// readAny reads a run, and finds all that is wrong with it.
func (c *checkedRun) readAny(raw []byte) {
	rules, run := rulesOfRuns(), &RunSubmission{}
	var value any
	if err := decode(raw, &value); err != nil {
		c.faults = []error{malformed(err.Error())}
		return
	}
	path, result := huma.NewPathBuffer([]byte("body"), 4), &huma.ValidateResult{}
	huma.Validate(rules.registry, rules.schema, path, huma.ModeWriteToServer, value, result)
	if err := decode(raw, run); err != nil && len(result.Errors) == 0 {
		c.faults = []error{&huma.ErrorDetail{Location: "body", Message: err.Error()}}
		return
	}
	c.run, c.faults = run, slices.Concat(result.Errors, resolve(path, reflect.ValueOf(run)))
	if len(c.faults) == 0 || isID(value) {
		c.id = string(run.RunID)
	}
}

// isID reports whether the run's ID is valid in a response.
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

// fieldErrors are the invalid parts of a request.
func fieldErrors(faults []error) []FieldError {
	var fields []FieldError
	for _, fault := range faults {
		var detailer huma.ErrorDetailer
		if errors.As(fault, &detailer) {
			detail := detailer.ErrorDetail()
			location := detail.Location
			if strings.HasPrefix(location, "query.") { // A parameter that is repeated has no places.
				location, _, _ = strings.Cut(location, "[")
			}
			fields = append(fields, FieldError{Location: location, Message: detail.Message})
		}
	}
	return fields
}
