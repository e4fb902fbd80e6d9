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

	"github.com/benchledger/benchledger/internal/testserver"
)

// TestOperator does what a new operator does, by the commands of the guides alone:
// installs, makes a key, submits, revokes it, upgrades, backs up, and after all is lost
// restores.
func TestOperator(t *testing.T) {
	t.Parallel()
	needs(t, "git", "make", "openssl", "pg_dump", "pg_restore")
	dir, backup := checkout(t), newDir(t)
	database := startDatabase(t, filepath.Join(dir, "database"), nil)
	first, second := fmt.Sprintf("127.0.0.1:%d", freePort(t)), fmt.Sprintf("127.0.0.1:%d", freePort(t))
	deploy := readGuide(t, "site/guides/deploy.md", byHand)
	deploy.dir = dir
	deploy.instead = []string{"127.0.0.1:8787", first, "127.0.0.1:8788", second, "postgres://benchledger@db.internal/benchledger", database.URL()}
	health := func(addr string) {
		t.Helper()
		eventually(t, "a server takes requests at "+addr, func() error {
			output, err := exec.Command(filepath.Join(dir, "benchledger"), "health", "--addr="+addr).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, output)
			}
			return nil
		})
	}

	// Install.
	deploy.next("make build")
	deploy.next("umask 077")
	if info, err := os.Stat(filepath.Join(dir, "benchledger.env")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file with the settings: %v, %v", info, err)
	}
	old := deploy.start(deploy.take("set -a"))
	health(first)
	settings, err := os.ReadFile(filepath.Join(dir, "benchledger.env"))
	if err != nil {
		t.Fatal(err)
	}
	shared := regexp.MustCompile(`API_SECRET_KEY=(.*)`).FindSubmatch(settings)
	s := &server{t: t, url: "http://" + first, key: string(shared[1]), log: &bytes.Buffer{}}

	// A key, which submits, and is revoked.
	keys := readGuide(t, "site/guides/keys.md", func(string) bool { return true })
	keys.dir = dir
	keys.set("DATABASE_URL", database.URL()) // As in the file with the settings.
	keys.set("BENCHLEDGER_URL", s.url)
	ci := keys.next("benchledger keys create ci")
	keys.set("BENCHLEDGER_API_KEY", ci)
	if err := os.WriteFile(filepath.Join(dir, "runs.ndjson"), []byte(strings.ReplaceAll(run("run-1"), "\n", "")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	keys.next("benchledger submit")
	keys.next("benchledger keys list")
	eventually(t, "the key is refused", func() error {
		if got := s.submitWith(ci, "run-2"); got != http.StatusForbidden {
			return fmt.Errorf("status %d", got)
		}
		return nil
	})

	// Upgrade: the old one answers until the new one does.
	deploy.next("set -a")
	s.want(http.StatusOK, http.MethodGet, "/readyz", "")
	deploy.set("OLD", fmt.Sprint(-old.Process.Pid)) // The shell, and the server in it.
	deploy.next("kill")
	_ = old.Wait() // By the signal.
	s.url = "http://" + second
	s.want(http.StatusOK, http.MethodGet, "/readyz", "")

	// Back up, lose everything, restore.
	restore := readGuide(t, "site/guides/backup.md", regexp.MustCompile(`^(pg_dump|pg_restore)`).MatchString)
	restore.set("BACKUP", backup)
	restore.set("DATABASE_URL", database.URL())
	restore.next("pg_dump")
	if err := database.Stop(); err != nil {
		t.Fatal(err)
	}
	if code, _ := get(t, s.url+"/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("ready without a database: %d", code)
	}
	if err := os.RemoveAll(filepath.Join(dir, "database")); err != nil {
		t.Fatal(err)
	}
	database = startDatabase(t, filepath.Join(dir, "database"), nil)
	restore.set("NEW_DATABASE_URL", database.URL())
	restore.next("pg_restore")
	health(second) // At the same place, the database has all that it had.
	if content := s.want(http.StatusOK, http.MethodGet, "/api/runs/run-1", ""); !strings.Contains(content, `"submittedBy":"ci"`) {
		t.Errorf("restored: %s", content)
	}
	if got := s.submitWith(ci, "run-2"); got != http.StatusForbidden {
		t.Errorf("the revoked key: %d", got)
	}
}

// TestSystemdUnit has systemd look at its unit.
func TestSystemdUnit(t *testing.T) {
	t.Parallel()
	needs(t, "systemd-analyze")
	path, err := testserver.Program()
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(root, "deploy/benchledger.service"))
	if err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(t.TempDir(), "benchledger.service")
	if err := os.WriteFile(unit, bytes.Replace(content, []byte("/usr/local/bin/benchledger"), []byte(path), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if output, err := exec.Command("systemd-analyze", "verify", "--man=no", unit).CombinedOutput(); err != nil || len(output) > 0 {
		t.Errorf("%v: %s", err, output)
	}
}
