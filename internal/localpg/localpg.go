//go:build unix && !aix && !solaris

// Package localpg runs a PostgreSQL of this program's own: for whoever has none at
// hand, and for tests.
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
	// name is that of the role and the database.
	name = "benchledger"
	// port only names the socket.
	port       = "5432"
	socketName = ".s.PGSQL." + port

	slowStart    = 5 * time.Second // after which it is mentioned
	readyTimeout = 5 * time.Minute // recovery after a crash takes its time
	stopTimeout  = 20 * time.Second
	pollInterval = 10 * time.Millisecond
	// maxSocketPath is what the shortest of the systems allows for a socket.
	maxSocketPath = 103
	// maxLogBytes is when a start begins a new log, and keeps one old.
	maxLogBytes = 10 << 20
)

// Options say what to run.
type Options struct {
	// DataDir holds everything: the data, the locks, the log, and binaries that
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
	dir       string // DataDir, absolute
	data      string // PostgreSQL's own folder in it
	socketDir string
	user      *account
	log       *os.File
	progress  func(string)
	// inUse is locked by this process, running by PostgreSQL's processes too: they
	// inherit it, so that it is free when the last of them has ended.
	inUse, running *os.File
	postgres       *process
}

// Start starts PostgreSQL on the data in DataDir, which is initialised where
// there is none. It listens on a socket that only this user reaches, and on no
// port. Only one server at a time can use the data.
func Start(ctx context.Context, options Options) (*Server, error) {
	return startWith(ctx, options, installedFolders(), repository)
}

// startWith starts with the programs in one of the folders, else with fetched ones.
func startWith(ctx context.Context, options Options, installed []string, repository string) (*Server, error) {
	dir, err := filepath.Abs(options.DataDir)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	s := &Server{dir: dir, data: filepath.Join(dir, "postgres"), socketDir: socketDir(dir), progress: options.Progress}
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
		if text := tail(s.log.Name(), logStart); text != "" {
			err = fmt.Errorf("%w; %s says:\n%s", err, s.log.Name(), text)
		}
		return err
	}
	return nil
}

// run starts the programs.
func (s *Server) run(ctx context.Context, binaries string, settings map[string]string) error {
	if err := s.initialise(ctx, binaries); err != nil {
		return err
	}
	if err := s.removeStaleLock(); err != nil {
		return err
	}
	if err := s.makeSocketDir(); err != nil {
		return err
	}
	args := []string{
		"-D", s.data, "-k", s.socketDir, "-p", port,
		"-c", "listen_addresses=", "-c", "unix_socket_permissions=0700",
		// What a statement did wrong is in the server's log; here it would only grow.
		"-c", "logging_collector=off", "-c", "log_min_messages=log",
	}
	for setting, value := range settings {
		args = append(args, "-c", setting+"="+value)
	}
	var err error
	if s.postgres, err = start(ctx, s.user, s.running, s.log, filepath.Join(binaries, "postgres"), args...); err != nil {
		return fmt.Errorf("start the database: %w", err)
	}
	return s.createDatabase(ctx)
}

// URL returns the connection string of the database.
func (s *Server) URL() string { return s.url(name) }

// URL is the connection string of a server that runs on the data in dataDir, an
// absolute path.
func URL(dataDir string) string { return (&Server{socketDir: socketDir(dataDir)}).URL() }

func (s *Server) url(database string) string {
	query := url.Values{"host": {s.socketDir}, "port": {port}, "user": {name}}
	// As libpq, pgx does not take "+" for a space.
	return "postgres:///" + database + "?" + strings.ReplaceAll(query.Encode(), "+", "%20")
}

// Exited is closed when PostgreSQL has ended, by Stop or by itself.
func (s *Server) Exited() <-chan struct{} { return s.postgres.exited }

// Stop ends PostgreSQL, after its open transactions were rolled back, and
// everything else that Start began.
func (s *Server) Stop() error {
	var err error
	if s.postgres != nil {
		err = s.postgres.stop()
		_ = os.Remove(s.socketDir) // A socket that PostgreSQL left keeps it.
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
		return fmt.Errorf("%s is the data of a PostgreSQL: choose a data directory of the server's own (DATA_DIR)", s.dir)
	}
	if s.user != nil {
		syscall.Umask(0o022) // What root makes, the database's user has to reach.
	}
	if _, err := os.Stat(s.dir); errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(s.dir, s.user.folderMode()); err != nil {
			return fmt.Errorf("data directory: %w", err)
		}
		if err := s.user.own(s.dir); err != nil {
			return fmt.Errorf("data directory: %w", err)
		}
	}
	if !s.user.reaches(ctx, s.dir) {
		return fmt.Errorf("the database runs as user %s, who cannot reach %s: choose another data directory (DATA_DIR), "+
			"or make the folders above it passable", s.user.name, s.dir)
	}
	return nil
}

