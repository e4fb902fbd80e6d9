package audit

import (
	"context"
	_ "embed" // the questions to the catalog
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

var (
	//go:embed catalog/columns.sql
	columnsSQL string
	//go:embed catalog/indexes.sql
	indexesSQL string
	//go:embed catalog/constraints.sql
	constraintsSQL string
	//go:embed catalog/snapshot.sql
	snapshotSQL string
	//go:embed catalog/planner.sql
	plannerSQL string
	//go:embed catalog/type.sql
	typeSQL string
)

// Table is a table of the schema.
type Table struct {
	Name    string   `json:"name"`
	Columns []Column `json:"columns"`
	Large   bool     `json:"large"`

	rows float64
}

// Column is a column of a table.
type Column struct {
	Name    string `json:"name"`
	Type    string `json:"type"`
	NotNull bool   `json:"notNull"`
}

// readDatabase asks PostgreSQL for the schema, and how it runs each query.
func (a *Audit) readDatabase(ctx context.Context, url string) error {
	connection, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = connection.Close(ctx) }()
	if err := a.readPlanner(ctx, connection); err != nil {
		return fmt.Errorf("read the planner's settings: %w", err)
	}
	if err := a.readSchema(ctx, connection); err != nil {
		return fmt.Errorf("read the schema: %w", err)
	}
	for _, query := range a.Queries {
		if err := a.readPlan(ctx, connection, query); err != nil {
			return fmt.Errorf("plan %s (%s): %w", query.Name, query.At, err)
		}
	}
	return nil
}

// readPlanner notes which PostgreSQL plans, and what it is told of its machine.
func (a *Audit) readPlanner(ctx context.Context, connection *pgx.Conn) error {
	a.Planner.Settings = map[string]string{}
	var name, value string
	rows, _ := connection.Query(ctx, plannerSQL)
	_, err := pgx.ForEachRow(rows, []any{&name, &value, &a.Planner.Version}, func() error {
		a.Planner.Settings[name] = value
		return nil
	})
	return err
}

func (a *Audit) readSchema(ctx context.Context, connection *pgx.Conn) error {
	var table, name, text string
	var flag bool
	var rows int64
	result, _ := connection.Query(ctx, columnsSQL)
	if _, err := pgx.ForEachRow(result, []any{&table, &name, &text, &flag, &rows}, func() error {
		if len(a.Tables) == 0 || a.Tables[len(a.Tables)-1].Name != table {
			a.Tables = append(a.Tables, Table{Name: table, Large: rows >= a.config.LargeTable, rows: float64(rows)})
		}
		last := &a.Tables[len(a.Tables)-1]
		last.Columns = append(last.Columns, Column{name, text, flag})
		return nil
	}); err != nil {
		return err
	}
	result, _ = connection.Query(ctx, indexesSQL)
	if _, err := pgx.ForEachRow(result, []any{&name, &table, &text, &flag}, func() error {
		a.Indexes = append(a.Indexes, &Index{Name: name, Table: table, Definition: text, Constraint: flag})
		return nil
	}); err != nil {
		return err
	}
	result, _ = connection.Query(ctx, constraintsSQL)
	_, err := pgx.ForEachRow(result, []any{&name, &table, &text}, func() error {
		a.Constraints = append(a.Constraints, &Constraint{Name: name, Table: table, Definition: text})
		return nil
	})
	return err
}

// node is a node of a plan, as PostgreSQL prints it.
type node struct {
	Type       string   `json:"Node Type"`
	Parent     string   `json:"Parent Relationship"`
	Operation  string   `json:"Operation"`
	Relation   string   `json:"Relation Name"`
	Index      string   `json:"Index Name"`
	IndexCond  string   `json:"Index Cond"`
	Filter     string   `json:"Filter"`
	Resolution string   `json:"Conflict Resolution"`
	Arbiters   []string `json:"Conflict Arbiter Indexes"`
	Rows       float64  `json:"Plan Rows"`
	Plans      []node   `json:"Plans"`
}

