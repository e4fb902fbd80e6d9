package main

import (
	"os"

	"github.com/benchledger/benchledger/api"
)

type openAPICommand struct{}

// Run prints the document.
func (openAPICommand) Run() error {
	document, err := api.OpenAPI(version)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(document)
	return err
}
