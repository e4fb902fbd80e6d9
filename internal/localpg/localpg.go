//go:build unix && !aix && !solaris

// Package localpg runs a private PostgreSQL server, for users who have none and for tests.
package localpg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// name is the name of the role and of the database.
	name = "benchledger"
	// port is only used in the name of the socket.
	port       = "5432"
	socketName = ".s.PGSQL." + port

	slowStart    = 5 * time.Second // after this, progress is reported
	readyTimeout = 5 * time.Minute // recovery after a crash may take long
	stopTimeout  = 20 * time.Second
	pollInterval = 10 * time.Millisecond
	// maxSocketPath is the smallest limit for a socket path among the supported systems.
	maxSocketPath = 103
	// maxLogBytes is the size at which Start begins a new log and keeps the old one.
	maxLogBytes = 10 << 20
)

// ErrInUse means that another server uses the data.
var ErrInUse = errors.New("another server is using the data")

// Options configure a server.
type Options struct {
	// DataDir contains the data, the locks, the log and downloaded binaries. It is created if
	// missing, and kept.
	DataDir string
	// Settings are PostgreSQL settings, as in postgresql.conf.
	Settings map[string]string
	// Progress is called with a message about a step that may take long.
	Progress func(string)
}

// Server is a PostgreSQL server that runs until Stop, or until this process ends for any reason.
type Server struct {
	dir       string // DataDir, absolute
	data      string // PostgreSQL's own folder in it
	socketDir string
	user      *account
	log       *os.File
	progress  func(string)
	// inUse is locked by this process only. running is also held by PostgreSQL's processes,
	// which inherit it: it is free when the last of them has ended.
	inUse, running *os.File
	postgres       *process
}

// Start starts PostgreSQL on the data in DataDir, and initialises the data if there is none.
// It listens only on a socket that only this user can reach, not on a port. Only one server
// at a time can use the data.
func Start(ctx context.Context, options Options) (*Server, error) {
	return startWith(ctx, options, installedFolders(), repository)
}

// startWith uses the programs in one of the installed folders, or else downloads them.
func startWith(ctx context.Context, options Options, installed []string, repository string) (*Server, error) {
	dir, err := filepath.Abs(options.DataDir)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	s := &Server{dir: dir, data: dataIn(dir), socketDir: socketDir(dir), progress: options.Progress}
	if s.progress == nil {
		s.progress = func(string) {}
	}
	if err := s.start(ctx, options.Settings, installed, repository); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, settings map[string]string, installed []string, repository string) error {
	var err error
	if s.user, err = databaseUser(s.dir, s.data); err != nil {
		return err
	}
	if err := s.makeDataDir(ctx); err != nil {
		return err
	}
	if err := s.lock(ctx); err != nil {
		return err
	}
	removeLeftovers(s.dir)
	binaries, err := s.findBinaries(ctx, installed, repository)
	if err != nil {
		return err
	}
	logStart, err := s.openLog()
	if err != nil {
		return err
	}
	defer s.log.Close()
	if err := s.run(ctx, binaries, settings); err != nil {
		if text := tail(s.log, logStart); text != "" {
			err = fmt.Errorf("%w; the end of %s:\n%s", err, s.log.Name(), text)
		}
		return err
	}
	return nil
}

// run initialises the data if needed, and starts PostgreSQL.
func (s *Server) run(ctx context.Context, binaries string, settings map[string]string) error {
	if err := s.initialise(ctx, binaries); err != nil {
		return err
	}
	if err := s.removeStaleLock(); err != nil { //nolint:contextcheck // it has to end, also when the start is given up
		return err
	}
	if err := s.makeSocketDir(); err != nil { //nolint:contextcheck // as above
		return err
	}
	args := []string{
		"-D", s.data, "-k", s.socketDir, "-p", port,
		"-c", "listen_addresses=", "-c", "unix_socket_permissions=0700",
		// The API server logs errors of statements itself; do not log them twice.
		"-c", "logging_collector=off", "-c", "log_min_messages=log",
	}
	for setting, value := range settings {
		args = append(args, "-c", setting+"="+value)
	}
	s.progress("starting PostgreSQL from " + binaries)
	var err error
	if s.postgres, err = start(ctx, s.user, s.running, s.log, filepath.Join(binaries, "postgres"), args...); err != nil {
		return fmt.Errorf("start the database: %w", err)
	}
	return s.createDatabase(ctx)
}

// URL returns the connection string of the database.
func (s *Server) URL() string { return s.url(name) }

// Exists reports whether dataDir has data of a server, or may have: this user may not be able to see it.
func Exists(dataDir string) bool {
	_, err := os.Lstat(dataIn(dataDir))
	return !errors.Is(err, os.ErrNotExist)
}

