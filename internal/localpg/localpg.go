//go:build unix

// Package localpg runs a PostgreSQL of this program's own: for whoever has none at
// hand, and for tests.
package localpg

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// name is that of the role and the database.
const name = "benchledger"

const (
	readyTimeout = 2 * time.Minute // recovery after a crash takes its time
	stopTimeout  = 20 * time.Second
	pollInterval = 10 * time.Millisecond
	// maxSocketPath is what the shortest of the systems allows for
	// <folder>/.s.PGSQL.5432.
	maxSocketPath = 103
	socketName    = ".s.PGSQL.5432"
)

// Options say what to run.
type Options struct {
	// DataDir holds everything: the data, the lock, the log, and binaries that
	// were fetched. It is created where it is missing, and kept.
	DataDir string
	// Settings are PostgreSQL's, as in postgresql.conf.
	Settings map[string]string
	// Progress is told what takes long.
	Progress func(string)
}

// Server is a PostgreSQL that runs until Stop, or until this process ends,
// however it ends.
type Server struct {
	socketDir string
	lock      *flock.Flock
	postgres  *exec.Cmd
	watcher   *watcher
	exited    chan struct{}
}

// Start starts PostgreSQL on the data in DataDir, which is initialised where
// there is none. It listens on a socket that only this user reaches, and on no
// port. Only one server at a time can use the data.
func Start(ctx context.Context, options Options) (*Server, error) {
	dir, err := filepath.Abs(options.DataDir)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	owner, err := databaseUser()
	if err != nil {
		return nil, err
	}
	if err := makeDataDir(dir, owner); err != nil {
		return nil, err
	}
	lock := flock.New(filepath.Join(dir, "lock"))
	if locked, err := lock.TryLock(); err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	} else if !locked {
		return nil, fmt.Errorf("another server is using the data in %s: stop it, or give this one a data directory of its own", dir)
	}
	s := &Server{lock: lock, exited: make(chan struct{})}
	if err := s.start(ctx, dir, owner, options); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, dir string, owner *account, options Options) error {
	data := filepath.Join(dir, "postgres")
	binaries, err := findBinaries(ctx, dir, data, options.Progress)
	if err != nil {
		return err
	}
	if s.socketDir, err = makeSocketDir(dir, owner); err != nil {
		return err
	}
	if err := stopOrphan(ctx, s.socketDir, data); err != nil {
		return err
	}
	if err := initialise(ctx, binaries, data, owner); err != nil {
		return err
	}
	logPath := filepath.Join(dir, "postgres.log")
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the database's log: %w", err)
	}
	defer log.Close()
	logStart, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("open the database's log: %w", err)
	}

	args := []string{
		"-D", data, "-k", s.socketDir,
		"-c", "listen_addresses=", "-c", "unix_socket_permissions=0700", "-c", "logging_collector=off",
	}
	for setting, value := range options.Settings {
		args = append(args, "-c", setting+"="+value)
	}
	s.postgres = owner.command(context.WithoutCancel(ctx), filepath.Join(binaries, "postgres"), args...)
	s.postgres.Stdout, s.postgres.Stderr = log, log
	if err := s.postgres.Start(); err != nil {
		s.postgres = nil
		return fmt.Errorf("start the database: %w", err)
	}
	go func() {
		_ = s.postgres.Wait() // How it ended is in its log.
		close(s.exited)
	}()
	if s.watcher, err = watch(s.postgres.Process.Pid); err != nil {
		return err
	}
	if err := s.waitReady(ctx); err != nil {
		return fmt.Errorf("%w; %s says:\n%s", err, logPath, tail(logPath, logStart))
	}
	return s.createDatabase(ctx)
}

// URL returns the connection string of the database.
func (s *Server) URL() string { return connectionURL(s.socketDir, name) }

func connectionURL(socketDir, database string) string {
	query := url.Values{"host": {socketDir}, "user": {name}}
	return "postgres:///" + database + "?" + query.Encode()
}

// Exited is closed when PostgreSQL has ended, by Stop or by itself.
func (s *Server) Exited() <-chan struct{} { return s.exited }

