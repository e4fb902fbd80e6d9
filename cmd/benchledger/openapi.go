package main

import (
	"github.com/benchledger/benchledger/api"
)

type openAPICommand struct{}

// Run prints the document.
func (openAPICommand) Run() error {
	document, err := api.OpenAPI(version)
	if err != nil {
		return err
	}
	_, err = stdout.Write(document)
	return err
}
