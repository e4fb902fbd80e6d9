package audit

import (
	"context"
	_ "embed" // how a value is changed
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	pg_query "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

//go:embed catalog/plus.sql
var plusSQL string

// mutant is a query with one change.
type mutant struct{ name, text string }

// edit changes the tree of a statement. Toggle applies it, and reverts it.
type edit struct {
	name   string
	toggle func()
}

func swap[T any](place *T, value T) func() {
	return func() { *place, value = value, *place }
}

// subject is a query to be changed, and what PostgreSQL says of it.
type subject struct {
	header     string // the line with the name
	tree       *pg_query.ParseResult
	parameters []string // types
	fields     []string // of the result, with their types
	kinds      []string
	// kindOf is the type of a table's column, "" where it is not known.
	kindOf func(table, column string) string
	// change returns an expression with another value, "" where none is known for the type.
	change func(kind, expression string) (string, error)
	err    error
}

// mutants changes a query in each way that applies to it, and keeps its parameters and
// the types of its result: else every test would fail, whatever it asserts. It also
// returns the columns of the result that it cannot change.
func (s *subject) mutants() (all []mutant, unchanged []string, err error) {
	edits, wrapped, unchanged := s.columnEdits()
	for _, e := range append(s.edits(), edits...) {
		e.toggle()
		text, err := s.text()
		s.err = errors.Join(s.err, err)
		e.toggle()
		all = append(all, mutant{e.name, text})
	}
	all = append(all, wrapped...)
	seen := map[string]int{}
	for i := range all {
		if seen[all[i].name]++; seen[all[i].name] > 1 {
			all[i].name += fmt.Sprintf(" (%d)", seen[all[i].name])
		}
		all[i].text = s.header + all[i].text
	}
	return all, unchanged, s.err
}

// text is the statement as it is now. A parameter that a change took away stays, in a
// clause that nothing reads.
func (s *subject) text() (string, error) {
	kept := map[int32]bool{}
	traverse(s.tree.ProtoReflect(), "", func(_ string, m proto.Message) {
		if parameter, ok := m.(*pg_query.ParamRef); ok {
			kept[parameter.Number] = true
		}
	})
	var lost []string
	for i, kind := range s.parameters {
		if !kept[int32(i+1)] {
			lost = append(lost, fmt.Sprintf("$%d::%s", i+1, kind))
		}
	}
	text, err := pg_query.Deparse(s.tree)
	if err != nil || len(lost) == 0 {
		return text, err
	}
	clause := "WITH audit_parameters AS (SELECT " + strings.Join(lost, ", ") + ")"
	if rest, ok := strings.CutPrefix(text, "WITH RECURSIVE "); ok {
		return "WITH RECURSIVE" + strings.TrimPrefix(clause, "WITH") + ", " + rest, nil
	} else if rest, ok := strings.CutPrefix(text, "WITH "); ok {
		return clause + ", " + rest, nil
	}
	return clause + " " + text, nil
}

// traverse visits a tree in the order of its fields. in is the common table expression
// that a node is in.
func traverse(m protoreflect.Message, in string, visit func(in string, m proto.Message)) {
	if cte, ok := m.Interface().(*pg_query.CommonTableExpr); ok {
		in = cte.Ctename + ": "
	}
	visit(in, m.Interface())
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if field.Message() == nil || !m.Has(field) {
			continue
		}
		if !field.IsList() {
			traverse(m.Get(field).Message(), in, visit)
			continue
		}
		for list, j := m.Get(field).List(), 0; j < list.Len(); j++ {
			traverse(list.Get(j).Message(), in, visit)
		}
	}
}

// operatorSwaps are comparisons, and what is put in their place.
var operatorSwaps = map[string][2]string{
	"<": {"take equal too", "<="}, ">": {"take equal too", ">="}, "<=": {"leave equal out", "<"}, ">=": {"leave equal out", ">"},
	"=": {"negate condition", "<>"}, "<>": {"negate condition", "="},
}

