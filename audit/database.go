package audit

import (
	"context"
	_ "embed" // the questions to the catalog
	"encoding/json"
	"errors"
	"fmt"
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
	//go:embed catalog/type.sql
	typeSQL string
)

// Table is a table of the schema.
type Table struct {
	Name    string   `json:"name"`
	Columns []Column `json:"columns"`
	Large   bool     `json:"large"`
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

func (a *Audit) readSchema(ctx context.Context, connection *pgx.Conn) error {
	var table, name, text string
	var flag bool
	var rows int64
	result, _ := connection.Query(ctx, columnsSQL)
	if _, err := pgx.ForEachRow(result, []any{&table, &name, &text, &flag, &rows}, func() error {
		if len(a.Tables) == 0 || a.Tables[len(a.Tables)-1].Name != table {
			a.Tables = append(a.Tables, Table{Name: table, Large: rows >= a.config.LargeTable})
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
	Type      string   `json:"Node Type"`
	Operation string   `json:"Operation"`
	Relation  string   `json:"Relation Name"`
	Index     string   `json:"Index Name"`
	IndexCond string   `json:"Index Cond"`
	Filter    string   `json:"Filter"`
	Arbiters  []string `json:"Conflict Arbiter Indexes"`
	Rows      float64  `json:"Plan Rows"`
	Plans     []node   `json:"Plans"`
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
	values := make([]string, len(prepared.ParamOIDs))
	for i, oid := range prepared.ParamOIDs {
		var kind string
		if err := connection.QueryRow(ctx, typeSQL, oid).Scan(&kind); err != nil {
			return err
		}
		values[i] = "null::" + kind
		if i < len(query.parameters) {
			if value, ok := a.config.Parameters[query.parameters[i]]; ok {
				values[i] = "'" + strings.ReplaceAll(value, "'", "''") + "'::" + kind
			}
		}
	}
	mode := "force_generic_plan"
	if a.plannedForValues(query.Name) {
		mode = "force_custom_plan"
	}
	explain := "explain (format json) execute \"audited_" + query.Name + "\""
	if len(values) > 0 {
		explain += " (" + strings.Join(values, ", ") + ")"
	}
	if _, err := connection.Exec(ctx, "set plan_cache_mode = "+mode); err != nil {
		return err
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
		a.readNode(query, plan.Plan, false)
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

// readNode notes what a node of a plan does. limited says that a limit is above it.
func (a *Audit) readNode(query *Query, n node, limited bool) {
	if n.Relation != "" {
		query.Tables = append(query.Tables, n.Relation)
	}
	if n.Index != "" {
		query.Indexes = append(query.Indexes, n.Index)
	}
	query.Indexes = append(query.Indexes, n.Arbiters...)
	switch n.Type {
	case "ModifyTable":
		query.Does = append(query.Does, strings.ToLower(n.Operation))
	case "LockRows":
		query.Does = append(query.Does, "select", "lock")
	case "Limit":
		limited = true
	case "Seq Scan":
		if a.isLarge(n.Relation) {
			query.Reads = append(query.Reads, "scans "+n.Relation)
		}
	case "Index Scan", "Index Only Scan", "Bitmap Index Scan":
		table := n.Relation
		if table == "" {
			table = a.tableOf(n.Index)
		}
		// A limit does not end it where it drops rows, or collects them for a bitmap.
		ends := limited && n.Filter == "" && n.Type != "Bitmap Index Scan"
		few := n.IndexCond != "" && n.Filter == "" && n.Rows < float64(a.config.LargeTable)
		bounded := ends || few || strings.Contains(n.IndexCond, " = ")
		if !bounded && a.isLarge(table) {
			query.Reads = append(query.Reads, "reads all of "+n.Index)
		}
	case "Sort":
		if n.Rows >= float64(a.config.LargeTable) {
			query.Reads = append(query.Reads, "sorts "+strings.Join(relations(n), ", "))
		}
	}
	for _, child := range n.Plans {
		a.readNode(query, child, limited)
	}
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

func (a *Audit) tableOf(index string) string {
	for _, i := range a.Indexes {
		if i.Name == index {
			return i.Table
		}
	}
	return ""
}

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
		if err == nil {
			_, err = connection.Exec(ctx, text, pgx.QueryExecModeSimpleProtocol)
		}
		return err
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
