package benchledger

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

// encode returns a submission as JSON. What JSON has no form for (NaN, a channel, a
// cycle) is left out, and is among the faults: the rest is not lost with it.
func encode(submission any) (body []byte, faults []FieldError) {
	body, err := json.Marshal(submission)
	if err == nil {
		return body, nil
	}
	kept := encodable(reflect.ValueOf(submission), "body", 0, &faults)
	if body, err = json.Marshal(kept); err != nil {
		return []byte("{}"), append(faults, FieldError{Location: "body", Message: err.Error()})
	}
	return body, faults
}

// depth is how far encodable looks into a value, which may contain itself.
const depth = 20

// encodable returns a value without its parts that JSON has no form for, nil where it is
// one as a whole.
func encodable(value reflect.Value, at string, level int, faults *[]FieldError) any {
	if !value.IsValid() {
		return nil
	}
	text, err := json.Marshal(value.Interface())
	if err == nil {
		return json.RawMessage(text)
	}
	_, own := value.Interface().(json.Marshaler)
	switch kind := value.Kind(); {
	case own || level == depth:
	case kind == reflect.Pointer || kind == reflect.Interface:
		return encodable(value.Elem(), at, level+1, faults)
	case kind == reflect.Map && value.Type().Key().Kind() == reflect.String:
		kept := map[string]any{}
		for key, item := range value.Seq2() {
			if part := encodable(item, at+"."+key.String(), level+1, faults); part != nil {
				kept[key.String()] = part
			}
		}
		return kept
	case kind == reflect.Slice || kind == reflect.Array:
		kept := make([]any, value.Len())
		for i := range kept {
			kept[i] = encodable(value.Index(i), fmt.Sprintf("%s[%d]", at, i), level+1, faults)
		}
		return kept
	case kind == reflect.Struct:
		kept := map[string]any{}
		for field, item := range value.Fields() {
			name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
			if name == "" {
				name = field.Name
			}
			if !field.IsExported() || name == "-" || strings.Contains(options, "omitempty") && item.IsZero() {
				continue
			}
			if part := encodable(item, at+"."+name, level+1, faults); part != nil {
				kept[name] = part
			}
		}
		return kept
	}
	*faults = append(*faults, FieldError{Location: at, Message: err.Error()})
	return nil
}
