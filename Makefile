# Commands for contributors. `make` lists them; CONTRIBUTING.md says when to run them.

SQLC     := go tool -modfile=tools/go.mod sqlc
LINT     := go tool -modfile=tools/go.mod golangci-lint
OAPI     := go tool -modfile=tools/go.mod oapi-codegen
GOVULN   := go tool -modfile=tools/go.mod govulncheck
CLIENT   := github.com/benchledger/benchledger/clients/go
NPM_BIN  := tools/node_modules/.bin
WITHPG   := go run ./internal/withpg
# The audit, with the record of a test run (AUDIT_RECORD), or of a new one.
AUDITED  = @record=$$AUDIT_RECORD && set -e; \
	if [ -z "$$record" ]; then \
		record=$$(mktemp -d) && trap 'rm -rf "$$record"' EXIT; \
		echo 'go test -count=1 ./...' && AUDIT_RECORD=$$record go test -count=1 ./...; \
	fi; \
	$(WITHPG) go run -C audit ./cmd/benchledger-audit -root .. -record "$$record"
export REDOCLY_TELEMETRY := off
export REDOCLY_SUPPRESS_UPDATE_NOTICE := true

.DEFAULT_GOAL := help
.PHONY: help build test race gen verify lint audit audit-mutate audit-test bench bench-smoke build-cost release release-check go-image compose-check vulnerabilities clients-check site fuzz chaos attack steady

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build the program, ./benchledger.
	CGO_ENABLED=0 GOGC=200 go build -trimpath -ldflags '-s -w' -o benchledger ./cmd/benchledger

test: ## Run all tests, on a real PostgreSQL.
	go test ./...
	cd test && go test -count=1 ./... # Go's test cache does not see changes outside of the module.

# The server and the Go client are concurrent; commands that run to their end are not.
COMMANDS := TestMigrate.*|TestReadingCommands|TestDoctor|TestKeys|TestKeysOfALocalServer|TestClient|TestHealth|TestHelp|TestLocalUsers|TestLocalOddDirectory
race: ## Run the tests of what is concurrent with the race detector.
	go test -race -skip '^($(COMMANDS))$$' ./api ./db ./keys ./cmd/benchledger ./internal/localpg

steady: ## Run all tests ten times (RUNS=…) in random order under load, to find flaky tests.
	bash tools/steady.sh $${RUNS:-10}

gen: $(NPM_BIN) ## Regenerate everything that is generated: db/, openapi.yaml, the clients.
	$(SQLC) generate
	$(SQLC) generate -f audit/testdata/shop/sqlc.yaml
	@echo 'go run ./cmd/benchledger openapi >openapi.yaml'
	@spec=$$(go run ./cmd/benchledger openapi) && printf '%s\n' "$$spec" >openapi.yaml
	$(OAPI) -config clients/go/oapi-codegen.yaml -o clients/go/api.gen.go openapi.yaml
	$(NPM_BIN)/openapi-typescript openapi.yaml -o clients/typescript/src/api.gen.ts

verify: $(NPM_BIN) ## Check that generated files are current, and each go.mod is tidy.
	$(SQLC) diff
	$(SQLC) diff -f audit/testdata/shop/sqlc.yaml
	@echo 'go run ./cmd/benchledger openapi | diff openapi.yaml -'
	@spec=$$(go run ./cmd/benchledger openapi) || exit 1; \
	printf '%s\n' "$$spec" | diff -u openapi.yaml - || { echo 'openapi.yaml is not current: make gen' >&2; exit 1; }
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && set -ex; \
	$(OAPI) -config clients/go/oapi-codegen.yaml -o "$$tmp/api.gen.go" openapi.yaml; \
	diff -u clients/go/api.gen.go "$$tmp/api.gen.go"; \
	$(NPM_BIN)/openapi-typescript openapi.yaml -o "$$tmp/api.gen.ts" >/dev/null; \
	diff -u clients/typescript/src/api.gen.ts "$$tmp/api.gen.ts"
	go mod tidy -diff
	cd clients/go && go mod tidy -diff
	cd test && go mod tidy -diff
	cd audit && go mod tidy -diff

lint: $(NPM_BIN) ## Run the linters, and check that the changelog announces breaking changes of the API.
	go vet ./...
	$(LINT) run
	cd clients/go && go vet ./... && go tool -modfile=../../tools/go.mod golangci-lint run --config ../../.golangci.yml
	cd test && go vet ./... && go tool -modfile=../tools/go.mod golangci-lint run --config ../.golangci.yml
	cd audit && go vet ./... && go tool -modfile=../tools/go.mod golangci-lint run --config ../.golangci.yml
	$(SQLC) vet
	$(NPM_BIN)/redocly lint openapi.yaml --config tools/redocly.yaml
	sh tools/breaking_test.sh
	sh tools/breaking.sh openapi.yaml CHANGELOG.md

