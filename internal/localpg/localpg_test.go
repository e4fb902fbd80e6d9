//go:build unix && !aix && !solaris

package localpg

import (
	"context"
	"errors"
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
	if err := byHand.makeSocketDir(); err != nil {
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

func TestSocketDir(t *testing.T) {
	t.Parallel()
	for dir, inside := range map[string]bool{
		"/data":                           true,
		"/with a space":                   true,
		"/with,comma":                     false,
		"/" + strings.Repeat("d", 81):     true,
		"/" + strings.Repeat("d", 82):     false,
		"/" + strings.Repeat("long/", 99): false,
	} {
		got := socketDir(dir)
		if (got == filepath.Join(dir, "socket")) != inside {
			t.Errorf("%s: %s, want it inside: %t", dir, got, inside)
		}
		if path := filepath.Join(got, socketName); len(path) > maxSocketPath {
			t.Errorf("%s has %d bytes", path, len(path))
		}
		if socketDir(dir+"x") == got {
			t.Errorf("%s: two directories have the same socket", dir)
		}
	}
}
