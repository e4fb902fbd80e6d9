package db_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/benchledger/benchledger/internal/testdb"
)

// Each statement that the audit of the replaced system lists has queries here that do
// the same to the same table. That each query has a test sees TestEveryQueryHasItsTest.
func TestAuditedStatements(t *testing.T) {
	t.Parallel()
	texts := map[string]string{}
	files, err := filepath.Glob("*.sql.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range regexp.MustCompile("`(-- name: (\\w+) [^`]*)`").FindAllStringSubmatch(string(content), -1) {
			texts[found[2]] = found[1]
		}
	}
	listed, err := os.ReadFile("testdata/audited_statements.txt")
	if err != nil {
		t.Fatal(err)
	}
	pool := testdb.New(t)
	for line := range strings.Lines(string(listed)) {
		statement, names, _ := strings.Cut(strings.TrimSpace(line), ": ")
		words := strings.Fields(statement) // file:line does table
		if len(words) != 3 || names == "" {
			t.Fatalf("%q is not \"file:line does table: query…\"", line)
		}
		for name := range strings.FieldsSeq(names) {
			text, ok := texts[name]
			if !ok {
				t.Errorf("%s: there is no query %s", statement, name)
				continue
			}
			if touched := planned(t, pool, text); !touched[words[1]+" "+words[2]] {
				t.Errorf("%s: %s does only %v", statement, name, touched)
			}
		}
	}
}

// planned says what a statement does to which tables, by its plan: "insert runs".
func planned(t *testing.T, pool *pgxpool.Pool, text string) map[string]bool {
	t.Helper()
	connection, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Release()
	if _, err := connection.Exec(t.Context(), "deallocate all"); err != nil {
		t.Fatal(err)
	}
	prepared, err := connection.Conn().PgConn().Prepare(t.Context(), "audited", text, nil)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if _, err := connection.Exec(t.Context(), "set plan_cache_mode = force_generic_plan"); err != nil {
		t.Fatal(err)
	}
	explain := "explain (format json) execute audited"
	if n := len(prepared.ParamOIDs); n > 0 {
		explain += "(null" + strings.Repeat(", null", n-1) + ")"
	}
	result, err := connection.Conn().PgConn().Exec(t.Context(), explain).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	type node struct {
		Type       string `json:"Node Type"`
		Operation  string
		Relation   string `json:"Relation Name"`
		Resolution string `json:"Conflict Resolution"`
		Plans      []node
	}
	var plans []struct{ Plan node }
	if err := json.Unmarshal(result[0].Rows[0][0], &plans); err != nil {
		t.Fatal(err)
	}
	touched := map[string]bool{}
	var visit func(node)
	visit = func(n node) {
		switch {
		case n.Type == "ModifyTable":
			touched[strings.ToLower(n.Operation+" "+n.Relation)] = true
			if n.Resolution != "" {
				touched[strings.ToLower(n.Resolution+" "+n.Relation)] = true
			}
		case n.Relation != "":
			touched["select "+n.Relation] = true
		}
		for _, child := range n.Plans {
			visit(child)
		}
	}
	visit(plans[0].Plan)
	return touched
}