audit: ## Run the tests, and write docs/audit.md (AUDIT_RECORD=… of a test run, AUDIT_FLAGS='-json=…').
	$(AUDITED) $(AUDIT_FLAGS)

audit-mutate: ## Change queries in small ways, and check that a test fails; takes minutes (QUERIES=…).
	$(AUDITED) mutate $(QUERIES)

audit-test: ## Run the tests of the audit itself.
	$(WITHPG) go test -C audit ./...

fuzz: ## Send 100,000 requests made from openapi.yaml (FUZZ_CASES=…, FUZZ_FLAGS=-rapid.seed=…).
	cd test && FUZZ_CASES=$${FUZZ_CASES:-100000} go test -count=1 -timeout=24h -v -run '^TestFuzz' ./fuzz $(FUZZ_FLAGS)

chaos: ## Test failures of all dependencies under load, with 20 seeds and 200,000 runs (CHAOS_FLAGS='-seeds=… -fault=…').
	cd test && go test -count=1 -timeout=24h -v ./chaos -seeds=20 $(CHAOS_FLAGS)

attack: ## Fuzz, break, overload and measure everything; takes more than an hour (ATTACK_FLAGS=-brief: minutes).
	bash tools/attack.sh $(ATTACK_FLAGS)

bench: ## Compare the program with PostgreSQL itself, on 10,000 and 1,000,000 runs; seven minutes, results in bench.json (BENCH_FLAGS=…).
	cd test && go run ./bench --output=../bench.json $(BENCH_FLAGS)

bench-smoke: ## Check in a minute that the benchmark works.
	cd test && go run ./bench --smoke

build-cost: ## Measure a build of the program with empty caches; takes minutes, on an idle machine.
	sh tools/build-cost.sh

release: ## Make a release in dist/: programs for six platforms, checksums, SBOMs, completions, manual, the TypeScript client.
	sh tools/release.sh

release-check: export RELEASE_TARGETS ?= linux/amd64 windows/arm64
release-check: ## Make a release for two platforms (RELEASE_TARGETS=…), and check its content and its program.
	sh tools/release.sh
	sh tools/release_check.sh

go-image: ## Make the image local/go from this machine's Go and POSTGRES_IMAGE, if no registry is reachable.
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && set -e; \
	cp -RL "$$(go env GOROOT)" "$$tmp/go"; \
	cp /etc/ssl/certs/ca-certificates.crt "$$tmp"; \
	printf '%s\n' 'FROM $(POSTGRES_IMAGE)' 'COPY go /usr/local/go' 'COPY ca-certificates.crt /etc/ssl/certs/' \
		'ENV PATH=/usr/local/go/bin:/usr/bin:/bin GOTOOLCHAIN=local' "ENV GOPROXY=$$(go env GOPROXY)" >"$$tmp/Dockerfile"; \
	docker build --quiet --tag local/go "$$tmp"

compose-check: ## Test compose.yaml with Docker (GO_IMAGE=… POSTGRES_IMAGE=… if no registry is reachable).
	cd test && COMPOSE_CHECK=1 go test -count=1 -timeout=30m -v -run '^TestCompose$$' ./operate

vulnerabilities: ## Check the dependencies for known vulnerabilities.
	@if curl --silent --fail --max-time 20 --output /dev/null https://vuln.go.dev/index/db.json; then $(GOVULN) ./...; \
	else echo 'govulncheck: skipped, https://vuln.go.dev is not reached'; fi

clients-check: ## Check the clients: types, tests against the program, installation.
	@if grep -nE '[ *](float32|int) .*(json|form):' clients/go/api.gen.go; then echo 'a number has no format' >&2; exit 1; fi
	cd clients/go && go vet ./... && go test ./...
	npm ci --prefix clients/typescript --loglevel=error >/dev/null
	npm run --prefix clients/typescript check

site: ## Build the documentation (site/.vitepress/dist), and check its links, its samples and its pages in a browser.
	npm ci --prefix site --loglevel=error >/dev/null
	npm run --prefix site build
	npm run --prefix site check
	npm ci --prefix clients/typescript --loglevel=error >/dev/null
	@tmp=$$(mktemp -d) && samples=clients/typescript/test/samples.gen.ts && trap 'rm -rf "$$tmp" "$$samples"' EXIT && set -ex; \
	node site/operations.js go >"$$tmp/main.go"; \
	cp clients/go/go.sum "$$tmp"; \
	printf 'module samples\n\nrequire %s v0.0.0\n\nreplace %s => %s\n' $(CLIENT) $(CLIENT) "$(CURDIR)/clients/go" >"$$tmp/go.mod"; \
	(cd "$$tmp" && go build -mod=mod -o /dev/null .); \
	node site/operations.js typescript >"$$samples"; \
	(cd clients/typescript && npx tsc)

$(NPM_BIN): tools/package-lock.json
	npm ci --prefix tools --loglevel=error >/dev/null
	@touch $(NPM_BIN)
