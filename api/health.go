package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// Health says that the server answers.
type Health struct {
	Status    string  `json:"status" enum:"ok"`
	Timestamp UTCTime `json:"timestamp" doc:"The server's clock."`
}

type getHealthOutput struct {
	Body Health
}

func (s *server) registerHealth() {
	huma.Register(s.api, huma.Operation{
		OperationID: "get-health", Method: http.MethodGet, Path: "/health", Tags: []string{"Health"},
		Summary: "Is the server there?", Description: "Answers as long as the server runs; does not ask the database.",
		Security: open, Errors: []int{http.StatusUnprocessableEntity},
		Responses: map[string]*huma.Response{"200": {
			Description: "It is.", Content: example(Health{Status: "ok", Timestamp: exampleRun.StartedAt}),
		}},
	}, s.getHealth)
}

func (s *server) getHealth(context.Context, *struct{}) (*getHealthOutput, error) {
	return &getHealthOutput{Body: Health{Status: "ok", Timestamp: UTCTime{time.Now().Truncate(time.Millisecond)}}}, nil
}
