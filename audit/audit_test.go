package audit

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// server is the PostgreSQL of the tests.
func server(t *testing.T) string {
	t.Helper()
	url := os.Getenv("TEST_DATABASE_URL")
	if url == "" {
		t.Fatal("set TEST_DATABASE_URL to a PostgreSQL on which databases can be made, or run `make audit-test`")
	}
	return url
}

// change is one to a file: from becomes to. Without from, to is appended; without
// both, the file is deleted.
type change struct{ file, from, to string }

// fault is something broken in testdata/shop, and the finding that names it.
type fault struct {
	name    string
	changes []change
	record  func([]Entry) []Entry // what is recorded instead
	rule    string
	at      string
	about   string // in the message
}

const (
	apiGo     = "api/api.go"
	itemsSQL  = "sql/queries/items.sql"
	itemsGo   = "db/items.sql.go"
	testGo    = "db/items_test.go"
	upSQL     = "sql/schema/0001_create_items.up.sql"
	ordersSQL = "sql/schema/0002_create_orders.up.sql"
	downSQL   = "sql/schema/0002_create_orders.down.sql"
	mutations = "mutations.json"
)

var faults = []fault{
	{
		name: "a query that nothing uses", rule: "query-unused", at: itemsSQL + ": ListItems", about: "ListItems",
		changes: []change{{apiGo, "	return q.ListItems(ctx, db.ListItemsParams{Below: in.below, RowLimit: 10})\n", "	return nil, ctx.Err()\n"}},
	},
	{
		name: "a query in a program's function that nothing calls", rule: "query-unused", at: itemsSQL + ": CountItems", about: "CountItems",
		changes: []change{
			{"cmd/shop/main.go", "	fmt.Println(db.New(connection).CountItems(context.Background()))\n", "	fmt.Println(db.New(connection))\n"},
			{"cmd/shop/main.go", "", "\nfunc forgotten(q *db.Queries) { fmt.Println(q.CountItems(context.Background())) }\n"},
		},
	},
	{
		name: "a query without a comment", rule: "query-comment", at: itemsSQL + ": GetItem", about: "GetItem",
		changes: []change{{itemsGo, "// An item. No row when it is not there.\n", ""}},
	},
	{name: "a query that no test runs", rule: "query-untested", at: itemsSQL + ": GetItem", about: "GetItem", record: without(func(e Entry) bool { return e.Query == "GetItem" })},
	{
		name: "a query that an operation runs and its code does not show", rule: "query-unforeseen", at: apiGo + ": getItem", about: "CountItems",
		record: func(record []Entry) []Entry {
			return append(slices.Clone(record), Entry{Package: "api", Test: "Test", Query: "CountItems", Operation: "get-item"})
		},
	},
	{
		name: "a query changed since its mutants were tried", rule: "query-unasserted", at: itemsSQL + ": ListItems", about: "changed since",
		changes: []change{{itemsGo, "order by price desc", "order by price desc nulls last"}},
	},
	{
		name: "a test that no longer asserts", rule: "query-unasserted", at: itemsSQL + ": ListItems", about: "changed since",
		changes: []change{{testGo, "func TestListItems(t *testing.T) {\n", "func TestListItems(t *testing.T) {\n	t.Skip()\n"}},
	},
	{
		name: "a helper of tests that no longer asserts", rule: "query-unasserted", at: itemsSQL + ": ListItems", about: "changed since",
		changes: []change{{testGo, "	t.Helper()\n", "	t.Helper()\n	t.SkipNow()\n"}},
	},
	{
		name: "a table changed since the mutants were tried", rule: "query-unasserted", at: itemsSQL + ": ListItems", about: "changed since",
		changes: []change{{upSQL, "price >= 0", "price >= -1"}},
	},
	{
		name: "a view changed since the mutants were tried", rule: "query-unasserted", at: itemsSQL + ": ListItems", about: "changed since",
		changes: []change{{upSQL, "price < 100", "price < 10"}},
	},
	{
		name: "a change that no test notices", rule: "query-unasserted", at: itemsSQL + ": ListItems", about: "drop order",
		changes: []change{{mutations, `"tests":["db.TestListItems"]`, `"tests":["db.TestListItems"],"survived":["drop order"]`}},
	},
	{
		name: "an operation that no test calls", rule: "operation-untested", at: apiGo + ": getHealth", about: "get-health",
		record: without(func(e Entry) bool { return e.Operation == "get-health" }),
	},
	{
		name: "a read that reads nothing", rule: "operation-without-query", at: apiGo + ": getItem", about: "get-item",
		changes: []change{{apiGo, "	return q.GetItem(ctx, id)\n", "	return db.Item{}, ctx.Err()\n"}},
	},
	{
		name: "a read that writes", rule: "operation-without-query", at: apiGo + ": createItem", about: "create-item is a GET",
		changes: []change{{apiGo, `Method: "POST"`, `Method: "GET"`}},
	},
	{
		name: "a write that writes nothing, in a function literal", rule: "operation-without-query", at: apiGo + ": a function literal", about: "create-item is a POST",
		changes: []change{{
			apiGo, "s.createItem)", "func(ctx context.Context, q *db.Queries, id int64) (any, error) { return q.GetItem(ctx, id) })",
		}},
	},
	{
		name: "a list that sorts a table", rule: "plan-reads-large-table", at: itemsSQL + ": ListItems", about: "sorts items",
		changes: []change{{itemsGo, "order by price desc", "order by name || '' desc"}},
	},
	{
		name: "a list that was planned once for all values", rule: "plan-reads-large-table", at: itemsSQL + ": ListItemsByName", about: "scans items",
		record: func(record []Entry) []Entry {
			return append(slices.Clone(record), Entry{Package: "api", Test: "Test", Query: "ListItemsByName", Operation: "list-items"})
		},
	},
	{
		name: "a parameter without a value to plan with", rule: "plan-reads-large-table", at: itemsSQL + ": ListItemsByName", about: "no name",
		changes: []change{{configFile, "{ name: item 7 }", "{}"}},
	},
	{
		name: "an index that no query uses", rule: "index-unused", at: ordersSQL, about: "orders_amount_idx",
		changes: []change{{ordersSQL, "", "create index orders_amount_idx on orders (amount);\n"}},
	},
	{
		name: "a constraint that no test violates", rule: "constraint-untested", at: upSQL, about: "items_price_check",
		record: without(func(e Entry) bool { return e.Constraint == "items_price_check" }),
	},
	{name: "a migration without a way down", rule: "migration-down", at: ordersSQL, about: "no way down", changes: []change{{file: downSQL}}},
	{name: "a way down that fails", rule: "migration-down", at: downSQL, about: "fails", changes: []change{{downSQL, "orders", "order_lines"}}},
	{
		name: "a way down that leaves a default", rule: "migration-down", at: downSQL, about: "leaves something",
		changes: []change{{ordersSQL, "", "alter table items alter column price set default 0;\n"}},
	},
	{
		name: "an operation that need not be without a query", rule: "exemption-stale", at: configFile, about: "get-item",
		changes: []change{{configFile, "without_query:\n", "without_query:\n  get-item: it is quick\n"}},
	},
	{
		name: "an accepted change that a test notices", rule: "exemption-stale", at: configFile, about: "drop lock",
		changes: []change{{configFile, "", "accepted_mutants: { 'ListItems: drop lock': why not }\n"}},
	},
	{
		name: "a middleware that is none", rule: "exemption-stale", at: configFile, about: "shop/api.forgotten",
		changes: []change{{configFile, "middlewares: [", "middlewares: [example.com/shop/api.forgotten, "}},
	},
	{
		name: "values of a query that is planned once", rule: "exemption-stale", at: configFile, about: "GetItem",
		changes: []change{{configFile, "plan_values:\n", "plan_values:\n  GetItem: [{ id: '1' }]\n"}},
	},
	{
		name: "a reason beside a query that reads little", rule: "exemption-stale", at: itemsSQL + ": GetItem", about: "GetItem",
		changes: []change{{itemsGo, "// An item. No row when it is not there.\n", "// An item. No row when it is not there.\n// audit: it is quick.\n"}},
	},
}

