package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
)

// OpenAPI returns the OpenAPI document of the service, as YAML.
func OpenAPI(version string) ([]byte, error) {
	_, s := newServer(Config{Version: version})
	document, err := s.api.OpenAPI().YAML()
	if err != nil {
		return nil, fmt.Errorf("print openapi: %w", err)
	}
	return document, nil
}

func (s *server) humaConfig() huma.Config {
	config := huma.DefaultConfig("BenchLedger", s.Version)
	config.Info.Description = "Stores the results of AI-agent benchmarks and answers questions about them.\n\n" +
		"A **run** is one attempt of an agent at a scenario of a suite. It has **evaluations**, the scores that " +
		"evaluators gave it, and **telemetry**: tokens, cost, duration. A **batch** groups runs.\n\n" +
		"Submitting needs an API key with the scope `submit`. Reading needs one with the scope `read` only where the server is configured so " +
		"(`PUBLIC_READS=false`). Retrying a submission is safe: the same content again is answered as a replay. " +
		"Every error is a problem document (RFC 9457); the server's log has the details under its `requestId`."
	config.Info.License = &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"}
	config.Servers = []*huma.Server{{URL: ".", Description: "The server that sent this document"}}
	config.Tags = []*huma.Tag{
		{Name: "Results", Description: "Submit runs and batches."},
		{Name: "Runs", Description: "Read runs, with their evaluations and telemetry."},
		{Name: "Batches", Description: "Read batches, with their runs."},
		{Name: "Stats", Description: "Statistics over all runs."},
		{Name: "Baselines", Description: "Names of batches that others are compared with."},
		{Name: "Corrections", Description: "Voiding a run that is wrong, and restoring it."},
		{Name: "Health", Description: "Check the state of the server."},
	}
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"bearer": {Type: "http", Scheme: "bearer", Description: "`Authorization: Bearer KEY`"},
	}
	// "json" is the suffix of application/problem+json.
	config.Formats = map[string]huma.Format{"application/json": jsonFormat, "json": jsonFormat}
	config.Transformers = []huma.Transformer{finishBody}
	config.DocsPath, config.SchemasPath, config.CreateHooks = "", "", nil
	return config
}

// example is a body's example. It goes through the API's own encoder, so that it
// shows what is really sent.
func example(v any) map[string]*huma.MediaType {
	var encoded bytes.Buffer
	if err := jsonFormat.Marshal(&encoded, v); err != nil {
		panic(err)
	}
	return map[string]*huma.MediaType{"application/json": {Example: json.RawMessage(encoded.Bytes())}}
}

// exampleProblem is the example of a problem document.
func exampleProblem(status int, meaning string) any {
	problem := problemOf(status, meaning)
	problem.RequestID = "NQ3XC5TUKWOFLJRBXBLLAZYR2Y"
	switch status {
	case http.StatusUnprocessableEntity:
		problem.Errors = []FieldError{{"body.evaluations[0].maxScore", "expected number > 0"}}
	case http.StatusConflict:
		problem.Errors = []FieldError{{"body.totalScore", "differs from what is stored"}}
	}
	return example(problem)["application/json"].Example
}

// completeDocument says in the document what huma has no words for.
func completeDocument(document *huma.OpenAPI) {
	for name, schema := range document.Components.Schemas.Map() {
		// Unknown fields are ignored, hence neither refused nor typed; but the log of
		// corrections cannot be corrected.
		if name != "VoidRequest" && name != "RestoreRequest" {
			schema.AdditionalProperties = nil
		}
		for _, property := range schema.Properties {
			// huma's own, not JSON Schema's; its messages are made by now.
			property.PatternDescription = ""
		}
	}
	requestID := &huma.Param{
		Description: "The request ID; every line of the server's log about the request has it.",
		Schema:      &huma.Schema{Type: huma.TypeString},
	}
	retryAfter := &huma.Param{
		Description: "Seconds to wait before retrying.",
		Schema:      &huma.Schema{Type: huma.TypeInteger, Format: "int32"},
	}
	authenticate := &huma.Param{Schema: &huma.Schema{Type: huma.TypeString}}
	limits := map[string]*huma.Param{
		limitHeader:     {Description: "How many requests may be sent at once.", Schema: &huma.Schema{Type: huma.TypeInteger, Format: "int32"}},
		remainingHeader: {Description: "How many more requests may be sent now.", Schema: &huma.Schema{Type: huma.TypeInteger, Format: "int32"}},
		resetHeader:     {Description: "Seconds until the full limit is available again.", Schema: &huma.Schema{Type: huma.TypeInteger, Format: "int32"}},
	}
	for _, path := range document.Paths {
		for _, operation := range []*huma.Operation{path.Get, path.Post, path.Put, path.Delete} {
			if operation == nil {
				continue
			}
			for _, parameter := range operation.Parameters {
				parameter.Schema.PatternDescription = ""
				if parameter.Schema.Items != nil {
					parameter.Schema.Items.PatternDescription = ""
				}
			}
			for status, response := range operation.Responses {
				if response.Headers == nil {
					response.Headers = map[string]*huma.Param{}
				}
				response.Headers["X-Request-Id"] = requestID
				switch status {
				case strconv.Itoa(http.StatusTooManyRequests):
					response.Headers["Retry-After"] = retryAfter
					maps.Copy(response.Headers, limits)
				case strconv.Itoa(http.StatusServiceUnavailable):
					response.Headers["Retry-After"] = retryAfter
				case strconv.Itoa(http.StatusUnauthorized), strconv.Itoa(http.StatusForbidden):
					response.Headers["WWW-Authenticate"] = authenticate
				}
				code, _ := strconv.Atoi(status)
				if meaning, ok := problemMeanings[code]; ok {
					response.Description = meaning
					response.Content["application/problem+json"].Example = exampleProblem(code, meaning)
				}
			}
		}
	}
}
