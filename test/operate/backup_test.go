package operate

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// TestBackup backs a database up and restores it by the commands of the guide: from a
// dump, and to a moment, after its disk has died. A key that was revoked after it has to
// be revoked again.
func TestBackup(t *testing.T) {
	t.Parallel()
	needs(t, "pg_dump", "pg_restore", "pg_basebackup", "createdb")
	page := "site/guides/backup.md"
	text, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	archive := regexp.MustCompile(`(?m)^archive_command = '(.*)'$`).FindSubmatch(text)
	if archive == nil {
		t.Fatal("the guide has no archive_command")
	}

	first, backup := newDir(t), newDir(t)
	settings := map[string]string{
		"archive_mode": "on", "archive_timeout": "60", "archive_command": strings.ReplaceAll(string(bytes.TrimSpace(archive[1])), "/backup", backup),
	}
	database := startDatabase(t, first, settings)
	g := readGuide(t, page, byHand)
	g.owner = filepath.Join(first, "postgres")
	ownedBy(t, backup, g.owner)
	g.set("DATABASE_URL", database.URL())
	g.set("BACKUP", backup)
	g.set("ENVIRONMENT", "production")
	g.set("API_SECRET_KEY", key)

	// A dump, and another database made of it.
	s := serve(t, "DATABASE_URL="+database.URL())
	ci := g.run("benchledger keys create ci")
	s.submit("run-1", "run-2")
	g.next("pg_dump")
	s.submit("run-3")
	execute(t, database.URL(), "create database restored")
	restored := strings.Replace(database.URL(), "///benchledger?", "///restored?", 1)
	g.set("NEW_DATABASE_URL", restored)
	g.next("pg_restore")
	other := serve(t, "DATABASE_URL="+restored)
	other.wantRuns("run-1", "run-2")
	other.submit("run-4")
	other.stop()

	// A base backup, and what came after it, until a moment.
	g.next("mkdir")
	g.next("pg_basebackup")
	s.submit("run-5", "run-6")
	moment := ask(t, database.URL(), "select clock_timestamp()::text")
	s.submit("run-7")
	g.run("benchledger keys revoke ci")
	execute(t, database.URL(), "select pg_switch_wal()")
	segment := ask(t, database.URL(), "select pg_walfile_name(pg_current_wal_lsn() - 1)")
	eventually(t, "the log is archived", func() error {
		if archived := ask(t, database.URL(), "select coalesce(max(last_archived_wal), '') from pg_stat_archiver"); archived < segment {
			return fmt.Errorf("archived up to %q, want %s", archived, segment)
		}
		return nil
	})
	s.stop()
	if err := database.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(first); err != nil { // The disk has died.
		t.Fatal(err)
	}

	second := newDir(t)
	g.owner = backup
	ownedBy(t, second, backup)
	g.set("DATA", filepath.Join(second, "postgres"))
	g.set("MOMENT", moment)
	bases, err := filepath.Glob(filepath.Join(backup, "base-*"))
	if err != nil || len(bases) != 1 {
		t.Fatalf("base backups %v, %v", bases, err)
	}
	g.set("BASE", bases[0])
	g.next("cp --archive")
	// It takes connections when it is there again, and not while it recovers.
	database = startDatabase(t, second, map[string]string{"hot_standby": "off"})
	s = serve(t, "DATABASE_URL="+database.URL())
	s.wantRuns("run-1", "run-2", "run-3", "run-5", "run-6")
	s.submit("run-7") // Whoever was not acknowledged submits again.
	g.set("DATABASE_URL", database.URL())
	g.next("benchledger doctor")
	if got := s.submitWith(ci, "run-1"); got != http.StatusOK {
		t.Errorf("the key that was revoked after the moment: %d", got)
	}
	g.next("benchledger keys list")
	eventually(t, "the key is revoked", func() error {
		if got := s.submitWith(ci, "run-1"); got != http.StatusForbidden {
			return fmt.Errorf("status %d", got)
		}
		return nil
	})
}

// ownedBy gives a directory to the owner of another one.
func ownedBy(t *testing.T, dir, like string) {
	t.Helper()
	cmd := exec.Command("chown", "--reference="+like, dir)
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
}

func execute(t *testing.T, url, sql string) {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close(t.Context())
	if _, err := connection.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func ask(t *testing.T, url, sql string) string {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close(t.Context())
	var answer string
	if err := connection.QueryRow(t.Context(), sql).Scan(&answer); err != nil {
		t.Fatal(err)
	}
	return answer
}
