package db

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"
)

// Filters select runs: the values of each filter that is set, by its name. A run matches if it matches every filter,
// with any of the filter's values. The SQL function run_matches says which filters there are, and what they mean.
//
// A name that begins with MetadataPrefix selects by a member of the metadata: "metadata.commit" by its commit. The value
// abc means the text "abc"; 3, true and null mean the text or the JSON value.
type Filters map[string][]string

// MetadataPrefix begins the name of a filter of metadata.
const MetadataPrefix = "metadata."

// MarshalJSON encodes the filters as run_matches reads them: one value as a text, which PostgreSQL looks up in an
// index in the order of a list; several as an array; those of metadata together, as one jsonpath.
func (f Filters) MarshalJSON() ([]byte, error) {
	encoded := make(map[string]any, len(f))
	var members []string
	for _, name := range slices.Sorted(maps.Keys(f)) {
		values := f[name]
		if member, ok := strings.CutPrefix(name, MetadataPrefix); ok {
			members = append(members, memberPath(member, values))
		} else if len(values) == 1 {
			encoded[name] = values[0]
		} else {
			encoded[name] = values
		}
	}
	if members != nil {
		encoded["metadata"] = "strict " + strings.Join(members, " && ")
	}
	return json.Marshal(encoded)
}

// only returns the value of a filter, if it has one and no other filter is set.
func (f Filters) only(name string) (value string, ok bool) {
	if values := f[name]; len(f) == 1 && len(values) == 1 {
		return values[0], true
	}
	return "", false
}

// moment returns the time of a filter.
func (f Filters) moment(name string) (moment time.Time, ok bool) {
	if len(f[name]) != 1 {
		return moment, false
	}
	moment, err := time.Parse(time.RFC3339Nano, f[name][0])
	return moment, err == nil
}

// memberPath is the jsonpath of a member of an object that has one of these values.
func memberPath(member string, values []string) string {
	var either []string
	for _, value := range values {
		for _, literal := range literals(value) {
			either = append(either, "$."+quoted(member)+" == "+literal)
		}
	}
	return "(" + strings.Join(either, " || ") + ")"
}

// literals are what a value means in a jsonpath: a text, and what it is as JSON.
func literals(value string) []string {
	literals := []string{quoted(value)}
	var decoded any
	if json.Unmarshal([]byte(value), &decoded) != nil { // A number that no double can hold is none in a jsonpath, either.
		return literals
	}
	switch decoded := decoded.(type) {
	case nil, bool:
		literals = append(literals, strings.TrimSpace(value))
	case string:
		if !strings.Contains(decoded, "\x00") { // which no metadata has
			literals = append(literals, quoted(decoded))
		}
	case float64:
		// Its digits are compared, not the double. One that is too small for a double may be so for PostgreSQL, too.
		if digits := strings.TrimSpace(value); decoded != 0 || len(digits) == 1 {
			literals = append(literals, digits)
		}
	}
	return literals
}

// quoted is a text as JSON has it.
func quoted(text string) string {
	encoded, err := json.Marshal(text)
	if err != nil {
		panic(err) // Every text has a JSON text.
	}
	return string(encoded)
}
