package audit

import (
	"context"
	_ "embed" // how a value is changed
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

var (
	//go:embed catalog/plus.sql
	plusSQL string
	//go:embed operators.go
	operatorsSource string
)

// mutant is a query, changed.
type mutant struct {
	name string // what was changed
	text string
}

// An operator changes a query wherever its pattern matches, once per match.
type operator struct {
	name        string
	pattern     *regexp.Regexp
	replacement string
}

var operators = []operator{
	{"drop case", regexp.MustCompile(`(?s)\bcase\b.*?\bend\b`), "null"},
	{"turn order", regexp.MustCompile(` desc\b`), ""},
	{"drop order", regexp.MustCompile(`\s+order by (?:[^\n;()]|\([^()]*\))*`), ""},
	{"drop nulls last", regexp.MustCompile(` nulls last`), ""},
	{"take equal too", regexp.MustCompile(` ([<>]) `), " $1= "},
	{"leave equal out", regexp.MustCompile(` ([<>])= `), " $1 "},
	{"negate condition", regexp.MustCompile(`\b(where|on|and|or) (\w[\w.]*) = `), "$1 $2 <> "},
	{"negate null", regexp.MustCompile(`\b(where|on|and|or) (\w[\w.]*) is not null`), "$1 $2 is null"},
	{"drop condition", regexp.MustCompile(`\n\s+and [^\n]*`), ""},
	{"or for and", regexp.MustCompile(`\band `), "or "},
	{"drop filter", regexp.MustCompile(` filter \(where [^)]*\)`), ""},
	{"drop limit", regexp.MustCompile(`\s+limit [^\n;)]*`), ""},
	{"drop distinct", regexp.MustCompile(`\bselect distinct\b`), "select"},
	{"drop lock", regexp.MustCompile(` for update`), ""},
	{"drop conflict", regexp.MustCompile(`\s+on conflict [^\n;]*do nothing`), ""},
	{"take last", regexp.MustCompile(`\bcoalesce\([^(),]*, ([^(),]*(?:\(\))?)\)`), "$1"},
	{"join inner", regexp.MustCompile(`\b(left|full) join\b`), "inner join"},
	{"turn minimum", regexp.MustCompile(`\bmin\(`), "max("},
	{"turn maximum", regexp.MustCompile(`\bmax\(`), "min("},
	{"count double", regexp.MustCompile(`\bcount\(`), "2 * count("},
}

// subject is a query to be changed, and what PostgreSQL says of it.
type subject struct {
	query      *Query
	text       string
	parameters []string // types
	fields     []string // names and types of the result
	kinds      []string
	tables     []Table
	// change returns an expression that is another value than the one given, "" where
	// none is known for the type.
	change func(kind, expression string) string
}

// mutants changes a query in each way that applies to it, and keeps its parameters
// and the types of its result: else every test would fail, whatever it asserts. It
// also returns the columns of the result that it cannot change.
func (s subject) mutants() (all []mutant, unchanged []string) {
	for _, o := range operators {
		for _, at := range o.pattern.FindAllStringSubmatchIndex(s.text, -1) {
			all = append(all, s.replace(o.name, at[0], at[1], string(o.pattern.ExpandString(nil, o.replacement, s.text, at))))
		}
	}
	all = append(all, s.valueMutants()...)
	all = append(all, s.insertMutants()...)
	all = append(all, s.assignmentMutants()...)
	columns, unchanged := s.columnMutants()
	all = append(all, columns...)
	seen := map[string]int{}
	for i := range all {
		all[i].text = s.withParameters(all[i].text)
		if seen[all[i].name]++; seen[all[i].name] > 1 {
			all[i].name += fmt.Sprintf(" (%d)", seen[all[i].name])
		}
	}
	return all, unchanged
}

// replace is a mutant that has something else in a place.
func (s subject) replace(what string, from, to int, by string) mutant {
	return mutant{what + ": " + strings.Join(strings.Fields(s.text[from:to]), " "), s.text[:from] + by + s.text[to:]}
}

var (
	parameterPattern = regexp.MustCompile(`\$(\d+)\b`)
	valuePattern     = regexp.MustCompile(`\b[a-z_]\w*\.\w+::(double precision|\w+) as \w+`)
	insertPattern    = regexp.MustCompile(`\binsert into (\w+)(?: as \w+)?\s*\(([^)]*)\)\s*(?:select(?: distinct)?|values\s*\()\s*`)
	targetPattern    = regexp.MustCompile(`\b(?:insert into|update) (\w+)(?: as (\w+))?`)
	setPattern       = regexp.MustCompile(`\bset\s+`)
	resultPattern    = regexp.MustCompile(`\b(?:select|returning)\s+`)
	aliasPattern     = regexp.MustCompile(`\s+as \w+$`)
)

// valueMutants change parameters, and values that are cast and named, where they
// are used.
func (s subject) valueMutants() (all []mutant) {
	for _, at := range parameterPattern.FindAllStringSubmatchIndex(s.text, -1) {
		var n int
		_, _ = fmt.Sscan(s.text[at[2]:at[3]], &n) // Digits.
		if n > len(s.parameters) {
			continue
		}
		kind := s.parameters[n-1]
		if changed := s.change(kind, s.text[at[0]:at[1]]+"::"+kind); changed != "" {
			all = append(all, s.replace("change parameter", at[0], at[1], "("+changed+")"))
		}
	}
	for _, at := range valuePattern.FindAllStringSubmatchIndex(s.text, -1) {
		value := s.text[at[0]:at[3]]
		if changed := s.change(s.text[at[2]:at[3]], value); changed != "" {
			all = append(all, s.replace("change value", at[0], at[3], "("+changed+")"))
		}
	}
	return all
}

// insertMutants change each value that is inserted.
func (s subject) insertMutants() (all []mutant) {
	for _, at := range insertPattern.FindAllStringSubmatchIndex(s.text, -1) {
		table := s.text[at[2]:at[3]]
		items := itemsOf(s.text, at[1])
		for i, column := range strings.Split(s.text[at[4]:at[5]], ",") {
			if i >= len(items) {
				break
			}
			column = strings.TrimSpace(column)
			value := s.text[items[i][0]:items[i][1]]
			if at := parameterPattern.FindStringIndex(value); at != nil && at[1] == len(value) && at[0] == 0 {
				continue // It is changed as a parameter.
			}
			if changed := s.change(s.kindOf(table, column), value); changed != "" {
				all = append(all, s.replace("insert into "+table+"."+column, items[i][0], items[i][1], changed))
			}
		}
	}
	return all
}

func (s subject) kindOf(table, column string) string {
	for _, t := range s.tables {
		for _, c := range t.Columns {
			if t.Name == table && c.Name == column {
				return c.Type
			}
		}
	}
	return ""
}

// assignmentMutants keep a column as it is instead of assigning to it.
func (s subject) assignmentMutants() (all []mutant) {
	targets := targetPattern.FindAllStringSubmatchIndex(s.text, -1)
	for _, set := range setPattern.FindAllStringIndex(s.text, -1) {
		target := ""
		for _, at := range targets { // The last before it.
			if word := strings.Fields(s.text[at[0]:at[1]]); at[0] < set[0] && word[len(word)-1] != "set" {
				target = word[len(word)-1]
			}
		}
		for _, item := range itemsOf(s.text, set[1]) {
			column, _, ok := strings.Cut(s.text[item[0]:item[1]], " = ")
			if ok && target != "" {
				all = append(all, s.replace("do not assign", item[0], item[1], column+" = "+target+"."+column))
			}
		}
	}
	return all
}

// columnMutants change each column of the result: of a query that reads from
// without, of one that writes in its list of results.
func (s subject) columnMutants() (all []mutant, unchanged []string) {
	if len(s.fields) == 0 {
		return nil, nil
	}
	reads := !slices.ContainsFunc(s.query.Does, func(does string) bool { return does != "select" && does != "lock" })
	var items [][2]int
	if !reads {
		for _, at := range resultPattern.FindAllStringIndex(s.text, -1) {
			if depthAt(s.text, at[0]) == 0 {
				items = itemsOf(s.text, at[1]) // The last is that of the statement.
			}
		}
	}
	name, body, _ := strings.Cut(s.text, "\n")
	body = strings.TrimRight(strings.TrimSpace(body), ";")
	names := make([]string, len(s.fields))
	for i, field := range s.fields {
		names[i] = fmt.Sprintf("c%d_%s", i, field)
	}
	for i, field := range s.fields {
		what := "change column " + field
		switch changed := s.change(s.kinds[i], "q."+names[i]); {
		case changed == "" || !reads && len(items) != len(s.fields):
			unchanged = append(unchanged, field)
		case reads:
			selected := make([]string, len(names))
			for j, column := range names {
				selected[j] = "q." + column
			}
			selected[i] = changed
			all = append(all, mutant{what, fmt.Sprintf("%s\nselect %s from (%s\n) as q (%s)",
				name, strings.Join(selected, ", "), body, strings.Join(names, ", "))})
		default:
			value := aliasPattern.ReplaceAllString(s.text[items[i][0]:items[i][1]], "")
			m := s.replace(what, items[i][0], items[i][0]+len(value), s.change(s.kinds[i], value))
			all = append(all, mutant{what, m.text})
		}
	}
	return all, unchanged
}

// withParameters has a mutant that lost a parameter take it nevertheless.
func (s subject) withParameters(text string) string {
	kept := map[string]bool{}
	for _, parameter := range parameterPattern.FindAllString(text, -1) {
		kept[parameter] = true
	}
	var lost []string
	for i, kind := range s.parameters {
		if parameter := fmt.Sprintf("$%d", i+1); !kept[parameter] {
			lost = append(lost, parameter+"::"+kind)
		}
	}
	if len(lost) == 0 {
		return text
	}
	name, body, _ := strings.Cut(text, "\n")
	body = strings.TrimSpace(body)
	rest, more := strings.CutPrefix(body, "with ")
	separator := " "
	if more {
		separator = ", "
	}
	return name + "\nwith audit_parameters as (select " + strings.Join(lost, ", ") + ")" + separator + rest
}

var (
	commentPattern = regexp.MustCompile(`(?s)/\*.*?\*/|(?m)[ \t]*--[^\n]*\n`)
	endOfList      = []string{"from", "where", "returning", "on", "union", "order", "limit"}
)

// withoutComments leaves the line with the name alone.
func withoutComments(text string) string {
	name, body, _ := strings.Cut(text, "\n")
	return name + "\n" + strings.TrimLeft(commentPattern.ReplaceAllString(body, ""), "\n")
}

// itemsOf returns where the items of a list are that begins at from.
func itemsOf(text string, from int) (items [][2]int) {
	depth, quoted, begin, word := 0, false, from, ""
	end := func(at int) {
		for at > begin && strings.ContainsRune(" \n\t", rune(text[at-1])) {
			at--
		}
		for begin < at && strings.ContainsRune(" \n\t", rune(text[begin])) {
			begin++
		}
		items = append(items, [2]int{begin, at})
	}
	for i := from; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\'':
			quoted = !quoted
		case quoted:
		case c == '(' || c == '[':
			depth++
		case c == ')' || c == ']':
			depth--
		case c == ',' && depth == 0:
			end(i)
			begin = i + 1
		}
		if depth < 0 || text[i] == ';' && !quoted {
			end(i)
			return items
		}
		if next := wordAt(text, i); next != "" && depth == 0 && !quoted {
			// "is distinct from" is an operator.
			if slices.Contains(endOfList, next) && word != "distinct" {
				end(i)
				return items
			}
			word = next
		}
	}
	end(len(text))
	return items
}

