package recorder_test

import (
	"context"
	"slices"
	"testing"

	"github.com/benchledger/benchledger/audit/recorder"
	"github.com/benchledger/benchledger/db"
	"github.com/benchledger/benchledger/internal/testdb"
)

func TestMain(m *testing.M) { testdb.Main(m) }

// A query that ran is recorded, one that is refused is not; the constraint is.
func TestRecord(t *testing.T) {
	if _, err := recorder.Read(t.TempDir()); err == nil {
		t.Error("a record of nothing is read")
	}
	dir := t.TempDir()
	t.Setenv(recorder.Variable, dir)
	tracer := recorder.New("p", "TestRecord", func(context.Context) string { return "o" })
	queries := db.New(testdb.Pool(t, testdb.URL(t), tracer))
	if _, err := queries.ListKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := queries.CreateKey(t.Context(), db.CreateKeyParams{Name: "", Hash: make([]byte, 32), Scope: "read"}); err == nil {
		t.Fatal("a key without a name is stored")
	}
	recorder.Operation("p", "TestRecord", "called")
	entries, err := recorder.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	entries = slices.DeleteFunc(entries, func(e recorder.Entry) bool { return e.Package != "p" })
	want := []recorder.Entry{
		{Package: "p", Test: "TestRecord", Query: "ListKeys", Operation: "o"},
		{Package: "p", Test: "TestRecord", Constraint: "api_keys_name_check"},
		{Package: "p", Test: "TestRecord", Operation: "called"},
	}
	if !slices.Equal(entries, want) {
		t.Errorf("recorded %v, want %v", entries, want)
	}
}