// Stop ends PostgreSQL, after its open transactions were rolled back, and
// everything else that Start began.
func (s *Server) Stop() error {
	var err error
	if s.postgres != nil {
		err = s.stopPostgres()
	}
	if s.watcher != nil {
		s.watcher.stop()
	}
	return errors.Join(err, s.lock.Unlock())
}

func (s *Server) stopPostgres() error {
	// A fast shutdown; where that hangs, one that recovers on the next start.
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL} {
		_ = s.postgres.Process.Signal(signal) // It may have ended by itself.
		select {
		case <-s.exited:
			return nil
		case <-time.After(stopTimeout):
		}
	}
	return fmt.Errorf("the database (process %d) does not stop", s.postgres.Process.Pid)
}

func (s *Server) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		connection, err := pgx.Connect(ctx, connectionURL(s.socketDir, "postgres"))
		if err == nil {
			return connection.Close(ctx)
		}
		select {
		case <-s.exited:
			return errors.New("the database does not start")
		case <-ctx.Done():
			return errors.New("the database does not become ready")
		case <-time.After(pollInterval):
		}
	}
}

func (s *Server) createDatabase(ctx context.Context) error {
	connection, err := pgx.Connect(ctx, connectionURL(s.socketDir, "postgres"))
	if err != nil {
		return fmt.Errorf("connect to the database: %w", err)
	}
	defer connection.Close(ctx)
	_, err = connection.Exec(ctx, "create database "+name)
	var exists *pgconn.PgError
	if errors.As(err, &exists) && exists.Code == "42P04" {
		return nil
	}
	if err != nil {
		return fmt.Errorf("create the database: %w", err)
	}
	return nil
}

// account is whom the database runs as: this process's user, or, since
// PostgreSQL refuses to run as root, another one. nil is this process's.
type account struct {
	name     string
	uid, gid int
}

func databaseUser() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, candidate := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(candidate)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.Atoi(found.Uid)
		gid, gidErr := strconv.Atoi(found.Gid)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return nil, fmt.Errorf("user %s: %w", candidate, err)
		}
		return &account{name: candidate, uid: uid, gid: gid}, nil
	}
	return nil, errors.New("PostgreSQL does not run as root, and this machine has neither a user postgres nor nobody: " +
		"start as another user, or set DATABASE_URL")
}

// command prepares a command to run as the account, away from the terminal's
// signals.
func (a *account) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if a != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)} //nolint:gosec // ids of the system
	}
	return cmd
}

// own gives a path to the account.
func (a *account) own(path string) error {
	if a == nil {
		return nil
	}
	return os.Chown(path, a.uid, a.gid)
}

func makeDataDir(dir string, owner *account) error {
	mode := os.FileMode(0o700)
	if owner != nil {
		mode = 0o755
	}
	if err := os.MkdirAll(dir, mode); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if owner == nil {
		return nil
	}
	if err := owner.command(context.Background(), "/bin/sh", "-c", `cd "$0"`, dir).Run(); err != nil {
		return fmt.Errorf("the database runs as user %s, who cannot reach %s: choose another data directory (DATA_DIR), "+
			"or make the folders above it passable", owner.name, dir)
	}
	return nil
}

// makeSocketDir returns a folder for the socket that only the database's user and
// root enter: in the data directory, or where its path is too long, in the
// temporary one.
func makeSocketDir(dir string, owner *account) (string, error) {
	socketDir := filepath.Join(dir, "socket")
	if len(filepath.Join(socketDir, socketName)) > maxSocketPath {
		hash := sha256.Sum256([]byte(dir))
		socketDir = filepath.Join("/tmp", "benchledger-"+hex.EncodeToString(hash[:8]))
	}
	if err := os.Mkdir(socketDir, 0o700); err == nil {
		err = owner.own(socketDir)
		if err != nil {
			return "", fmt.Errorf("folder of the database's socket: %w", err)
		}
	} else if !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("folder of the database's socket: %w", err)
	}
	// In the temporary folder anyone may have been first.
	info, err := os.Lstat(socketDir)
	if err != nil {
		return "", fmt.Errorf("folder of the database's socket: %w", err)
	}
	uid := os.Geteuid()
	if owner != nil {
		uid = owner.uid
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || info.Mode().Perm() != 0o700 || int(stat.Uid) != uid {
		return "", fmt.Errorf("%s has to be a folder that only the database's user enters: remove it", socketDir)
	}
	return socketDir, nil
}

