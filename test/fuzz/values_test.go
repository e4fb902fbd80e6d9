package fuzz

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// values makes values of the document's schemas: as JSON text, so that it can write
// them in odd ways, and write what is no JSON.
type values struct {
	*rapid.T
	spec *spec
}

func sample[V any](v values, of ...V) V { return rapid.SampledFrom(of).Draw(v.T, "one of") }

// chance is true once in n.
func (v values) chance(n int) bool { return rapid.IntRange(1, n).Draw(v.T, "chance") == n }

// valid returns JSON that the schema takes.
func (v values) valid(of schema) string { return v.with(of, nil, nil) }

// with returns JSON that the schema takes but for a fault at a place, and with the
// fields that are fixed.
func (v values) with(of schema, fault []string, fixed map[string]string) string {
	if strings.HasSuffix(of.text("$ref"), "/Timestamp") {
		return v.time()
	}
	of = v.spec.resolve(of)
	if fault == nil && slices.Contains(of.types(), "null") && v.chance(8) {
		return "null"
	}
	if names, ok := of["enum"].([]any); ok {
		return quote(fmt.Sprint(sample(v, names...)))
	}
	switch of.kind() {
	case "string":
		return v.quoted(v.text(of))
	case "integer":
		return v.integer(of)
	case "number":
		return v.double(of)
	case "boolean":
		return sample(v, "true", "false")
	case "array":
		return v.array(of, fault)
	case "object":
		if of.properties() == nil {
			object := v.anyObject(2) // of three levels, with the empty ones in it
			if v.chance(40) {        // as deep as it may be
				object = strings.Repeat(`{"d":`, 97) + object + strings.Repeat("}", 97)
			}
			return object
		}
		return v.object(of, fault, fixed)
	}
	panic(fmt.Sprintf("no way to make a %v", of))
}

func (v values) array(of schema, fault []string) string {
	items := sub(of["items"])
	var parts []string
	for range sample(v, 0, 1, 1, 2, 3, 12) {
		parts = append(parts, v.valid(items))
	}
	if fault != nil {
		if len(fault) > 1 {
			parts = append(parts, v.with(items, fault[1:], nil))
		} else {
			parts = append(parts, v.invalid(items, false))
		}
	}
	return "[" + strings.Join(parts, ",") + "]"
}

func (v values) object(of schema, fault []string, fixed map[string]string) string {
	var parts []string
	rich := v.chance(2)
	for _, name := range slices.Sorted(maps.Keys(of.properties())) {
		property := sub(of.properties()[name])
		value := ""
		switch {
		case fixed[name] != "":
			value = fixed[name]
		case len(fault) > 0 && fault[0] == name && len(fault) == 1:
			value = v.invalid(property, of.requires(name)) // "" leaves it out
		case len(fault) > 0 && fault[0] == name:
			value = v.with(property, fault[1:], nil)
		case of.requires(name), rich && !v.chance(4), v.chance(4):
			value = v.valid(property)
		}
		if value != "" {
			parts = append(parts, quote(name)+":"+value)
		}
	}
	if of["additionalProperties"] != false && v.chance(8) { // Unknown fields are ignored.
		parts = append(parts, `"unknown":`+v.any(2))
	}
	if v.chance(2) {
		slices.Reverse(parts)
	}
	space := sample(v, "", "", "", " ", "\n\t")
	return "{" + space + strings.Join(parts, ","+space) + space + "}"
}

