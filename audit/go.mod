module github.com/benchledger/benchledger/audit

go 1.26.0

require (
	github.com/jackc/pgx/v5 v5.12.0
	// As in tools/go.mod, for sqlc: what is compiled there is not compiled again.
	github.com/pganalyze/pg_query_go/v6 v6.2.2
	go.yaml.in/yaml/v3 v3.0.5
	golang.org/x/tools v0.52.0
	google.golang.org/protobuf v1.36.12
)

require (
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	golang.org/x/mod v0.42.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/text v0.41.0 // indirect
)