// stopOrphan ends a PostgreSQL that outlived the server it belonged to.
func stopOrphan(ctx context.Context, socketDir, data string) error {
	if !answers(ctx, socketDir) {
		return nil
	}
	content, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return fmt.Errorf("a database answers in %s that does not belong to %s: %w", socketDir, data, err)
	}
	firstLine, _, _ := strings.Cut(string(content), "\n")
	pid, err := strconv.Atoi(firstLine)
	if err != nil {
		return fmt.Errorf("a database answers in %s that does not belong to %s: %w", socketDir, data, err)
	}
	_ = syscall.Kill(pid, syscall.SIGINT) // Whether it worked is seen below.
	for deadline := time.Now().Add(stopTimeout); answers(ctx, socketDir); time.Sleep(pollInterval) {
		if time.Now().After(deadline) {
			return fmt.Errorf("the database of an earlier server (process %d) does not stop", pid)
		}
	}
	return nil
}

// answers reports whether a PostgreSQL listens, be it ready or not.
func answers(ctx context.Context, socketDir string) bool {
	connection, err := pgx.Connect(ctx, connectionURL(socketDir, "postgres"))
	if err == nil {
		_ = connection.Close(ctx)
		return true
	}
	var refused *pgconn.PgError
	return errors.As(err, &refused)
}

// initialise makes the data where there is none. It appears whole or not at all.
func initialise(ctx context.Context, binaries, data string, owner *account) error {
	if _, err := os.Stat(filepath.Join(data, "PG_VERSION")); err == nil {
		return nil
	}
	if _, err := os.Stat(data); err == nil {
		return fmt.Errorf("%s is there, but holds no database: move it away, or choose another data directory (DATA_DIR)", data)
	}
	unfinished := data + ".unfinished"
	if err := os.RemoveAll(unfinished); err != nil {
		return fmt.Errorf("make the database: %w", err)
	}
	if err := os.Mkdir(unfinished, 0o700); err != nil {
		return fmt.Errorf("make the database: %w", err)
	}
	if err := owner.own(unfinished); err != nil {
		return fmt.Errorf("make the database: %w", err)
	}
	// The socket's folder is closed to others, so whoever reaches it is trusted.
	cmd := owner.command(ctx, filepath.Join(binaries, "initdb"), "-D", unfinished, "-U", name,
		"--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions")
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make the database: %w:\n%s", err, output)
	}
	if err := os.Rename(unfinished, data); err != nil {
		return fmt.Errorf("make the database: %w", err)
	}
	return nil
}

// watcher is a process that ends PostgreSQL when this process has ended, even by
// SIGKILL: its standard input is then at its end.
type watcher struct {
	cmd   *exec.Cmd
	input io.Closer
}

func watch(pid int) (*watcher, error) {
	cmd := exec.Command("/bin/sh", "-c", `trap "" HUP INT TERM; read -r _; kill -INT "$0"`, strconv.Itoa(pid))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("watch the database: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("watch the database: %w", err)
	}
	return &watcher{cmd: cmd, input: input}, nil
}

// stop ends the watcher before it sees the end of its input.
func (w *watcher) stop() {
	_ = w.cmd.Process.Kill()
	_ = w.input.Close()
	_ = w.cmd.Wait()
}

// tail returns what was written to the file since start, its last lines at most.
func tail(path string, start int64) string {
	const most = 4096
	file, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer file.Close()
	if size, err := file.Seek(0, io.SeekEnd); err == nil {
		_, _ = file.Seek(max(start, size-most), io.SeekStart)
	}
	text, _ := io.ReadAll(file)
	return strings.TrimSpace(string(text))
}