func (a *Audit) readPlan(ctx context.Context, connection *pgx.Conn, query *Query) error {
	text := a.code.texts[query.Name]
	if text == "" {
		return errors.New("there is no generated method; generate the code")
	}
	prepared, err := connection.Prepare(ctx, "audited_"+query.Name, text)
	if err != nil {
		return err
	}
	kinds := make([]string, len(prepared.ParamOIDs))
	for i, oid := range prepared.ParamOIDs {
		if err := connection.QueryRow(ctx, typeSQL, oid).Scan(&kinds[i]); err != nil {
			return err
		}
	}
	// A plan for all values does not depend on them.
	mode, sets := "force_generic_plan", []map[string]*string{nil}
	forValues := a.plannedForValues(query.Name)
	if forValues {
		mode, sets = "force_custom_plan", a.config.PlanValues[query.Name]
		if len(sets) == 0 {
			sets = []map[string]*string{nil} // Each parameter is found to have no value.
		}
	}
	if _, err := connection.Exec(ctx, "set plan_cache_mode = "+mode); err != nil {
		return err
	}
	for _, set := range sets {
		values := make([]string, len(kinds))
		for i, kind := range kinds {
			values[i] = "null::" + kind
			if !forValues {
				continue
			}
			value, ok := set[query.parameters[i]]
			if !ok {
				a.find("plan-reads-large-table", query.At, "Give it one in audit.yaml (plan_values), null where it is left out.",
					"%s has no %s to be planned with.", query.Name, query.parameters[i])
			} else if value != nil {
				values[i] = "'" + strings.ReplaceAll(*value, "'", "''") + "'::" + kind
			}
		}
		if err := a.explain(ctx, connection, query, values); err != nil {
			return err
		}
	}
	if len(query.Does) == 0 {
		query.Does = []string{"select"}
	}
	for _, list := range []*[]string{&query.Does, &query.Tables, &query.Indexes, &query.Reads} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return nil
}

// explain notes what the plan of a prepared query does.
func (a *Audit) explain(ctx context.Context, connection *pgx.Conn, query *Query, values []string) error {
	explain := "explain (format json) execute \"audited_" + query.Name + "\""
	if len(values) > 0 {
		explain += " (" + strings.Join(values, ", ") + ")"
	}
	var printed []byte
	if err := connection.QueryRow(ctx, explain, pgx.QueryExecModeSimpleProtocol).Scan(&printed); err != nil {
		return err
	}
	var plans []struct{ Plan node }
	if err := json.Unmarshal(printed, &plans); err != nil {
		return err
	}
	for _, plan := range plans {
		a.readNode(query, plan.Plan, 0)
	}
	return nil
}

// blocking nodes take all rows from below before they give one.
var blocking = []string{"Sort", "Incremental Sort", "Aggregate", "Group", "WindowAgg", "SetOp", "Hash", "Materialize", "ModifyTable", "Bitmap Heap Scan"}

// readNode notes what a node of a plan does. Above it no more than limit rows are
// taken, 0 for no such limit.
func (a *Audit) readNode(query *Query, n node, limit float64) {
	if n.Relation != "" {
		query.Tables = append(query.Tables, n.Relation)
	}
	if n.Index != "" {
		query.Indexes = append(query.Indexes, n.Index)
	}
	query.Indexes = append(query.Indexes, n.Arbiters...)
	large := float64(a.config.LargeTable)
	switch n.Type {
	case "ModifyTable":
		query.Does = append(query.Does, strings.ToLower(n.Operation))
		if n.Resolution == "UPDATE" {
			query.Does = append(query.Does, "update")
		}
	case "LockRows":
		query.Does = append(query.Does, "select", "lock")
	case "Limit":
		limit = n.Rows
	case "Seq Scan":
		if a.isLarge(n.Relation) {
			query.Reads = append(query.Reads, "scans "+n.Relation)
		}
	case "Index Scan", "Index Only Scan", "Bitmap Index Scan":
		table := n.Relation
		if table == "" {
			table = a.tableOf(n.Index)
		}
		if a.isLarge(table) && a.rowsRead(n, table, limit) >= large {
			query.Reads = append(query.Reads, "reads all of "+n.Index)
		}
	case "Sort", "Incremental Sort":
		if n.Rows >= large {
			query.Reads = append(query.Reads, "sorts "+strings.Join(relations(n), ", "))
		}
	}
	for _, child := range n.Plans {
		// What is on the inner side, or a plan of its own, is read for each row.
		below := limit
		if slices.Contains(blocking, n.Type) || child.Parent == "Inner" || child.Parent == "InitPlan" || child.Parent == "SubPlan" {
			below = 0
		}
		a.readNode(query, child, below)
	}
}

