// Package docs runs what the documents say.
package docs

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/benchledger/benchledger/internal/testdb"
)

const documented = "http://127.0.0.1:8787"

// TestReadme starts the program as the README does, sends its requests in their
// order, and compares the answers with those printed there.
func TestReadme(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	readme := string(content)
	for _, command := range []string{"go run ./cmd/benchledger serve", "go test ./..."} {
		if !strings.Contains(readme, "```sh\n"+command+"\n```") {
			t.Errorf("the README has no block %q", command)
		}
	}
	requests := regexp.MustCompile("(?s)```sh\n(curl .*?)\n```\n\n(?:.*?\n\n)??```json\n(.*?)\n```").FindAllStringSubmatch(readme, -1)
	if len(requests) != 2 {
		t.Fatalf("%d requests with answers, want 2", len(requests))
	}
	server := start(t)
	for _, request := range requests {
		command, want := strings.ReplaceAll(request[1], documented, server), request[2]
		got, err := exec.Command("sh", "-c", strings.Replace(command, "curl", "curl --silent --show-error", 1)).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", command, err, got)
		}
		var gotValue, wantValue any
		if err := json.Unmarshal(got, &gotValue); err != nil {
			t.Fatalf("%s: %v: %s", command, err, got)
		}
		if err := json.Unmarshal([]byte(want), &wantValue); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(gotValue, wantValue) {
			t.Errorf("%s\nanswers %s\nwant %s", command, got, want)
		}
	}
}

// start serves with a database of its own until the end of the test, and returns
// the address.
func start(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "benchledger")
	if output, err := exec.Command("go", "build", "-o", program, "../../cmd/benchledger").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	data, err := testdb.TempDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(data) })
	server := exec.Command(program, "serve", "--addr", "127.0.0.1:0", "--data-dir", data)
	server.Stderr = os.Stderr
	output, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGTERM)
		if err := server.Wait(); err != nil {
			t.Error(err)
		}
	})
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	address := regexp.MustCompile(`API at (http://\S+)/api,`).FindStringSubmatch(line)
	if address == nil {
		t.Fatalf("no address in %q", line)
	}
	return address[1]
}
