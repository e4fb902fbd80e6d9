// Package contract validates responses of the service against its OpenAPI document.
package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	"github.com/pb33f/libopenapi-validator/content"
	"github.com/pb33f/libopenapi-validator/helpers"
	"github.com/pb33f/libopenapi-validator/paths"
	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"
	"go.yaml.in/yaml/v3"
)

// Contract is an OpenAPI document with compiled schemas. It is safe for concurrent use.
type Contract struct {
	document  *v3.Document
	options   *config.ValidationOptions
	validator validator.Validator
}

// Parse reads a document, and compiles its schemas.
func Parse(document []byte) (*Contract, error) {
	document, err := withoutUnknownFields(document)
	if err != nil {
		return nil, fmt.Errorf("read the OpenAPI document: %w", err)
	}
	parsed, err := libopenapi.NewDocument(document)
	if err != nil {
		return nil, fmt.Errorf("read the OpenAPI document: %w", err)
	}
	model, err := parsed.BuildV3Model()
	if err != nil {
		return nil, fmt.Errorf("read the OpenAPI document: %w", err)
	}
	v := validator.NewValidatorFromV3Model(&model.Model,
		config.WithFormatAssertions(),
		config.WithCustomFormat("int64", int64Format),
		config.WithBodyDecoder("application/x-ndjson", lines{}),
	)
	return &Contract{&model.Model, config.NewValidationOptions(config.WithRegexCache(&sync.Map{})), v}, nil
}

// withoutUnknownFields forbids unknown fields in every object that lists its fields: a client
// may send more fields, the service does not. (The library's strict mode would also forbid
// them in metadata.)
func withoutUnknownFields(document []byte) ([]byte, error) {
	var root any
	if err := yaml.Unmarshal(document, &root); err != nil {
		return nil, err
	}
	closeObjects(root)
	return yaml.Marshal(root)
}

// lines decodes a body with one JSON value per line.
type lines struct{}

// Decode returns the lines as an array.
func (lines) Decode(input *content.DecodeInput) (any, error) {
	all := []any{}
	for decoder := json.NewDecoder(input.Body); ; {
		var line any
		if err := decoder.Decode(&line); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all = append(all, line)
	}
}

func closeObjects(node any) {
	switch node := node.(type) {
	case map[string]any:
		if line, ok := node["contentSchema"]; ok { // Lines are decoded as an array.
			delete(node, "contentSchema")
			delete(node, "contentMediaType")
			node["type"], node["items"] = "array", line
		}
		_, named := node["properties"].(map[string]any)
		if _, said := node["additionalProperties"]; named && !said {
			node["additionalProperties"] = false
		}
		for _, inner := range node {
			closeObjects(inner)
		}
	case []any:
		for _, inner := range node {
			closeObjects(inner)
		}
	}
}

// Check validates a response whose body was already read. It returns an error for a status,
// a content type, a header value or a field that does not match the document.
func (c *Contract) Check(request *http.Request, response *http.Response, body []byte) error {
	copied := *response
	copied.Body = io.NopCloser(bytes.NewReader(body))
	if err := c.checkNull(request, response, body); err != nil {
		return err
	}
	ok, faults := c.validator.ValidateHttpResponse(request, &copied)
	if ok {
		return nil
	}
	var said []string
	for _, fault := range faults {
		said = append(said, fault.Message+": "+fault.Reason)
		for _, part := range fault.SchemaValidationErrors {
			said = append(said, part.KeywordLocation+": "+part.Reason)
		}
	}
	return fmt.Errorf("%s %s: %d does not conform: %s", request.Method, request.URL, response.StatusCode, strings.Join(said, "; "))
}

// Operation returns the ID of the documented operation for a request, "" if there is none.
func (c *Contract) Operation(request *http.Request) string {
	if operation := c.operation(request); operation != nil {
		return operation.OperationId
	}
	return ""
}

func (c *Contract) operation(request *http.Request) *v3.Operation {
	path, faults, _ := paths.FindPath(request, c.document, c.options)
	// The library ignores empty path segments and resolves dots, the service does not. And the library
	// treats HEAD as GET.
	at := request.URL.EscapedPath() + "/"
	if len(faults) > 0 || strings.Contains(at, "//") || strings.Contains(at, "/./") || strings.Contains(at, "/../") || request.Method == http.MethodHead {
		return nil
	}
	return helpers.ExtractOperation(request, path)
}

// int64Format checks the format int64. The library reads numbers as doubles, which cannot
// distinguish the largest 64-bit integer from the next one.
func int64Format(value any) error {
	if number, ok := value.(float64); ok && (number != math.Trunc(number) || math.Abs(number) > 1<<63) {
		return errors.New("expected a whole number of 64 bits")
	}
	return nil
}

// checkNull rejects a body that is null unless the document allows it: the library treats
// null as a missing body.
func (c *Contract) checkNull(request *http.Request, response *http.Response, body []byte) error {
	if strings.TrimSpace(string(body)) != "null" {
		return nil
	}
	operation := c.operation(request)
	if operation == nil {
		return nil // The library reports it.
	}
	if answer := operation.Responses.Codes.GetOrZero(strconv.Itoa(response.StatusCode)); answer != nil {
		for _, media := range answer.Content.FromOldest() {
			if media.Schema != nil && slices.Contains(media.Schema.Schema().Type, "null") {
				return nil
			}
		}
	}
	return fmt.Errorf("%s %s: %d does not conform: the body is null", request.Method, request.URL, response.StatusCode)
}