func without(drop func(Entry) bool) func([]Entry) []Entry {
	return func(record []Entry) []Entry { return slices.DeleteFunc(slices.Clone(record), drop) }
}

// shop is testdata/shop, which violates no rule.
type shop struct {
	root   string
	record []Entry
	audit  *Audit
}

func newShop(t *testing.T) shop {
	t.Helper()
	p := shop{root: t.TempDir()}
	if err := os.CopyFS(p.root, os.DirFS("testdata/shop")); err != nil {
		t.Fatal(err)
	}
	for operation, queries := range map[string][]string{
		"get-item": {"GetItem"}, "list-items": {"ListItems"}, "create-item": {"CreateItem", "CreateOrder"}, "get-health": {""}, "": {"CountItems", "ListItems", "GetKey"},
	} {
		for _, query := range queries {
			p.record = append(p.record, Entry{Package: "db", Test: "Test" + query, Query: query, Operation: operation})
		}
	}
	p.record = append(p.record, Entry{Package: "db", Test: "TestListItemsByName", Query: "ListItemsByName", Operation: "list-items", Custom: true})
	for _, constraint := range []string{"items_pkey", "items_name_key", "items_price_check", "orders_pkey", "orders_item_id_fkey"} {
		p.record = append(p.record, Entry{Package: "db", Test: "TestConstraints", Constraint: constraint})
	}
	a := p.run(t, nil, p.record)
	for _, query := range a.Queries { // As if a test had noticed every change.
		tests := []string{"db.Test" + query.Name}
		a.Mutations = append(a.Mutations, Mutations{Query: query.Name, Hash: a.mutationHash(query, tests), Mutants: len(query.mutants), Tests: tests})
	}
	if err := a.writeMutations(nil, a.Queries); err != nil {
		t.Fatal(err)
	}
	p.audit = p.run(t, a.code, p.record)
	for _, finding := range p.audit.Findings {
		t.Errorf("in the shop as it is: %s", finding)
	}
	return p
}