// lock makes sure that no other server uses the data, and waits until PostgreSQL
// has ended that belonged to one that was killed.
func (s *Server) lock(ctx context.Context) error {
	var err error
	if s.inUse, err = s.user.lock(filepath.Join(s.dir, "server.lock")); errors.Is(err, errLocked) {
		return fmt.Errorf("another server is using the data in %s: stop it, or give this one a data directory of its own (DATA_DIR)", s.dir)
	} else if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	for {
		if s.running, err = s.user.lock(filepath.Join(s.dir, "postgres.lock")); !errors.Is(err, errLocked) {
			return err
		}
		s.stopOrphan(ctx)
		select {
		case <-ctx.Done():
			return fmt.Errorf("a PostgreSQL that an earlier server started on the data in %s has not ended: end it", s.dir)
		case <-time.After(pollInterval):
		}
	}
}

// stopOrphan ends PostgreSQL where nothing else did, because what should have
// was killed too.
func (s *Server) stopOrphan(ctx context.Context) {
	connection, err := pgx.Connect(ctx, s.url("postgres"))
	if err != nil {
		return // It is ending.
	}
	_ = connection.Close(ctx)
	if pid, err := strconv.Atoi(s.pidFile()[0]); err == nil {
		_ = syscall.Kill(pid, syscall.SIGINT) // Whether it worked, the lock tells.
	}
}

// removeStaleLock removes the lock file of a PostgreSQL that was killed. It names
// a process, and where that number meanwhile is another one's, PostgreSQL would not start.
func (s *Server) removeStaleLock() error {
	// One that names another socket is of a PostgreSQL started by hand, which may
	// run. One that names none was never finished.
	if lines := s.pidFile(); len(lines) > 5 && lines[4] != s.socketDir {
		return nil
	}
	if err := os.Remove(s.pidPath()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove a stale lock: %w", err)
	}
	return nil
}

func (s *Server) pidPath() string { return filepath.Join(s.data, "postmaster.pid") }

// pidFile returns the lines of PostgreSQL's lock file: the process, the data, the
// time, the port, the folder of the socket, and more.
func (s *Server) pidFile() []string {
	content, _ := os.ReadFile(s.pidPath()) // Where there is none it is empty.
	return strings.Split(string(content), "\n")
}

// makeSocketDir makes the folder of the socket anew, for the database's user and
// root alone. What a PostgreSQL that was killed left there goes; what anyone else
// put there is in the way.
func (s *Server) makeSocketDir() error {
	for _, leftover := range []string{socketName, socketName + ".lock", ""} {
		if err := os.Remove(filepath.Join(s.socketDir, leftover)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("folder of the database's socket: %w", err)
		}
	}
	if err := os.Mkdir(s.socketDir, 0o700); err != nil {
		return fmt.Errorf("folder of the database's socket: %w", err)
	}
	if err := s.user.own(s.socketDir); err != nil {
		return fmt.Errorf("folder of the database's socket: %w", err)
	}
	return nil
}

// initialise makes the data where there is none. It appears whole or not at all.
func (s *Server) initialise(ctx context.Context, binaries string) error {
	if _, err := os.Stat(filepath.Join(s.data, "PG_VERSION")); err == nil {
		return nil
	}
	if _, err := os.Stat(s.data); err == nil {
		return fmt.Errorf("%s is there, but holds no database: move it away, or choose another data directory (DATA_DIR)", s.data)
	}
	unfinished, err := os.MkdirTemp(s.dir, unfinishedData)
	if err != nil {
		return fmt.Errorf("make the database: %w", err)
	}
	defer func() { _ = os.RemoveAll(unfinished) }()
	if err := s.user.own(unfinished); err != nil {
		return fmt.Errorf("make the database: %w", err)
	}
	// The socket's folder is closed to others, so whoever reaches it is trusted.
	initdb, err := start(ctx, s.user, s.running, s.log, filepath.Join(binaries, "initdb"), "-D", unfinished, "-U", name,
		"--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions")
	if err == nil {
		err = initdb.wait(ctx)
	}
	if err == nil {
		err = os.Rename(unfinished, s.data)
	}
	if err != nil {
		return fmt.Errorf("make the database: %w", err)
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
		if errors.As(err, &refusal) && refusal.Code != "57P03" { // It starts, or recovers.
			return nil, fmt.Errorf("the database refuses the server: %w", err)
		}
		select {
		case <-s.postgres.exited:
			return nil, errors.New("the database does not start")
		case <-ctx.Done():
			return nil, fmt.Errorf("the database does not become ready: %w", err)
		case <-slow:
			s.progress(fmt.Sprintf("the database is still not ready, as after a crash; %s tells more", s.log.Name()))
		case <-time.After(pollInterval):
		}
	}
}

// openLog opens PostgreSQL's log, and returns where this start's part begins.
func (s *Server) openLog() (int64, error) {
	path := filepath.Join(s.dir, "postgres.log")
	if info, err := os.Stat(path); err == nil && info.Size() > maxLogBytes {
		if err := os.Rename(path, path+".old"); err != nil {
			return 0, fmt.Errorf("open the database's log: %w", err)
		}
	}
	var err error
	if s.log, err = s.user.open(path); err != nil {
		return 0, fmt.Errorf("open the database's log: %w", err)
	}
	return s.log.Seek(0, io.SeekEnd)
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
