//go:build unix && !aix && !solaris

package localpg

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// newDir returns a directory that a database which runs as another user reaches.
func newDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "localpg-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// startIn starts a server on dir, which ends with the test.
func startIn(t *testing.T, dir string) *Server {
	t.Helper()
	s, err := Start(t.Context(), Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t *testing.T, s *Server) {
	t.Helper()
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
}

// ask returns the result of a query.
func ask(t *testing.T, s *Server, query string) string {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close(t.Context())
	var answer string
	if err := connection.QueryRow(t.Context(), query).Scan(&answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestStart(t *testing.T) {
	t.Parallel()
	s, err := Start(t.Context(), Options{DataDir: newDir(t), Settings: map[string]string{"application_name": "a 'name'"}})
	if err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]string{
		"show listen_addresses":     "",
		"show application_name":     "a 'name'",
		"show server_encoding":      "UTF8",
		"select current_database()": name,
	} {
		if got := ask(t, s, query); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	stop(t, s)
	<-s.Exited()
	if _, err := pgx.Connect(t.Context(), s.URL()); err == nil {
		t.Error("it still answers")
	}
	if _, err := os.Stat(s.socketDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder of the socket: %v", err)
	}
	stop(t, s) // Once more does no harm.
}

// TestStartStaleLock has files of a PostgreSQL that was killed, whose process
// number is meanwhile that of another program of the same user.
func TestStartStaleLock(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{
		"another program":  "%PID%\n%DATA%\n1700000000\n5432\n%SOCKET%\n\n  5432001         1\nready   \n",
		"never finished":   "%PID%\n%DATA%\n1700000000\n5432\n",
		"emptied by crash": "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := newDir(t)
			s := startIn(t, dir)
			stop(t, s)
			other := sleeper(t, s.user)
			content := strings.NewReplacer("%PID%", strconv.Itoa(other), "%DATA%", s.data, "%SOCKET%", s.socketDir).Replace(content)
			if err := s.makeSocketDir(); err != nil {
				t.Fatal(err)
			}
			for _, path := range []string{s.pidPath(), filepath.Join(s.socketDir, socketName+".lock")} {
				if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := s.user.own(path); err != nil {
					t.Fatal(err)
				}
			}
			startIn(t, dir)
			if err := syscall.Kill(other, 0); err != nil {
				t.Errorf("the other program: %v", err)
			}
		})
	}
}

// sleeper returns the process of a program that runs as the account until the end
// of the test.
func sleeper(t *testing.T, user *account) int {
	t.Helper()
	cmd := user.command(context.Background(), "/bin/sh", "-c", "read -r _")
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		input.Close()
		_ = cmd.Wait() // That it read nothing is no matter.
	})
	return cmd.Process.Pid
}

// TestStartByHand starts a PostgreSQL by hand on the same data.
func TestStartByHand(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	s := startIn(t, dir)
	binaries, err := s.findBinaries(t.Context(), installedFolders(), repository)
	if err != nil {
		t.Fatal(err)
	}
	stop(t, s)
	byHand := *s
	byHand.socketDir = filepath.Join(dir, "by-hand")
	if err := errors.Join(os.Mkdir(byHand.socketDir, 0o700), s.user.own(byHand.socketDir)); err != nil {
		t.Fatal(err)
	}
	cmd := s.user.command(context.Background(), filepath.Join(binaries, "postgres"), "-D", s.data, "-k", byHand.socketDir, "-c", "listen_addresses=")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		_ = cmd.Wait()
	}()
	byHand.postgres = &process{Process: cmd.Process, exited: make(chan struct{})}
	connection, err := byHand.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close(t.Context())

	_, err = Start(t.Context(), Options{DataDir: dir})
	if err == nil || !strings.Contains(err.Error(), "postmaster.pid") || !strings.Contains(err.Error(), strconv.Itoa(cmd.Process.Pid)) {
		t.Errorf("%v, want that process %d is at work", err, cmd.Process.Pid)
	}
	if err := connection.Ping(t.Context()); err != nil {
		t.Errorf("what was started by hand: %v", err)
	}
}

