package api

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// unknownFields returns the fields of a submission that its type does not have. Text that
// is not JSON has none.
func unknownFields(raw []byte, submission reflect.Type) []FieldError {
	var value any
	if decode(raw, &value) != nil {
		return nil
	}
	return cutErrors("body", unknownIn(value, submission, "body"))
}

func unknownIn(value any, t reflect.Type, at string) (found []FieldError) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch value := value.(type) {
	case map[string]any:
		fields := fieldTypes(t)
		if len(fields) == 0 { // Metadata has any fields.
			return nil
		}
		for _, name := range slices.Sorted(maps.Keys(value)) {
			if field, ok := fields[name]; ok {
				found = append(found, unknownIn(value[name], field, at+"."+name)...)
			} else {
				found = append(found, FieldError{at + "." + cut(name, maxName), "unknown field" + didYouMean(name, slices.Sorted(maps.Keys(fields)))})
			}
		}
	case []any:
		if t.Kind() != reflect.Slice {
			return nil
		}
		for i, item := range value {
			found = append(found, unknownIn(item, t.Elem(), fmt.Sprintf("%s[%d]", at, i))...)
		}
	}
	return found
}

// fieldTypes returns the types of the fields that a type has in JSON, by name.
func fieldTypes(t reflect.Type) map[string]reflect.Type {
	types := map[string]reflect.Type{}
	if t.Kind() != reflect.Struct {
		return types
	}
	for field := range t.Fields() {
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" {
			types[name] = field.Type
		}
	}
	return types
}

// didYouMean names the field that is nearest to a name, if one is near: in other case, with
// underscores, or with one letter in four wrong.
func didYouMean(name string, fields []string) string {
	if len(name) > maxName {
		return ""
	}
	plain := func(name string) string { return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(name)) }
	nearest, least := "", max(1, len(name)/4)+1
	for _, field := range fields {
		if distance := levenshtein.ComputeDistance(plain(name), plain(field)); distance < least {
			nearest, least = field, distance
		}
	}
	if nearest == "" {
		return ""
	}
	return "; did you mean " + nearest + "?"
}

// warnings are what a receipt says of unknown fields.
func warnings(unknown []FieldError) []string {
	var texts []string
	for _, field := range unknown {
		texts = append(texts, field.Location+": "+field.Message)
	}
	return texts
}
