package audit

import (
	"net/http"
	"os"
	"slices"
	"strings"
)

// Rules are the rules, by name.
var Rules = [][2]string{
	{"query-unused", "every query is reached by an operation or a command"},
	{"query-comment", "every query says what it does"},
	{"query-untested", "every query ran in a test"},
	{"query-unasserted", "a test fails when a query returns or does something else"},
	{"query-unforeseen", "every query that an operation ran in a test is in reach of its code"},
	{"operation-untested", "every operation was called by a test"},
	{"operation-without-query", "every operation reaches a query; those that are no GET, and only those, reach one that writes"},
	{"plan-reads-large-table", "no plan reads or sorts all of a large table without a written reason"},
	{"index-unused", "every index is used by the plan of a query, or keeps a constraint"},
	{"constraint-untested", "every constraint was violated by a test"},
	{"migration-down", "every migration can be taken back, and leaves nothing behind"},
	{"exemption-stale", "every exemption in audit.yaml, and every reason beside a query, is needed"},
}

func (a *Audit) judge(record []Entry) {
	for _, query := range a.Queries {
		a.judgeQuery(query)
	}
	for _, operation := range a.Operations {
		a.judgeOperation(operation, record)
	}
	for _, index := range a.Indexes {
		if len(index.Queries) == 0 && !index.Constraint {
			a.find("index-unused", a.schemaFile(index.Name), "Drop it: each index costs every write.", "no query uses %s.", index.Name)
		}
	}
	for _, constraint := range a.Constraints {
		if len(constraint.Tests) == 0 {
			a.find("constraint-untested", a.schemaFile(constraint.Name), "Violate it in a test, and see that it holds.",
				"no test violated %s of %s.", constraint.Name, constraint.Table)
		}
	}
	a.judgeExemptions()
}

func (a *Audit) judgeQuery(query *Query) {
	if len(query.Operations) == 0 && len(query.Commands) == 0 {
		a.find("query-unused", query.at(), "Use it or delete it.", "no operation and no command reaches %s.", query.Name)
	}
	if query.Comment == "" {
		a.find("query-comment", query.at(), "Say under its name what it does, in which order, and what a missing row does.", "%s has no comment.", query.Name)
	}
	if len(query.Tests) == 0 {
		a.find("query-untested", query.at(), "Test it by its name.", "no test ran %s.", query.Name)
	}
	if len(query.Reads) > 0 && query.Reason == "" {
		a.find("plan-reads-large-table", query.at(), "Give it an index, or say why under its name: `-- audit: …`.",
			"%s %s.", query.Name, strings.Join(query.Reads, ", "))
	}
	const rule = "query-unasserted"
	result, _ := a.mutationsOf(query.Name)
	switch {
	case len(query.mutants) == 0:
		a.find(rule, query.at(), "Give package audit an operator that applies to it.", "no change can be made to %s.", query.Name)
	case !a.isCurrent(query, result):
		a.find(rule, query.at(), "Run `make audit-mutate`.", "%s, its tables or its tests have changed since it was tried.", query.Name)
	}
	for _, survivor := range result.Survived {
		if a.config.AcceptedMutants[query.Name+": "+survivor] == "" {
			a.find(rule, query.at(), "Assert on it in a test, or say in audit.yaml (accepted_mutants) why none can.",
				"no test of %s notices this change: %s.", query.Name, survivor)
		}
	}
}

func (a *Audit) judgeOperation(operation *Operation, record []Entry) {
	at := operation.File + ": " + operation.Handler
	if len(operation.Tests) == 0 {
		a.find("operation-untested", at, "Call it in a test, over HTTP.", "no test called %s.", operation.ID)
	}
	for _, entry := range record {
		foreseen := slices.Contains(operation.Queries, entry.Query) || slices.Contains(a.code.before, entry.Query)
		if entry.Operation == operation.ID && entry.Query != "" && !foreseen {
			a.find("query-unforeseen", at, "Name what reaches it in audit.yaml (middlewares), or call it by its name.",
				"%s ran %s in %s, and its code does not show how.", operation.ID, entry.Query, entry.test())
			break
		}
	}
	writes := a.writes(operation)
	_, without := a.config.WithoutQuery[operation.ID]
	switch reads := operation.Method == http.MethodGet || operation.Method == http.MethodHead; {
	case without:
	case len(operation.Queries) == 0:
		a.find("operation-without-query", at, "Call the query that it needs, or say in audit.yaml (without_query) why it needs none.",
			"%s reaches no query.", operation.ID)
	case reads && len(writes) > 0:
		a.find("operation-without-query", at, "Read without writing, or make it a POST.", "%s is a %s and reaches %s, which writes.",
			operation.ID, operation.Method, writes[0])
	case !reads && len(writes) == 0:
		a.find("operation-without-query", at, "Call the query that writes, or make it a GET.", "%s is a %s and reaches no query that writes.",
			operation.ID, operation.Method)
	}
}

// writes are the queries of an operation that write.
func (a *Audit) writes(operation *Operation) (names []string) {
	for _, name := range operation.Queries {
		if slices.ContainsFunc(a.query(name).Does, func(does string) bool { return does != "select" && does != "lock" }) {
			names = append(names, name)
		}
	}
	return names
}

// schemaFile is where the schema makes what is called name, last.
func (a *Audit) schemaFile(name string) string {
	for _, migration := range slices.Backward(a.Migrations) {
		if text, err := os.ReadFile(a.config.path(migration.Up)); err == nil && strings.Contains(string(text), name) {
			return migration.Up
		}
	}
	return a.config.Schema
}

// judgeExemptions records the exemptions, and reports those that are not needed.
func (a *Audit) judgeExemptions() {
	exempt := func(from, what, reason, at string, needed bool) {
		a.Exemptions = append(a.Exemptions, Exemption{from, what, reason})
		if !needed {
			a.find("exemption-stale", at, "Take it out.", "nothing needs %s of %s.", from, what)
		}
	}
	for id, reason := range sorted(a.config.WithoutQuery) {
		needs := func(o *Operation) bool { return o.ID == id && len(o.Queries) == 0 }
		exempt("without_query", id, reason, configFile, slices.ContainsFunc(a.Operations, needs))
	}
	for _, name := range a.config.Middlewares {
		exempt("middlewares", name, "it runs before the handlers", configFile, a.code.called[name])
	}
	for name, reason := range sorted(a.config.AcceptedMutants) {
		of, survivor, _ := strings.Cut(name, ": ")
		result, _ := a.mutationsOf(of)
		query := a.query(of)
		needed := slices.Contains(result.Survived, survivor) || query != nil && !a.isCurrent(query, result)
		exempt("accepted_mutants", name, reason, configFile, needed)
	}
	for name := range sorted(a.config.PlanValues) {
		query := a.query(name)
		exempt("plan_values", name, "it has a custom plan", configFile, query != nil && query.custom)
	}
	for _, query := range a.Queries {
		if query.Reason != "" {
			exempt("-- audit:", query.Name, query.Reason, query.at(), len(query.Reads) > 0)
		}
	}
}