func TestStartKeepsLogSmall(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	path := filepath.Join(dir, "postgres.log")
	if err := os.WriteFile(path, make([]byte, maxLogBytes+1), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startIn(t, dir)
	connection, err := pgx.Connect(t.Context(), s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close(t.Context())
	if _, err := connection.Exec(t.Context(), "select 'a mistake'::integer"); err == nil {
		t.Fatal("no error")
	}
	log, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(log), "ready to accept connections") || strings.Contains(string(log), "a mistake") || len(log) > 10_000 {
		t.Errorf("the log:\n%s", log)
	}
	if info, err := os.Stat(path + ".old"); err != nil || info.Size() != maxLogBytes+1 {
		t.Errorf("the old log: %v %v", info, err)
	}
}

// TestStartShowsLog has PostgreSQL refuse to start.
func TestStartShowsLog(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	_, err := Start(t.Context(), Options{DataDir: dir, Settings: map[string]string{"no_such_setting": "1"}})
	if err == nil || !strings.Contains(err.Error(), "no_such_setting") || !strings.Contains(err.Error(), filepath.Join(dir, "postgres.log")) {
		t.Errorf("%v, want what the log says", err)
	}
}

// TestStartKeepsWhatIsThere has files of someone's in the way.
func TestStartKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"socket/notes", "postgres/notes"} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(newDir(t), file)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Start(t.Context(), Options{DataDir: filepath.Dir(filepath.Dir(path))})
			if err == nil || !strings.Contains(err.Error(), filepath.Dir(path)) {
				t.Errorf("%v, want that %s is in the way", err, filepath.Dir(path))
			}
			if _, err := os.Stat(path); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCanHaveSocket(t *testing.T) {
	t.Parallel()
	for dir, want := range map[string]bool{
		"/data":                           true,
		"/with a space":                   true,
		"/with,comma":                     false,
		"/" + strings.Repeat("d", 81):     true,
		"/" + strings.Repeat("d", 82):     false,
		"/" + strings.Repeat("long/", 99): false,
	} {
		if got := canHaveSocket(socketIn(dir)); got != want {
			t.Errorf("%s: %t, want %t", dir, got, want)
		}
	}
}

