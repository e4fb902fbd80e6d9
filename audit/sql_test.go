package audit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What the audit cannot follow it says.
func TestKindsThatAreNotFollowed(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"copyfrom", "batchexec", "batchone", "batchmany"} {
		root := t.TempDir()
		if err := os.WriteFile(filepath.Join(root, "a.sql"), []byte("-- name: CreateAll :"+kind+"\nselect 1;\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readQueries(Config{Root: root, Queries: "."}); err == nil || !strings.Contains(err.Error(), kind) {
			t.Errorf(":%s: %v", kind, err)
		}
	}
}
