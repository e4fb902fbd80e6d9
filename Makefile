# What contributors run. `make` lists it; CONTRIBUTING.md says when.

SQLC     := go tool -modfile=tools/go.mod sqlc
LINT     := go tool -modfile=tools/go.mod golangci-lint
OAPI     := go tool -modfile=tools/go.mod oapi-codegen
NPM_BIN  := tools/node_modules/.bin
export REDOCLY_TELEMETRY := off
export REDOCLY_SUPPRESS_UPDATE_NOTICE := true

.DEFAULT_GOAL := help
.PHONY: help build test race gen verify lint audit audit-mutate clients-check

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build the program, ./benchledger.
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o benchledger ./cmd/benchledger

test: ## Run all tests, on a real PostgreSQL.
	go test ./...

race: ## Run all tests with the race detector.
	go test -race ./...

gen: ## Regenerate everything that is generated: db/, openapi.yaml.
	$(SQLC) generate
	go run ./cmd/benchledger openapi >openapi.yaml.new && mv openapi.yaml.new openapi.yaml

verify: ## See that what is generated is current, and go.mod tidy.
	$(SQLC) diff
	go run ./cmd/benchledger openapi | diff -u openapi.yaml - || { echo 'openapi.yaml is not current: make gen'; exit 1; }
	go mod tidy -diff

lint: $(NPM_BIN) ## Look for mistakes: go vet, golangci-lint, sqlc vet, redocly.
	go vet ./...
	$(LINT) run
	$(SQLC) vet
	$(NPM_BIN)/redocly lint openapi.yaml

audit: ## Compute the audit from code, tests and database; write docs/audit.md.
	go run ./cmd/benchledger-audit

audit-mutate: ## Change each query in small ways and see the tests fail; takes minutes.
	go run ./cmd/benchledger-audit mutate

clients-check: $(NPM_BIN) ## See that clients generated from openapi.yaml have true types.
	$(OAPI) -config test/clients/go/oapi-codegen.yaml openapi.yaml
	cd test/clients/go && go vet ./...
	$(NPM_BIN)/openapi-typescript openapi.yaml -o test/clients/typescript/api.gen.ts
	$(NPM_BIN)/tsc -p test/clients/typescript

$(NPM_BIN): tools/package-lock.json
	npm ci --prefix tools --silent
	@touch $(NPM_BIN)
