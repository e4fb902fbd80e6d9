package recorder_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/benchledger/benchledger/db"
	"github.com/benchledger/benchledger/internal/testdb"
	"github.com/benchledger/benchledger/internal/testdb/recorder"
)

func TestMain(m *testing.M) { testdb.Main(m) }

// A query that ran is recorded, one that is refused is not; the constraint is.
func TestRecord(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(recorder.Variable, dir)
	tracer := recorder.New("p", "TestRecord", func(context.Context) string { return "o" })
	pool := testdb.Pool(t, testdb.URL(t), tracer)
	queries := db.New(pool)
	if _, err := queries.ListKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := queries.CreateKey(t.Context(), db.CreateKeyParams{Name: "", Hash: make([]byte, 32), Scope: "read"}); err == nil {
		t.Fatal("a key without a name is stored")
	}
	filters := db.Filters{"suite": {"s"}, "agent": {"a"}}
	if _, err := db.ListRunsPage(t.Context(), queries, filters, db.OrderNewest, db.OrderNewest.First(), 1); err != nil {
		t.Fatal(err)
	}
	recorder.Operation("p", "TestRecord", "called")
	entries := slices.DeleteFunc(read(t, dir), func(e recorder.Entry) bool { return e.Package != "p" })
	want := []recorder.Entry{
		{Package: "p", Test: "TestRecord", Query: "ListKeys", Operation: "o"},
		{Package: "p", Test: "TestRecord", Constraint: "api_keys_name_check"},
		{Package: "p", Test: "TestRecord", Query: "ListRunsByFilters", Custom: true, Operation: "o"},
		{Package: "p", Test: "TestRecord", Operation: "called"},
	}
	if !slices.Equal(entries, want) {
		t.Errorf("recorded %v, want %v", entries, want)
	}
}

func read(t *testing.T, dir string) (entries []recorder.Entry) {
	t.Helper()
	files, err := filepath.Glob(dir + "/record-*.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(content)) {
			var entry recorder.Entry
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				t.Fatal(err)
			}
			entries = append(entries, entry)
		}
	}
	return entries
}
