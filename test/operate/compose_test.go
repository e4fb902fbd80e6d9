package operate

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// maxImageBytes is what the image may have.
const maxImageBytes = 30_000_000

// TestCompose builds the image and starts compose.yaml by the commands of the guides, and
// restarts and kills both of its parts under load: what was acknowledged is there, and
// the health check says what is true. Then it is upgraded, backed up, destroyed and
// restored. It takes minutes, so only `make compose-check` runs it.
func TestCompose(t *testing.T) { //nolint:paralleltest // It runs alone.
	if os.Getenv("COMPOSE_CHECK") == "" {
		t.Skip("make compose-check runs it")
	}
	needs(t, "docker", "git", "openssl")
	port, backup := freePort(t), newDir(t)
	deploy := readGuide(t, "site/guides/deploy.md", withCompose)
	deploy.dir = checkout(t)
	deploy.env = append(os.Environ(), fmt.Sprint("PORT=", port), "COMPOSE_PROJECT_NAME=benchledger-check", "BACKUP="+backup)
	if exec.Command("docker", "compose", "version").Run() != nil {
		deploy.instead = []string{"docker compose", "docker-compose"}
	}
	t.Cleanup(func() { deploy.run("docker compose down --volumes") })
	up := func(args ...string) string {
		t.Helper()
		return deploy.run("docker compose " + strings.Join(args, " "))
	}
	do := func(name string, args ...string) string {
		t.Helper()
		output, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v: %s", name, args, err, output)
		}
		return strings.TrimSpace(string(output))
	}

	deploy.next("umask 077")
	settings, err := os.ReadFile(filepath.Join(deploy.dir, ".env"))
	if err != nil {
		t.Fatal(err)
	}
	shared := regexp.MustCompile(`API_SECRET_KEY=(.*)`).FindSubmatch(settings)
	// A password that would break a URL, and a setting beside the secrets.
	settings = append(regexp.MustCompile(`(POSTGRES_PASSWORD=).*`).ReplaceAll(settings, []byte("${1}p@ss/w?rd%#&")), "PUBLIC_READS=false\n"...)
	if err := os.WriteFile(filepath.Join(deploy.dir, ".env"), settings, 0o600); err != nil {
		t.Fatal(err)
	}
	deploy.next("docker compose up")
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

	s := &server{t: t, url: fmt.Sprintf("http://127.0.0.1:%d", port), key: string(shared[1]), log: &bytes.Buffer{}}
	if status, _ := get(t, s.url+"/api/runs"); status != http.StatusUnauthorized {
		t.Errorf("a read without a key, with PUBLIC_READS=false: %d", status)
	}
	printed := strings.Split(deploy.next("docker compose exec"), "\n")
	if got := s.submitWith(strings.TrimSpace(printed[len(printed)-1]), "run-of-ci"); got != http.StatusCreated {
		t.Errorf("a submission with the key: %d", got)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var mu sync.Mutex
	var acknowledged []string
	var load sync.WaitGroup
	for worker := range 4 {
		load.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				id := fmt.Sprintf("run-%d-%d", worker, n)
				if submitOnce(ctx, s.url, s.key, id) {
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

	deploy.next("docker tag")
	wantHealth("healthy")
	restore := readGuide(t, "site/guides/backup.md", withCompose)
	restore.dir, restore.env, restore.instead = deploy.dir, deploy.env, deploy.instead
	restore.next("docker compose exec")
	up("down", "--volumes")
	restore.next("docker compose up")
	wantHealth("healthy")

	t.Logf("%d runs were acknowledged; the image has %.1f MB", len(acknowledged), float64(size)/1e6)
	for _, id := range acknowledged {
		s.want(http.StatusOK, http.MethodPost, "/api/results", run(id)) // A replay: all of it is there.
	}
}

// submitOnce reports whether a run was acknowledged.
func submitOnce(ctx context.Context, at, key, id string) bool {
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
