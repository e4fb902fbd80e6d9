package api_test

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/benchledger/benchledger/api"
)

// TestEveryPropertyIsChecked reads the schema of each body in the document, and
// sends bodies which are valid but for one property: alone, and as lines. Fields that are
// added later are tested without being named here.
func TestEveryPropertyIsChecked(t *testing.T) {
	t.Parallel()
	text, err := api.OpenAPI("test")
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Components struct{ Schemas map[string]jsonSchema }
		Paths      map[string]map[string]struct {
			RequestBody struct {
				Content map[string]struct{ Schema jsonSchema }
			} `yaml:"requestBody"`
		}
	}
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	b := bodies{t, document.Components.Schemas}
	s := setup(t)
	s.submit(leastRun("run-1")).want(http.StatusCreated)
	tested := 0
	for path, operations := range document.Paths {
		path = strings.ReplaceAll(path, "{runId}", "run-1")
		for contentType, content := range operations["post"].RequestBody.Content {
			tested++
			lines := content.Schema.sub("contentSchema")
			if lines == nil {
				lines = content.Schema.sub("items") // An array is sent as lines are.
			}
			if lines != nil {
				faulty := b.faulty(lines)
				sent := []string{b.valid(lines)}
				for _, f := range faulty {
					sent = append(sent, f.body)
				}
				body := strings.Join(sent, "\n")
				if contentType == "application/json" {
					body = "[" + strings.Join(sent, ",") + "]"
				}
				receipts := s.do(http.MethodPost, path, body, "Authorization", "Bearer "+key, "Content-Type", contentType).wantReceipts()
				if len(receipts) != len(sent) || receipts[0].Errors != nil {
					t.Fatalf("%s: %d receipts for %d lines, the first %v", path, len(receipts), len(sent), receipts[0])
				}
				for i, f := range faulty {
					if got := receipts[i+1]; got.Outcome != "refused" || len(got.Errors) != 1 || got.Errors[0].Location != f.location {
						t.Errorf("%s: %.300s: %v, want %s refused", path, f.body, got, f.location)
					}
				}
				continue
			}
			submit := func(body string) answer { return s.do(http.MethodPost, path, body, "Authorization", "Bearer "+key) }
			if got := submit(b.valid(content.Schema)); got.status >= http.StatusBadRequest {
				t.Fatalf("%s: the valid body is refused: %s", path, got.body)
			}
			for _, f := range b.faulty(content.Schema) {
				got := submit(f.body)
				if got.status != http.StatusUnprocessableEntity {
					t.Errorf("%s: %.300s: status %d, want 422 for %s", path, f.body, got.status, f.location)
				} else if found := slices.Collect(maps.Keys(got.wantProblem(http.StatusUnprocessableEntity))); !slices.Equal(found, []string{f.location}) {
					t.Errorf("%s: %.300s: faults %v, want %s", path, f.body, found, f.location)
				}
			}
		}
	}
	if tested < 4 { // A run, a batch, runs as lines and as an array.
		t.Errorf("only %d bodies were tested", tested)
	}
}

// jsonSchema is a schema as the document has it.
type jsonSchema map[string]any

func (s jsonSchema) sub(keyword string) jsonSchema {
	sub, _ := s[keyword].(jsonSchema)
	return sub
}

func (s jsonSchema) has(keyword string) bool { return s[keyword] != nil }

// types are the types that a schema allows, null apart.
func (s jsonSchema) types() (types []string, nullable bool) {
	add := func(t any) {
		if t == "null" {
			nullable = true
		} else {
			types = append(types, fmt.Sprint(t))
		}
	}
	alternatives, _ := s["anyOf"].([]any)
	for _, alternative := range alternatives {
		add(alternative.(jsonSchema)["type"])
	}
	if list, ok := s["type"].([]any); ok {
		for _, t := range list {
			add(t)
		}
	} else if s.has("type") {
		add(s["type"])
	}
	return types, nullable
}

// bodies makes bodies from schemas.
type bodies struct {
	t       *testing.T
	schemas map[string]jsonSchema
}

func (b bodies) resolve(s jsonSchema) jsonSchema {
	if reference, ok := s["$ref"].(string); ok {
		return b.schemas[strings.TrimPrefix(reference, "#/components/schemas/")]
	}
	return s
}

// valid returns JSON with every property.
func (b bodies) valid(schema jsonSchema) string {
	s := b.resolve(schema)
	if values, ok := s["enum"].([]any); ok {
		return strconv.Quote(fmt.Sprint(values[0]))
	}
	if s.has("anyOf") {
		return `"2025-11-17T10:00:00Z"`
	}
	types, _ := s.types()
	switch types[0] {
	case "string":
		return `"plain"`
	case "boolean":
		return `true`
	case "integer", "number":
		return `5`
	case "array":
		return "[" + b.valid(s.sub("items")) + "]"
	case "object":
		return b.object(s, "", "")
	}
	b.t.Fatalf("no value is known for %v", s)
	return ""
}

