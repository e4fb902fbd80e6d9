// Package audit finds out what a service made with sqlc and huma does with its
// PostgreSQL: which queries each operation reaches, which tests ran them, how they
// are planned, and whether a test would notice if one of them changed. It reads the
// type-checked code, a record of the tests and a database, and names what breaks a
// rule. Nothing in it belongs to one project: audit.yaml says where things are.
//
// The tests write the record (see Entry) with their own pgx tracer;
// BenchLedger's is internal/testdb/recorder.
package audit

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"go.yaml.in/yaml/v3"
)

const configFile = "audit.yaml"

// Config is audit.yaml: where things are in a project, and which exemptions it has.
// Functions are written as in (*example.com/shop/api.server).requireKey.
type Config struct {
	// Queries and Schema are the folders of sqlc's queries and of golang-migrate's
	// migrations, Generated the folder of what sqlc made.
	Queries   string `yaml:"queries"`
	Schema    string `yaml:"schema"`
	Generated string `yaml:"generated"`
	// Setup are SQL files that run before the migrations, Volume those that fill the
	// database for the plans.
	Setup  []string `yaml:"setup"`
	Volume []string `yaml:"volume"`
	// Register are the functions that register an operation: one argument is a literal
	// with OperationID, Method and Path, the last is the handler.
	Register []string `yaml:"register"`
	// Commands are the folders of programs, and functions that only a library calls:
	// what they reach is used.
	Commands []string `yaml:"commands"`
	// Middlewares run before the handlers.
	Middlewares []string `yaml:"middlewares"`
	// WithoutQuery says why an operation needs no query.
	WithoutQuery map[string]string `yaml:"without_query"`
	// LargeTable is how many rows make a table large.
	LargeTable int64 `yaml:"large_table"`
	// Planner are PostgreSQL's settings for the plans.
	Planner map[string]string `yaml:"planner"`
	// PlanValues are the sets of values to plan a query for that is planned for its
	// values: by the Go name of the parameter, null for none.
	PlanValues map[string][]map[string]*string `yaml:"plan_values"`
	// MutationTests are the folders of the tests that have to notice a changed query.
	MutationTests []string `yaml:"mutation_tests"`
	// Mutations is the file with the results of the mutations.
	Mutations string `yaml:"mutations"`
	// AcceptedMutants are changes that no test can notice ("Query: change"), and why.
	AcceptedMutants map[string]string `yaml:"accepted_mutants"`
	Report          string            `yaml:"report"`

	root string
}

// ReadConfig reads audit.yaml in a project's folder.
func ReadConfig(root string) (Config, error) {
	config := Config{root: root}
	content, err := os.ReadFile(config.path(configFile))
	if err != nil {
		return config, err
	}
	decoder := yaml.NewDecoder(strings.NewReader(string(content)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&config); err != nil {
		return config, fmt.Errorf("%s: %w", configFile, err)
	}
	return config, nil
}

func (c Config) path(relative string) string { return filepath.Join(c.root, relative) }

// Entry is a line of the record: a test ran a query, called an operation, or violated
// a constraint. The record is the files record-*.ndjson of one directory.
type Entry struct {
	// Package is the last element of the test's folder.
	Package, Test string
	// Query is the name that sqlc leaves in the statement, "" where none ran.
	Query string
	// Custom says that the statement had a custom plan.
	Custom bool
	// Operation is the operation that ran the query or was called, "" outside of one.
	Operation string
	// Constraint is the constraint that the statement violated.
	Constraint string
}

func (e Entry) test() string { return e.Package + "." + e.Test }

// ReadRecord reads the record in a directory. An empty one is an error.
func ReadRecord(dir string) (record []Entry, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "record-*.ndjson"))
	if err != nil {
		return nil, err
	}
	for _, path := range files {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		for lines := json.NewDecoder(bytes.NewReader(content)); lines.More(); {
			var entry Entry
			if err := lines.Decode(&entry); err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			record = append(record, entry)
		}
	}
	if len(record) == 0 {
		return nil, fmt.Errorf("%q holds no record of a test run", dir)
	}
	return record, nil
}

// Operation is an operation of the API.
type Operation struct {
	ID, Method, Path string
	Handler          string
	File             string   // where the handler is
	Queries          []string // that it reaches
	Tests            []string // that called it
}

// Query is a named query.
type Query struct {
	Name    string
	File    string
	Comment string
	// Reason says why it may read all of a large table.
	Reason string
	// Does are select, lock, insert, update, delete; Tables and Indexes those of its plan.
	Does, Tables, Indexes []string
	// Reads says what its plan reads or sorts of large tables.
	Reads []string
	// Operations, Commands and Tests use it.
	Operations, Commands, Tests []string

	text       string
	parameters []string // as the generated method passes them
	custom     bool     // every operation has a custom plan for it
	// What mutation tries, and what it cannot: see Mutations.
	mutants   []mutant
	invalid   int
	unchanged []string
}

func (q *Query) at() string { return q.File + ": " + q.Name }

// Index is an index of the schema.
type Index struct {
	Name, Table, Definition string
	Constraint              bool // it keeps a constraint
	Queries                 []string
}

