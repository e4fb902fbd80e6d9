package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// JSON returns everything that was established, for programs.
func (a *Audit) JSON() ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	err := encoder.Encode(a)
	return b.Bytes(), err
}

// Markdown returns the report, for people.
func (a *Audit) Markdown() []byte {
	r := &report{}
	r.line("# Audit")
	r.line("")
	r.line("Computed from the code, the tests and a PostgreSQL by `benchledger-audit`; `make audit` writes it anew and CI sees that it is")
	r.line("current. Each line was established, none was written by hand.")
	r.line("")
	r.line("**%s.**", a.Summary())
	a.reportFindings(r)
	a.reportArchitecture(r)
	a.reportOperations(r)
	a.reportQueries(r)
	a.reportSchema(r)
	a.reportSecurity(r)
	a.reportClients(r)
	a.reportPitfalls(r)
	a.reportSettings(r)
	a.reportPerformance(r)
	a.reportMutations(r)
	a.reportSeed(r)
	return r.Bytes()
}

// Summary is the audit in one line.
func (a *Audit) Summary() string {
	return fmt.Sprintf("%d operations, %d queries, %d tables, %d indexes, %d constraints, %d tests that reach an operation or the database, "+
		"%d changes to queries of which %d survived, %d findings",
		len(a.Operations), len(a.Queries), len(a.Tables), len(a.Indexes), len(a.Constraints), a.Tests,
		a.Mutations.Mutants, a.Mutations.Survived, len(a.Findings))
}

type report struct{ bytes.Buffer }

func (r *report) line(format string, args ...any) { fmt.Fprintf(r, format+"\n", args...) }

func (r *report) heading(text string) { r.line("\n## %s\n", text) }

func (r *report) table(head []string, rows [][]string) {
	r.line("| %s |", strings.Join(head, " | "))
	r.line("|%s", strings.Repeat("---|", len(head)))
	for _, row := range rows {
		for i := range row {
			row[i] = strings.ReplaceAll(row[i], "|", `\|`)
		}
		r.line("| %s |", strings.Join(row, " | "))
	}
}

func code1(text string) string {
	if text == "" {
		return ""
	}
	return "`" + text + "`"
}

func codes(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = code1(name)
	}
	return strings.Join(quoted, ", ")
}

// link points from docs/ to a line of the project.
func link(text string, at Position) string {
	return fmt.Sprintf("[%s](../%s#L%d)", text, at.File, at.Line)
}

// topTests names the test functions, and counts their subtests.
func topTests(tests []string) string {
	var names []string
	for _, test := range tests {
		name, _, _ := strings.Cut(test, "/")
		names = append(names, name)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) > 4 {
		return fmt.Sprintf("%s and %d more", codes(names[:4]), len(names)-4)
	}
	return codes(names)
}

func (a *Audit) reportFindings(r *report) {
	r.heading("Rules and findings")
	var rows [][]string
	for _, rule := range a.Rules {
		found := fmt.Sprintf("none found in %d", rule.Looked)
		if rule.Looked == 0 {
			found = "did not look"
		}
		if rule.Findings > 0 {
			found = fmt.Sprintf("**%d**", rule.Findings)
		}
		rows = append(rows, []string{code1(rule.ID), rule.Looks, found})
	}
	r.table([]string{"rule", "what has to hold", "findings"}, rows)
	for _, finding := range a.Findings {
		r.line("- %s", finding)
	}
}

func (a *Audit) reportArchitecture(r *report) {
	r.heading("Architecture")
	files := map[string]int{}
	for _, operation := range a.Operations {
		files[filepath.Dir(operation.Registered.File)]++
	}
	queryFiles := map[string]int{}
	for _, query := range a.Queries {
		queryFiles[query.At.File]++
	}
	r.line("- Migrations in `%s` (%d), queries in `%s`:", a.config.Schema, len(a.Migrations), a.config.Queries)
	for _, file := range sortedKeys(queryFiles) {
		r.line("  - `%s`: %d", filepath.Base(file), queryFiles[file])
	}
	r.line("- Generated from them: package `%s`; other Go code that executes SQL: %d places.", a.config.Generated, len(a.code.statements))
	for _, allowed := range sortedKeys(a.config.SQLAllowed) {
		r.line("  - exempt: `%s`, since %s", allowed, a.config.SQLAllowed[allowed])
	}
	for _, folder := range sortedKeys(files) {
		r.line("- Operations in `%s`: %d; described by `%s`.", folder, files[folder], a.config.Spec)
	}
}

