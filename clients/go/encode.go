package benchledger

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// encode returns a submission as JSON. Values that JSON cannot represent (NaN, a channel,
// a cycle) are left out and reported as faults, so that the rest is not lost.
func encode(submission any) (body []byte, faults []FieldError) {
	body, err := json.Marshal(submission)
	if err == nil {
		return body, nil
	}
	kept := encodable(reflect.ValueOf(submission), "body", nil, &faults)
	if body, err = json.Marshal(kept); err != nil {
		return []byte("{}"), append(faults, FieldError{Location: "body", Message: err.Error()})
	}
	return body, faults
}

// encodable returns a value without the parts that JSON cannot represent, nil if nothing
// is left. inside holds the addresses of the enclosing values, to find cycles.
func encodable(value reflect.Value, at string, inside []uintptr, faults *[]FieldError) any {
	if !value.IsValid() {
		return nil
	}
	text, err := json.Marshal(value.Interface())
	if err == nil {
		return json.RawMessage(text)
	}
	kind := value.Kind()
	if kind == reflect.Pointer || kind == reflect.Map || kind == reflect.Slice {
		if slices.Contains(inside, value.Pointer()) {
			*faults = append(*faults, FieldError{Location: at, Message: "the value contains itself"})
			return nil
		}
		inside = append(slices.Clip(inside), value.Pointer())
	}
	_, own := value.Interface().(json.Marshaler)
	switch {
	case own:
	case kind == reflect.Pointer || kind == reflect.Interface:
		return encodable(value.Elem(), at, inside, faults)
	case kind == reflect.Map && value.Type().Key().Kind() == reflect.String:
		kept := map[string]any{}
		for key, item := range value.Seq2() {
			if part := encodable(item, at+"."+key.String(), inside, faults); part != nil {
				kept[key.String()] = part
			}
		}
		return kept
	case kind == reflect.Slice || kind == reflect.Array:
		kept := make([]any, value.Len())
		for i := range kept {
			kept[i] = encodable(value.Index(i), fmt.Sprintf("%s[%d]", at, i), inside, faults)
		}
		return kept
	case kind == reflect.Struct:
		kept := map[string]any{}
		for field, item := range value.Fields() {
			name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
			if name == "" {
				name = field.Name
			}
			omit := strings.Contains(options, "omitzero") && item.IsZero() || strings.Contains(options, "omitempty") && isEmpty(item)
			if !field.IsExported() || name == "-" || omit {
				continue
			}
			if part := encodable(item, at+"."+name, inside, faults); part != nil {
				kept[name] = part
			}
		}
		return kept
	}
	*faults = append(*faults, FieldError{Location: at, Message: err.Error()})
	return nil
}

// isEmpty reports whether encoding/json leaves out the value of a field with omitempty.
func isEmpty(value reflect.Value) bool {
	switch value.Kind() {
	case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
		return value.Len() == 0
	case reflect.Struct:
		return false
	default:
		return value.IsZero()
	}
}
