// Package docs runs the commands and samples of the documentation, and compares the rest
// with the program.
package docs

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

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

// What the README shows; a test uses another address and another directory.
const (
	shownAddress = "http://127.0.0.1:8787"
	shownFolder  = "/home/you/.local/share/benchledger"
	serveCommand = "go run ./cmd/benchledger serve"
)

// TestStart starts the program as the README does, sends the requests of the first pages in
// their order, and compares the responses with the printed ones.
func TestStart(t *testing.T) {
	t.Parallel()
	readme := read(t, "README.md")
	for _, command := range []string{serveCommand, "go test ./..."} {
		if !strings.Contains(readme, "```sh\n"+command+"\n```") {
			t.Errorf("the README has no block %q", command)
		}
	}
	address := serve(t)

	// The site has another run with the same ID.
	start := strings.ReplaceAll(read(t, "site/start.md"), "run-1", "run-of-the-site")
	for _, request := range find(t, readme+start+read(t, "site/guides/files.md"), "(?s)```sh\n(curl .*?)\n```\n\n(?:[^`]*?\n\n)?```json\n(.*?)\n```") {
		command, want := strings.ReplaceAll(request[1], shownAddress, address), request[2]
		got, err := exec.Command("sh", "-c", strings.Replace(command, "curl", "curl --silent --show-error", 1)).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", command, err, got)
		}
		if !reflect.DeepEqual(decode(t, string(got)), decode(t, want)) {
			t.Errorf("%s\nanswers %s\nwant %s", command, got, want)
		}
	}
}

// TestSamples follows the README and the guides of the clients as they are printed: it
// saves the samples as files in an empty directory next to a checkout, and runs the commands.
func TestSamples(t *testing.T) {
	t.Parallel()
	address := serve(t)
	dir := t.TempDir()
	if err := testserver.CopyRepository(mkdir(t, dir, "benchledger")); err != nil {
		t.Fatal(err)
	}
	readme := read(t, "README.md")
	section := func(heading string) string { return find(t, readme, "(?s)\n## "+heading+"\n(.*?)\n## ")[0][1] }
	for _, guide := range []struct {
		name, text, needs string
		last              string // the command that runs the last sample
		runs              int
	}{
		{"readme-typescript", section("Submit from TypeScript"), "npm", "", 1},
		{"readme-go", section("Submit from Go"), "go", "", 1},
		{"guide-typescript", read(t, "site/guides/typescript.md"), "npm", "npx tsx read.mts", 2},
		{"guide-go", read(t, "site/guides/go.md"), "go", "go run .", 2},
	} {
		// Not in parallel: they build the client in the same checkout.
		t.Run(guide.name, func(t *testing.T) {
			needs(t, guide.needs)
			project := mkdir(t, dir, guide.name)
			// Its runs are told apart by the name of the agent.
			text := strings.NewReplacer(shownAddress, address, "claude-code", guide.name).Replace(guide.text)
			for _, step := range find(t, text, "(?s)(?:[Ss]ave this as `([\\w.]+)`[^`]*?(?:`[^`]+`[^`]*)?)?```(sh|ts|go)\n(.*?)```") {
				file, language, block := step[1], step[2], step[3]
				if language != "sh" {
					if file == "" {
						t.Fatalf("the page does not say where to save\n%s", block)
					}
					if err := os.WriteFile(filepath.Join(project, file), []byte(block), 0o600); err != nil {
						t.Fatal(err)
					}
					continue
				}
				t.Log(runIn(t, project, block))
			}
			t.Log(runIn(t, project, guide.last))
			runs := get(t, address+"/api/runs?agent="+guide.name)
			if len(runs) != guide.runs {
				t.Fatalf("%d runs were recorded, want %d: %v", len(runs), guide.runs, runs)
			}
			for _, run := range runs {
				if run["status"] != "completed" || run["totalScore"] != 0.85 || run["batchId"] == nil {
					t.Errorf("recorded %v", run)
				}
			}
		})
	}
}

