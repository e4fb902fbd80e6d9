//go:build unix && !aix && !solaris

package localpg

import (
	"bytes"
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
)

// account is the user that the database runs as: nil for the user of this process, another
// user if that is root, because PostgreSQL refuses to run as root.
type account struct {
	name     string
	uid, gid int
}

// databaseUser returns the user that the database runs as. For root, that is the owner of the
// data or of its directory, or else the user postgres, or else nobody.
func databaseUser(dir, data string) (*account, error) {
	for _, path := range []string{data, dir} {
		owner := statOf(path)
		if owner == nil {
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

// statOf returns what is at a path, nil if that fails. It follows a link only if it belongs to
// root or this user: others could link to a folder of somebody else.
func statOf(path string) *syscall.Stat_t {
	info, err := os.Lstat(path)
	if err == nil && info.Mode()&os.ModeSymlink != 0 {
		if link := info.Sys().(*syscall.Stat_t); link.Uid == 0 || int(link.Uid) == os.Geteuid() { //nolint:forcetypeassert // as on every Unix
			info, err = os.Stat(path)
		}
	}
	if err != nil {
		return nil
	}
	return info.Sys().(*syscall.Stat_t) //nolint:forcetypeassert // as on every Unix
}

// userName returns the name of a user, or the number if the user is unknown.
func userName(uid uint32) (name string, known bool) {
	id := strconv.FormatUint(uint64(uid), 10)
	if found, err := user.LookupId(id); err == nil {
		return found.Username, true
	}
	return id, false
}

// folderMode returns the mode of the data directory. If the database runs as another user, that user
// must be able to enter it.
func (a *account) folderMode() os.FileMode {
	if a == nil {
		return 0o700
	}
	return 0o755
}

// own makes the account the owner of a path, but not of what a link points to.
func (a *account) own(path string) error {
	if a == nil {
		return nil
	}
	return os.Lchown(path, a.uid, a.gid)
}

// remove deletes files with the rights of the account: links in its folders can then do no harm.
func (a *account) remove(paths ...string) error {
	output, err := a.command(context.Background(), "rm", append([]string{"-f", "--"}, paths...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(output))
	}
	return nil
}

// openFile opens a file in the data directory for appending and reading. It creates the file if
// missing, for the owner of the directory. If that is the database's user, and this process is root's, there
// may be a link to a file of somebody else: openFile refuses links.
func openFile(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_APPEND|os.O_RDWR, 0o600)
	if err == nil {
		if owner := statOf(filepath.Dir(path)); owner != nil && int(owner.Uid) != os.Geteuid() && os.Geteuid() == 0 {
			err = file.Chown(int(owner.Uid), int(owner.Gid))
		}
		return file, err
	}
	if !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	file, err = os.OpenFile(path, os.O_APPEND|os.O_RDWR|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.EMLINK) {
		return nil, fmt.Errorf("%s is a symbolic link: remove it", path)
	}
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Sys().(*syscall.Stat_t).Nlink != 1) { //nolint:forcetypeassert // as on every Unix
		err = fmt.Errorf("%s is not a regular file, or has hard links: remove it", path)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

var errLocked = errors.New("locked")

// lock locks a file until this process and those that inherited the file have closed it. It
// fails with errLocked if another process holds the lock.
func lock(path string) (*os.File, error) {
	file, err := openFile(path)
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

// command prepares a command that runs as the account, without signals of the terminal, and
// without environment variables for this process or for PostgreSQL clients.
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

// process is a program that runs until it ends, stop is called, or this process ends.
type process struct {
	*os.Process
	exited chan struct{} // closed when it has ended
	err    error         // how it ended
}

// withWatcher runs a program that ends with this process, even if this process is killed. A
// watcher starts first and reads from a pipe (3) whose other end only this process has. At the
// end of the pipe it interrupts the program; after a line, which means that the program has
// ended, it just exits. TERM comes first, because a program that has just started may ignore
// INT. Only the program may hold the lock (4).
const withWatcher = `
( ( trap "" HUP TERM; read -r _ <&3 || { kill -TERM $$; kill -INT $$; } ) >/dev/null 2>&1 4<&- & )
exec "$@" 3<&-`

// start starts a program as the account. The program and its children hold the lock while
// they run. The program does not end with ctx.
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
		_, _ = writer.WriteString("\n") // It fails if the watcher is gone, which does no harm.
		_ = writer.Close()
		close(p.exited)
	}()
	return p, nil
}

// wait waits until the program ends, and stops it if ctx ends first.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.exited:
		return p.err
	case <-ctx.Done():
		return errors.Join(ctx.Err(), p.stop())
	}
}

// stop stops the program with a fast shutdown. If that hangs, it uses an immediate one, from
// which PostgreSQL recovers on the next start.
func (p *process) stop() error {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL} {
		_ = p.Signal(signal) // It may have ended by itself.
		select {
		case <-p.exited:
			return nil
		case <-time.After(stopTimeout):
		}
	}
	return fmt.Errorf("process %d did not stop", p.Pid)
}

// socketIn returns the path of the socket folder in the data directory, or of a link to it.
func socketIn(dir string) string { return filepath.Join(dir, "socket") }

// canHaveSocket reports whether the path of a socket in the folder is short enough, and has no
// comma, which PostgreSQL reads as a separator.
func canHaveSocket(folder string) bool {
	return len(filepath.Join(folder, socketName)) <= maxSocketPath && !strings.Contains(folder, ",")
}

// socketDir returns the socket folder of the last server: in the data directory, or a
// folder in /tmp that a link there points to.
func socketDir(dir string) string {
	inside := socketIn(dir)
	target, err := os.Readlink(inside)
	if err != nil || canHaveSocket(inside) {
		return inside
	}
	// If the folder was deleted, another user may have created one with the same name.
	folder, data := statOf(target), statOf(dataIn(dir))
	if folder == nil || data == nil || folder.Uid != data.Uid || folder.Mode&(syscall.S_IFMT|0o777) != syscall.S_IFDIR|0o700 {
		return inside
	}
	return target
}