// dataIn returns PostgreSQL's own folder in the data directory.
func dataIn(dir string) string { return filepath.Join(dir, "postgres") }

// URL returns the connection string of a server that runs on the data in dataDir, an
// absolute path.
func URL(dataDir string) string { return (&Server{socketDir: socketDir(dataDir)}).URL() }

func (s *Server) url(database string) string {
	query := url.Values{"host": {s.socketDir}, "port": {port}, "user": {name}}
	// Like libpq, pgx does not read "+" as a space.
	return "postgres:///" + database + "?" + strings.ReplaceAll(query.Encode(), "+", "%20")
}

// Exited is closed when PostgreSQL has ended, by Stop or by itself.
func (s *Server) Exited() <-chan struct{} { return s.postgres.exited }

// Stop rolls back open transactions, stops PostgreSQL, and releases everything else that
// Start acquired.
func (s *Server) Stop() error {
	var err error
	if s.postgres != nil {
		err = s.postgres.stop()
		if os.Remove(s.socketDir) == nil && s.socketDir != socketIn(s.dir) { // It stays if PostgreSQL left a socket in it.
			_ = os.Remove(socketIn(s.dir)) // If this fails, the next start removes it.
		}
	}
	for _, lock := range []*os.File{s.running, s.inUse} {
		if lock != nil {
			_ = lock.Close() // Nothing was written.
		}
	}
	return err
}

func (s *Server) makeDataDir(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(s.dir, "PG_VERSION")); err == nil {
		return fmt.Errorf("%s contains the data of another PostgreSQL server: choose another data directory (DATA_DIR)", s.dir)
	}
	if s.user != nil {
		syscall.Umask(0o022) // The database's user must be able to reach what root creates.
	}
	// It belongs to this user, so that the database's user cannot put links in it.
	if err := os.MkdirAll(s.dir, s.user.folderMode()); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if !s.user.reaches(ctx, s.dir) {
		return fmt.Errorf("PostgreSQL runs as user %s, which cannot access %s: choose another data directory (DATA_DIR), "+
			"or allow access to it and its parent folders (chmod o+x)", s.user.name, s.dir)
	}
	return nil
}

// lock ensures that no other server uses the data. If an earlier server was killed, it waits
// until that server's PostgreSQL has ended.
func (s *Server) lock(ctx context.Context) error {
	var err error
	if s.inUse, err = lock(filepath.Join(s.dir, "server.lock")); errors.Is(err, errLocked) {
		return fmt.Errorf("%w in %s: stop it, or choose another data directory (DATA_DIR)", ErrInUse, s.dir)
	} else if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	for {
		if s.running, err = lock(filepath.Join(s.dir, "postgres.lock")); !errors.Is(err, errLocked) {
			return err
		}
		s.stopOrphan(ctx)
		select {
		case <-ctx.Done():
			return fmt.Errorf("the PostgreSQL of an earlier server is still running on the data in %s: stop it", s.dir)
		case <-time.After(pollInterval):
		}
	}
}

// stopOrphan stops a PostgreSQL whose server and watcher were both killed.
func (s *Server) stopOrphan(ctx context.Context) {
	connection, err := pgx.Connect(ctx, s.url("postgres"))
	if err != nil {
		return // It is shutting down.
	}
	_ = connection.Close(ctx)
	if pid, err := strconv.Atoi(s.pidFile()[0]); err == nil && pid > 1 {
		_ = s.user.command(ctx, "/bin/sh", "-c", `kill -INT "$0"`, strconv.Itoa(pid)).Run() // The lock shows whether it worked.
	}
}

// removeStaleLock removes the lock file of a killed PostgreSQL. The file has a process ID; if
// another process has that ID now, PostgreSQL would refuse to start.
func (s *Server) removeStaleLock() error {
	// A lock file with another socket belongs to a PostgreSQL that was started by hand and
	// may still run. A lock file without a socket is incomplete.
	former := s.socketDir
	if target, err := os.Readlink(socketIn(s.dir)); err == nil {
		former = target
	}
	if lines := s.pidFile(); len(lines) > 5 && lines[4] != former {
		return nil
	}
	if err := s.user.remove(s.pidPath()); err != nil {
		return fmt.Errorf("remove a stale lock: %w", err)
	}
	return nil
}

func (s *Server) pidPath() string { return filepath.Join(s.data, "postmaster.pid") }

// pidFile returns the lines of PostgreSQL's lock file: the process, the data, the
// time, the port, the socket folder, and more.
func (s *Server) pidFile() []string {
	content, _ := os.ReadFile(s.pidPath()) // Empty if there is no file.
	return strings.Split(string(content), "\n")
}