func (a *Audit) reportOperations(r *report) {
	r.heading("Operations")
	byFile := map[string][]*Operation{}
	for _, operation := range a.Operations {
		byFile[operation.Registered.File] = append(byFile[operation.Registered.File], operation)
	}
	for _, file := range sortedKeys(byFile) {
		r.line("### `%s`\n", file)
		var rows [][]string
		for _, operation := range byFile[file] {
			var uses []string
			for _, use := range operation.Uses {
				text := use.Query
				if query := a.query(use.Query); query != nil {
					text = link(use.Query, query.At) + " (" + strings.Join(query.Does, ", ") + ")"
				}
				text += inTransaction(use)
				uses = append(uses, text)
			}
			for _, use := range operation.Before {
				if query := a.query(use.Query); query != nil {
					uses = append(uses, link(use.Query, query.At)+" ("+strings.Join(query.Does, ", ")+") before the handler")
				}
			}
			if reason, ok := a.config.WithoutQuery[operation.ID]; ok {
				uses = append(uses, "none: "+reason)
			}
			rows = append(rows, []string{
				code1(operation.ID), code1(operation.Method + " " + operation.Path), link(operation.Handler, operation.At),
				strings.Join(uses, "<br>"), strconv.Itoa(len(operation.Tests)),
			})
		}
		r.table([]string{"operation", "method and path", "handler", "queries", "tests"}, rows)
		r.line("")
	}
}

func (a *Audit) reportQueries(r *report) {
	r.heading("Queries")
	var rows [][]string
	for _, query := range a.Queries {
		users := append(slices.Clone(query.Operations), query.Commands...)
		rows = append(rows, []string{
			link(query.Name, query.At), strings.Join(query.Does, ", "), query.Rows, codes(query.Tables), codes(query.Indexes), codes(users),
			topTests(query.Tests),
		})
	}
	r.table([]string{"query", "does", "rows", "tables", "indexes of its plan", "used by", "tests that ran it"}, rows)
}

func (a *Audit) reportSchema(r *report) {
	r.heading("Schema")
	for _, table := range a.Tables {
		r.line("### `%s`\n", table.Name)
		var columns []string
		for _, column := range table.Columns {
			text := column.Name + " " + column.Type
			if column.NotNull {
				text += " not null"
			}
			columns = append(columns, text)
		}
		r.line("%s\n", codes(columns))
		var rows [][]string
		for _, index := range a.Indexes {
			if index.Table == table.Name {
				_, columns, _ := strings.Cut(index.Definition, " USING ")
				kind := ""
				if index.Constraint {
					kind = "key"
				}
				rows = append(rows, []string{code1(index.Name), code1(columns), kind, codes(index.Queries)})
			}
		}
		r.table([]string{"index", "on", "", "queries that use it"}, rows)
		r.line("")
		rows = nil
		for _, constraint := range a.Constraints {
			if constraint.Table == table.Name {
				rows = append(rows, []string{code1(constraint.Name), code1(constraint.Definition), topTests(constraint.Tests)})
			}
		}
		r.table([]string{"constraint", "", "tests that violated it"}, rows)
		r.line("")
	}
}

func (a *Audit) reportSecurity(r *report) {
	r.heading("Router and security")
	var rows [][]string
	for _, operation := range a.Operations {
		var keys []string
		for _, key := range operation.Keys {
			if key == "" {
				key = "none"
			}
			keys = append(keys, key)
		}
		rows = append(rows, []string{code1(operation.Method + " " + operation.Path), code1(operation.ID), strings.Join(keys, " or ")})
	}
	r.table([]string{"route", "operation", "key that it needs (scope)"}, rows)
}

func (a *Audit) reportPerformance(r *report) {
	r.heading("Performance considerations")
	var repeated, transactions int
	for _, operation := range a.Operations {
		for _, use := range operation.Uses {
			if use.Repeated {
				repeated++
				r.line("- `%s` runs %s in a loop%s.", operation.ID, code1(use.Query), inTransaction(use))
			}
			if use.Transaction != "" {
				transactions++
			}
		}
	}
	r.line("- Queries that an operation runs once per row or in another loop: %d. Uses of a query within a transaction: %d.", repeated, transactions)
	r.line("- Indexes: %d, of which %d keep a constraint; each costs every write.\n", len(a.Indexes), countConstraints(a.Indexes))
	var settings []string
	for _, name := range sortedKeys(a.Planner.Settings) {
		settings = append(settings, code1(name+" = "+a.Planner.Settings[name]))
	}
	r.line("Planned by PostgreSQL %d on data of realistic volume (%s); a table of %d rows is large. Queries that", a.Planner.Version, strings.Join(settings, ", "), a.config.LargeTable)
	r.line("read or sort all of one:\n")
	none := true
	for _, query := range a.Queries {
		if len(query.Reads) > 0 {
			none = false
			r.line("- %s %s: %s", link(query.Name, query.At), strings.Join(query.Reads, ", "), query.Reason)
		}
	}
	if none {
		r.line("- none found")
	}
}

