package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Rule is something that has to hold.
type Rule struct {
	ID    string `json:"id"`
	Looks string `json:"looks"`
	// Findings counts where it does not.
	Findings int `json:"findings"`
}

var rules = []Rule{
	{ID: "sql-in-go", Looks: "SQL is executed only by generated code"},
	{ID: "query-unused", Looks: "every query is used by an operation or a command"},
	{ID: "query-comment", Looks: "every query says what it does"},
	{ID: "query-untested", Looks: "every query ran in a test"},
	{ID: "query-unasserted", Looks: "a test fails when a query returns or does something else"},
	{ID: "operation-untested", Looks: "every operation that needs the database was called by a test"},
	{ID: "operation-handler", Looks: "every operation has a handler whose code was found"},
	{ID: "operation-without-query", Looks: "every operation reaches a query, and one that writes reaches a write"},
	{ID: "operation-undocumented", Looks: "the operations of the code and of the OpenAPI document are the same"},
	{ID: "operation-unsecured", Looks: "every operation says who may call it, and every write needs a key"},
	{ID: "writes-apart", Looks: "several writes of an operation share one transaction"},
	{ID: "lint", Looks: "contexts are passed on, errors and rows are checked (golangci-lint)"},
	{ID: "plan-reads-large-table", Looks: "no plan reads or sorts a large table without a written reason"},
	{ID: "constraint-untested", Looks: "every constraint was violated by a test"},
	{ID: "index-unused", Looks: "every index is used by the plan of a query"},
	{ID: "migration-down", Looks: "every migration can be taken back, and leaves nothing behind"},
	{ID: "seed", Looks: "every statement of the earlier audit has a query, and tests that ran it"},
}

// New audits a project.
func New(ctx context.Context, config Config, input Input) (*Audit, error) {
	a := &Audit{config: config, Rules: slices.Clone(rules)}
	var err error
	if a.code, err = readCode(config); err != nil {
		return nil, err
	}
	if a.Queries, err = readQueries(config); err != nil {
		return nil, err
	}
	if a.Migrations, err = readMigrations(config); err != nil {
		return nil, err
	}
	a.Operations = a.code.operations
	for _, query := range a.Queries {
		query.parameters = a.code.parameters[query.Name]
		query.Commands = a.code.commands[query.Name]
	}
	if input.DatabaseURL != "" {
		if err := a.readDatabase(ctx, input.DatabaseURL); err != nil {
			return nil, err
		}
	}
	if input.EmptyURL != "" {
		if err := a.tryMigrations(ctx, input.EmptyURL); err != nil {
			return nil, err
		}
	}
	a.connect(input)
	a.judgeCode()
	if err := a.judgeDocument(); err != nil {
		return nil, err
	}
	if input.DatabaseURL != "" {
		a.judgePlans()
	}
	a.judgeTests(input)
	if err := a.judgeSeed(); err != nil {
		return nil, err
	}
	if err := a.judgeMutations(); err != nil {
		return nil, err
	}
	if !input.SkipLint {
		if err := a.judgeLint(ctx); err != nil {
			return nil, err
		}
	}
	sortFindings(a.Findings)
	for _, finding := range a.Findings {
		for i := range a.Rules {
			if a.Rules[i].ID == finding.Rule {
				a.Rules[i].Findings++
			}
		}
	}
	return a, nil
}

