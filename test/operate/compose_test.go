package operate

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// maxImageBytes is what the image may have.
const maxImageBytes = 30_000_000

// TestCompose builds the image, starts compose.yaml, and restarts and kills both of
// its parts under load: what was acknowledged is there, and the health check says what
// is true. It takes minutes, so only `make compose-check` runs it.
func TestCompose(t *testing.T) { //nolint:paralleltest // It runs alone.
	if os.Getenv("COMPOSE_CHECK") == "" {
		t.Skip("make compose-check runs it")
	}
	needs(t, "docker")
	port := freePort(t)
	const project = "benchledger-check"
	compose := []string{"docker", "compose"}
	if exec.Command("docker", "compose", "version").Run() != nil {
		compose = []string{"docker-compose"}
	}
	do := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "API_SECRET_KEY="+key, fmt.Sprint("PORT=", port), "COMPOSE_PROJECT_NAME="+project)
		var errors strings.Builder
		cmd.Stderr = &errors
		output, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s %s: %v: %s%s", name, args, err, output, errors.String())
		}
		return strings.TrimSpace(string(output))
	}
	up := func(args ...string) string {
		t.Helper()
		return do(compose[0], append(compose[1:len(compose):len(compose)], args...)...)
	}
	t.Cleanup(func() { up("down", "--volumes") })
	up("up", "--build", "--detach")
	container := func(service string) string { return up("ps", "--quiet", service) }
	wantHealth := func(want string) {
		t.Helper()
		eventually(t, "the container is "+want, func() error {
			if got := do("docker", "inspect", "--format={{.State.Health.Status}}", container("benchledger")); got != want {
				return fmt.Errorf("it is %s", got)
			}
			return nil
		})
	}
	wantHealth("healthy")
	size, err := strconv.Atoi(do("docker", "image", "inspect", "--format={{.Size}}", "benchledger"))
	if err != nil || size > maxImageBytes {
		t.Errorf("the image has %d bytes, may have %d; %v", size, maxImageBytes, err)
	}
	if user := do("docker", "inspect", "--format={{.Config.User}} {{.HostConfig.ReadonlyRootfs}}", container("benchledger")); user != "65532:65532 true" {
		t.Errorf("user and read-only root: %s", user)
	}

	s := &server{t: t, url: fmt.Sprintf("http://127.0.0.1:%d", port), log: &bytes.Buffer{}}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var mu sync.Mutex
	var acknowledged []string
	var load sync.WaitGroup
	for worker := range 4 {
		load.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				id := fmt.Sprintf("run-%d-%d", worker, n)
				if submitOnce(ctx, s.url, id) {
					mu.Lock()
					acknowledged = append(acknowledged, id)
					mu.Unlock()
				}
			}
		})
	}
	goesOn := func(after string) {
		t.Helper()
		mu.Lock()
		before := len(acknowledged)
		mu.Unlock()
		eventually(t, "submissions go on after "+after, func() error {
			mu.Lock()
			defer mu.Unlock()
			if len(acknowledged) < before+100 {
				return fmt.Errorf("%d more", len(acknowledged)-before)
			}
			return nil
		})
	}
	goesOn("the start")
	for _, service := range []string{"benchledger", "postgres"} {
		up("restart", service)
		goesOn("a restart of " + service)
		up("kill", service)
		up("start", service)
		goesOn("a kill of " + service)
	}
	up("stop", "postgres")
	wantHealth("unhealthy")
	up("start", "postgres")
	wantHealth("healthy")
	stop()
	load.Wait()

	t.Logf("%d runs were acknowledged; the image has %.1f MB", len(acknowledged), float64(size)/1e6)
	for _, id := range acknowledged {
		s.want(http.StatusOK, http.MethodPost, "/api/results", run(id)) // A replay: all of it is there.
	}
}

// submitOnce reports whether a run was acknowledged.
func submitOnce(ctx context.Context, at, id string) bool {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, at+"/api/results", strings.NewReader(run(id)))
	if err != nil {
		return false
	}
	request.Header.Set("Authorization", "Bearer "+key)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusCreated
}