// TestStartLongDirectory has its socket in /tmp, where other users can create folders, too.
func TestStartLongDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(newDir(t), strings.Repeat("long", 30))
	former := ""
	for range 2 {
		s := startIn(t, dir)
		if !strings.HasPrefix(s.socketDir, "/tmp/benchledger-") || s.socketDir == former || URL(dir) != s.URL() {
			t.Errorf("the socket is in %s, after %q; others look at %s", s.socketDir, former, URL(dir))
		}
		if folder := statOf(s.socketDir); folder == nil || folder.Mode&0o777 != 0o700 {
			t.Errorf("the folder of the socket: %+v", folder)
		}
		ask(t, s, "show port")
		former = s.socketDir
		stop(t, s)
		for _, path := range []string{s.socketDir, socketIn(dir)} {
			if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s is left: %v", path, err)
			}
		}
	}

	// The server was killed, its folder deleted, and another user created one with that name.
	others := newDir(t)
	if os.Geteuid() == 0 { // Then only its owner is wrong, otherwise its mode.
		if err := os.Chmod(others, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink(others, socketIn(dir)), os.WriteFile(filepath.Join(others, socketName), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(URL(dir), url.QueryEscape(others)) {
		t.Errorf("%s is the folder of others", URL(dir))
	}
	s := startIn(t, dir)
	ask(t, s, "show port")
	if _, err := os.Stat(filepath.Join(others, socketName)); err != nil || s.socketDir == others {
		t.Errorf("the socket is in %s, and in the folder of others: %v", s.socketDir, err)
	}
}

// asRoot skips the test unless it runs as root, and returns the user of the database.
func asRoot(t *testing.T) *account {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root runs the database as another user")
	}
	user, err := databaseUser("", "")
	if err != nil {
		t.Fatal(err)
	}
	return user
}

// The database's user can change nothing in the data directory of root but the data.
func TestStartOwnsDataDir(t *testing.T) {
	t.Parallel()
	user := asRoot(t)
	dir := filepath.Join(newDir(t), "data")
	s := startIn(t, dir)
	if folder := statOf(dir); folder.Uid != 0 || folder.Mode&0o022 != 0 {
		t.Errorf("the data directory: owner %d, mode %o", folder.Uid, folder.Mode)
	}
	for name, want := range map[string]int{"server.lock": 0, "postgres.lock": 0, "postgres.log": 0, "postgres": user.uid, "socket": user.uid} {
		if owner := statOf(filepath.Join(dir, name)); owner == nil || int(owner.Uid) != want {
			t.Errorf("%s: %+v, want owner %d", name, owner, want)
		}
	}
	if err := s.user.command(t.Context(), "ln", "-s", "/etc/passwd", filepath.Join(dir, "postgres.log.old")).Run(); err == nil {
		t.Error("the database's user can create links")
	}
}

// An earlier version gave the whole data directory to the database's user.
func TestStartFormerDataDir(t *testing.T) {
	t.Parallel()
	user := asRoot(t)
	dir := newDir(t)
	stop(t, startIn(t, dir))
	for _, name := range []string{".", "server.lock", "postgres.lock", "postgres.log"} {
		if err := user.own(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "postgres.log")); err != nil {
		t.Fatal(err)
	}
	ask(t, startIn(t, dir), "show port")
	for _, name := range []string{".", "server.lock", "postgres.lock", "postgres.log"} { // That user can still start the server, too.
		if owner := statOf(filepath.Join(dir, name)); owner == nil || int(owner.Uid) != user.uid {
			t.Errorf("%s: %+v, want owner %d", name, owner, user.uid)
		}
	}
}

// The database's user, which owns the data directory, puts something else where root opens a file.
func TestStartRefusesLinks(t *testing.T) {
	t.Parallel()
	user := asRoot(t)
	for _, name := range []string{"server.lock", "postgres.lock", "postgres.log"} {
		for kind, put := range map[string]func(victim, path string) error{
			"symbolic link": os.Symlink,
			"hard link":     os.Link,
			"pipe":          func(_, path string) error { return syscall.Mkfifo(path, 0o600) },
		} {
			t.Run(kind+" "+name, func(t *testing.T) {
				t.Parallel()
				work := newDir(t)
				dir, victim := filepath.Join(work, "data"), filepath.Join(work, "victim")
				path := filepath.Join(dir, name)
				if err := errors.Join(os.Mkdir(dir, 0o755), user.own(dir), os.WriteFile(victim, []byte("secret"), 0o600), put(victim, path)); err != nil {
					t.Fatal(err)
				}
				_, err := Start(t.Context(), Options{DataDir: dir, Settings: map[string]string{"no_such_setting": "1"}})
				if err == nil || !strings.Contains(err.Error(), path+" is ") {
					t.Errorf("%v, want a refusal of %s", err, path)
				}
				content, err := os.ReadFile(victim)
				if owner := statOf(victim); err != nil || string(content) != "secret" || owner.Uid != 0 {
					t.Errorf("the file of root: %q %v, owner %d", content, err, owner.Uid)
				}
			})
		}
	}
}

// The database runs as the owner of a link in place of the data, not as the owner of what it points to.
func TestDatabaseUserOfLink(t *testing.T) {
	t.Parallel()
	user := asRoot(t)
	dir, others := newDir(t), newDir(t)
	if err := errors.Join(os.Chown(others, 1, 1), user.own(dir), os.Symlink(others, dataIn(dir)), user.own(dataIn(dir))); err != nil {
		t.Fatal(err)
	}
	if got, err := databaseUser(dir, dataIn(dir)); err != nil || got.uid != user.uid {
		t.Errorf("%+v %v, want %+v", got, err, user)
	}
	if err := os.Lchown(dataIn(dir), 0, 0); err != nil { // Root's own link.
		t.Fatal(err)
	}
	if got, err := databaseUser(dir, dataIn(dir)); err != nil || got.uid != 1 {
		t.Errorf("%+v %v, want user 1", got, err)
	}
}