func isLetter(c byte) bool { return c == '_' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

// wordAt returns the word that begins at a place, "" where none does.
func wordAt(text string, at int) string {
	if !isLetter(text[at]) || at > 0 && isLetter(text[at-1]) {
		return ""
	}
	end := at
	for end < len(text) && isLetter(text[end]) {
		end++
	}
	return text[at:end]
}

// depthAt counts the parentheses around a place.
func depthAt(text string, at int) int {
	return strings.Count(text[:at], "(") - strings.Count(text[:at], ")")
}

// mutants returns those mutants of a query that PostgreSQL takes with the same
// parameters and results, and how many it does not: they would prove nothing.
func (a *Audit) mutants(ctx context.Context, connection *pgx.Conn, query *Query) (valid []mutant, stillborn int, unchanged []string, err error) {
	original, err := connection.Prepare(ctx, "", a.code.texts[query.Name])
	if err != nil {
		return nil, 0, nil, err
	}
	s := subject{query: query, text: withoutComments(a.code.texts[query.Name]), tables: a.Tables}
	kindOf := func(oid uint32) (kind string) {
		err = errors.Join(err, connection.QueryRow(ctx, typeSQL, oid).Scan(&kind))
		return kind
	}
	for _, oid := range original.ParamOIDs {
		s.parameters = append(s.parameters, kindOf(oid))
	}
	for _, field := range original.Fields {
		s.fields, s.kinds = append(s.fields, field.Name), append(s.kinds, kindOf(field.DataTypeOID))
	}
	s.change = func(kind, expression string) string {
		changed, failure := changeOf(ctx, connection, kind, expression)
		err = errors.Join(err, failure)
		return changed
	}
	all, unchanged := s.mutants()
	if err != nil {
		return nil, 0, nil, err
	}
	for _, m := range all {
		if prepared, err := connection.Prepare(ctx, "", m.text); err != nil || !sameShape(prepared, original) {
			stillborn++
			continue
		}
		valid = append(valid, m)
	}
	return valid, stillborn, unchanged, nil
}

func changeOf(ctx context.Context, connection *pgx.Conn, kind, expression string) (string, error) {
	if kind == "" {
		return "", nil
	}
	var change *string
	err := connection.QueryRow(ctx, plusSQL, kind).Scan(&change)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && change == nil {
		return "", nil
	} else if err != nil {
		return "", fmt.Errorf("change a %s: %w", kind, err)
	}
	return strings.ReplaceAll(*change, "%s", expression), nil
}

func sameShape(a, b *pgconn.StatementDescription) bool {
	return slices.Equal(a.ParamOIDs, b.ParamOIDs) && slices.EqualFunc(a.Fields, b.Fields, func(a, b pgconn.FieldDescription) bool {
		return a.DataTypeOID == b.DataTypeOID
	})
}
