// Package audit establishes what a service made with sqlc and huma really does
// with its database: which queries each operation reaches, what they do, which
// tests ran them, how PostgreSQL plans them. It computes this from the type-checked
// code, from a record of the tests, and from a database, and it can fail.
//
// code.go reads the Go code, sql.go the SQL files, database.go asks PostgreSQL,
// rules.go judges, report.go prints, mutate.go changes queries to see tests fail.
package audit

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/benchledger/benchledger/audit/recorder"
)

// Config says where things are in a project, and what is meant to be as it is.
type Config struct {
	Spec         string            `yaml:"spec"`
	Queries      string            `yaml:"queries"`
	Schema       string            `yaml:"schema"`
	Generated    string            `yaml:"generated"`
	Register     []string          `yaml:"register"`
	Transactions []string          `yaml:"transactions"`
	Commands     []string          `yaml:"commands"`
	Middlewares  map[string]string `yaml:"middlewares"`
	// CalledByLibraries are methods that a command reaches only through a library's
	// interface, and which library that is.
	CalledByLibraries map[string]string `yaml:"called_by_libraries"`
	WithoutQuery      map[string]string `yaml:"without_query"`
	SQLAllowed        map[string]string `yaml:"sql_allowed"`
	LargeTable        int64             `yaml:"large_table"`
	PlanForValues     string            `yaml:"plan_for_values"`
	// WritesApart says why a write may stay without the next, by operation and query.
	WritesApart map[string]map[string]string `yaml:"writes_apart"`
	// PlanValues are the values that a query is planned for, by parameter.
	PlanValues map[string][]map[string]*string `yaml:"plan_values"`
	Lint       []string                        `yaml:"lint"`
	LintConfig string                          `yaml:"lint_config"`
	Pitfalls   map[string]string               `yaml:"pitfalls"`
	Clients    map[string]string               `yaml:"clients"`
	Recorders  map[string]string               `yaml:"recorders"`
	// SeedStatements are those of an earlier audit, as "file:line does table".
	SeedStatements  []string          `yaml:"seed_statements"`
	Seed            string            `yaml:"seed"`
	Mutations       string            `yaml:"mutations"`
	AcceptedMutants map[string]string `yaml:"accepted_mutants"`
	// MutationTests are the folders whose tests have to see the mutants.
	MutationTests []string `yaml:"mutation_tests"`
	Report        string   `yaml:"report"`

	// Root is the project's folder.
	Root string `yaml:"-"`
}

// ReadConfig reads audit.yaml in a project's folder.
func ReadConfig(root string) (Config, error) {
	config := Config{Root: root}
	file, err := os.Open(filepath.Join(root, "audit.yaml"))
	if err != nil {
		return config, err
	}
	defer file.Close()
	decoder := yaml.NewDecoder(file)
	decoder.KnownFields(true)
	if err := decoder.Decode(&config); err != nil {
		return config, fmt.Errorf("audit.yaml: %w", err)
	}
	return config, nil
}

func readYAML(path string, value any) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := yaml.Unmarshal(content, value); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func (c Config) path(relative string) string { return filepath.Join(c.Root, relative) }

// Position is a line of a file of the project.
type Position struct {
	File string `json:"file"`
	Line int    `json:"line"`
}

func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// Finding is a rule that is broken somewhere, and what to do.
type Finding struct {
	Rule     string   `json:"rule"`
	Position Position `json:"position"`
	Message  string   `json:"message"`
	Remedy   string   `json:"remedy"`
}

func (f Finding) String() string {
	return fmt.Sprintf("%s: %s: %s %s", f.Position, f.Rule, f.Message, f.Remedy)
}

// Operation is an operation of the API.
type Operation struct {
	ID      string   `json:"id"`
	Method  string   `json:"method"`
	Path    string   `json:"path"`
	Handler string   `json:"handler"`
	At      Position `json:"at"`
	// Registered is where it is registered.
	Registered Position `json:"registered"`
	// Uses are the queries that the handler can reach, by name.
	Uses []Use `json:"uses"`
	// Before are the queries that what stands before the handler can reach.
	Before []Use `json:"before,omitempty"`
	// Keys are the security schemes that the document asks for, "" for none needed.
	Keys []string `json:"keys"`
	// Tests are those that called it.
	Tests []string `json:"tests"`
	// Clients and Recorders are where each generated client, and each recorder, has it.
	Clients   map[string]Position `json:"clients"`
	Recorders map[string]Position `json:"recorders"`
}

// Setting is an environment variable that a command reads.
type Setting struct {
	Variable string   `json:"variable"`
	Default  string   `json:"default,omitempty"`
	Help     string   `json:"help"`
	At       Position `json:"at"`
}

