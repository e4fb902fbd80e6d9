# What contributors run. `make` lists it; CONTRIBUTING.md says when.

SQLC     := go tool -modfile=tools/go.mod sqlc
LINT     := go tool -modfile=tools/go.mod golangci-lint
OAPI     := go tool -modfile=tools/go.mod oapi-codegen
NPM_BIN  := tools/node_modules/.bin
export REDOCLY_TELEMETRY := off
export REDOCLY_SUPPRESS_UPDATE_NOTICE := true

.DEFAULT_GOAL := help
.PHONY: help build test race gen verify lint audit audit-mutate clients-check fuzz chaos

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
	@echo 'go run ./cmd/benchledger openapi >openapi.yaml'
	@spec=$$(go run ./cmd/benchledger openapi) && printf '%s\n' "$$spec" >openapi.yaml

verify: ## See that what is generated is current, and go.mod tidy.
	$(SQLC) diff
	@echo 'go run ./cmd/benchledger openapi | diff openapi.yaml -'
	@spec=$$(go run ./cmd/benchledger openapi) || exit 1; \
	printf '%s\n' "$$spec" | diff -u openapi.yaml - || { echo 'openapi.yaml is not current: make gen' >&2; exit 1; }
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

fuzz: ## Send 100,000 requests made from openapi.yaml (FUZZ_CASES=…, FUZZ_FLAGS=-rapid.seed=…).
	FUZZ_CASES=$${FUZZ_CASES:-100000} go test -count=1 -timeout=24h -v -run '^TestFuzz' ./test/fuzz $(FUZZ_FLAGS)

chaos: ## Break everything under load, for 20 seeds and 200,000 results (CHAOS_FLAGS='-seeds=… -fault=…').
	go test -count=1 -timeout=24h -v ./test/chaos -seeds=20 $(CHAOS_FLAGS)

clients-check: $(NPM_BIN) ## See that clients generated from openapi.yaml have true types.
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && cp -R test/clients/. "$$tmp" && set -ex; \
	$(OAPI) -config test/clients/go/oapi-codegen.yaml -o "$$tmp/go/client.gen.go" openapi.yaml; \
	(cd "$$tmp/go" && go vet ./...); \
	if grep -nE '[ *](float32|int) .*(json|form):' "$$tmp/go/client.gen.go"; then echo 'a number has no format' >&2; exit 1; fi; \
	$(NPM_BIN)/openapi-typescript openapi.yaml -o "$$tmp/typescript/api.gen.ts" >/dev/null; \
	$(NPM_BIN)/tsc -p "$$tmp/typescript"

$(NPM_BIN): tools/package-lock.json
	npm ci --prefix tools --loglevel=error >/dev/null
	@touch $(NPM_BIN)
