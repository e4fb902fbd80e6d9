package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const key = "the-key-of-the-benchmark"

// server is the program as it serves a database, with settings of production.
type server struct {
	cmd              *exec.Cmd
	address, metrics string
	firstAnswer      time.Duration // from its start to its first answer
	residentAtStart  uint64        // bytes, after that
	ended            chan struct{}
}

// build builds the program as `make build` does.
func build(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "benchledger")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "./cmd/benchledger")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w: %s", err, output)
	}
	return path, nil
}

func startServer(program, dir, database string) (*server, error) {
	addresses := make([]string, 2)
	for i := range addresses {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		addresses[i] = listener.Addr().String()
		if err := listener.Close(); err != nil {
			return nil, err
		}
	}
	log, err := os.Create(filepath.Join(dir, "server.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s := &server{cmd: exec.Command(program, "serve"), address: addresses[0], metrics: addresses[1], ended: make(chan struct{})}
	s.cmd.Env = append(os.Environ(), "ENVIRONMENT=production", "API_SECRET_KEY="+key, "DATABASE_URL="+database, "ADDR="+s.address, "METRICS_ADDR="+s.metrics,
		"SHUTDOWN_DELAY=0s", "RATE_LIMIT_PER_KEY=0", "RATE_LIMIT_PER_ADDRESS=0")
	s.cmd.Stderr = log
	start := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { _ = s.cmd.Wait(); close(s.ended) }()
	for {
		response, err := http.Get("http://" + s.address + "/api/runs?limit=1")
		if err == nil {
			_ = response.Body.Close()
		}
		if err == nil && response.StatusCode == http.StatusOK {
			s.firstAnswer = time.Since(start)
			used, err := s.usage()
			s.residentAtStart = used.resident
			return s, err
		}
		select {
		case <-s.ended:
			return nil, fmt.Errorf("the server ended: %s says why", log.Name())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	<-s.ended
}

// usage is what the server has used since its start.
type usage struct {
	processor   time.Duration
	allocations float64
	resident    uint64 // bytes now
}

var (
	mallocs  = regexp.MustCompile(`(?m)^go_memstats_mallocs_total (\S+)`)
	resident = regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB`)
)

// clockTick is the unit of the times in /proc, on all of Linux.
const clockTick = 10 * time.Millisecond

func (s *server) usage() (usage, error) {
	var u usage
	response, err := http.Get("http://" + s.metrics + "/metrics")
	if err != nil {
		return u, err
	}
	defer response.Body.Close()
	var metrics strings.Builder
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		metrics.WriteString(lines.Text() + "\n")
	}
	if match := mallocs.FindStringSubmatch(metrics.String()); match != nil {
		u.allocations, _ = strconv.ParseFloat(match[1], 64)
	}
	proc := fmt.Sprintf("/proc/%d/", s.cmd.Process.Pid)
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		return u, err
	}
	if match := resident.FindSubmatch(status); match != nil {
		kilobytes, _ := strconv.ParseUint(string(match[1]), 10, 64)
		u.resident = kilobytes << 10
	}
	stat, err := os.ReadFile(proc + "stat")
	if err != nil {
		return u, err
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	if fields := strings.Fields(after); len(fields) > 12 {
		user, _ := strconv.ParseInt(fields[11], 10, 64)
		system, _ := strconv.ParseInt(fields[12], 10, 64)
		u.processor = time.Duration(user+system) * clockTick
	}
	return u, nil
}
