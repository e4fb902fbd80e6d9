package audit

import (
	"context"
	"crypto/rand"
	_ "embed" // the questions to the catalog
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	pg_query "github.com/pganalyze/pg_query_go/v6"
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

// withDatabase makes a database on a server, uses it, and drops it.
func withDatabase(ctx context.Context, server string, use func(*pgx.Conn) error) (err error) {
	admin, err := pgx.Connect(ctx, server)
	if err != nil {
		return err
	}
	done := context.WithoutCancel(ctx)
	defer func() { _ = admin.Close(done) }()
	config := admin.Config()
	config.Database = "audit_" + strings.ToLower(rand.Text())
	if _, err := admin.Exec(ctx, "create database "+config.Database); err != nil {
		return err
	}
	defer func() {
		_, dropErr := admin.Exec(done, "drop database "+config.Database+" with (force)")
		err = errors.Join(err, dropErr)
	}()
	connection, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close(done) }()
	return use(connection)
}

// runFile runs the statements of a file of the project, each on its own.
func (c Config) runFile(ctx context.Context, connection *pgx.Conn, path string) error {
	content, err := os.ReadFile(c.path(path))
	if err != nil {
		return err
	}
	statements, err := pg_query.SplitWithParser(string(content), true)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, statement := range statements {
		if _, err := connection.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// Migration is a step of the schema: its files, Down "" where there is none.
type Migration struct{ Version, Up, Down string }

var migrationFile = regexp.MustCompile(`^(\d+)_.*\.(up|down)\.sql$`)

func readMigrations(config Config) (migrations []Migration, err error) {
	files, err := os.ReadDir(config.path(config.Schema)) // sorted: 1.down, 1.up, 2.down, …
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		match := migrationFile.FindStringSubmatch(file.Name())
		if match == nil {
			continue
		}
		if len(migrations) == 0 || migrations[len(migrations)-1].Version != match[1] {
			migrations = append(migrations, Migration{Version: match[1]})
		}
		last, path := &migrations[len(migrations)-1], config.Schema+"/"+file.Name()
		if match[2] == "up" {
			last.Up = path
		} else {
			last.Down = path
		}
	}
	if len(migrations) == 0 {
		return nil, fmt.Errorf("no migration in %s", config.Schema)
	}
	return migrations, nil
}

type snapshotLine struct{ Table, Line string }

func takeSnapshot(ctx context.Context, connection *pgx.Conn) ([]snapshotLine, error) {
	rows, _ := connection.Query(ctx, snapshotSQL)
	return pgx.CollectRows(rows, pgx.RowToStructByPos[snapshotLine])
}

// tryMigrations applies each migration, reverts it and applies it again, and finds
// those that do not restore what was there.
func (a *Audit) tryMigrations(ctx context.Context, connection *pgx.Conn) error {
	const rule, remedy = "migration-down", "Write a .down.sql that takes back everything that the .up.sql made."
	for _, path := range a.config.Setup {
		if err := a.config.runFile(ctx, connection, path); err != nil {
			return err
		}
	}
	for _, migration := range a.Migrations {
		before, err := takeSnapshot(ctx, connection)
		if err != nil {
			return err
		}
		if err := a.config.runFile(ctx, connection, migration.Up); err != nil {
			return err
		}
		if migration.Down == "" {
			a.find(rule, migration.Up, remedy, "the migration has no way down.")
			continue
		}
		if err := a.config.runFile(ctx, connection, migration.Down); err != nil {
			a.find(rule, migration.Down, remedy, "the way down fails: %v.", err)
			return nil // The following migrations depend on it.
		}
		after, err := takeSnapshot(ctx, connection)
		if err != nil {
			return err
		}
		if !slices.Equal(before, after) {
			a.find(rule, migration.Down, remedy, "the way down leaves something behind.")
			return nil
		}
		if err := a.config.runFile(ctx, connection, migration.Up); err != nil {
			a.find(rule, migration.Up, remedy, "the way up fails after the way down: %v.", err)
			return nil
		}
	}
	return nil
}

// table is a table of the schema.
type table struct {
	name  string
	kinds map[string]string // types of its columns
	rows  float64
}

func (a *Audit) table(name string) table {
	i := slices.IndexFunc(a.tables, func(t table) bool { return t.name == name })
	if i < 0 {
		return table{}
	}
	return a.tables[i]
}

func (a *Audit) isLarge(name string) bool { return a.table(name).rows >= float64(a.config.LargeTable) }

// readDatabase builds a database of realistic volume, and asks PostgreSQL for its
// schema, and how it plans each query.
func (a *Audit) readDatabase(ctx context.Context, connection *pgx.Conn) error {
	files := slices.Clone(a.config.Setup)
	for _, migration := range a.Migrations {
		files = append(files, migration.Up)
	}
	for _, path := range append(files, a.config.Volume...) {
		if err := a.config.runFile(ctx, connection, path); err != nil {
			return err
		}
	}
	for _, name := range sortedKeys(a.config.Planner) {
		if _, err := connection.Exec(ctx, "select set_config($1, $2, false)", name, a.config.Planner[name]); err != nil {
			return err
		}
	}
	if err := a.readSchema(ctx, connection); err != nil {
		return fmt.Errorf("read the schema: %w", err)
	}
	if !slices.ContainsFunc(a.tables, func(t table) bool { return a.isLarge(t.name) }) {
		return fmt.Errorf("no table has %d rows (large_table): plans on so little show nothing", a.config.LargeTable)
	}
	for _, query := range a.Queries {
		if err := a.readPlan(ctx, connection, query); err != nil {
			return fmt.Errorf("plan %s: %w", query.Name, err)
		}
		if err := a.readMutants(ctx, connection, query); err != nil {
			return fmt.Errorf("change %s: %w", query.Name, err)
		}
	}
	return nil
}

func (a *Audit) readSchema(ctx context.Context, connection *pgx.Conn) (err error) {
	if err = connection.QueryRow(ctx, "select current_setting('server_version_num')::int / 10000").Scan(&a.PostgreSQL); err != nil {
		return err
	}
	if a.snapshot, err = takeSnapshot(ctx, connection); err != nil {
		return err
	}
	var of, column, kind string
	var count float64
	rows, _ := connection.Query(ctx, columnsSQL)
	if _, err = pgx.ForEachRow(rows, []any{&of, &column, &kind, &count}, func() error {
		if len(a.tables) == 0 || a.tables[len(a.tables)-1].name != of {
			a.tables = append(a.tables, table{of, map[string]string{}, count})
		}
		a.tables[len(a.tables)-1].kinds[column] = kind
		return nil
	}); err != nil {
		return err
	}
	rows, _ = connection.Query(ctx, indexesSQL)
	var index Index
	if _, err = pgx.ForEachRow(rows, []any{&index.Name, &index.Table, &index.Definition, &index.Constraint}, func() error {
		copied := index
		a.Indexes = append(a.Indexes, &copied)
		return nil
	}); err != nil {
		return err
	}
	rows, _ = connection.Query(ctx, constraintsSQL)
	var constraint Constraint
	_, err = pgx.ForEachRow(rows, []any{&constraint.Name, &constraint.Table, &constraint.Definition}, func() error {
		copied := constraint
		a.Constraints = append(a.Constraints, &copied)
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

func (n node) relations() (names []string) {
	if n.Relation != "" {
		names = append(names, n.Relation)
	}
	for _, child := range n.Plans {
		for _, name := range child.relations() {
			names = insert(names, name)
		}
	}
	return names
}

// readPlan records what a query does: by the plan for all values, or by those for the
// values of audit.yaml, where every operation has a custom plan for it.
func (a *Audit) readPlan(ctx context.Context, connection *pgx.Conn, query *Query) error {
	prepared, err := connection.Prepare(ctx, "audited", query.text)
	if err != nil {
		return err
	}
	kinds, err := typeNames(ctx, connection, prepared.ParamOIDs)
	if err != nil {
		return err
	}
	mode, sets := "force_generic_plan", []map[string]*string{nil}
	if query.custom {
		mode = "force_custom_plan"
		if len(a.config.PlanValues[query.Name]) > 0 {
			sets = a.config.PlanValues[query.Name]
		}
	}
	if _, err := connection.Exec(ctx, "set plan_cache_mode = "+mode); err != nil {
		return err
	}
	for _, set := range sets {
		execute := "explain (format json) execute audited"
		for i, kind := range kinds {
			value := "null::" + kind
			if query.custom {
				given, ok := set[query.parameters[i]]
				if !ok {
					a.find("plan-reads-large-table", query.at(), "Give it one in audit.yaml (plan_values), null where it is left out.",
						"%s has no %s to be planned with.", query.Name, query.parameters[i])
				} else if given != nil {
					value = "'" + strings.ReplaceAll(*given, "'", "''") + "'::" + kind
				}
			}
			execute += []string{"(", ", "}[min(i, 1)] + value
		}
		if len(kinds) > 0 {
			execute += ")"
		}
		var printed []byte
		if err := connection.QueryRow(ctx, execute, pgx.QueryExecModeSimpleProtocol).Scan(&printed); err != nil {
			return err
		}
		var plans []struct{ Plan node }
		if err := json.Unmarshal(printed, &plans); err != nil {
			return err
		}
		for _, plan := range plans {
			a.readNode(query, plan.Plan, 0)
		}
	}
	if len(query.Does) == 0 {
		query.Does = []string{"select"}
	}
	return connection.Deallocate(ctx, "audited")
}

// typeNames are the names of types.
func typeNames(ctx context.Context, connection *pgx.Conn, oids []uint32) ([]string, error) {
	names := make([]string, len(oids))
	for i, oid := range oids {
		if err := connection.QueryRow(ctx, typeSQL, oid).Scan(&names[i]); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// blocking nodes read all rows of their children before they return one.
var blocking = []string{"Sort", "Incremental Sort", "Aggregate", "Group", "WindowAgg", "SetOp", "Hash", "Materialize", "ModifyTable", "Bitmap Heap Scan"}

// readNode records what a node of a plan does. Above it no more than limit rows are
// taken, 0 for no such limit.
func (a *Audit) readNode(query *Query, n node, limit float64) {
	if n.Relation != "" {
		query.Tables = insert(query.Tables, n.Relation)
	}
	for _, index := range append(n.Arbiters, n.Index) {
		if index != "" {
			query.Indexes = insert(query.Indexes, index)
		}
	}
	switch n.Type {
	case "ModifyTable":
		query.Does = insert(query.Does, strings.ToLower(n.Operation))
		if n.Resolution == "UPDATE" {
			query.Does = insert(query.Does, "update")
		}
	case "LockRows":
		query.Does = insert(insert(query.Does, "select"), "lock")
	case "Limit":
		limit = n.Rows
	case "Seq Scan":
		if a.isLarge(n.Relation) {
			query.Reads = insert(query.Reads, "scans "+n.Relation)
		}
	case "Index Scan", "Index Only Scan", "Bitmap Index Scan":
		if of := a.tableOf(n.Index); a.isLarge(of) && a.rowsRead(n, of, limit) >= float64(a.config.LargeTable) {
			query.Reads = insert(query.Reads, "reads all of "+n.Index)
		}
	case "Sort", "Incremental Sort":
		if n.Rows >= float64(a.config.LargeTable) {
			query.Reads = insert(query.Reads, "sorts "+strings.Join(n.relations(), ", "))
		}
	}
	for _, child := range n.Plans {
		below := limit
		// The inner side, or a subplan, is read for each row.
		if slices.Contains(blocking, n.Type) || child.Parent == "Inner" || child.Parent == "InitPlan" || child.Parent == "SubPlan" {
			below = 0
		}
		a.readNode(query, child, below)
	}
}

// rowsRead estimates how many rows of an index a scan reads until it has given as
// many as are taken of it.
func (a *Audit) rowsRead(n node, of string, limit float64) float64 {
	read := n.Rows // PostgreSQL's estimate of the rows that it returns
	switch {
	case n.IndexCond == "" && n.Filter == "" && limit == 0:
		read = a.table(of).rows
	case n.Filter != "" && !strings.Contains(n.IndexCond, " = "):
		read = a.table(of).rows // It drops rows, of which it does not say how many.
	}
	if limit > 0 && limit < n.Rows {
		read *= limit / n.Rows
	}
	return read
}

func (a *Audit) tableOf(index string) string {
	for _, i := range a.Indexes {
		if i.Name == index {
			return i.Table
		}
	}
	return ""
}
