//go:build unix && !aix && !solaris

package localpg

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
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
)

// account is whom the database runs as: this process's user (nil), or, since
// PostgreSQL refuses to run as root, another one.
type account struct {
	name     string
	uid, gid int
}

// databaseUser returns whom the database runs as: for root, the owner of the data
// or of its directory, else the user postgres, else nobody.
func databaseUser(dir, data string) (*account, error) {
	for _, path := range []string{data, dir} {
		info, err := os.Stat(path)
		if err != nil {
			continue
		}
		owner, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			continue
		}
		name, known := userName(owner.Uid)
		switch {
		case os.Geteuid() == 0 && owner.Uid != 0 && (known || path == data): // initdb refuses an unknown user.
			return &account{name: name, uid: int(owner.Uid), gid: int(owner.Gid)}, nil
		case os.Geteuid() != 0 && int(owner.Uid) != os.Geteuid() && path == data:
			return nil, fmt.Errorf("the data in %s belongs to user %s: start as that user, or choose another data directory (DATA_DIR)",
				dir, name)
		}
	}
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

// userName returns the name of a user, or where the user is not known the number.
func userName(uid uint32) (name string, known bool) {
	id := strconv.FormatUint(uint64(uid), 10)
	if found, err := user.LookupId(id); err == nil {
		return found.Username, true
	}
	return id, false
}

// folderMode is that of the data directory. Where the database's user is another
// one, he has to reach what is in it.
func (a *account) folderMode() os.FileMode {
	if a == nil {
		return 0o700
	}
	return 0o755
}

// own gives a path to the account.
func (a *account) own(path string) error {
	if a == nil {
		return nil
	}
	return os.Chown(path, a.uid, a.gid)
}

// open opens a file of the account's for appending, and makes it where it is missing.
func (a *account) open(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return file, a.own(path)
}

var errLocked = errors.New("locked")

// lock locks a file until it is closed, by this process and by those that
// inherited it. It fails with errLocked where another has it.
func (a *account) lock(path string) (*os.File, error) {
	file, err := a.open(path)
	if err == nil {
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err == nil {
		return file, nil
	}
	_ = file.Close() // It may be nil.
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, errLocked
	}
	return nil, fmt.Errorf("lock the data directory: %w", err)
}

// reaches reports whether the account can enter a folder.
func (a *account) reaches(ctx context.Context, dir string) bool {
	return a == nil || a.command(ctx, "/bin/sh", "-c", `cd "$0"`, dir).Run() == nil
}

// command prepares a command to run as the account, away from the terminal's
// signals, and from variables meant for this process or for PostgreSQL's clients.
func (a *account) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"LC_ALL=C"}
	for _, variable := range []string{"PATH", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"} {
		if value, ok := os.LookupEnv(variable); ok {
			cmd.Env = append(cmd.Env, variable+"="+value)
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if a != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	return cmd
}

// process is a program that runs until it ends, is stopped, or this process ends.
type process struct {
	*os.Process
	exited chan struct{} // closed when it has ended
	err    error         // how it ended
}

// withWatcher runs a program that ends with this process, even when that is
// killed: a watcher, which is there first, reads from a pipe whose other end only
// this process has. At the pipe's end it interrupts the program; on a line, which says that
// the program has ended, it just ends. TERM comes first for a program that is only beginning, where
// INT may still be ignored. 4 is a lock that the program alone is to hold.
const withWatcher = `
( ( trap "" HUP TERM; read -r _ <&3 || { kill -TERM $$; kill -INT $$; } ) >/dev/null 2>&1 4<&- & )
exec "$@" 3<&-`

// start starts a program as the account, which holds the lock as long as it or a
// child of it runs. It does not end with ctx.
func start(ctx context.Context, a *account, lock, output *os.File, program string, args ...string) (*process, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	cmd := a.command(context.WithoutCancel(ctx), "/bin/sh", append([]string{"-c", withWatcher, "sh", program}, args...)...)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.ExtraFiles = []*os.File{reader, lock} // 3 and 4
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, writer.Close())
	}
	p := &process{Process: cmd.Process, exited: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		_, _ = writer.WriteString("\n") // Where the watcher is gone, that is fine.
		_ = writer.Close()
		close(p.exited)
	}()
	return p, nil
}

// wait waits for the program's end, and stops it when ctx ends first.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.exited:
		return p.err
	case <-ctx.Done():
		return errors.Join(ctx.Err(), p.stop())
	}
}

// stop ends the program: by a fast shutdown; where that hangs, by one that
// PostgreSQL recovers from on the next start.
func (p *process) stop() error {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL} {
		_ = p.Signal(signal) // It may have ended by itself.
		select {
		case <-p.exited:
			return nil
		case <-time.After(stopTimeout):
		}
	}
	return fmt.Errorf("process %d does not stop", p.Pid)
}

// socketDir returns the folder for the socket: in the data directory, or where its
// path is too long, or one that PostgreSQL would take for two, in the temporary one.
func socketDir(dir string) string {
	inside := filepath.Join(dir, "socket")
	if len(filepath.Join(inside, socketName)) <= maxSocketPath && !strings.Contains(inside, ",") {
		return inside
	}
	hash := sha256.Sum256([]byte(dir))
	return filepath.Join("/tmp", "benchledger-"+hex.EncodeToString(hash[:8]))
}
