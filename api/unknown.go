package api

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/go-json-experiment/json/jsontext"
)

// objectFields are the fields that an object, or each object of a list, has in JSON, with
// their own fields; nil for other values, and for objects that may have any.
type objectFields map[string]objectFields

var (
	runSubmissionFields   = fieldsOf(reflect.TypeFor[RunSubmission]())
	batchSubmissionFields = fieldsOf(reflect.TypeFor[BatchSubmission]())
)

func fieldsOf(t reflect.Type) objectFields {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice:
		return fieldsOf(t.Elem())
	case reflect.Struct:
	default:
		return nil
	}
	var fields objectFields
	for field := range t.Fields() {
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" {
			if fields == nil {
				fields = objectFields{}
			}
			fields[name] = fieldsOf(field.Type)
		}
	}
	return fields
}

// unknownFields returns the unknown fields of a submission, in its order. In text that is not
// JSON, it stops at the error.
func unknownFields(raw []byte, known objectFields) []FieldError {
	finder := unknownFinder{decoder: jsontext.NewDecoder(bytes.NewReader(raw))}
	finder.value(known, "body")
	if finder.count > len(finder.found) {
		finder.found[maxErrors-1] = FieldError{"body", fmt.Sprintf("and %d more", finder.count-maxErrors+1)}
	}
	return finder.found
}

// unknownFinder reads a submission, and keeps the first of its unknown fields.
type unknownFinder struct {
	decoder *jsontext.Decoder
	found   []FieldError
	count   int
}

// value reads a value, and reports whether it is JSON.
func (f *unknownFinder) value(known objectFields, at string) bool {
	kind := f.decoder.PeekKind()
	if known == nil || kind != '{' && kind != '[' {
		return f.decoder.SkipValue() == nil
	}
	if _, err := f.decoder.ReadToken(); err != nil {
		return false
	}
	for i := 0; f.decoder.PeekKind() != '}' && f.decoder.PeekKind() != ']'; i++ {
		if kind == '[' {
			if !f.value(known, fmt.Sprintf("%s[%d]", at, i)) {
				return false
			}
			continue
		}
		token, err := f.decoder.ReadToken()
		if err != nil {
			return false
		}
		name := token.String()
		fields, ok := known[name]
		if !ok {
			f.add(at, name, known)
		}
		if !f.value(fields, at+"."+name) {
			return false
		}
	}
	_, err := f.decoder.ReadToken()
	return err == nil
}

func (f *unknownFinder) add(at, name string, known objectFields) {
	if f.count++; f.count <= maxErrors {
		f.found = append(f.found, FieldError{at + "." + cut(name, maxName), "unknown field" + didYouMean(name, known)})
	}
}

// unpunctuated makes total_score and totalScore equal, apart from their case.
var unpunctuated = strings.NewReplacer("_", "", "-", "")

// didYouMean returns the known field that is similar to a name: in another case, with
// underscores, or with at most one of four letters different.
func didYouMean(name string, known objectFields) string {
	if len(name) > maxName {
		return ""
	}
	plain := func(name string) string { return strings.ToLower(unpunctuated.Replace(name)) }
	nearest, least := "", max(1, len(name)/4)+1
	for _, field := range slices.Sorted(maps.Keys(known)) {
		if distance := levenshtein.ComputeDistance(plain(name), plain(field)); distance < least {
			nearest, least = field, distance
		}
	}
	if nearest == "" {
		return ""
	}
	return "; did you mean " + nearest + "?"
}

// warnings are the warnings of a receipt about unknown fields.
func warnings(unknown []FieldError) []string {
	var texts []string
	for _, field := range unknown {
		texts = append(texts, field.Location+": "+field.Message)
	}
	return texts
}
