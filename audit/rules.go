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
	// Looked counts what it looked at; 0 says that it did not look.
	Looked int `json:"looked"`
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
	{ID: "operation-without-client", Looks: "every generated client has every operation"},
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
	if a.code = input.code; a.code == nil {
		if a.code, err = readCode(config); err != nil {
			return nil, err
		}
	}
	if a.Queries, err = readQueries(config); err != nil {
		return nil, err
	}
	if a.Migrations, err = readMigrations(config); err != nil {
		return nil, err
	}
	for _, operation := range a.code.operations {
		copied := *operation
		a.Operations = append(a.Operations, &copied)
	}
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
	a.Settings = a.code.settings
	if err := a.judgeClients(); err != nil {
		return nil, err
	}
	a.countLooks(input)
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

// countLooks notes at how much each rule looked, so that a rule that had nothing to
// look at is not taken for one that found nothing.
func (a *Audit) countLooks(input Input) {
	recorded, planned := 0, 0
	if input.Record != nil {
		recorded = 1
	}
	for _, table := range a.Tables {
		if table.Large {
			planned = 1
		}
	}
	linted := 0
	if !input.SkipLint && len(a.config.Lint) > 0 {
		linted = len(a.code.functions)
	}
	migrations := len(a.Migrations)
	if input.EmptyURL == "" {
		migrations = 0
	}
	looked := map[string]int{
		"sql-in-go": len(a.code.functions), "query-unused": len(a.Queries), "query-comment": len(a.Queries),
		"query-untested": recorded * len(a.Queries), "query-unasserted": a.Mutations.Mutants,
		"operation-untested": recorded * len(a.Operations), "operation-handler": len(a.Operations),
		"operation-without-query": len(a.Operations), "operation-undocumented": len(a.Operations),
		"operation-without-client": len(a.Operations) * len(a.config.Clients), "operation-unsecured": len(a.Operations), "writes-apart": len(a.Operations), "lint": linted,
		"plan-reads-large-table": planned * len(a.Queries), "constraint-untested": recorded * len(a.Constraints),
		"index-unused": planned * len(a.Indexes), "migration-down": migrations, "seed": len(a.Seed),
	}
	for i := range a.Rules {
		a.Rules[i].Looked = looked[a.Rules[i].ID]
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
	if operation.Method == http.MethodGet || operation.Method == http.MethodHead {
		for _, use := range operation.Uses {
			if writes(use) {
				a.find("operation-without-query", operation.At, "Read without writing, or make it a POST.",
					"%s is a %s and reaches %s, which writes.", operation.ID, operation.Method, use.Query)
			}
		}
	}
	a.judgeTransactions(operation, writes)
}

// judgeTransactions finds writes of which the first may stay when the next fails.
func (a *Audit) judgeTransactions(operation *Operation, writes func(Use) bool) {
	var apart []string
	for _, use := range operation.Uses {
		switch {
		case !writes(use):
		case use.Around != "":
			a.find("writes-apart", operation.At, "Call it on the transaction's queries.",
				"%s runs %s around the transaction at %s.", operation.ID, use.Query, use.Around)
		case use.Transaction != "":
			apart = append(apart, "a transaction at "+use.Transaction)
		case use.Repeated:
			apart = append(apart, use.Query, use.Query+" again")
		default:
			apart = append(apart, use.Query)
		}
	}
	slices.Sort(apart)
	apart = slices.Compact(apart)
	_, allowed := a.config.WritesApart[operation.ID]
	if len(apart) > 1 && !allowed {
		a.find("writes-apart", operation.At, "Put them into one transaction ("+strings.Join(a.config.Transactions, ", ")+
			") or one statement, or say in audit.yaml (writes_apart) why the first may stay without the next.",
			"%s writes in several transactions: %s.", operation.ID, strings.Join(apart, ", "))
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
			a.find("index-unused", a.definition(index.Name), "Drop it: each index costs every write.", "no query uses %s.", index.Name)
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
			a.find("constraint-untested", a.definition(constraint.Name), "Violate it in a test, and see that it holds.",
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
		at := Position{a.config.Seed, a.lineOf(a.config.Seed, seed.Statement)}
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

// judgeClients looks for each operation in the generated clients: by its ID, as
// TypeScript has it, or by its ID as a name of Go.
func (a *Audit) judgeClients() error {
	for _, client := range sortedKeys(a.config.Clients) {
		path := a.config.Clients[client]
		content, err := os.ReadFile(a.config.path(path))
		if err != nil {
			return fmt.Errorf("read the client for %s: %w", client, err)
		}
		for _, operation := range a.Operations {
			var name strings.Builder
			for word := range strings.SplitSeq(operation.ID, "-") {
				name.WriteString(strings.ToUpper(word[:1]) + word[1:])
			}
			if strings.Contains(string(content), fmt.Sprintf("%q", operation.ID)) || strings.Contains(string(content), ") "+name.String()+"(") {
				operation.Clients = append(operation.Clients, client)
			} else {
				a.find("operation-without-client", Position{File: path}, "Generate it anew.", "the client for %s has no %s.", client, operation.ID)
			}
		}
	}
	return nil
}

// definition is where the schema makes what is called name.
func (a *Audit) definition(name string) Position {
	for _, migration := range slices.Backward(a.Migrations) {
		if line := a.lineOf(migration.Up, name); line > 0 {
			return Position{migration.Up, line}
		}
	}
	return Position{File: a.config.Schema}
}

// lineOf is the first line of a file that has a text, 0 when none has.
func (a *Audit) lineOf(path, text string) int {
	content, err := readStatement(a.config, path)
	if err != nil {
		return 0
	}
	before, _, found := strings.Cut(content, text)
	if !found {
		return 0
	}
	return strings.Count(before, "\n") + 1
}

var lintLine = regexp.MustCompile(`^([^\s:]+\.go):(\d+):\d+: (.*)$`)

func (a *Audit) judgeLint(ctx context.Context) error {
	if len(a.config.Lint) == 0 {
		return nil
	}
	arguments := append(slices.Clone(a.config.Lint[1:]), "--enable-only", strings.Join(sortedKeys(a.config.Pitfalls), ","), "./...")
	cmd := exec.CommandContext(ctx, a.config.Lint[0], arguments...)
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