// edits are the changes of clauses, conditions and values.
func (s *subject) edits() (edits []edit) {
	traverse(s.tree.ProtoReflect(), "", func(in string, m proto.Message) {
		add := func(name string, toggle func()) { edits = append(edits, edit{in + name, toggle}) }
		switch n := m.(type) {
		case *pg_query.SelectStmt:
			if n.SortClause != nil {
				add("drop order", swap(&n.SortClause, nil))
			}
			if n.LimitCount != nil {
				limit, option := swap(&n.LimitCount, nil), swap(&n.LimitOption, pg_query.LimitOption_LIMIT_OPTION_DEFAULT)
				add("drop limit", func() { limit(); option() })
			}
			if n.DistinctClause != nil {
				add("drop distinct", swap(&n.DistinctClause, nil))
			}
			if n.LockingClause != nil {
				add("drop lock", swap(&n.LockingClause, nil))
			}
		case *pg_query.SortBy:
			if n.SortbyDir == pg_query.SortByDir_SORTBY_DESC {
				add("turn order: "+s.expression(n.Node), swap(&n.SortbyDir, pg_query.SortByDir_SORTBY_ASC))
			}
			if n.SortbyNulls == pg_query.SortByNulls_SORTBY_NULLS_LAST {
				add("drop nulls last: "+s.expression(n.Node), swap(&n.SortbyNulls, pg_query.SortByNulls_SORTBY_NULLS_DEFAULT))
			}
		case *pg_query.JoinExpr:
			if n.Jointype != pg_query.JoinType_JOIN_INNER {
				add("join inner", swap(&n.Jointype, pg_query.JoinType_JOIN_INNER))
			}
		case *pg_query.InsertStmt:
			if on := n.OnConflictClause; on != nil && on.Action == pg_query.OnConflictAction_ONCONFLICT_NOTHING {
				add("drop conflict", swap(&n.OnConflictClause, nil))
			}
			s.editInsert(n, add)
			editAssignments(n.OnConflictClause.GetTargetList(), n.Relation, add)
		case *pg_query.UpdateStmt:
			editAssignments(n.TargetList, n.Relation, add)
		case *pg_query.Node:
			s.editExpression(n, add)
		}
	})
	return edits
}

// editExpression changes an expression.
func (s *subject) editExpression(n *pg_query.Node, addAs func(string, func())) {
	add := func(name string, toggle func()) { addAs(name+": "+s.expression(n), toggle) }
	switch e := n.Node.(type) {
	case *pg_query.Node_ParamRef:
		if number := int(e.ParamRef.Number); number <= len(s.parameters) {
			if changed := s.changed(s.parameters[number-1], n); changed != nil {
				add("change parameter", swap(&n.Node, changed.Node))
			}
		}
	case *pg_query.Node_CaseExpr:
		add("drop case", swap(&n.Node, s.parsed("null").Node))
	case *pg_query.Node_CoalesceExpr:
		args := e.CoalesceExpr.Args
		add("take last", swap(&n.Node, args[len(args)-1].Node))
	case *pg_query.Node_NullTest:
		other := pg_query.NullTestType_IS_NULL
		if e.NullTest.Nulltesttype == other {
			other = pg_query.NullTestType_IS_NOT_NULL
		}
		add("negate null", swap(&e.NullTest.Nulltesttype, other))
	case *pg_query.Node_BoolExpr:
		b := e.BoolExpr
		if b.Boolop != pg_query.BoolExprType_AND_EXPR {
			break
		}
		add("or for and", swap(&b.Boolop, pg_query.BoolExprType_OR_EXPR))
		for i, arg := range b.Args {
			rest := slices.Delete(slices.Clone(b.Args), i, i+1)
			toggle := swap(&b.Args, rest)
			if len(rest) == 1 {
				toggle = swap(&n.Node, rest[0].Node)
			}
			addAs("drop condition: "+s.expression(arg), toggle)
		}
	case *pg_query.Node_AExpr:
		x := e.AExpr
		switch x.Kind {
		case pg_query.A_Expr_Kind_AEXPR_OP, pg_query.A_Expr_Kind_AEXPR_OP_ANY:
			name := x.Name[len(x.Name)-1].GetString_()
			if other, ok := operatorSwaps[name.GetSval()]; ok {
				add(other[0], swap(&name.Sval, other[1]))
			}
		case pg_query.A_Expr_Kind_AEXPR_DISTINCT:
			add("negate condition", swap(&x.Kind, pg_query.A_Expr_Kind_AEXPR_NOT_DISTINCT))
		case pg_query.A_Expr_Kind_AEXPR_NOT_DISTINCT:
			add("negate condition", swap(&x.Kind, pg_query.A_Expr_Kind_AEXPR_DISTINCT))
		default:
		}
	case *pg_query.Node_FuncCall:
		call := e.FuncCall
		if call.AggFilter != nil {
			add("drop filter", swap(&call.AggFilter, nil))
		}
		name := call.Funcname[len(call.Funcname)-1].GetString_()
		switch name.GetSval() {
		case "min":
			add("turn minimum", swap(&name.Sval, "max"))
		case "max":
			add("turn maximum", swap(&name.Sval, "min"))
		case "count":
			add("count double", swap(&n.Node, s.parsed("2 * "+s.expression(n)).Node))
		}
	}
}

