// Package docs runs what the documents say, and compares what cannot be run with
// the program.
package docs

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/benchledger/benchledger/internal/testdb"
	"github.com/benchledger/benchledger/internal/testserver"
)

func TestMain(m *testing.M) {
	code := m.Run()
	testserver.Remove()
	os.Exit(code)
}

// root is where the documents are.
const root = "../.."

// What the README shows of a start; a test has an address and a folder of its own.
const (
	shownAddress = "http://127.0.0.1:8787"
	shownFolder  = "/home/you/.local/share/benchledger"
	serveCommand = "go run ./cmd/benchledger serve"
)

// TestStart starts the program as the README does, sends its requests in their
// order, and compares what comes back with what is printed there.
func TestStart(t *testing.T) {
	t.Parallel()
	readme := read(t, "README.md")
	for _, command := range []string{serveCommand, "go test ./..."} {
		if !strings.Contains(readme, "```sh\n"+command+"\n```") {
			t.Errorf("the README has no block %q", command)
		}
	}
	printed := find(t, readme, "(?s)```text\n(BenchLedger .*?\n)```")[0][1]
	address := serve(t, printed)

	// The site starts with a run of its own, which the server has not.
	start := strings.ReplaceAll(read(t, "site/start.md"), "run-1", "run-of-the-site")
	for _, request := range find(t, readme+start, "(?s)```sh\n(curl .*?)\n```\n\n(?:[^`]*?\n\n)?```json\n(.*?)\n```") {
		command, want := strings.ReplaceAll(request[1], shownAddress, address), request[2]
		got, err := exec.Command("sh", "-c", strings.Replace(command, "curl", "curl --silent --show-error", 1)).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", command, err, got)
		}
		if !reflect.DeepEqual(decode(t, string(got)), decode(t, want)) {
			t.Errorf("%s\nanswers %s\nwant %s", command, got, want)
		}
	}
	if blocks := strings.Count(readme, "```sh\n"); blocks != 5 {
		t.Errorf("the README has %d blocks of commands; 5 are run", blocks)
	}
}

// serve serves with a database of its own until the end of the test, checks
// what is printed, and returns the address.
func serve(t *testing.T, printed string) string {
	t.Helper()
	folder, err := testdb.TempDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	cmd := program(t, strings.Fields(serveCommand)[3:]...)
	cmd.Env = append(cmd.Env, "ADDR=127.0.0.1:0", "DATA_DIR="+folder)
	var log bytes.Buffer
	cmd.Stderr = &log
	server, err := testserver.Start(cmd)
	if err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the server's log:\n%s", log.String())
		}
	})
	printed = strings.Replace(printed, shownFolder, folder, 1)
	pattern := strings.ReplaceAll(regexp.QuoteMeta(printed), regexp.QuoteMeta(shownAddress), `(http://127\.0\.0\.1:\d+)`)
	match := regexp.MustCompile("^" + pattern + "$").FindStringSubmatch(strings.TrimSuffix(server.Ready, "\n"))
	if match == nil {
		t.Fatalf("the program prints %q, the README %q", server.Ready, printed)
	}
	return match[1]
}