// pieces are what texts are made of: all that is hard somewhere.
var pieces = []string{
	"a", "run", "-", "_", " ", "é", "ß", "I", "ı", "日本", "𝄞", "😀", "👩‍👩‍👧", "\u202e", "\u200b", "\u00a0", "\ufeff", "\uffff", "\U0010ffff",
	"e\u0301", "'", `"`, `\`, "/", "%", "%00", "%2F", "?", "#", "&", "=", ";", "+", ".", "..", "<b>", "${x}", "{{x}}", "--", "/*", "$1", "null", "0",
}

// controls are pieces of texts that have no pattern.
var controls = []string{"\n", "\t", "\r\n", "\x01", "\x7f", "\u0085"}

// text returns text that the schema takes.
func (v values) text(of schema) string {
	least, most := of.number("minLength", 0), of.number("maxLength", 1<<14)
	from := pieces
	if of.text("pattern") == "" {
		from = append(slices.Clone(pieces), controls...)
	}
	var text string
	switch rapid.IntRange(0, 9).Draw(v.T, "length") {
	case 0:
		text = strings.Repeat(sample(v, "x", "é", "😀"), most) // in code points
	case 1:
		text = strings.Repeat("x", least)
	default:
		text = strings.Join(rapid.SliceOfN(rapid.SampledFrom(from), 1, 6).Draw(v.T, "text"), "")
	}
	if n := utf8.RuneCountInString(text); n < least || n > most || !matches(of, text) {
		return strings.Repeat("y", max(least, 1))
	}
	return text
}

var patterns sync.Map

func matches(of schema, text string) bool {
	pattern := of.text("pattern")
	if pattern == "" {
		return true
	}
	compiled, ok := patterns.Load(pattern)
	if !ok {
		compiled, _ = patterns.LoadOrStore(pattern, regexp.MustCompile(pattern))
	}
	return compiled.(*regexp.Regexp).MatchString(text)
}

func quote(text string) string {
	var quoted strings.Builder
	encoder := json.NewEncoder(&quoted)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(text); err != nil {
		panic(err)
	}
	return strings.TrimSuffix(quoted.String(), "\n")
}

// quoted writes text as it is, or each character of it escaped.
func (v values) quoted(text string) string {
	if len(text) > 100 || !v.chance(6) {
		return quote(text)
	}
	var quoted strings.Builder
	for _, r := range text {
		if r < 0x10000 {
			fmt.Fprintf(&quoted, `\u%04x`, r)
		} else {
			fmt.Fprintf(&quoted, `\u%04X\u%04X`, 0xd800+(r-0x10000)>>10, 0xdc00+(r-0x10000)&0x3ff)
		}
	}
	return `"` + quoted.String() + `"`
}

func (v values) integer(of schema) string {
	least := int64(of.number("minimum", -1<<63))
	number := least
	switch rapid.IntRange(0, 3).Draw(v.T, "integer") {
	case 0:
		number = sample(v, least, 1, 1<<31-1, 1<<31, 1<<53, 1<<53+1, 1<<63-1)
	case 1:
		number = rapid.Int64Range(least, 1<<63-1).Draw(v.T, "number")
	case 2:
		number = rapid.Int64Range(max(least, 0), 1000).Draw(v.T, "number")
	}
	text := strconv.FormatInt(number, 10)
	if number == 0 {
		return sample(v, "0", "0", "-0", "0.0", "0e5", "-0E-2")
	}
	return sample(v, text, text, text, text+".0", text+"e0", text+"0e-1", text+".000E+0")
}

var doubles = []string{
	"0", "-0", "0.0", "1", "-1", "0.1", "1e-7", "1E+2", "100e-2", "9007199254740993", "123456789012345678901234567890", "5e-324", "-5e-324",
	"1e-400", "2.2250738585072014e-308", "1.7976931348623157e308", "-1.7976931348623157e308", "0.30000000000000004", "3.14159265358979323846264",
}

func (v values) double(of schema) string {
	text := sample(v, doubles...)
	if v.chance(2) {
		text = strconv.FormatFloat(rapid.Float64Range(-1e6, 1e6).Draw(v.T, "number"), 'g', -1, 64)
	}
	number, err := strconv.ParseFloat(text, 64)
	_, above := of["exclusiveMinimum"]
	if err != nil || above && number <= float64(of.number("exclusiveMinimum", 0)) || number < float64(of.number("minimum", -1<<62)) && of["minimum"] != nil {
		return "1"
	}
	return text
}

// The first and the last moment of the years that are accepted, in ms since 1970.
const (
	firstMoment = -62135596800000
	lastMoment  = 253402300799999
)

func (v values) time() string {
	ms := rapid.Int64Range(firstMoment, lastMoment).Draw(v.T, "ms")
	switch rapid.IntRange(0, 9).Draw(v.T, "time") {
	case 0:
		return "null"
	case 1:
		return sample(v, "0", "-1", strconv.Itoa(firstMoment), strconv.Itoa(lastMoment), "1763373600000.5", "1.7633736e12", "0.001")
	case 2:
		return strconv.FormatInt(ms, 10)
	case 3:
		return sample(v, `"0001-01-01T00:00:00Z"`, `"9999-12-31T23:59:59.999999Z"`, `"2024-02-29T23:59:59.123456789+14:00"`,
			`"2025-11-17t10:00:00z"`, `"1969-12-31T23:59:59.9-12:00"`, `"2025-11-17T10:00:00-00:00"`)
	}
	zone := time.FixedZone("", sample(v, 0, 0, 3600, -5*3600, 20700))
	moment := time.UnixMilli(min(max(ms, firstMoment+24*3600e3), lastMoment-24*3600e3)).In(zone)
	return quote(moment.Format(sample(v, time.RFC3339, time.RFC3339Nano, "2006-01-02T15:04:05.000000Z07:00")))
}

// anyObject returns an object for metadata.
func (v values) anyObject(depth int) string {
	var parts []string
	for i := range sample(v, 0, 1, 2, 3) {
		name := fmt.Sprint(i, strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 3).Draw(v.T, "name"), ""))
		parts = append(parts, v.quoted(name)+":"+v.any(depth-1))
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func (v values) any(depth int) string {
	switch kind := rapid.IntRange(0, 7).Draw(v.T, "kind"); {
	case kind == 0 && depth > 0:
		return v.anyObject(depth)
	case kind == 1 && depth > 0:
		return "[" + v.any(depth-1) + "," + v.any(depth-1) + "]"
	case kind == 2:
		return v.quoted(v.text(schema{"maxLength": 30}))
	case kind == 3:
		return sample(v, "true", "false", "null", "[]", "{}", `""`)
	}
	return sample(v, doubles[:11]...)
}

// invalid returns JSON that the schema does not take, or what is no JSON at all; ""
// stands for leaving the value out, where it has to be there.
func (v values) invalid(of schema, required bool) string {
	isTime := strings.HasSuffix(of.text("$ref"), "/Timestamp")
	of = v.spec.resolve(of)
	candidates := []string{ // never text that PostgreSQL or JSON has
		`"a\u0000b"`, `"\u0000"`, `"\ud800"`, `"\udc00\ud800"`, `"\uD83D x"`, "\"\xff\"", "\"\xed\xa0\x80\"", "\"\xc0\xaf\"", "\"\n\"",
		`"\x41"`, `"a`, "'a'", "NaN", "Infinity", "-Infinity", "01", "+1", "0x10", ".5", "1.", "True", "nul", "undefined", "[1", `{"a":1,"a":2}`, `{"a" 1}`,
		"1e400", "-1e400", strings.Repeat("[", 20000) + strings.Repeat("]", 20000),
	}
	if required {
		candidates = append(candidates, "", "", "", "")
	}
	if isTime {
		return sample(v, append(candidates, "true", "{}", "[]", `""`, `"yesterday"`, `"2025-13-01T00:00:00Z"`, `"2025-02-30T00:00:00Z"`,
			`"10000-01-01T00:00:00Z"`, `"0000-12-31T23:59:59Z"`, `"2025-11-17"`, `"2025-11-17T10:00:00"`, `"2025-11-17T24:00:01Z"`, `"1763373600000"`,
			strconv.Itoa(lastMoment+1), strconv.Itoa(firstMoment-1), "1e300", "9223372036854775808")...)
	}
	types := of.types()
	for kind, value := range map[string]string{"string": `"x"`, "boolean": "true", "object": `{"x":1}`, "array": "[1]", "null": "null"} {
		if !slices.Contains(types, kind) {
			candidates = append(candidates, value)
		}
	}
	slices.Sort(candidates) // The same seed makes the same.
	switch of.kind() {
	case "string":
		candidates = append(candidates, v.invalidTexts(of)...)
	case "integer":
		candidates = append(candidates, "1.5", "9223372036854775808", "-9223372036854775809", "1e19", "9223372036854775807.5", `"1"`)
		if of["minimum"] != nil {
			candidates = append(candidates, strconv.Itoa(of.number("minimum", 0)-1))
		}
	case "number":
		candidates = append(candidates, `"1"`, "1.8e308")
		if of["exclusiveMinimum"] != nil {
			candidates = append(candidates, "0", "-0", "-1e-300")
		}
	case "object":
		if of.properties() == nil {
			candidates = append(candidates, strings.Repeat(`{"d":`, 101)+"{}"+strings.Repeat("}", 101), `{"n":1e309}`, `{"n":1e-325}`,
				`{"n":1`+strings.Repeat("0", 140_000)+`}`, `{"a\u0000":1}`, `{"a":["\u0000"]}`, `{"a":{"b":1,"b":2}}`, `{"a":"\ud800"}`, "{\"a\":\"\xff\"}",
				`{"a":[`+strings.Repeat("[", 9000)+strings.Repeat("]", 9000)+`]}`)
		}
	}
	return sample(v, candidates...)
}

func (v values) invalidTexts(of schema) []string {
	if names, ok := of["enum"].([]any); ok {
		return []string{`""`, quote(strings.ToUpper(fmt.Sprint(names[0]))), quote(fmt.Sprint(names[0], " "))}
	}
	var texts []string
	if of["minLength"] != nil {
		texts = append(texts, `""`)
	}
	if most := of.number("maxLength", 0); most > 0 {
		texts = append(texts, quote(strings.Repeat("x", most+1)), quote(strings.Repeat("😀", most+1)), quote(strings.Repeat("x", 1<<20)))
	}
	for _, text := range []string{".", "..", "a\nb", "\x7f", "\u0085", "\t"} {
		if !matches(of, text) {
			texts = append(texts, quote(text))
		}
	}
	return texts
}