// editInsert changes each value that is inserted.
func (s *subject) editInsert(n *pg_query.InsertStmt, add func(string, func())) {
	source := n.SelectStmt.GetSelectStmt()
	lists := [][]*pg_query.Node{source.GetTargetList()}
	for _, row := range source.GetValuesLists() {
		lists = append(lists, row.GetList().Items)
	}
	for _, items := range lists {
		if len(items) != len(n.Cols) {
			continue
		}
		for i, item := range items {
			if target := item.GetResTarget(); target != nil {
				item = target.Val
			}
			column := n.Cols[i].GetResTarget().Name
			if item.GetParamRef() != nil {
				continue // It is changed as a parameter.
			}
			if changed := s.changed(s.kindOf(n.Relation.Relname, column), item); changed != nil {
				add("insert into "+n.Relation.Relname+"."+column, swap(&item.Node, changed.Node))
			}
		}
	}
}

// editAssignments keeps a column as it is instead of assigning to it.
func editAssignments(targets []*pg_query.Node, relation *pg_query.RangeVar, add func(string, func())) {
	table := relation.GetRelname()
	if relation.GetAlias() != nil {
		table = relation.Alias.Aliasname
	}
	for _, item := range targets {
		target := item.GetResTarget()
		kept := pg_query.MakeColumnRefNode([]*pg_query.Node{pg_query.MakeStrNode(table), pg_query.MakeStrNode(target.Name)}, 0)
		add("do not assign: "+target.Name, swap(&target.Val, kept))
	}
}

// columnEdits change each column of the result: of a query that writes in its list of
// results, of one that reads from without, wrapped in another.
func (s *subject) columnEdits() (edits []edit, wrapped []mutant, unchanged []string) {
	var results []*pg_query.Node
	reads := false
	switch statement := s.tree.Stmts[0].Stmt.Node.(type) {
	case *pg_query.Node_SelectStmt:
		results, reads = statement.SelectStmt.TargetList, true
		traverse(s.tree.ProtoReflect(), "", func(_ string, m proto.Message) {
			switch m.(type) { // A statement that writes cannot be wrapped.
			case *pg_query.InsertStmt, *pg_query.UpdateStmt, *pg_query.DeleteStmt:
				reads = false
			}
		})
	case *pg_query.Node_InsertStmt:
		results = statement.InsertStmt.ReturningList
	case *pg_query.Node_UpdateStmt:
		results = statement.UpdateStmt.ReturningList
	case *pg_query.Node_DeleteStmt:
		results = statement.DeleteStmt.ReturningList
	}
	body, err := pg_query.Deparse(s.tree)
	s.err = errors.Join(s.err, err)
	var names, selected []string
	for i, field := range s.fields {
		names = append(names, fmt.Sprintf("c%d_%s", i, field))
		selected = append(selected, "q."+names[i])
	}
	for i, field := range s.fields {
		name := "change column " + field
		if reads {
			changed, err := s.change(s.kinds[i], selected[i])
			s.err = errors.Join(s.err, err)
			if changed != "" {
				list := slices.Clone(selected)
				list[i] = changed
				wrapped = append(wrapped, mutant{name, fmt.Sprintf("SELECT %s FROM (%s) AS q (%s)", strings.Join(list, ", "), body, strings.Join(names, ", "))})
				continue
			}
		} else if len(results) == len(s.fields) {
			target := results[i].GetResTarget()
			if changed := s.changed(s.kinds[i], target.Val); changed != nil {
				edits = append(edits, edit{name, swap(&target.Val, changed)})
				continue
			}
		}
		unchanged = append(unchanged, field)
	}
	return edits, wrapped, unchanged
}