// rowsRead estimates how many rows of an index a scan reads until it has given as
// many as are taken of it.
func (a *Audit) rowsRead(n node, table string, limit float64) float64 {
	read := n.Rows // PostgreSQL's estimate of what it gives
	switch {
	case n.IndexCond == "" && n.Filter == "" && limit == 0:
		read = a.rowsOf(table)
	case n.Filter != "" && !strings.Contains(n.IndexCond, " = "):
		read = a.rowsOf(table) // It drops rows, of which it does not say how many.
	}
	if limit > 0 && limit < n.Rows {
		read *= limit / n.Rows
	}
	return read
}

// plannedForValues says whether every use of a query has it planned for its values.
func (a *Audit) plannedForValues(name string) bool {
	used := false
	for _, operation := range a.Operations {
		for _, use := range operation.Uses {
			if use.Query == name {
				if !use.ForValues {
					return false
				}
				used = true
			}
		}
	}
	return used
}

func relations(n node) []string {
	var names []string
	if n.Relation != "" {
		names = append(names, n.Relation)
	}
	for _, child := range n.Plans {
		names = append(names, relations(child)...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (a *Audit) isLarge(table string) bool {
	return slices.ContainsFunc(a.Tables, func(t Table) bool { return t.Name == table && t.Large })
}

func (a *Audit) rowsOf(table string) float64 {
	for _, t := range a.Tables {
		if t.Name == table {
			return t.rows
		}
	}
	return 0
}

func (a *Audit) tableOf(index string) string {
	for _, i := range a.Indexes {
		if i.Name == index {
			return i.Table
		}
	}
	return ""
}

var concurrently = regexp.MustCompile(`(?i)\bconcurrently\b`)

// tryMigrations applies each migration, takes it back and applies it again on an
// empty database, and finds those that do not restore what was there.
func (a *Audit) tryMigrations(ctx context.Context, url string) error {
	const rule, remedy = "migration-down", "Write a .down.sql that takes back everything that the .up.sql made."
	connection, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = connection.Close(ctx) }()
	run := func(path string) error {
		text, err := readStatement(a.config, path)
		if err != nil {
			return err
		}
		parts := []string{text}
		if concurrently.MatchString(text) { // That cannot be in a transaction, which statements sent together are.
			parts = strings.SplitAfter(text, ";")
		}
		for _, part := range parts {
			if _, err := connection.Exec(ctx, part, pgx.QueryExecModeSimpleProtocol); err != nil {
				return err
			}
		}
		return nil
	}
	snapshot := func() (string, error) {
		rows, _ := connection.Query(ctx, snapshotSQL)
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		return strings.Join(lines, "\n"), err
	}
	for _, migration := range a.Migrations {
		before, err := snapshot()
		if err != nil {
			return err
		}
		if err := run(migration.Up); err != nil {
			return fmt.Errorf("%s: %w", migration.Up, err)
		}
		if migration.Down == "" {
			a.find(rule, Position{File: migration.Up}, remedy, "the migration has no way down.")
			continue
		}
		if err := run(migration.Down); err != nil {
			a.find(rule, Position{File: migration.Down}, remedy, "the way down fails: %v.", err)
			return nil // What comes after builds on it.
		}
		after, err := snapshot()
		if err != nil {
			return err
		}
		if before != after {
			a.find(rule, Position{File: migration.Down}, remedy, "the way down leaves something behind.")
			return nil
		}
		if err := run(migration.Up); err != nil {
			a.find(rule, Position{File: migration.Up}, remedy, "after the way down the way up fails: %v.", err)
			return nil
		}
	}
	return nil
}
