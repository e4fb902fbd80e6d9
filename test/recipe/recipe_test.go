// Package recipe follows CONTRIBUTING's recipe for a new field of runs, on a copy of the
// repository: it says how many lines that takes, and that a forgotten one is noticed.
package recipe

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/benchledger/benchledger/internal/testserver"
)

// maxLines is how many lines by hand, outside of tests, a nullable text may take.
const maxLines = 8

// line is a line of the recipe: it comes after another one of a file, or makes the file.
type line struct {
	file, after, text string
}

// next is the path of the next migration, as far as its number.
var next = func() string {
	migrations, err := filepath.Glob("../../sql/schema/*.up.sql")
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("sql/schema/%04d", len(migrations)+1)
}()

// What a person writes for a field "environment", in the order of the recipe.
var (
	column    = line{next + "_add_environment.up.sql", "", "alter table benchmark_runs add column environment text;"}
	reverted  = line{next + "_add_environment.down.sql", "", "alter table benchmark_runs drop column environment;"}
	created   = line{"sql/queries/results.sql", "        , sqlc.narg(metadata_text)::json as metadata_text", "        , sqlc.narg(environment)::text as environment"}
	replaced  = line{"sql/queries/results.sql", "        specialist_version = s.specialist_version,", "        environment = s.environment,"}
	submitted = line{"api/submit.go", "\tSpecialistVersion *Text ", "\tEnvironment *Name `json:\"environment\" required:\"false\" nullable:\"true\" doc:\"Where it ran.\"`"}
	stored    = line{"api/submit.go", "\t\tSpecialistVersion: (*string)(run.SpecialistVersion),", "\t\tEnvironment: (*string)(run.Environment),"}
	read      = line{"api/runs.go", "\tSpecialistVersion *string ", "\tEnvironment *string `json:\"environment\"`"}
	converted = line{"api/runs.go", "\t\tSpecialistVersion: row.SpecialistVersion,", "\t\tEnvironment: row.Environment,"}
)

// What the recipe says of tests: the two submissions of package db differ in the field.
var tests = []line{
	{"db/db_test.go", "\t\t\tSpecialistEnabled: new(true), ", "\t\t\tEnvironment: new(\"laptop\"),"},
	{"db/db_test.go", "\t\t\tSpecialistEnabled: new(false), ", "\t\t\tEnvironment: new(\"runner\"),"},
}

const (
	lint = "go tool -modfile=tools/go.mod golangci-lint run --enable-only exhaustruct_v5 ./api/..."
	// test is followed by a package and the tests to run.
	test = "go test -count=1 -timeout=3m -vet=off "
)

func TestFieldOfRuns(t *testing.T) {
	t.Parallel()
	all := []line{column, reverted, created, replaced, submitted, stored, read, converted}
	if len(all) > maxLines {
		t.Errorf("a field takes %d lines, want at most %d", len(all), maxLines)
	}

	dir := t.TempDir() // The same for all, so that they share what is compiled.
	t.Run("complete", func(t *testing.T) {
		follow(t, dir, all)
		for _, command := range []string{
			test + "./api -run ^(TestEveryPropertyIsChecked|TestEveryColumnIsRead|TestAppendJSONMatchesReflection)$",
			test + "./db -run ^(TestCreateRun|TestCreateRuns|TestListRunsDifferences|TestUpdateRuns|TestMigrations)$",
		} {
			if output, err := run(dir, command); err != nil {
				t.Errorf("%s: %v\n%s", command, err, output)
			}
		}
	})
	if testing.Short() {
		return // The rest takes minutes.
	}
	for _, c := range []struct {
		name      string
		forgotten []line
		// command fails, and says all of want.
		command string
		want    []string
	}{
		{"not created, not replaced, not reverted", []line{created, replaced, reverted}, test + "./db -run ^(TestCreateRun|TestUpdateRuns|TestMigrations)$", []string{"FAIL: TestCreateRun", "FAIL: TestUpdateRuns", "FAIL: TestMigrations"}},
		{"not submitted", []line{submitted}, "go build ./api", []string{"run.Environment undefined"}},
		{"not stored, not converted", []line{stored, converted}, lint, []string{"db.BenchmarkRun is missing field Environment", "api.Run is missing field Environment"}},
		{"not read", []line{read, converted}, test + "./api -run ^TestEveryColumnIsRead$", []string{"BenchmarkRun.Environment"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			rest := slices.DeleteFunc(slices.Clone(all), func(l line) bool { return slices.Contains(c.forgotten, l) })
			follow(t, dir, rest)
			output, err := run(dir, c.command)
			if err == nil {
				t.Errorf("%s passes", c.command)
			}
			for _, want := range c.want {
				if !strings.Contains(output, want) {
					t.Errorf("%s does not say %q:\n%s", c.command, want, output)
				}
			}
		})
	}
}

// follow makes a directory a copy of the repository with the lines added, and generates
// its data layer.
func follow(t *testing.T, dir string, lines []line) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := testserver.CopyRepository(dir); err != nil {
		t.Fatal(err)
	}
	for _, line := range slices.Concat(lines, tests) {
		path := filepath.Join(dir, line.file)
		content := line.text + "\n"
		if line.after != "" {
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			start := strings.Index(string(before), line.after)
			if start < 0 {
				t.Fatalf("%s has no line %q", line.file, line.after)
			}
			end := start + strings.Index(string(before[start:]), "\n") + 1
			content = string(before[:end]) + content + string(before[end:])
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if output, err := run(dir, "go tool -modfile=tools/go.mod sqlc generate"); err != nil {
		t.Fatalf("generate: %v\n%s", err, output)
	}
}

// run runs a command in a directory.
func run(dir, command string) (string, error) {
	args := strings.Fields(command)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	output, err := cmd.CombinedOutput()
	return string(output), err
}
