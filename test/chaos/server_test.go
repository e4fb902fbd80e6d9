package chaos

import (
	"cmp"
	"fmt"
	"os"
	"sync"
	"syscall"

	"github.com/benchledger/benchledger/internal/testserver"
)

// server is the program in a process of its own.
type server struct {
	*testserver.Server
	// busy counts the requests of the balancer that are under way.
	busy sync.WaitGroup
}

// startServer starts the program and waits until it says that it serves.
func startServer(database, log string, environment ...string) (*server, error) {
	cmd, err := testserver.Command("serve", "--addr=127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	cmd.Env = append(cmd.Env, "DATABASE_URL="+database, "API_SECRET_KEY="+key, "HOME="+os.TempDir())
	cmd.Env = append(cmd.Env, environment...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	cmd.Stderr = file
	started, err := testserver.Start(cmd)
	if err != nil {
		text, _ := os.ReadFile(log)
		return nil, fmt.Errorf("%w: %s", err, text[max(0, len(text)-2000):])
	}
	return &server{Server: started}, nil
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
	return cmp.Or(b.way, b.now.URL), b.now.busy.Done
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