// makeSocketDir recreates the socket folder, for the database's user and root only.
// It removes what a killed PostgreSQL left there, and fails if there are other files.
func (s *Server) makeSocketDir() error {
	link, err := os.Lstat(socketIn(s.dir))
	if err == nil && link.Mode()&os.ModeSymlink != 0 {
		_ = os.Remove(socketIn(s.dir)) // If this fails, a folder cannot be created there.
	}
	err = s.user.remove(filepath.Join(s.socketDir, socketName), filepath.Join(s.socketDir, socketName+".lock"))
	if err == nil {
		err = os.Remove(s.socketDir)
	}
	if err == nil || errors.Is(err, os.ErrNotExist) {
		err = s.createSocketDir()
	}
	if err != nil {
		return fmt.Errorf("socket folder of the database: %w", err)
	}
	return nil
}

func (s *Server) createSocketDir() (err error) {
	if s.socketDir = socketIn(s.dir); canHaveSocket(s.socketDir) {
		err = os.Mkdir(s.socketDir, 0o700)
	} else if s.socketDir, err = os.MkdirTemp("/tmp", "benchledger-"); err == nil { // Nobody can guess its name, and create it first.
		err = os.Symlink(s.socketDir, socketIn(s.dir))
	}
	if err != nil {
		return err
	}
	return s.user.own(s.socketDir)
}

// initialise creates the data if there is none, completely or not at all.
func (s *Server) initialise(ctx context.Context, binaries string) error {
	if _, err := os.Stat(filepath.Join(s.data, "PG_VERSION")); err == nil {
		return nil
	}
	if _, err := os.Stat(s.data); err == nil {
		return fmt.Errorf("%s exists, but is not a PostgreSQL database: rename it, or choose another data directory (DATA_DIR)", s.data)
	}
	s.progress("creating a database in " + s.data)
	unfinished, err := os.MkdirTemp(s.dir, unfinishedData)
	if err != nil {
		return fmt.Errorf("initialise the database: %w", err)
	}
	defer func() { _ = os.RemoveAll(unfinished) }()
	if err := s.user.own(unfinished); err != nil {
		return fmt.Errorf("initialise the database: %w", err)
	}
	// Other users cannot access the socket folder, so every connection is trusted.
	initdb, err := start(ctx, s.user, s.running, s.log, filepath.Join(binaries, "initdb"), "-D", unfinished, "-U", name,
		"--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions")
	if err == nil {
		err = initdb.wait(ctx)
	}
	if err == nil {
		err = os.Rename(unfinished, s.data)
	}
	if err != nil {
		return fmt.Errorf("initialise the database: %w", err)
	}
	return nil
}

func (s *Server) createDatabase(ctx context.Context) error {
	connection, err := s.connect(ctx)
	if err != nil {
		return err
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

// connect waits until PostgreSQL is ready.
func (s *Server) connect(ctx context.Context) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	slow := time.After(slowStart)
	for {
		connection, err := pgx.Connect(ctx, s.url("postgres"))
		if err == nil {
			return connection, nil
		}
		var refusal *pgconn.PgError
		if errors.As(err, &refusal) && refusal.Code != "57P03" { // 57P03: it is starting or recovering.
			return nil, fmt.Errorf("the database refuses the connection: %w", err)
		}
		select {
		case <-s.postgres.exited:
			return nil, errors.New("the database did not start")
		case <-ctx.Done():
			return nil, fmt.Errorf("the database did not become ready: %w", err)
		case <-slow:
			s.progress(fmt.Sprintf("the database is not ready yet, maybe it is recovering from a crash; see %s", s.log.Name()))
		case <-time.After(pollInterval):
		}
	}
}

// openLog opens PostgreSQL's log, and returns the position where the part of this start begins.
func (s *Server) openLog() (int64, error) {
	path := filepath.Join(s.dir, "postgres.log")
	if info, err := os.Lstat(path); err == nil && info.Size() > maxLogBytes {
		if err := os.Rename(path, path+".old"); err != nil {
			return 0, fmt.Errorf("open the log of the database: %w", err)
		}
	}
	var err error
	if s.log, err = openFile(path); err != nil {
		return 0, fmt.Errorf("open the log of the database: %w", err)
	}
	return s.log.Seek(0, io.SeekEnd)
}

// tail returns what was written to the file since start, at most the last 4 KiB.
func tail(file *os.File, start int64) string {
	const most = 4096
	if size, err := file.Seek(0, io.SeekEnd); err == nil {
		_, _ = file.Seek(max(start, size-most), io.SeekStart)
	}
	text, _ := io.ReadAll(file)
	return strings.TrimSpace(string(text))
}