// TestSettings compares the README's settings with those of the program.
func TestSettings(t *testing.T) {
	t.Parallel()
	output, err := program(t, "serve", "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	help := map[string]string{} // the help, by variable and flag
	for _, setting := range find(t, strings.Join(strings.Fields(string(output)), " "), `--(?:\[no-\]([a-z-]+) |([a-z-]+)=)(.*?)\(\$([A-Z_]+)\)`) {
		help[setting[4]+" --"+setting[1]+setting[2]] = setting[3]
	}
	for _, row := range find(t, read(t, "README.md"), "(?m)^\\| `([A-Z_]+)` \\| `(--[a-z-]+)` \\| (?:`(.*?)`)?") {
		name := row[1] + " " + row[2]
		if text, ok := help[name]; !ok {
			t.Errorf("the README has the setting %s, and the program has not", name)
		} else if !strings.Contains(text, row[3]) {
			t.Errorf("the README has %s as the default of %s, and the program says: %s", row[3], name, text)
		}
		delete(help, name)
	}
	compose := read(t, "compose.yaml")
	for _, row := range find(t, read(t, "README.md"), "(?m)^\\| `([A-Z_]+)` \\| `--") {
		switch row[1] {
		case "ADDR", "DATA_DIR", "DATABASE_MIGRATE_URL": // The image has the first, and compose.yaml a database.
		default:
			if !strings.Contains(compose, "\n      "+row[1]+": ") {
				t.Errorf("compose.yaml does not pass the setting %s", row[1])
			}
		}
	}
	for name := range help {
		t.Errorf("the program has the setting %s, and the README has not", name)
	}
}

// TestOperations compares the README's operations with those of the document.
func TestOperations(t *testing.T) {
	t.Parallel()
	var document struct {
		Paths map[string]map[string]struct{ Security []map[string][]string }
	}
	if err := yaml.Unmarshal([]byte(read(t, "openapi.yaml")), &document); err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for path, operations := range document.Paths {
		for method, operation := range operations {
			key := "yes"
			if slices.ContainsFunc(operation.Security, func(way map[string][]string) bool { return len(way) == 0 }) {
				key = ""
			}
			want = append(want, strings.ToUpper(method)+" "+path+" "+key)
		}
	}
	for _, row := range find(t, read(t, "README.md"), "(?m)^\\| `([A-Z]+ /.*?)` \\|.*\\| (.*?) ?\\|$") {
		got = append(got, row[1]+" "+row[2])
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("operations in the README\n%s\nin openapi.yaml\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestPromises finds the tests that SECURITY.md names.
func TestPromises(t *testing.T) {
	t.Parallel()
	var tests strings.Builder
	for _, pattern := range []string{"api/*_test.go", "cmd/benchledger/*_test.go", "test/*/*_test.go"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			tests.Write(content)
		}
	}
	for _, named := range find(t, read(t, "SECURITY.md"), "`(Test\\w+)`") {
		if !strings.Contains(tests.String(), "func "+named[1]+"(t ") {
			t.Errorf("SECURITY.md: there is no test %s", named[1])
		}
	}
}

// TestNames finds files and make's targets that documents name, and that are gone.
func TestNames(t *testing.T) {
	t.Parallel()
	targets := map[string]bool{}
	for _, target := range find(t, read(t, "Makefile"), `(?m)^([a-z-]+):`) {
		targets[target[1]] = true
	}
	for _, document := range []string{"README.md", "CONTRIBUTING.md", "SECURITY.md"} {
		text := read(t, document)
		for _, command := range regexp.MustCompile("`make ([a-z -]+)`").FindAllStringSubmatch(text, -1) {
			for target := range strings.FieldsSeq(command[1]) {
				if !targets[target] {
					t.Errorf("%s: there is no `make %s`", document, target)
				}
			}
		}
		// In links, and in quotes what has a folder or an ending.
		for _, named := range find(t, text, "\\]\\(([^:)]+)\\)|`([a-z.]+(?:/[a-z_.]+)+/?|[a-z]+\\.(?:md|yaml|sql|go))`") {
			if path := named[1] + named[2]; !exists(path) {
				t.Errorf("%s: there is no %s", document, path)
			}
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(filepath.Join(root, path))
	return err == nil
}

func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	command, err := testserver.Command(args...)
	if err != nil {
		t.Fatal(err)
	}
	return command
}

func read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// find returns the places that match, of which there has to be one.
func find(t *testing.T, text, pattern string) [][]string {
	t.Helper()
	matches := regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1)
	if len(matches) == 0 {
		t.Fatalf("nothing matches %s", pattern)
	}
	return matches
}

func decode(t *testing.T, text string) (values []any) {
	t.Helper()
	for decoder := json.NewDecoder(strings.NewReader(text)); decoder.More(); {
		var value any
		if err := decoder.Decode(&value); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		values = append(values, value)
	}
	return values
}

// TestSamples builds the samples in Go, each in a module that gets the client from a
// checkout as the site says. Those in TypeScript are type-checked with its package, those of
// the reference by `make site`.
func TestSamples(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob(root + "/site/*.md")
	if err != nil {
		t.Fatal(err)
	}
	guides, err := filepath.Glob(root + "/site/guides/*.md")
	if err != nil {
		t.Fatal(err)
	}
	text := read(t, "README.md")
	for _, page := range append(pages, guides...) {
		name, err := filepath.Rel(root, page)
		if err != nil {
			t.Fatal(err)
		}
		text += read(t, name)
	}
	install := find(t, read(t, "site/guides/go.md"), "(?s)```sh\n(go mod edit.*?)```")[0][1]
	for _, sample := range find(t, text, "(?s)```go\n(.*?)```") {
		folder := t.TempDir()
		if err := os.WriteFile(filepath.Join(folder, "main.go"), []byte(sample[1]), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(root, filepath.Join(folder, "benchledger")); err != nil {
			t.Fatal(err)
		}
		build := exec.Command("sh", "-ec", "go mod init harness\n"+install+"go build -o /dev/null .")
		build.Dir = folder
		if output, err := build.CombinedOutput(); err != nil {
			t.Errorf("%s\n%s", sample[1], output)
		}
	}
}