// TestAnalyse runs the commands of the pages about reading results and statistics, and compares
// what they print.
func TestAnalyse(t *testing.T) {
	t.Parallel()
	needs(t, "jq")
	needs(t, "psql")
	folder, address := serveIn(t)
	path, err := testserver.Program()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	submit := find(t, read(t, "site/start.md"), "(?s)```sh\n(curl .*?)```")[0][1]
	page := strings.NewReplacer(shownAddress, address, "~/.local/share/benchledger", folder).Replace(read(t, "site/guides/analyse.md") + read(t, "site/guides/statistics.md"))
	environment := "export PATH=" + filepath.Dir(path) + ":$PATH BENCHLEDGER_URL=" + address + " BENCHLEDGER_API_KEY=dev-local-key\n"
	runIn(t, dir, strings.ReplaceAll(submit, shownAddress, address))
	for _, step := range find(t, page, "(?s)```sh\n(.*?)```(?:\n\n```(?:json|text)\n(.*?)```)?") {
		got := runIn(t, dir, environment+step[1])
		if want := step[2]; want != "" && got != want {
			t.Errorf("%sprints\n%swant\n%s", step[1], got, want)
		}
	}
}

// needs skips the test if a program is not installed, and fails it in CI.
func needs(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil && os.Getenv("CI") == "" {
		t.Skipf("%s is not installed", program)
	} else if err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, parent, name string) string {
	t.Helper()
	dir := filepath.Join(parent, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// runIn runs commands in a directory, and returns what they print.
func runIn(t *testing.T, dir, commands string) string {
	t.Helper()
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", commands)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "BENCHLEDGER_SPOOL="+filepath.Join(dir, "spool"))
	var log bytes.Buffer
	cmd.Stderr = &log
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", commands, err, output, log.String())
	}
	return string(output)
}

// get returns the objects in a list that the server returns.
func get(t *testing.T, url string) (objects []map[string]any) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&objects); err != nil {
		t.Fatal(err)
	}
	return objects
}

// serve starts a server with an empty database until the end of the test, and returns its
// address.
func serve(t *testing.T) string {
	t.Helper()
	_, address := serveIn(t)
	return address
}

// serveIn starts a server with an empty database until the end of the test, compares what
// it prints with the README, and returns its data directory and its address.
func serveIn(t *testing.T) (folder, address string) {
	t.Helper()
	printed := find(t, read(t, "README.md"), "(?s)```text\n(BenchLedger .*?\n)```")[0][1]
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
	return folder, match[1]
}

// TestSettings compares the settings on the page about configuration with those of the program.
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
	page := read(t, "site/guides/configuration.md")
	for _, row := range find(t, page, "(?m)^\\| `([A-Z_]+)` \\| `(--[a-z-]+)` \\| (?:`(.*?)`)?") {
		name := row[1] + " " + row[2]
		if text, ok := help[name]; !ok {
			t.Errorf("the page has the setting %s, and the program does not", name)
		} else if !strings.Contains(text, row[3]) {
			t.Errorf("the page has %s as the default of %s, and the program says: %s", row[3], name, text)
		}
		delete(help, name)
	}
	compose := read(t, "compose.yaml")
	for _, row := range find(t, page, "(?m)^\\| `([A-Z_]+)` \\| `--") {
		switch row[1] {
		case "ADDR", "DATA_DIR", "DATABASE_MIGRATE_URL": // The image has the first, and compose.yaml a database.
		default:
			if !strings.Contains(compose, "\n      "+row[1]+": ") {
				t.Errorf("compose.yaml does not pass the setting %s", row[1])
			}
		}
	}
	for name := range help {
		t.Errorf("the program has the setting %s, and the page does not", name)
	}
}

// TestPromises checks that the tests that SECURITY.md names exist.
func TestPromises(t *testing.T) {
	t.Parallel()
	var tests strings.Builder
	for _, pattern := range []string{"api/*_test.go", "cmd/benchledger/*_test.go", "internal/*/*_test.go", "clients/go/*_test.go", "test/*/*_test.go"} {
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

// TestNames checks that the files and make targets that documents name exist.
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
		// Links, and quoted names with a folder or an extension.
		for _, named := range find(t, text, "\\]\\(([^:)]+)\\)|`([a-z.]+(?:/[a-z_.]+)+/?|[a-z]+\\.(?:md|yaml|sql))`") {
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

// find returns all matches, and fails if there is none.
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
