package main

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/benchledger/benchledger/internal/testserver"
)

const key = "the-key-of-the-benchmark"

// server is the program as it serves a database, with settings of production.
type server struct {
	*testserver.Server
	address, metrics string
	firstAnswer      time.Duration // from its start to its first answer
	residentAtStart  uint64        // bytes, after that
}

func startServer(dir, database string) (*server, error) {
	port, err := testserver.FreePort()
	if err != nil {
		return nil, err
	}
	metrics := fmt.Sprint("127.0.0.1:", port)
	log, err := os.Create(filepath.Join(dir, "server.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd, err := testserver.Command("serve", "--addr=127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	cmd.Env = append(os.Environ(), "ENVIRONMENT=production", "API_SECRET_KEY="+key, "DATABASE_URL="+database, "METRICS_ADDR="+metrics,
		"SHUTDOWN_DELAY=0s", "RATE_LIMIT_PER_KEY=0", "RATE_LIMIT_PER_ADDRESS=0")
	cmd.Stderr = log
	start := time.Now()
	started, err := testserver.Start(cmd)
	if err != nil {
		return nil, fmt.Errorf("%w: %s says why", err, log.Name())
	}
	s := &server{Server: started, address: strings.TrimPrefix(started.URL, "http://"), metrics: metrics}
	for {
		response, err := http.Get(s.URL + "/api/runs?limit=1")
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
		case <-s.Ended:
			return nil, fmt.Errorf("the server ended: %s says why", log.Name())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// usage is what the server has used since its start.
type usage struct {
	processor   time.Duration
	allocations float64
	resident    uint64 // bytes now
}

var mallocs = regexp.MustCompile(`(?m)^go_memstats_mallocs_total (\S+)`)

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
	if u.resident, err = s.Memory("VmRSS"); err != nil {
		return u, err
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.Pid()))
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