// run audits the shop. It reads the code only once.
func (p shop) run(t *testing.T, known *code, record []Entry) *Audit {
	t.Helper()
	config, err := ReadConfig(p.root)
	if err != nil {
		t.Fatal(err)
	}
	if known == nil {
		if known, err = readCode(config); err != nil {
			t.Fatal(err)
		}
	}
	copied := *known
	copied.config = config
	a, err := newAudit(t.Context(), config, &copied, record, server(t))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// changed audits a copy of the shop with changes.
func (p shop) changed(t *testing.T, changes []change, record []Entry) *Audit {
	t.Helper()
	copied, known := shop{root: t.TempDir()}, p.audit.code
	if err := os.CopyFS(copied.root, os.DirFS(p.root)); err != nil {
		t.Fatal(err)
	}
	for _, c := range changes {
		path := filepath.Join(copied.root, c.file)
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text := string(content) + c.to
		if c.from != "" {
			if text = strings.Replace(string(content), c.from, c.to, 1); text == string(content) {
				t.Fatalf("%s has no %q", c.file, c.from)
			}
		}
		if err = os.WriteFile(path, []byte(text), 0o600); c.from == "" && c.to == "" {
			err = os.Remove(path)
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(c.file, ".go") && !strings.HasSuffix(c.file, "_test.go") {
			known = nil
		}
	}
	return copied.run(t, known, record)
}

func TestFaultsAreFound(t *testing.T) {
	t.Parallel()
	p := newShop(t)
	for _, rule := range Rules {
		if !slices.ContainsFunc(faults, func(f fault) bool { return f.rule == rule[0] }) {
			t.Errorf("no fault breaks %s", rule[0])
		}
	}
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			record := p.record
			if f.record != nil {
				record = f.record(record)
			}
			found := p.changed(t, f.changes, record).Findings
			if !slices.ContainsFunc(found, func(got Finding) bool {
				return got.Rule == f.rule && got.At == f.at && strings.Contains(got.Message, f.about) && got.Remedy != ""
			}) {
				t.Errorf("no %s at %s about %q in:\n%v", f.rule, f.at, f.about, found)
			}
		})
	}
}