// object returns an object with every property, one of them with another value, or
// without it where that is "".
func (b bodies) object(s jsonSchema, other, value string) string {
	var members []string
	properties := s.sub("properties")
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		text := value
		if name != other {
			text = b.valid(properties.sub(name))
		}
		if text != "" {
			members = append(members, strconv.Quote(name)+":"+text)
		}
	}
	return "{" + strings.Join(members, ",") + "}"
}

// faultyBody is valid but at one location.
type faultyBody struct{ body, location string }

// faulty returns bodies with each fault that the schema lets one make.
func (b bodies) faulty(schema jsonSchema) []faultyBody { return b.faultyAt(schema, "body") }

func (b bodies) faultyAt(schema jsonSchema, location string) []faultyBody {
	s := b.resolve(schema)
	var all []faultyBody
	for _, value := range b.badValues(s) {
		all = append(all, faultyBody{value, location})
	}
	required, _ := s["required"].([]any)
	properties := s.sub("properties")
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		property := properties.sub(name)
		at := location + "." + name
		for _, f := range b.faultyAt(property, at) {
			all = append(all, faultyBody{b.object(s, name, f.body), f.location})
		}
		if !slices.Contains(required, any(name)) {
			continue
		}
		all = append(all, faultyBody{b.object(s, name, ""), location}) // It is missing.
		if _, nullable := b.resolve(property).types(); !nullable {
			all = append(all, faultyBody{b.object(s, name, "null"), at})
		}
	}
	if items := s.sub("items"); items != nil {
		at := location + "[1]"
		faults := b.faultyAt(items, at)
		if _, nullable := b.resolve(items).types(); !nullable {
			faults = append(faults, faultyBody{"null", at})
		}
		for _, f := range faults {
			all = append(all, faultyBody{"[" + b.valid(items) + "," + f.body + "]", f.location})
		}
	}
	return all
}

// badValues returns JSON values that a schema refuses, null apart: of each other type, and
// some for each of its keywords.
func (b bodies) badValues(s jsonSchema) []string {
	types, _ := s.types()
	var bad []string
	for _, other := range []struct{ kind, value string }{
		{"string", `"plain"`}, {"boolean", `true`}, {"number", `1.5`}, {"array", `[]`}, {"object", `{}`},
	} {
		if !slices.Contains(types, other.kind) {
			bad = append(bad, other.value)
		}
	}
	if slices.Contains(types, "number") || slices.Contains(types, "integer") {
		bad = append(bad, `1e400`, `-1e400`)
	}
	if slices.Contains(types, "string") && !s.has("enum") && !s.has("pattern") {
		bad = append(bad, `"a\u0000"`)
	}
	for keyword, value := range s {
		switch keyword {
		case "type", "description", "properties", "required", "items":
		case "anyOf":
			bad = append(bad, `""`, `"yesterday"`, `1e300`)
		case "format":
			if value == "int64" {
				bad = append(bad, `9223372036854775808`)
			} else if value != "double" {
				b.t.Fatalf("no bad value is known for the format %v", value)
			}
		case "additionalProperties":
			if value == false {
				continue
			}
			bad = append(bad, `{"a":"\u0000"}`, `{"a":[1e400]}`)
		case "enum":
			bad = append(bad, `""`, `"other"`, `"a\u0000"`)
		case "minLength":
			bad = append(bad, `""`)
		case "maxLength":
			bad = append(bad, `"`+strings.Repeat("x", value.(int)+1)+`"`, `"`+strings.Repeat("x", 100_000)+`"`)
		case "pattern":
			pattern := regexp.MustCompile(value.(string))
			for _, text := range []string{"a\x00", "a\n", "a\x7f", "a\u0085", ".", ".."} {
				if !pattern.MatchString(text) {
					bad = append(bad, encode(b.t, text))
				}
			}
		case "maxItems":
			element := b.valid(s.sub("items"))
			bad = append(bad, "["+strings.Repeat(element+",", value.(int))+element+"]")
		case "minimum":
			bad = append(bad, fmt.Sprint(value.(int)-1))
		case "exclusiveMinimum":
			bad = append(bad, fmt.Sprint(value), fmt.Sprint(value.(int)-1))
		default:
			b.t.Fatalf("no bad value is known for the keyword %s", keyword)
		}
	}
	return bad
}
