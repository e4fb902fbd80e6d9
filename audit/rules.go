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
	{ID: "operation-untested", Looks: "every operation was called by a test"},
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
	{ID: "query-unforeseen", Looks: "every query that an operation was seen to run is in reach of its code"},
	{ID: "exemption-stale", Looks: "every exemption in audit.yaml, and every reason beside a query, is needed"},
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
	if err := a.judgeDocument(); err != nil {
		return nil, err
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
	if input.DatabaseURL != "" {
		a.judgePlans()
	}
	a.judgeTests(input)
	if err := a.judgeSeed(input); err != nil {
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
	a.Settings, a.Depends = a.code.settings, a.code.depends
	if err := a.judgeClients(); err != nil {
		return nil, err
	}
	a.judgeExemptions(input)
	a.countLooks(input)
	if err := a.notePitfalls(input); err != nil {
		return nil, err
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
		needsKey := slices.ContainsFunc(operation.Keys, func(key string) bool { return key != "" })
		for _, middleware := range sortedKeys(a.config.Middlewares) {
			if a.config.Middlewares[middleware] == "all" || needsKey {
				operation.Before = append(operation.Before, a.code.middlewares[middleware]...)
			}
		}
		for _, use := range slices.Concat(operation.Uses, operation.Before) {
			if query := a.query(use.Query); query != nil {
				query.Operations = append(query.Operations, operation.ID)
			}
		}
	}
	tests := map[string]bool{}
	for _, entry := range input.Record {
		test := entry.Package + "." + entry.Test
		function, _, _ := strings.Cut(test, "/")
		tests[function] = true
		if query := a.query(entry.Query); query != nil {
			query.Tests = append(query.Tests, test)
		}
		// What stands before a handler may answer from a cache: which test had it ask is by chance.
		isBefore := func(use Use) bool { return use.Query == entry.Query }
		for _, operation := range a.Operations {
			if operation.ID == entry.Operation && !slices.ContainsFunc(operation.Before, isBefore) {
				operation.Tests = append(operation.Tests, test)
			}
		}
		for _, constraint := range a.Constraints {
			if constraint.Name == entry.Constraint {
				constraint.Tests = append(constraint.Tests, test)
			}
		}
	}
	a.Tests = len(tests)
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
		"query-unforeseen": recorded * len(a.Operations), "exemption-stale": len(a.Exemptions),
	}
	for i, rule := range a.Rules {
		if a.Rules[i].Looked = looked[rule.ID]; looked[rule.ID] == 0 && input.Complete {
			a.find(rule.ID, Position{File: configFile}, "Give it a database, a record of the tests, or what else it needs.", "the rule had nothing to look at.")
		}
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
	exempt := a.config.WritesApart[operation.ID]
	places, queries := map[string]bool{}, map[string]bool{}
	unnamed := false
	for _, use := range operation.Uses {
		if !writes(use) {
			continue
		}
		if use.Around != "" {
			a.find("writes-apart", operation.At, "Call it on the transaction's queries.",
				"%s runs %s around the transaction at %s.", operation.ID, use.Query, use.Around)
			continue
		}
		place, again := use.Query, use.Repeated
		if use.Transaction != "" {
			place, again = "a transaction at "+use.Transaction, use.Again
		}
		if places[place] = true; again {
			places[place+", in a loop"] = true
		}
		queries[use.Query] = true
		unnamed = unnamed || exempt[use.Query] == ""
	}
	if len(places) > 1 && unnamed {
		a.find("writes-apart", operation.At, "Put them into one transaction ("+strings.Join(a.config.Transactions, ", ")+
			") or one statement, or say in audit.yaml (writes_apart) of each why it may stay without the others.",
			"%s writes %s apart: %s.", operation.ID, strings.Join(sortedKeys(queries), ", "), strings.Join(sortedKeys(places), "; "))
	}
	for _, query := range sortedKeys(exempt) {
		a.exempt("writes_apart", operation.ID+", "+query, exempt[query], queries[query] && len(places) > 1)
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
				var schemes []string
				for _, scheme := range sortedKeys(alternative) {
					if scopes := alternative[scheme]; len(scopes) > 0 {
						scheme += " (" + strings.Join(scopes, ", ") + ")"
					}
					schemes = append(schemes, scheme)
				}
				operation.Keys = append(operation.Keys, strings.Join(schemes, " and "))
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
		if len(operation.Tests) == 0 {
			a.find("operation-untested", operation.Registered, "Call it in a test, over HTTP.", "no test called %s.", operation.ID)
		}
	}
	unforeseen := map[string]bool{}
	for _, entry := range input.Record {
		i := slices.IndexFunc(a.Operations, func(o *Operation) bool { return o.ID == entry.Operation })
		if i < 0 || entry.Query == "" || unforeseen[entry.Operation+entry.Query] {
			continue
		}
		operation := a.Operations[i]
		if !slices.ContainsFunc(slices.Concat(operation.Uses, operation.Before), func(use Use) bool { return use.Query == entry.Query }) {
			unforeseen[entry.Operation+entry.Query] = true
			a.find("query-unforeseen", operation.At, "Name what reaches it in audit.yaml (middlewares), or reach it by what is called by its name.",
				"%s ran %s in %s.%s, and its code does not show how.", operation.ID, entry.Query, entry.Package, entry.Test)
		}
	}
	for _, constraint := range a.Constraints {
		if len(constraint.Tests) == 0 {
			a.find("constraint-untested", a.definition(constraint.Name), "Violate it in a test, and see that it holds.",
				"no test violated %s of %s.", constraint.Name, constraint.Table)
		}
	}
}

// judgeSeed finds for each statement of the earlier audit whether what does its work
// here does the same to the same table.
func (a *Audit) judgeSeed(input Input) error {
	if a.config.Seed == "" {
		return nil
	}
	var named map[string][]string
	if err := readYAML(a.config.path(a.config.Seed), &named); err != nil {
		return err
	}
	for _, statement := range sortedKeys(named) {
		if !slices.Contains(a.config.SeedStatements, statement) {
			a.find("seed", Position{a.config.Seed, a.lineOf(a.config.Seed, statement)}, "Take it out.", "%q is no statement of the earlier audit.", statement)
		}
	}
	for _, statement := range a.config.SeedStatements {
		at := Position{a.config.Seed, a.lineOf(a.config.Seed, statement)}
		seed := &Seed{Statement: statement, Queries: named[statement]}
		a.Seed = append(a.Seed, seed)
		if len(seed.Queries) == 0 {
			a.find("seed", at, "Name the queries that do its work here.", "%q has no query.", statement)
		}
		words := strings.Fields(strings.ReplaceAll(statement, ",", ""))
		if len(words) < 3 {
			return fmt.Errorf("audit.yaml: %q is not \"file:line does table\"", statement)
		}
		does, table := words[1:len(words)-1], snake(words[len(words)-1])
		for _, name := range seed.Queries {
			query := a.query(name)
			if query == nil {
				a.find("seed", at, "Name a query.", "%q has no query (%q).", statement, name)
				continue
			}
			if input.DatabaseURL != "" && (!slices.Contains(query.Tables, table) || slices.ContainsFunc(does, func(verb string) bool { return !slices.Contains(query.Does, verb) })) {
				a.find("seed", at, "Name the query that does.", "%q: %s does not %s %s.", statement, name, strings.Join(does, " and "), table)
			}
			seed.Tests = append(seed.Tests, query.Tests...)
			if len(query.Tests) == 0 {
				a.find("seed", at, "Test the query.", "%q: no test ran %s.", statement, name)
			}
		}
		slices.Sort(seed.Tests)
		seed.Tests = slices.Compact(seed.Tests)
	}
	return nil
}

const configFile = "audit.yaml"

// exempt notes an exemption, and finds it where nothing needs it.
func (a *Audit) exempt(from, what, reason string, needed bool) {
	a.Exemptions = append(a.Exemptions, Exemption{from, what, reason})
	if needed {
		return
	}
	at := Position{configFile, a.lineOf(configFile, "\n"+from+":") + 1}
	if query := a.query(what); query != nil && from == "-- audit:" {
		at = query.At
	}
	a.find("exemption-stale", at, "Take it out.", "%s of %s is needed by nothing.", from, what)
}

// judgeExemptions finds those that nothing needs.
func (a *Audit) judgeExemptions(input Input) {
	for _, id := range sortedKeys(a.config.WithoutQuery) {
		a.exempt("without_query", id, a.config.WithoutQuery[id],
			slices.ContainsFunc(a.Operations, func(o *Operation) bool { return o.ID == id && len(o.Uses) == 0 }))
	}
	for _, path := range sortedKeys(a.config.SQLAllowed) {
		a.exempt("sql_allowed", path, a.config.SQLAllowed[path], a.code.allowed[path])
	}
	for _, name := range sortedKeys(a.config.Middlewares) {
		a.exempt("middlewares", name, "it stands before operations: "+a.config.Middlewares[name], len(a.code.middlewares[name]) > 0)
	}
	for _, name := range sortedKeys(a.config.CalledByLibraries) {
		a.exempt("called_by_libraries", name, a.config.CalledByLibraries[name], a.code.called[name])
	}
	for _, id := range sortedKeys(a.config.WritesApart) {
		if !slices.ContainsFunc(a.Operations, func(o *Operation) bool { return o.ID == id }) {
			a.exempt("writes_apart", id, "", false)
		}
	}
	for _, name := range sortedKeys(a.config.AcceptedMutants) {
		a.exempt("accepted_mutants", name, a.config.AcceptedMutants[name], slices.Contains(a.survivors, name))
	}
	for _, name := range sortedKeys(a.config.PlanValues) {
		a.exempt("plan_values", name, "it is planned for its values", a.plannedForValues(name))
	}
	for _, query := range a.Queries {
		if query.Reason != "" && input.DatabaseURL != "" {
			a.exempt("-- audit:", query.Name, query.Reason, len(query.Reads) > 0)
		}
	}
}

// notePitfalls notes what the linters found, and where they are told not to look.
func (a *Audit) notePitfalls(input Input) error {
	for _, linter := range sortedKeys(a.config.Pitfalls) {
		pitfall := Pitfall{linter, a.config.Pitfalls[linter], !input.SkipLint && len(a.config.Lint) > 0, []string{}}
		for _, finding := range a.Findings {
			if finding.Rule == "lint" && strings.Contains(finding.Message, "("+linter+")") {
				pitfall.Found = append(pitfall.Found, finding.Position.String())
			}
		}
		a.Pitfalls = append(a.Pitfalls, pitfall)
	}
	var linting struct {
		Linters struct {
			Exclusions struct {
				Rules []struct {
					Path    string   `yaml:"path"`
					Linters []string `yaml:"linters"`
				} `yaml:"rules"`
			} `yaml:"exclusions"`
		} `yaml:"linters"`
	}
	if a.config.LintConfig != "" {
		if err := readYAML(a.config.path(a.config.LintConfig), &linting); err != nil {
			return err
		}
	}
	left := slices.Clone(a.code.unlinted)
	for _, rule := range linting.Linters.Exclusions.Rules {
		left = append(left, Unlinted{At: rule.Path, Linters: rule.Linters})
	}
	for _, unlinted := range left {
		unlinted.Linters = slices.DeleteFunc(slices.Clone(unlinted.Linters), func(linter string) bool { return a.config.Pitfalls[linter] == "" })
		if len(unlinted.Linters) > 0 {
			a.Unlinted = append(a.Unlinted, unlinted)
		}
	}
	slices.SortFunc(a.Unlinted, func(a, b Unlinted) int { return strings.Compare(a.At, b.At) })
	return nil
}

// judgeClients looks for each operation in the generated clients, and in the
// recorders, which need not have it.
func (a *Audit) judgeClients() error {
	for _, operation := range a.Operations {
		operation.Clients, operation.Recorders = map[string]Position{}, map[string]Position{}
	}
	if err := a.findOperations(a.config.Recorders, func(o *Operation) map[string]Position { return o.Recorders }); err != nil {
		return err
	}
	if err := a.findOperations(a.config.Clients, func(o *Operation) map[string]Position { return o.Clients }); err != nil {
		return err
	}
	for _, client := range sortedKeys(a.config.Clients) {
		for _, operation := range a.Operations {
			if _, ok := operation.Clients[client]; !ok {
				a.find("operation-without-client", Position{File: a.config.Clients[client]}, "Generate it anew.", "the client for %s has no %s.", client, operation.ID)
			}
		}
	}
	return nil
}

// findOperations notes in which line of each file an operation is first: by its ID in
// quotes, or as the name of a method.
func (a *Audit) findOperations(paths map[string]string, of func(*Operation) map[string]Position) error {
	for _, name := range sortedKeys(paths) {
		content, err := os.ReadFile(a.config.path(paths[name]))
		if err != nil {
			return fmt.Errorf("read the client for %s: %w", name, err)
		}
		lines := strings.Split(string(content), "\n")
		for _, operation := range a.Operations {
			var method strings.Builder
			for word := range strings.SplitSeq(operation.ID, "-") {
				method.WriteString(strings.ToUpper(word[:1]) + word[1:])
			}
			used := regexp.MustCompile(`"` + operation.ID + `"|(?i:[).] ?` + method.String() + `(With\w+)?\()`)
			if i := slices.IndexFunc(lines, used.MatchString); i >= 0 {
				of(operation)[name] = Position{paths[name], i + 1}
			}
		}
	}
	return nil
}

// definition is where the schema makes what is called name.
func (a *Audit) definition(name string) Position {
	for _, migration := range slices.Backward(a.Migrations) {
		text, _ := readStatement(a.config, migration.Up) // It was read before.
		made := func(line string) bool { return strings.Contains(line, name) && !strings.HasPrefix(line, "drop ") }
		if i := slices.IndexFunc(strings.Split(text, "\n"), made); i >= 0 {
			return Position{migration.Up, i + 1}
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
