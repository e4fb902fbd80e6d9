package benchledger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
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

var (
	// invalidText matches what PostgreSQL cannot store in a text: NUL, and half of a surrogate
	// pair. \ufffd is how encoding/json writes a byte that is not UTF-8. Pairs and other escapes
	// are matched too, so that each match begins where an escape does.
	invalidText = regexp.MustCompile(`(?i)\\ud[89ab]..\\ud[c-f]..|\\(?:u0000|ufffd|ud[89a-f]..)|\\.`)
	// suspicious finds texts where invalidText may find some, in a fraction of the time.
	suspicious = regexp.MustCompile(`\\u(?:0000|[fF]{3}[dD]|[dD][89a-fA-F])`)
)

// replaceInvalidText replaces what is no text in the strings of a submission by U+FFFD. It
// returns the run or batch ID, and one of the fields where it was, "" where all is text.
func replaceInvalidText(body []byte) (valid []byte, id, field string) {
	if !suspicious.Match(body) && utf8.Valid(body) {
		return body, "", ""
	}
	replaced := func(by string) []byte {
		marked := invalidText.ReplaceAllFunc(body, func(escape []byte) []byte {
			if len(escape) == len(`\u0000`) {
				return []byte(by)
			}
			return escape // A pair, or an escape of one letter.
		})
		return bytes.ToValidUTF8(marked, []byte(by))
	}
	var submission map[string]any
	decoder := json.NewDecoder(bytes.NewReader(replaced(`\u0000`)))
	decoder.UseNumber()
	if decoder.Decode(&submission) != nil {
		return body, "", "" // The server says what is wrong with it.
	}
	if field = fieldWithNUL(submission, "body"); field == "" {
		return body, "", ""
	}
	for _, name := range []string{"batchId", "runId"} {
		if text, ok := submission[name].(string); ok {
			id = strings.ReplaceAll(text, "\x00", "\ufffd")
		}
	}
	return distinctNames(replaced(`\ufffd`)), id, field
}

// distinctNames returns valid JSON with U+FFFD after each name that its object has already: names
// may differ only in what was replaced.
func distinctNames(text []byte) []byte {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var distinct []byte
	copied := int64(0)
	next := func() json.Token {
		token, _ := decoder.Token() // The text is valid.
		return token
	}
	var value func()
	value = func() {
		token := next()
		if token != json.Delim('{') && token != json.Delim('[') {
			return
		}
		names := map[string]bool{}
		for decoder.More() {
			if token == json.Delim('{') {
				name, _ := next().(string)
				end := decoder.InputOffset() - int64(len(`"`))
				for ; names[name]; name += "\ufffd" {
					distinct, copied = append(append(distinct, text[copied:end]...), `\ufffd`...), end
				}
				names[name] = true
			}
			value()
		}
		next()
	}
	value()
	return append(distinct, text[copied:]...)
}

// fieldWithNUL returns where a value has a text with NUL, the first by name.
func fieldWithNUL(value any, at string) string {
	switch value := value.(type) {
	case string:
		if strings.Contains(value, "\x00") {
			return at
		}
	case []any:
		for i, item := range value {
			if found := fieldWithNUL(item, fmt.Sprintf("%s[%d]", at, i)); found != "" {
				return found
			}
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			name := at + "." + strings.ReplaceAll(key, "\x00", "\ufffd")
			if strings.Contains(key, "\x00") {
				return name
			}
			if found := fieldWithNUL(value[key], name); found != "" {
				return found
			}
		}
	}
	return ""
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