// Neither comments nor further tests change the report.
func TestTheReportStays(t *testing.T) {
	t.Parallel()
	p := newShop(t)
	further := append(slices.Clone(p.record),
		Entry{Package: "api", Test: "TestHeaders", Query: "GetItem", Operation: "get-item"},
		Entry{Package: "api", Test: "TestHeaders", Constraint: "items_name_key"})
	a := p.changed(t, []change{
		{apiGo, "func (s *server) getItem(", "// getItem returns one.\n//\n//nolint:unparam // All do.\nfunc (s *server) getItem("},
		{itemsGo, "where price < ", "-- Cheap.\nwhere /* dear? */ price < "},
		{testGo, "	if err != nil || len(items) != 1", "	// The dearest of them.\n\n	if err != nil || len(items) != 1"},
		{testGo, "", "\nfunc TestMore(t *testing.T) { setup(t) }\n"},
		{upSQL, "create table items (", "-- What is sold.\ncreate table items ( -- each"},
	}, further)
	for _, finding := range a.Findings {
		t.Error(finding)
	}
	if got, want := a.Markdown(), p.audit.Markdown(); !bytes.Equal(got, want) {
		t.Errorf("the report becomes\n%s\nfrom\n%s", got, want)
	}
	for _, line := range []string{
		"| `get-item` | `GET /items/{id}` | [getItem](../api/api.go) | [GetItem](../sql/queries/items.sql) (select) | `db.TestGetItem` |",
		"| `create-item` | `POST /items` | [createItem](../api/api.go) | [CreateItem](../sql/queries/items.sql) (insert)<br>" +
			"[CreateOrder](../sql/queries/orders.sql) (insert) | `db.TestCreateItem` |",
		"| before operations |  |  | [GetKey](../sql/queries/orders.sql) (select) |  |",
		"| `items_price_idx` | `items USING btree (price)` | `ListItems` |",
	} {
		if !strings.Contains(string(a.Markdown()), line) {
			t.Errorf("no line\n%s\nin\n%s", line, a.Markdown())
		}
	}
	if want := []string{"cmd/shop"}; !slices.Equal(a.query("CountItems").Commands, want) || !slices.Equal(a.query("GetItem").Tests, []string{"api.TestHeaders", "db.TestGetItem"}) {
		t.Errorf("CountItems is used by %v; GetItem ran in %v", a.query("CountItems").Commands, a.query("GetItem").Tests)
	}
}

// The tests of the shop are run on each mutant of a query.
func TestMutate(t *testing.T) {
	t.Parallel()
	p := newShop(t)
	if err := p.audit.Mutate(t.Context(), []Entry{{Package: "db", Test: "TestListItems", Query: "ListItems"}}, server(t), []string{"ListItems"}, func(string) {}); err != nil {
		t.Fatal(err)
	}
	a := p.run(t, p.audit.code, p.record)
	if len(a.Mutations) != len(a.Queries) {
		t.Errorf("%d results of %d queries are left", len(a.Mutations), len(a.Queries))
	}
	result, _ := a.mutationsOf("ListItems")
	if result.Mutants < 8 || !slices.Equal(result.Tests, []string{"db.TestListItems"}) || !slices.Equal(result.Survived, []string{"change column price"}) {
		t.Errorf("the mutations showed %+v", result)
	}
	if len(a.Findings) != 1 || !strings.Contains(a.Findings[0].Message, "change column price") {
		t.Errorf("found %v", a.Findings)
	}
}

// What the audit cannot follow it says.
func TestWhatIsNotFollowed(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS("testdata/shop")); err != nil {
		t.Fatal(err)
	}
	copyFrom := "package db\n\nimport \"context\"\n\nfunc (q *Queries) CreateItems(ctx context.Context) error { return ctx.Err() }\n"
	if err := os.WriteFile(filepath.Join(root, "db/copyfrom.sql.go"), []byte(copyFrom), 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := ReadConfig(root)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(t.Context(), config, nil, server(t)); err == nil || !strings.Contains(err.Error(), "CreateItems") {
		t.Errorf("a :copyfrom query: %v", err)
	}
	if _, err := ReadRecord(t.TempDir()); err == nil {
		t.Error("a record of nothing is read")
	}
	if err := os.WriteFile(filepath.Join(root, configFile), []byte("query: sql/queries\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadConfig(root); err == nil || !strings.Contains(err.Error(), "query") {
		t.Errorf("a key that is none: %v", err)
	}
}

// The record is read as the tests write it.
func TestReadRecord(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "record-1.ndjson"), []byte(`{"Package":"db","Test":"TestA/b","Query":"A","Custom":true}`+"\n"+`{"Constraint":"c"}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	record, err := ReadRecord(dir)
	if want := []Entry{{Package: "db", Test: "TestA/b", Query: "A", Custom: true}, {Constraint: "c"}}; err != nil || !slices.Equal(record, want) {
		t.Errorf("read %v, %v", record, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "record-2.ndjson"), []byte("{\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadRecord(dir); err == nil {
		t.Error("a broken record is read")
	}
}
