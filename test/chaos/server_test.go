package chaos

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"time"
)

// program is the server's binary.
var program string

var readyLine = regexp.MustCompile(`API at (http://\S+)/api,`)

// server is the program in a process of its own.
type server struct {
	cmd  *exec.Cmd
	url  string
	done chan struct{}
	// busy counts the requests of the balancer that are under way.
	busy sync.WaitGroup
}

// startServer starts the program and waits until it says that it serves.
func startServer(ctx context.Context, database, log string, environment ...string) (*server, error) {
	cmd := exec.CommandContext(context.WithoutCancel(ctx), program, "serve", "--addr=127.0.0.1:0")
	cmd.Env = []string{"DATABASE_URL=" + database, "API_SECRET_KEY=" + key, "HOME=" + os.TempDir(), "PATH=" + os.Getenv("PATH")}
	cmd.Env = append(cmd.Env, environment...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	cmd.Stderr = file
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{cmd: cmd, done: make(chan struct{})}
	line, err := bufio.NewReader(output).ReadString('\n')
	match := readyLine.FindStringSubmatch(line)
	go func() {
		_, _ = io.Copy(io.Discard, output)
		_ = cmd.Wait() // The state has it.
		close(s.done)
	}()
	if match == nil {
		s.kill()
		text, _ := os.ReadFile(log)
		return nil, fmt.Errorf("the server does not start (%w): %s", err, text[max(0, len(text)-2000):])
	}
	s.url = match[1]
	return s, nil
}

func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	<-s.done
}

// stop tells the server to stop, which it has to do cleanly.
func (s *server) stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(90 * time.Second):
		s.kill()
		return fmt.Errorf("the server does not stop")
	}
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the server stops with %d", code)
	}
	return nil
}

// balancer leads each request to the server of the moment.
type balancer struct {
	mu  sync.Mutex
	now *server
	way string // by which the server is reached; "" is straight
}

// to returns where to send a request, and what to call after it.
func (b *balancer) to() (string, func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now.busy.Add(1)
	return cmp.Or(b.way, b.now.url), b.now.busy.Done
}

// through leads requests to the server by another way.
func (b *balancer) through(way string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.way = way
}

// turn leads requests to another server, and returns the one before.
func (b *balancer) turn(to *server) *server {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.now
	b.now = to
	return before
}