// connect notes beside each thing what uses it.
func (a *Audit) connect(input Input) {
	for _, operation := range a.Operations {
		for _, use := range operation.Uses {
			if query := a.query(use.Query); query != nil {
				query.Operations = append(query.Operations, operation.ID)
			}
		}
	}
	for _, entry := range input.Record {
		test := entry.Package + "." + entry.Test
		if query := a.query(entry.Query); query != nil {
			query.Tests = append(query.Tests, test)
		}
		for _, operation := range a.Operations {
			if operation.ID == entry.Operation {
				operation.Tests = append(operation.Tests, test)
			}
		}
		for _, constraint := range a.Constraints {
			if constraint.Name == entry.Constraint {
				constraint.Tests = append(constraint.Tests, test)
			}
		}
	}
	for _, query := range a.Queries {
		for _, index := range a.Indexes {
			if slices.Contains(query.Indexes, index.Name) {
				index.Queries = append(index.Queries, query.Name)
			}
		}
	}
	for _, list := range a.lists() {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
}

func (a *Audit) lists() []*[]string {
	var lists []*[]string
	for _, query := range a.Queries {
		lists = append(lists, &query.Operations, &query.Tests)
	}
	for _, operation := range a.Operations {
		lists = append(lists, &operation.Tests)
	}
	for _, constraint := range a.Constraints {
		lists = append(lists, &constraint.Tests)
	}
	return lists
}

func (a *Audit) judgeCode() {
	for _, at := range a.code.statements {
		a.find("sql-in-go", at, "Name the query in "+a.config.Queries+" and call the generated method.", "SQL is executed in Go.")
	}
	for _, query := range a.Queries {
		if len(query.Operations) == 0 && len(query.Commands) == 0 {
			a.find("query-unused", query.At, "Use it or delete it.", "no operation and no command reaches %s.", query.Name)
		}
		if query.Comment == "" {
			a.find("query-comment", query.At, "Say under its name what it does, in which order, and what a missing row does.", "%s has no comment.", query.Name)
		}
	}
	for _, operation := range a.Operations {
		a.judgeOperation(operation)
	}
}

func (a *Audit) judgeOperation(operation *Operation) {
	if operation.Handler == "" {
		a.find("operation-handler", operation.Registered, "Register a named function or method.", "the handler of %s is not a named function.", operation.ID)
		return
	}
	writes := func(use Use) bool {
		query := a.query(use.Query)
		return query != nil && slices.ContainsFunc(query.Does, func(does string) bool {
			return does == "insert" || does == "update" || does == "delete" || does == "merge"
		})
	}
	if _, allowed := a.config.WithoutQuery[operation.ID]; !allowed {
		switch {
		case len(operation.Uses) == 0:
			a.find("operation-without-query", operation.At, "Call the query that it needs, or say in audit.yaml why it needs none.",
				"%s reaches no query.", operation.ID)
		case operation.Method != http.MethodGet && operation.Method != http.MethodHead && len(a.Tables) > 0 && !slices.ContainsFunc(operation.Uses, writes):
			a.find("operation-without-query", operation.At, "Call the query that writes, or make it a GET.",
				"%s is a %s and reaches no query that writes.", operation.ID, operation.Method)
		}
	}
	var apart []string
	transactions := map[string]bool{}
	for _, use := range operation.Uses {
		switch {
		case !writes(use):
		case use.Transaction == "":
			apart = append(apart, use.Query)
		default:
			transactions[use.Transaction] = true
		}
	}
	// One statement beside one transaction are alternatives; two statements, or two
	// transactions, leave half behind when the second fails.
	if len(apart) > 1 || len(transactions) > 1 {
		a.find("writes-apart", operation.At, "Put them into one transaction ("+a.config.Transaction+"), or into one statement.",
			"%s writes in several transactions (%s).", operation.ID, strings.Join(append(apart, sortedKeys(transactions)...), ", "))
	}
}

// document is what is needed of the OpenAPI document.
type document struct {
	Paths map[string]map[string]struct {
		OperationID string                 `yaml:"operationId"`
		Security    *[]map[string][]string `yaml:"security"`
	} `yaml:"paths"`
}

func (a *Audit) judgeDocument() error {
	var described document
	if err := readYAML(a.config.path(a.config.Spec), &described); err != nil {
		return err
	}
	at := Position{File: a.config.Spec}
	documented := map[string]bool{}
	for _, path := range sortedKeys(described.Paths) {
		for _, method := range sortedKeys(described.Paths[path]) {
			item := described.Paths[path][method]
			documented[item.OperationID] = true
			i := slices.IndexFunc(a.Operations, func(o *Operation) bool { return o.ID == item.OperationID })
			if i < 0 {
				a.find("operation-undocumented", at, "Generate the document.", "%s is in the document, and not in the code.", item.OperationID)
				continue
			}
			operation := a.Operations[i]
			if item.Security == nil || len(*item.Security) == 0 {
				a.find("operation-unsecured", operation.Registered, "Declare its security, an empty alternative where no key is needed.",
					"%s does not say who may call it.", operation.ID)
				continue
			}
			open := false
			for _, alternative := range *item.Security {
				open = open || len(alternative) == 0
				operation.Keys = append(operation.Keys, strings.Join(sortedKeys(alternative), "+"))
			}
			if open && operation.Method != http.MethodGet && operation.Method != http.MethodHead {
				a.find("operation-unsecured", operation.Registered, "Ask for a key.", "%s writes, and needs no key.", operation.ID)
			}
		}
	}
	for _, operation := range a.Operations {
		if !documented[operation.ID] {
			a.find("operation-undocumented", operation.Registered, "Generate the document.", "%s is not in the document.", operation.ID)
		}
	}
	return nil
}

func (a *Audit) judgePlans() {
	for _, query := range a.Queries {
		if len(query.Reads) > 0 && query.Reason == "" {
			a.find("plan-reads-large-table", query.At, "Give it an index, or say why under its name: `-- audit: …`.",
				"%s %s.", query.Name, strings.Join(query.Reads, ", "))
		}
	}
	for _, index := range a.Indexes {
		if len(index.Queries) == 0 && !index.Constraint {
			a.find("index-unused", Position{File: a.config.Schema}, "Drop it: each index costs every write.", "no query uses %s.", index.Name)
		}
	}
}

func (a *Audit) judgeTests(input Input) {
	if input.Record == nil {
		return
	}
	for _, query := range a.Queries {
		if len(query.Tests) == 0 {
			a.find("query-untested", query.At, "Test it by its name.", "no test ran %s.", query.Name)
		}
	}
	for _, operation := range a.Operations {
		if len(operation.Tests) == 0 && len(operation.Uses) > 0 {
			a.find("operation-untested", operation.Registered, "Call it in a test, over HTTP.", "no test called %s.", operation.ID)
		}
	}
	for _, constraint := range a.Constraints {
		if len(constraint.Tests) == 0 {
			a.find("constraint-untested", Position{File: a.config.Schema}, "Violate it in a test, and see that it holds.",
				"no test violated %s of %s.", constraint.Name, constraint.Table)
		}
	}
}

func (a *Audit) judgeSeed() error {
	if a.config.Seed == "" {
		return nil
	}
	if err := readYAML(a.config.path(a.config.Seed), &a.Seed); err != nil {
		return err
	}
	for _, seed := range a.Seed {
		at := Position{File: a.config.Seed}
		query := a.query(seed.Query)
		if query == nil {
			a.find("seed", at, "Name the query that does its work here.", "%q has no query (%q).", seed.Statement, seed.Query)
			continue
		}
		seed.Tests = query.Tests
		if len(query.Tests) == 0 {
			a.find("seed", at, "Test the query.", "%q: no test ran %s.", seed.Statement, seed.Query)
		}
	}
	return nil
}

var lintLine = regexp.MustCompile(`^([^\s:]+\.go):(\d+):\d+: (.*)$`)

func (a *Audit) judgeLint(ctx context.Context) error {
	if len(a.config.Lint) == 0 {
		return nil
	}
	cmd := exec.CommandContext(ctx, a.config.Lint[0], a.config.Lint[1:]...)
	cmd.Dir = a.config.Root
	cmd.Env = os.Environ()
	var output, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &problems
	err := cmd.Run()
	found := 0
	for line := range strings.Lines(output.String()) {
		if match := lintLine.FindStringSubmatch(strings.TrimSpace(line)); match != nil {
			number, _ := strconv.Atoi(match[2]) // Digits.
			a.find("lint", Position{match[1], number}, "Mend it.", "%s.", match[3])
			found++
		}
	}
	var exit *exec.ExitError
	if err != nil && (found == 0 || !errors.As(err, &exit)) {
		return fmt.Errorf("run the linters: %w: %s%s", err, output.String(), problems.String())
	}
	return nil
}
