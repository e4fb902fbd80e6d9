package fuzz

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/benchledger/benchledger/api"
	"github.com/benchledger/benchledger/internal/contract"
)

// spec is the OpenAPI document: what requests are made from, and what answers are
// held against.
type spec struct {
	*contract.Contract
	schemas    map[string]schema
	operations []operation
}

// schema is a JSON schema as the document has it.
type schema map[string]any

type operation struct {
	id, method, path string
	secured          bool
	parameters       []parameter
	body             schema // nil where it takes none
	optionalBody     bool   // whether it may be left out
	lines            bool   // whether the body may be lines too, each of which is answered
	statuses         []int
}

type parameter struct {
	Name, In string
	Required bool
	Schema   schema
}

func readSpec() (*spec, error) {
	text, err := api.OpenAPI("test")
	if err != nil {
		return nil, err
	}
	var document struct {
		Components struct{ Schemas map[string]schema }
		Paths      map[string]map[string]struct {
			OperationID string `yaml:"operationId"`
			Parameters  []parameter
			RequestBody struct {
				Required bool
				Content  map[string]struct{ Schema schema }
			} `yaml:"requestBody"`
			Responses map[string]any
			Security  []map[string]any
		}
	}
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	s := &spec{schemas: document.Components.Schemas}
	if s.Contract, err = contract.Parse(text); err != nil {
		return nil, err
	}
	for _, path := range slices.Sorted(maps.Keys(document.Paths)) {
		for method, o := range document.Paths[path] {
			op := operation{id: o.OperationID, method: strings.ToUpper(method), path: path, parameters: o.Parameters}
			op.secured = len(o.Security) > 0 && len(o.Security[0]) > 0
			op.body = o.RequestBody.Content["application/json"].Schema
			op.optionalBody = !o.RequestBody.Required
			_, op.lines = o.RequestBody.Content["application/x-ndjson"]
			for _, status := range slices.Sorted(maps.Keys(o.Responses)) {
				code, err := strconv.Atoi(status)
				if err != nil {
					return nil, fmt.Errorf("%s: status %s: %w", o.OperationID, status, err)
				}
				op.statuses = append(op.statuses, code)
			}
			s.operations = append(s.operations, op)
		}
	}
	return s, nil
}

// operation returns the operation with the id; the sequences know some by name.
func (s *spec) operation(id string) *operation {
	i := slices.IndexFunc(s.operations, func(o operation) bool { return o.id == id })
	if i < 0 {
		panic("the document has no operation " + id)
	}
	return &s.operations[i]
}

// resolve follows a reference.
func (s *spec) resolve(of schema) schema {
	if reference, ok := of["$ref"].(string); ok {
		return s.resolve(s.schemas[strings.TrimPrefix(reference, "#/components/schemas/")])
	}
	return of
}

// types returns the types that a schema allows.
func (s schema) types() []string {
	switch types := s["type"].(type) {
	case string:
		return []string{types}
	case []any:
		var all []string
		for _, one := range types {
			all = append(all, fmt.Sprint(one))
		}
		return all
	}
	return nil
}

// kind is the type besides null.
func (s schema) kind() string {
	for _, one := range s.types() {
		if one != "null" {
			return one
		}
	}
	return ""
}

func (s schema) number(keyword string, otherwise int) int {
	if number, ok := s[keyword].(int); ok {
		return number
	}
	return otherwise
}

func (s schema) text(keyword string) string {
	text, _ := s[keyword].(string)
	return text
}

// sub returns a schema within the schema.
func sub(in any) schema {
	switch in := in.(type) {
	case schema:
		return in
	case map[string]any:
		return in
	}
	return nil
}

func (s schema) properties() schema { return sub(s["properties"]) }

func (s schema) requires(name string) bool {
	required, _ := s["required"].([]any)
	return slices.Contains(required, any(name))
}

// places returns where in a value of the schema a fault can be: as names of
// properties, "[]" for the items of an array.
func (s *spec) places(of schema) [][]string {
	of = s.resolve(of)
	var places [][]string
	for _, name := range slices.Sorted(maps.Keys(of.properties())) {
		places = append(places, []string{name})
		for _, inner := range s.places(sub(of.properties()[name])) {
			places = append(places, append([]string{name}, inner...))
		}
	}
	if items := sub(of["items"]); items != nil {
		places = append(places, []string{"[]"})
		for _, inner := range s.places(items) {
			places = append(places, append([]string{"[]"}, inner...))
		}
	}
	return places
}

// successes are the documented statuses of a sound request.
func (o *operation) successes() []int {
	return slices.DeleteFunc(slices.Clone(o.statuses), func(status int) bool {
		return status >= http.StatusBadRequest && status != http.StatusNotFound && status != http.StatusConflict
	})
}
