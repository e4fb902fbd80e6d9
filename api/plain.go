package api

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// plainType is a type of fields that checks its values itself.
type plainType interface {
	// isPlain reports whether the value is certainly valid. A value that is not plain
	// may still be valid.
	isPlain() bool
}

// plainCheck reports whether a value is certainly valid. The value is addressable. A nil
// pointer or slice is not.
type plainCheck func(value reflect.Value) bool

// plainChecks builds the check of a body from its Go type and its schema, so that a new
// field is checked as soon as it is declared. It panics if it does not support a type or
// a rule of the schema: otherwise the check would accept what validation refuses.
type plainChecks struct{ registry huma.Registry }

// build returns the check of a type. at says where the type is used.
func (c plainChecks) build(t reflect.Type, schema *huma.Schema, at string) plainCheck {
	pointer := reflect.PointerTo(t)
	switch {
	case pointer.Implements(reflect.TypeFor[plainType]()):
		mustHaveOnlyRules(schema, c.registry.Schema(t, true, ""), at)
		return func(v reflect.Value) bool {
			return v.Addr().Interface().(plainType).isPlain() //nolint:forcetypeassert // it implements that
		}
	case pointer.Implements(reflect.TypeFor[huma.Resolver]()), pointer.Implements(reflect.TypeFor[huma.ResolverWithPath]()):
		panic(fmt.Sprintf("%s: the type %s has a Resolve, but no isPlain", at, t))
	}
	switch t.Kind() { //nolint:exhaustive // the others panic
	case reflect.Bool:
		mustHaveOnlyRules(schema, &huma.Schema{Type: huma.TypeBoolean}, at)
		return func(reflect.Value) bool { return true }
	case reflect.Float64:
		return numberCheck(schema, at)
	case reflect.Pointer:
		check := c.build(t.Elem(), schema, at)
		return func(v reflect.Value) bool { return !v.IsNil() && check(v.Elem()) }
	case reflect.Slice:
		return c.buildSlice(t, schema, at)
	case reflect.Struct:
		return c.buildStruct(t, schema, at)
	}
	panic(fmt.Sprintf("%s: the type %s has no isPlain", at, t))
}

func numberCheck(schema *huma.Schema, at string) plainCheck {
	above := schema.ExclusiveMinimum
	mustHaveOnlyRules(schema, &huma.Schema{Type: huma.TypeNumber, Format: "double", ExclusiveMinimum: above}, at)
	return func(v reflect.Value) bool { return above == nil || v.Float() > *above }
}

func (c plainChecks) buildSlice(t reflect.Type, schema *huma.Schema, at string) plainCheck {
	most := schema.MaxItems
	mustHaveOnlyRules(schema, &huma.Schema{Type: huma.TypeArray, Items: schema.Items, MaxItems: most}, at)
	at += "[]"
	check := c.build(t.Elem(), schema.Items, at)
	mustRejectZero(check, t.Elem(), at) // What null becomes.
	return func(v reflect.Value) bool {
		for i := range v.Len() {
			if !check(v.Index(i)) {
				return false
			}
		}
		return !v.IsNil() && (most == nil || v.Len() <= *most)
	}
}

func (c plainChecks) buildStruct(t reflect.Type, schema *huma.Schema, at string) plainCheck {
	if schema.Ref != "" {
		mustHaveOnlyRules(schema, &huma.Schema{Ref: schema.Ref}, at)
		schema = c.registry.SchemaFromRef(schema.Ref)
	}
	mustHaveOnlyRules(schema, &huma.Schema{Type: huma.TypeObject, Properties: schema.Properties, Required: schema.Required}, at)
	type fieldCheck struct {
		index int
		// optional means that nil is plain.
		optional bool
		check    plainCheck
	}
	var checks []fieldCheck
	for i := range t.NumField() {
		field := t.Field(i)
		if !field.IsExported() && !field.Anonymous {
			continue // It is neither read nor documented.
		}
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		at := at + "." + name
		property := schema.Properties[name]
		if property == nil {
			panic(fmt.Sprintf("%s: the schema does not have the field %s of %s", at, field.Name, t))
		}
		check := c.build(field.Type, property, at)
		required := slices.Contains(schema.Required, name)
		if required {
			mustRejectZero(check, field.Type, at) // The value if the field is missing.
		}
		canBeNil := field.Type.Kind() == reflect.Pointer || field.Type.Kind() == reflect.Slice
		checks = append(checks, fieldCheck{i, canBeNil && !required, check})
	}
	return func(v reflect.Value) bool {
		for _, c := range checks {
			field := v.Field(c.index)
			if isLeftOut := c.optional && field.IsNil(); !isLeftOut && !c.check(field) {
				return false
			}
		}
		return true
	}
}

// mustRejectZero panics if a check accepts the zero value, which a missing field has.
func mustRejectZero(check plainCheck, t reflect.Type, at string) {
	if check(reflect.New(t).Elem()) {
		panic(fmt.Sprintf("%s: it is required, and the zero %s is valid: use a pointer", at, t))
	}
}

// annotations are the parts of a schema that do not affect validation. Nullable is one: a
// null is read as nil or zero.
var annotations = []string{"Title", "Description", "Examples", "Deprecated", "PatternDescription", "Extensions", "Nullable"}

// mustHaveOnlyRules panics if a schema has unsupported rules.
func mustHaveOnlyRules(schema, known *huma.Schema, at string) {
	if len(schema.DependentRequired) == 0 {
		known.DependentRequired = schema.DependentRequired // Empty, or nil.
	}
	for part, rule := range reflect.ValueOf(schema).Elem().Fields() {
		if !part.IsExported() || slices.Contains(annotations, part.Name) {
			continue
		}
		if knownRule := reflect.ValueOf(known).Elem().FieldByIndex(part.Index); !reflect.DeepEqual(rule.Interface(), knownRule.Interface()) {
			panic(fmt.Sprintf("%s: the quick check does not know the rule %s of its schema", at, part.Name))
		}
	}
}