// changed is an expression with another value than one of a type, nil where none is known.
func (s *subject) changed(kind string, of *pg_query.Node) *pg_query.Node {
	text := s.expression(of)
	if of.GetParamRef() != nil {
		text += "::" + kind
	}
	text, err := s.change(kind, text)
	s.err = errors.Join(s.err, err)
	if text == "" {
		return nil
	}
	return s.parsed("(" + text + ")")
}

// expression is the text of an expression.
func (s *subject) expression(n *pg_query.Node) string {
	target := &pg_query.Node{Node: &pg_query.Node_ResTarget{ResTarget: &pg_query.ResTarget{Val: n}}}
	text, err := pg_query.Deparse(&pg_query.ParseResult{Stmts: []*pg_query.RawStmt{{Stmt: &pg_query.Node{
		Node: &pg_query.Node_SelectStmt{SelectStmt: &pg_query.SelectStmt{
			TargetList: []*pg_query.Node{target}, LimitOption: pg_query.LimitOption_LIMIT_OPTION_DEFAULT, Op: pg_query.SetOperation_SETOP_NONE,
		}},
	}}}})
	s.err = errors.Join(s.err, err)
	return strings.TrimPrefix(text, "SELECT ")
}

// parsed is the expression of a text.
func (s *subject) parsed(text string) *pg_query.Node {
	tree, err := pg_query.Parse("select " + text)
	if err != nil {
		s.err = errors.Join(s.err, fmt.Errorf("%s: %w", text, err))
		return &pg_query.Node{}
	}
	return tree.Stmts[0].Stmt.GetSelectStmt().TargetList[0].GetResTarget().Val
}

// readMutants records those mutants of a query that PostgreSQL accepts with the same
// parameters and results, and how many it does not: they would prove nothing.
func (a *Audit) readMutants(ctx context.Context, connection *pgx.Conn, query *Query) error {
	original, err := connection.Prepare(ctx, "", query.text)
	if err != nil {
		return err
	}
	header, _, _ := strings.Cut(query.text, "\n")
	s := subject{
		header: header + "\n",
		kindOf: func(table, column string) string { return a.table(table).kinds[column] },
		change: func(kind, expression string) (string, error) { return changeOf(ctx, connection, kind, expression) },
	}
	var kinds []uint32
	for _, field := range original.Fields {
		s.fields, kinds = append(s.fields, field.Name), append(kinds, field.DataTypeOID)
	}
	var errs [3]error
	s.tree, errs[0] = pg_query.Parse(query.text)
	s.parameters, errs[1] = typeNames(ctx, connection, original.ParamOIDs)
	s.kinds, errs[2] = typeNames(ctx, connection, kinds)
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	all, unchanged, err := s.mutants()
	if err != nil {
		return err
	}
	query.unchanged = unchanged
	for _, m := range all {
		if prepared, err := connection.Prepare(ctx, "", m.text); err != nil || !sameShape(prepared, original) {
			query.invalid++
			continue
		}
		query.mutants = append(query.mutants, m)
	}
	return nil
}

// changeOf is an expression with another value than the one given, "" where none is
// known for the type.
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