// Use is a query in reach of an operation.
type Use struct {
	Query string `json:"query"`
	// Transaction is where the transaction begins in which it runs, "" for its own.
	Transaction string `json:"transaction,omitempty"`
	// Again says that this transaction is in a loop.
	Again bool `json:"again,omitempty"`
	// Around is where the transaction begins that it goes around.
	Around string `json:"around,omitempty"`
	// Repeated says that it runs in a loop.
	Repeated bool `json:"repeated,omitempty"`
	// ForValues says that it is planned for the values of each call.
	ForValues bool `json:"forValues,omitempty"`
}

// Query is a named query.
type Query struct {
	Name    string   `json:"name"`
	Rows    string   `json:"rows"` // one, many, exec
	At      Position `json:"at"`
	Comment string   `json:"comment"`
	// Reason says why it may read all of a large table.
	Reason string `json:"reason,omitempty"`
	// Does are select, insert, update, delete.
	Does []string `json:"does"`
	// Tables are those it touches.
	Tables []string `json:"tables"`
	// Indexes are those that its plan uses.
	Indexes []string `json:"indexes"`
	// Reads are the large tables that its plan reads as a whole or sorts.
	Reads []string `json:"reads,omitempty"`
	// Operations and Tests use it.
	Operations []string `json:"operations"`
	Commands   []string `json:"commands,omitempty"`
	Tests      []string `json:"tests"`

	parameters []string // as the generated method passes them
}

// Index is an index of the schema.
type Index struct {
	Name       string   `json:"name"`
	Table      string   `json:"table"`
	Definition string   `json:"definition"`
	Constraint bool     `json:"constraint"` // it keeps a constraint
	Queries    []string `json:"queries"`
}

// Constraint is a constraint of the schema.
type Constraint struct {
	Name       string   `json:"name"`
	Table      string   `json:"table"`
	Definition string   `json:"definition"`
	Tests      []string `json:"tests"`
}

// Seed is a statement of an earlier, hand-written audit, and what does its work here.
type Seed struct {
	Statement string   `json:"statement"`
	Queries   []string `json:"queries"`
	Tests     []string `json:"tests"`
}

// Unlinted is a place where linters do not look.
type Unlinted struct {
	At      string   `json:"at"`
	Linters []string `json:"linters"`
	Reason  string   `json:"reason,omitempty"`
}

// Pitfall is a mistake that a linter looks for.
type Pitfall struct {
	Linter  string   `json:"linter"`
	Mistake string   `json:"mistake"`
	Looked  bool     `json:"looked"`
	Found   []string `json:"found"`
}

// Exemption is something that may be otherwise than a rule says.
type Exemption struct {
	From   string `json:"from"` // a key of audit.yaml, or "-- audit:" beside a query
	What   string `json:"what"`
	Reason string `json:"reason"`
}

// Planner is the PostgreSQL that the plans are from.
type Planner struct {
	Version  int               `json:"version"` // major
	Settings map[string]string `json:"settings"`
}

// Audit is everything that was established.
type Audit struct {
	Operations  []*Operation  `json:"operations"`
	Queries     []*Query      `json:"queries"`
	Tables      []Table       `json:"tables"`
	Indexes     []*Index      `json:"indexes"`
	Constraints []*Constraint `json:"constraints"`
	Migrations  []Migration   `json:"migrations"`
	Settings    []Setting     `json:"settings"`
	// Depends are the places that decide by a setting that is a choice.
	Depends    []Setting     `json:"depends"`
	Planner    Planner       `json:"planner"`
	Pitfalls   []Pitfall     `json:"pitfalls"`
	Unlinted   []Unlinted    `json:"unlinted"`
	Exemptions []Exemption   `json:"exemptions"`
	Tests      int           `json:"tests"` // functions that were recorded
	Seed       []*Seed       `json:"seed"`
	Mutations  MutationCount `json:"mutations"`
	// Rules are those that looked.
	Rules    []Rule    `json:"rules"`
	Findings []Finding `json:"findings"`

	config  Config
	code    *code
	sources map[string]*testSource
	// survivors are the mutants that no test sees, accepted ones too.
	survivors []string
}

// Input is what the audit cannot find by itself.
type Input struct {
	// Record holds what the tests ran.
	Record []recorder.Entry
	// DatabaseURL leads to a migrated database of realistic volume.
	DatabaseURL string
	// EmptyURL leads to an empty database on which migrations can be tried.
	EmptyURL string
	// SkipLint leaves the linters out.
	SkipLint bool
	// Complete says that every rule has to have something to look at.
	Complete bool

	code *code // read before
}

func (a *Audit) query(name string) *Query {
	for _, query := range a.Queries {
		if query.Name == name {
			return query
		}
	}
	return nil
}

func (a *Audit) find(rule string, at Position, remedy, format string, args ...any) {
	a.Findings = append(a.Findings, Finding{rule, at, fmt.Sprintf(format, args...), remedy})
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func sortFindings(findings []Finding) {
	slices.SortFunc(findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Position.File, b.Position.File), cmp.Compare(a.Position.Line, b.Position.Line),
			cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Message, b.Message))
	})
}