// Constraint is a constraint of the schema.
type Constraint struct {
	Name, Table, Definition string
	Tests                   []string // that violated it
}

// Exemption is something that need not keep a rule.
type Exemption struct {
	From   string // a key of audit.yaml, or "-- audit:" beside a query
	What   string
	Reason string
}

// Finding is a violation of a rule, and what to do about it.
type Finding struct{ Rule, At, Message, Remedy string }

func (f Finding) String() string {
	return fmt.Sprintf("%s: %s: %s %s", f.At, f.Rule, f.Message, f.Remedy)
}

// Audit is everything that was found out.
type Audit struct {
	Operations  []*Operation
	Queries     []*Query
	Indexes     []*Index
	Constraints []*Constraint
	Migrations  []Migration
	Exemptions  []Exemption
	Findings    []Finding
	Mutations   []Mutations
	PostgreSQL  int // the major version that planned

	config   Config
	code     *code
	tables   []table
	snapshot []snapshotLine
	sources  map[string]*testSource
}

// New audits a project. record is what its tests ran; server is a PostgreSQL on which
// databases can be made, which are dropped in the end.
func New(ctx context.Context, config Config, record []Entry, server string) (*Audit, error) {
	code, err := readCode(config)
	if err != nil {
		return nil, err
	}
	return newAudit(ctx, config, code, record, server)
}

func newAudit(ctx context.Context, config Config, code *code, record []Entry, server string) (*Audit, error) {
	a := &Audit{config: config, code: code}
	for _, query := range code.queries {
		copied := *query
		a.Queries = append(a.Queries, &copied)
	}
	slices.SortFunc(a.Queries, func(x, y *Query) int { return cmp.Or(cmp.Compare(x.File, y.File), cmp.Compare(x.Name, y.Name)) })
	for _, operation := range code.operations {
		copied := *operation
		a.Operations = append(a.Operations, &copied)
	}
	if len(a.Operations) == 0 || len(a.Queries) == 0 || len(record) == 0 {
		return nil, fmt.Errorf("nothing to audit: %d operations, %d queries, %d entries in the record", len(a.Operations), len(a.Queries), len(record))
	}
	a.connect(record)
	var err error
	if a.Migrations, err = readMigrations(config); err != nil {
		return nil, err
	}
	if err := withDatabase(ctx, server, func(c *pgx.Conn) error { return a.tryMigrations(ctx, c) }); err != nil {
		return nil, fmt.Errorf("try the migrations: %w", err)
	}
	if err := withDatabase(ctx, server, func(c *pgx.Conn) error { return a.readDatabase(ctx, c) }); err != nil {
		return nil, err
	}
	a.connectSchema(record)
	if a.Mutations, err = a.readMutations(); err != nil {
		return nil, err
	}
	a.judge(record)
	slices.SortFunc(a.Findings, func(x, y Finding) int { return cmp.Compare(x.String(), y.String()) })
	return a, nil
}

// connect records what uses each operation and query.
func (a *Audit) connect(record []Entry) {
	for _, operation := range a.Operations {
		for _, name := range operation.Queries {
			query := a.query(name)
			query.Operations = insert(query.Operations, operation.ID)
		}
	}
	for _, name := range a.code.before {
		query := a.query(name)
		query.Operations = insert(query.Operations, beforeOperations)
	}
	other := map[string]bool{} // queries that an operation ran by a plan for all values
	for _, entry := range record {
		if query := a.query(entry.Query); query != nil {
			query.Tests = insert(query.Tests, entry.test())
			if entry.Operation != "" {
				query.custom = query.custom || entry.Custom
				other[entry.Query] = other[entry.Query] || !entry.Custom
			}
		}
		for _, operation := range a.Operations {
			if operation.ID == entry.Operation {
				operation.Tests = insert(operation.Tests, entry.test())
			}
		}
	}
	for _, query := range a.Queries {
		query.custom = query.custom && !other[query.Name]
		query.Commands = a.code.commands[query.Name]
	}
}

// beforeOperations is the middleware, which runs before every operation.
const beforeOperations = "before operations"

// connectSchema records what uses each index and constraint.
func (a *Audit) connectSchema(record []Entry) {
	for _, index := range a.Indexes {
		for _, query := range a.Queries {
			if slices.Contains(query.Indexes, index.Name) {
				index.Queries = append(index.Queries, query.Name)
			}
		}
	}
	for _, constraint := range a.Constraints {
		for _, entry := range record {
			if entry.Constraint == constraint.Name {
				constraint.Tests = insert(constraint.Tests, entry.test())
			}
		}
	}
}

func (a *Audit) query(name string) *Query {
	for _, query := range a.Queries {
		if query.Name == name {
			return query
		}
	}
	return nil
}

func (a *Audit) find(rule, at, remedy, format string, args ...any) {
	a.Findings = append(a.Findings, Finding{rule, at, fmt.Sprintf(format, args...), remedy})
}

// insert adds a value to a sorted list, once.
func insert(list []string, value string) []string {
	i, found := slices.BinarySearch(list, value)
	if found {
		return list
	}
	return slices.Insert(list, i, value)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
