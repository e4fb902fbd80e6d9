// Package testserver builds the program, once in a process, and starts it, for tests
// that use it from outside; copies the repository for them; and finds ports for servers.
package testserver

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// patience is how long a server may take to start or to stop before it counts as
// stuck. It is long, because the machine may be busy.
const patience = 2 * time.Minute

// Program returns the path of the program. The first call builds it, as `make build`
// does; Remove removes it.
var Program = sync.OnceValues(build)

// built is the folder of the program, which other users reach too.
var built string

func build() (string, error) {
	root, err := repository()
	if err != nil {
		return "", err
	}
	if built, err = os.MkdirTemp("", "benchledger-test-"); err != nil {
		return "", err
	}
	if err := os.Chmod(built, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(built, "benchledger")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "./cmd/benchledger")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the program: %w: %s", err, output)
	}
	return path, nil
}

// repository returns the folder of the program's module.
func repository() (string, error) {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/benchledger/benchledger").Output()
	if err != nil {
		return "", fmt.Errorf("find the program's module: %w", err)
	}
	return strings.TrimSpace(string(root)), nil
}

// CopyRepository copies the repository to a folder, as it is in the working tree, without
// the files that git ignores.
func CopyRepository(dir string) error {
	root, err := repository()
	if err != nil {
		return err
	}
	cmd := exec.Command("bash", "-euo", "pipefail", "-c",
		`git ls-files -z --cached --others --exclude-standard | tar --create --null --files-from=- | tar --extract --directory="$1"`, "bash", dir)
	cmd.Dir = root
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("copy the repository: %w: %s", err, output)
	}
	return nil
}

// Remove removes what Program built, at the end of the process.
func Remove() { _ = os.RemoveAll(built) }

// Command prepares the program, without the settings in the environment of the tests.
func Command(args ...string) (*exec.Cmd, error) {
	path, err := Program()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
	return cmd, nil
}

// Server is the running program, in a separate process.
type Server struct {
	Ready string        // what it printed when it began to serve
	URL   string        // where it is reached, without a path
	Ended chan struct{} // closed when the process has ended
	cmd   *exec.Cmd
}

var readyLine = regexp.MustCompile(`is ready at (http://\S+)`)

// Start starts a prepared `serve`, and waits until it serves. The caller sets its
// address and reads its log; Start reads its standard output.
func Start(cmd *exec.Cmd) (*Server, error) {
	output, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &Server{Ended: make(chan struct{}), cmd: cmd}
	stuck := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer stuck.Stop()
	for reader, line := bufio.NewReader(output), ""; err == nil && line != "\n"; s.Ready += line {
		line, err = reader.ReadString('\n') // An empty line is the last one.
	}
	go func() {
		_, _ = io.Copy(io.Discard, output)
		_ = cmd.Wait() // The state has it.
		close(s.Ended)
	}()
	match := readyLine.FindStringSubmatch(s.Ready)
	if match == nil {
		s.Kill()
		return nil, fmt.Errorf("the server does not start: it prints %q, %w, and ends with %s", s.Ready, err, cmd.ProcessState)
	}
	s.URL = match[1]
	return s, nil
}

// Pid is the number of its process.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Memory returns a size of its process in bytes: VmRSS is what it has now, VmHWM the peak. Only Linux
// has it.
func (s *Server) Memory(name string) (uint64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Pid()))
	if err != nil {
		return 0, err
	}
	match := regexp.MustCompile(`(?m)^` + name + `:\s+(\d+) kB$`).FindSubmatch(status)
	if match == nil {
		return 0, fmt.Errorf("the system does not tell %s of a process", name)
	}
	kilobytes, err := strconv.ParseUint(string(match[1]), 10, 64)
	return kilobytes << 10, err
}

// Kill ends it as a crash does.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill()
	<-s.Ended
}

// Stop tells it to stop, which it has to do with exit code 0.
func (s *Server) Stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.Ended:
	case <-time.After(patience):
		s.Kill()
		return errors.New("the server does not stop")
	}
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the server stops with %s", s.cmd.ProcessState)
	}
	return nil
}

// FreePort returns a port of this machine on which nothing listens, for a server that gets a
// fixed port, or listens on it again later. It is not one of the ephemeral ports of the system
// (from 32768 on, or higher), because each connection that is opened gets
// one of them, may get the very one that was free a moment ago, and keeps it for a minute
// after its end.
func FreePort() (int, error) {
	for range 1000 {
		port := 20_000 + rand.IntN(12_000)
		listener, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
		if err != nil {
			continue // Something listens there.
		}
		return port, listener.Close()
	}
	return 0, errors.New("no port is free")
}