func inTransaction(use Use) string {
	if use.Transaction == "" {
		return ""
	}
	if use.Again {
		return " in a transaction each time, at " + code1(use.Transaction)
	}
	return " in the transaction at " + code1(use.Transaction)
}

func countConstraints(indexes []*Index) (n int) {
	for _, index := range indexes {
		if index.Constraint {
			n++
		}
	}
	return n
}

func (a *Audit) reportClients(r *report) {
	if len(a.config.Clients) == 0 {
		return
	}
	r.heading("Clients")
	head := append([]string{"operation"}, sortedKeys(a.config.Clients)...)
	for _, client := range sortedKeys(a.config.Recorders) {
		head = append(head, "recorder, "+client)
	}
	var rows [][]string
	for _, operation := range a.Operations {
		row := []string{code1(operation.ID)}
		for _, client := range sortedKeys(a.config.Clients) {
			row = append(row, linkOr(operation.Clients[client], "**missing**"))
		}
		for _, client := range sortedKeys(a.config.Recorders) {
			row = append(row, linkOr(operation.Recorders[client], ""))
		}
		rows = append(rows, row)
	}
	r.table(head, rows)
}

func linkOr(at Position, otherwise string) string {
	if at.File == "" {
		return otherwise
	}
	return link(filepath.Base(at.File)+":"+strconv.Itoa(at.Line), at)
}

func noneOr(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

func (a *Audit) reportPitfalls(r *report) {
	r.heading("Pitfalls")
	var rows [][]string
	for _, pitfall := range a.Pitfalls {
		found := "did not look"
		if pitfall.Looked {
			found = "none found"
		}
		if len(pitfall.Found) > 0 {
			found = codes(pitfall.Found)
		}
		rows = append(rows, []string{pitfall.Mistake, code1(pitfall.Linter), found})
	}
	r.table([]string{"pitfall", "linter", "found"}, rows)
	r.line("\nThey look at the Go module `%s`, other modules have checks of their own, and not at:\n", a.code.module)
	for _, left := range a.Unlinted {
		reason := ""
		if left.Reason != "" {
			reason = ": " + left.Reason
		}
		r.line("- %s (%s)%s", code1(left.At), codes(left.Linters), reason)
	}
	r.heading("Exemptions")
	rows = nil
	for _, exemption := range a.Exemptions {
		rows = append(rows, []string{code1(exemption.From), code1(exemption.What), exemption.Reason})
	}
	r.table([]string{"from", "what", "why"}, rows)
}

func (a *Audit) reportSettings(r *report) {
	r.heading("Environments and settings")
	var rows [][]string
	for _, setting := range a.Settings {
		rows = append(rows, []string{link(setting.Variable, setting.At), code1(setting.Default), setting.Help})
	}
	r.table([]string{"variable", "default", "what it does"}, rows)
	r.line("\nWhat differs by a setting that is a choice:\n")
	for _, place := range a.Depends {
		r.line("- %s: %s %s", code1(place.Variable), link(code1(place.Default), place.At), place.Help)
	}
}

func (a *Audit) reportMutations(r *report) {
	r.heading("Do the tests see it?")
	m := a.Mutations
	r.line("Each query was changed in small ways, and the tests that run it were run: of %d changes, %d made a test fail, %d made no difference",
		m.Mutants, m.Killed, m.Accepted)
	r.line("that a test could see, for a reason that is written down in `%s`, and %d survived. %d more, which PostgreSQL does not take or which", configFile, m.Survived, m.Stillborn)
	r.line("have other parameters or columns, would have proved nothing, and were left out. Columns of results that no change could be made to: %s.", noneOr(codes(m.Unchanged)))
}

func (a *Audit) reportSeed(r *report) {
	if len(a.Seed) == 0 {
		return
	}
	r.heading("The earlier audit's statements")
	var rows [][]string
	for _, seed := range a.Seed {
		var queries []string
		for _, name := range seed.Queries {
			if found := a.query(name); found != nil {
				queries = append(queries, link(name, found.At))
			}
		}
		rows = append(rows, []string{seed.Statement, strings.Join(queries, ", "), topTests(seed.Tests)})
	}
	r.table([]string{"statement there", "query here", "tests that ran it"}, rows)
}
