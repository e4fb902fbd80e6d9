package audit

import (
	"bytes"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Markdown returns the report that a project commits. It names files, functions and
// queries; lines, and which further tests ran a query, are not in it: they change too
// often.
func (a *Audit) Markdown() []byte {
	r := &report{}
	r.line("# Audit\n")
	r.line("Computed from the code, a test run and a PostgreSQL %d; `make audit` writes it, and CI sees that it is current.\n", a.PostgreSQL)
	r.line("**%s.**", a.Summary())

	r.line("\n## Rules and findings\n")
	r.table("rule|what has to hold|findings", func(row func(...string)) {
		for _, rule := range Rules {
			found := 0
			for _, finding := range a.Findings {
				if finding.Rule == rule[0] {
					found++
				}
			}
			row(code1(rule[0]), rule[1], strconv.Itoa(found))
		}
	})
	for _, finding := range a.Findings {
		r.line("- %s", finding)
	}

	r.line("\n## Operations\n")
	r.table("operation|method and path|handler|queries that it reaches|test", func(row func(...string)) {
		for _, o := range a.Operations {
			row(code1(o.ID), code1(o.Method+" "+o.Path), link(o.Handler, o.File), a.describe(o.Queries), ownTest(o.Tests, o.Handler))
		}
		row(beforeOperations, "", "", a.describe(a.code.before), "")
	})

	r.line("\n## Queries\n")
	r.table("query|does|tables|indexes of its plan|used by|test|changes tried", func(row func(...string)) {
		for _, q := range a.Queries {
			row(link(q.Name, q.File), strings.Join(q.Does, ", "), codes(q.Tables), codes(q.Indexes),
				codes(slices.Concat(q.Operations, q.Commands)), ownTest(q.Tests, q.Name), strconv.Itoa(len(q.mutants)))
		}
	})
	r.line("\nA table of %d rows is large. Queries that read or sort all of one:\n", a.config.LargeTable)
	for _, q := range a.Queries {
		if len(q.Reads) > 0 {
			r.line("- %s %s: %s", link(q.Name, q.File), strings.Join(q.Reads, ", "), q.Reason)
		}
	}

	r.line("\n## Indexes\n")
	r.table("index|on|queries that use it", func(row func(...string)) {
		for _, i := range a.Indexes {
			_, on, _ := strings.Cut(i.Definition, " ON public.")
			users := codes(i.Queries)
			if i.Constraint && users == "" {
				users = "keeps a constraint"
			}
			row(code1(i.Name), code1(on), users)
		}
	})

	r.line("\n## Do the tests notice?\n")
	changes, survived, invalid := a.countMutants()
	var unchanged []string
	for _, q := range a.Queries {
		for _, column := range q.unchanged {
			unchanged = append(unchanged, q.Name+"."+column)
		}
	}
	r.line("Each query was changed in small ways, and the tests that run it were run: of %d changes %d made a test fail. The others make", changes, changes-survived)
	r.line("no difference that a test could notice; the reasons are below. %d more, which PostgreSQL refuses or which have other parameters or", invalid)
	r.line("columns, would have shown nothing. Columns of results that no change could be made to: %s.", noneOr(codes(unchanged)))

	r.line("\n## Exemptions\n")
	r.table("from|what|why", func(row func(...string)) {
		for _, e := range a.Exemptions {
			row(code1(e.From), code1(e.What), e.Reason)
		}
	})
	return r.Bytes()
}

// Summary is the audit in one line.
func (a *Audit) Summary() string {
	changes, survived, _ := a.countMutants()
	return fmt.Sprintf("%d operations, %d queries, %d indexes, %d constraints, %d migrations, %d changes to queries of which %d survived, %d findings",
		len(a.Operations), len(a.Queries), len(a.Indexes), len(a.Constraints), len(a.Migrations), changes, survived, len(a.Findings))
}

func (a *Audit) countMutants() (changes, survived, invalid int) {
	for _, q := range a.Queries {
		result, _ := a.mutationsOf(q.Name)
		changes, survived, invalid = changes+len(q.mutants), survived+len(result.Survived), invalid+q.invalid
	}
	return changes, survived, invalid
}

// describe names queries, with what they do.
func (a *Audit) describe(queries []string) string {
	var texts []string
	for _, name := range queries {
		q := a.query(name)
		texts = append(texts, link(q.Name, q.File)+" ("+strings.Join(q.Does, ", ")+")")
	}
	return noneOr(strings.Join(texts, "<br>"))
}

// ownTest names the tests that bear a name. Which others there are is no part of the report.
func ownTest(tests []string, name string) string {
	var own []string
	for _, test := range tests {
		if test, _, _ = strings.Cut(test, "/"); strings.EqualFold(test[strings.Index(test, ".")+1:], "Test"+name) {
			own = insert(own, test)
		}
	}
	if len(own) == 0 && len(tests) > 0 {
		return "other tests"
	}
	return noneOr(codes(own))
}

type report struct{ bytes.Buffer }

func (r *report) line(format string, args ...any) { fmt.Fprintf(r, format+"\n", args...) }

func (r *report) table(head string, fill func(row func(...string))) {
	columns := strings.Split(head, "|")
	r.line("| %s |", strings.Join(columns, " | "))
	r.line("|%s", strings.Repeat("---|", len(columns)))
	fill(func(cells ...string) {
		for i := range cells {
			cells[i] = strings.ReplaceAll(cells[i], "|", `\|`)
		}
		r.line("| %s |", strings.Join(cells, " | "))
	})
}

func code1(text string) string { return "`" + text + "`" }

func codes(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = code1(name)
	}
	return strings.Join(quoted, ", ")
}

// link points to a file, from a report one folder below the project.
func link(text, file string) string {
	return fmt.Sprintf("[%s](../%s)", text, filepath.ToSlash(file))
}

func noneOr(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

// sorted goes through a map by its keys.
func sorted[V any](m map[string]V) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for _, key := range sortedKeys(m) {
			if !yield(key, m[key]) {
				return
			}
		}
	}
}
