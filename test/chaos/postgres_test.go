package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/benchledger/benchledger/internal/testserver"
)

// node is a PostgreSQL on a port of loopback, which can be killed, stopped and
// started.
type node struct {
	dir  string // its own; data is in it
	port int
	cmd  *exec.Cmd
	done chan struct{}
	full bool // whether its disk can be filled: it is a small one of its own
}

// settings are the same for all: durable, and quick to notice.
var settings = map[string]string{
	"listen_addresses": "127.0.0.1", "max_connections": "60", "superuser_reserved_connections": "8", "shared_buffers": "32MB",
	"max_wal_size": "64MB", "min_wal_size": "32MB", "wal_keep_size": "32MB", "hot_standby": "on", "wal_level": "replica",
	"wal_retrieve_retry_interval": "100ms", "wal_receiver_timeout": "10s", "deadlock_timeout": "200ms", "log_min_messages": "warning",
	"unix_socket_directories": "",
}

// diskSize is enough for the data of a seed, and quickly filled.
const diskSize = "size=768m,mode=0755"

func newNode(dir string) (*node, error) {
	n := &node{dir: dir}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	n.full = syscall.Mount("tmpfs", dir, "tmpfs", 0, diskSize) == nil
	if err := own(dir); err != nil {
		return nil, err
	}
	var err error
	n.port, err = testserver.FreePort()
	return n, err
}

// remove ends the node, and its disk.
func (n *node) remove() {
	n.kill()
	if n.full {
		_ = syscall.Unmount(n.dir, syscall.MNT_DETACH)
	}
}

func (n *node) data() string { return filepath.Join(n.dir, "data") }

func (n *node) initialise(ctx context.Context) error {
	return run(command(ctx, "initdb", "-D", n.data(), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions"))
}

// copyFrom makes the node a standby of another one.
func (n *node) copyFrom(ctx context.Context, primary *node) error {
	if err := os.RemoveAll(n.data()); err != nil {
		return err
	}
	return run(command(ctx, "pg_basebackup", "-d", primary.url("postgres", ""), "-D", n.data(), "-R", "-X", "stream", "--checkpoint=fast"))
}

// start starts PostgreSQL, and waits until it takes connections.
func (n *node) start(ctx context.Context, environment ...string) error {
	_ = os.Remove(filepath.Join(n.data(), "postmaster.pid")) // of one that was killed
	args := []string{"-D", n.data(), "-p", strconv.Itoa(n.port)}
	for name, value := range settings {
		args = append(args, "-c", name+"="+value)
	}
	n.cmd = command(context.WithoutCancel(ctx), "postgres", args...)
	n.cmd.Env = append(n.cmd.Env, environment...)
	log, err := os.OpenFile(n.dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	n.cmd.Stdout, n.cmd.Stderr = log, log
	if err := n.cmd.Start(); err != nil {
		return err
	}
	cmd, done := n.cmd, make(chan struct{})
	n.done = done
	go func() { _ = cmd.Wait(); close(done) }()
	return until(ctx, "PostgreSQL takes connections", func() error {
		select {
		case <-done:
			return fmt.Errorf("it ended: %w", errGiveUp)
		default:
		}
		return n.exec(ctx, "select 1")
	})
}

// pids are the processes of the node, the first one first.
func (n *node) pids() []int {
	parent := n.cmd.Process.Pid
	pids := []int{parent}
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		stat, _ := os.ReadFile(filepath.Join("/proc", entry.Name(), "stat"))
		_, after, _ := strings.Cut(string(stat), ") ")
		if fields := strings.Fields(after); len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (n *node) signalAll(signal syscall.Signal) {
	for _, pid := range n.pids() {
		_ = syscall.Kill(pid, signal) // It may have ended.
	}
}

// kill ends the node at once, with all its processes.
func (n *node) kill() {
	if n.cmd == nil || n.cmd.Process == nil {
		return
	}
	n.signalAll(syscall.SIGKILL)
	<-n.done
}

// quit has PostgreSQL end without a checkpoint, or with one.
func (n *node) quit(signal syscall.Signal) {
	_ = n.cmd.Process.Signal(signal)
	select {
	case <-n.done:
	case <-time.After(20 * time.Second):
		n.kill()
	}
}

func (n *node) ended() bool {
	select {
	case <-n.done:
		return true
	default:
		return false
	}
}

func (n *node) url(user, database string) string {
	return fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s?connect_timeout=2", user, n.port, database)
}

func (n *node) connect(ctx context.Context, user string) (*pgx.Conn, error) {
	return pgx.Connect(ctx, n.url(user, database(user)))
}

func database(user string) string {
	if user == role {
		return role
	}
	return "postgres"
}

// exec runs statements as the administrator, each on its own.
func (n *node) exec(ctx context.Context, statements ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	connection, err := n.connect(ctx, "postgres")
	if err != nil {
		return err
	}
	defer connection.Close(ctx)
	for _, statement := range statements {
		if _, err := connection.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// isTrue asks the node a question.
func (n *node) isTrue(ctx context.Context, question string) error {
	connection, err := n.connect(ctx, "postgres")
	if err != nil {
		return err
	}
	defer connection.Close(ctx)
	var yes bool
	if err := connection.QueryRow(ctx, question).Scan(&yes); err != nil {
		return err
	}
	if !yes {
		return errors.New("not yet")
	}
	return nil
}

var errGiveUp = errors.New("given up")

// until waits for something to become true.
func until(ctx context.Context, what string, fn func() error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := fn()
		if err == nil {
			return nil
		}
		if errors.Is(err, errGiveUp) {
			return fmt.Errorf("%s: %w", what, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// command prepares one of PostgreSQL's programs, to run as its user.
func command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(binaries(), program), args...)
	cmd.Dir, cmd.Env = "/", []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH"), "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if uid, gid, ok := account(); ok {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: gid}
	}
	return cmd
}

func run(cmd *exec.Cmd) error {
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", cmd, err, output)
	}
	return nil
}

func binaries() string {
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path)
		}
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	if len(found) == 0 {
		return ""
	}
	return found[len(found)-1]
}

// account is whom PostgreSQL runs as where this is root, whom it refuses.
func account() (uid, gid uint32, ok bool) {
	found, err := user.Lookup("postgres")
	if err != nil || os.Geteuid() != 0 {
		return 0, 0, false
	}
	u, _ := strconv.ParseUint(found.Uid, 10, 32)
	g, _ := strconv.ParseUint(found.Gid, 10, 32)
	return uint32(u), uint32(g), true
}

func own(path string) error {
	if uid, gid, ok := account(); ok {
		return os.Chown(path, int(uid), int(gid))
	}
	return nil
}
