package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Mutations is what changing a query in small ways showed. They are kept in a file of
// the project, since they take minutes, and are tried again when their hash changes.
type Mutations struct {
	Query string `json:"query"`
	// Hash is that of what the result depends on: the mutants, the tables, and the
	// tests that noticed, without their comments.
	Hash    string `json:"hash"`
	Mutants int    `json:"mutants"`
	// Tests are those that noticed a mutant, Survived the mutants that none noticed.
	Tests    []string `json:"tests"`
	Survived []string `json:"survived,omitempty"`
}

// Mutate changes queries in small ways, runs the tests that are recorded to have run
// them, and writes down which changes no test noticed: the queries of these names,
// or all whose hash has changed.
//
// The tests are built once, so that each query can be replaced from outside. server is
// their PostgreSQL.
func (a *Audit) Mutate(ctx context.Context, record []Entry, server string, names []string, progress func(string)) error {
	dir, err := os.MkdirTemp("", "audit-mutate-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	r := &runner{config: a.config, dir: dir, server: server}
	if err := r.build(ctx); err != nil {
		return err
	}
	var results []Mutations
	for _, query := range a.Queries {
		last, known := a.mutationsOf(query.Name)
		chosen := slices.Contains(names, query.Name) || len(names) == 0 && !a.isCurrent(query, last)
		if chosen {
			start := time.Now()
			last = Mutations{Query: query.Name, Mutants: len(query.mutants)}
			if last.Tests, last.Survived, err = r.try(ctx, query, record); err != nil {
				return fmt.Errorf("%s: %w", query.Name, err)
			}
			last.Hash = a.mutationHash(query, last.Tests)
			progress(fmt.Sprintf("%-28s %3d changes, %2d survived, %2d not valid, %5.1f s",
				query.Name, last.Mutants, len(last.Survived), query.invalid, time.Since(start).Seconds()))
		}
		if chosen || known {
			results = append(results, last)
		}
		if err := a.writeMutations(results, a.Queries[slices.Index(a.Queries, query)+1:]); err != nil {
			return err
		}
	}
	return nil
}

func (a *Audit) mutationsOf(name string) (Mutations, bool) {
	for _, m := range a.Mutations {
		if m.Query == name {
			return m, true
		}
	}
	return Mutations{}, false
}

// isCurrent says whether a result is of the query, its tables and its tests as they are.
func (a *Audit) isCurrent(query *Query, result Mutations) bool {
	return result.Hash == a.mutationHash(query, result.Tests)
}

// writeMutations writes results, a line each, and what is known of the queries that
// come after.
func (a *Audit) writeMutations(results []Mutations, after []*Query) error {
	for _, query := range after {
		if last, known := a.mutationsOf(query.Name); known {
			results = append(slices.Clip(results), last)
		}
	}
	lines := make([]string, len(results))
	for i, result := range results {
		line, err := json.Marshal(result)
		if err != nil {
			return err
		}
		lines[i] = string(line)
	}
	return os.WriteFile(a.config.path(a.config.Mutations), []byte("[\n"+strings.Join(lines, ",\n")+"\n]\n"), 0o644)
}

func (a *Audit) readMutations() (results []Mutations, err error) {
	content, err := os.ReadFile(a.config.path(a.config.Mutations))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(content, &results); err != nil {
		return nil, fmt.Errorf("%s: %w", a.config.Mutations, err)
	}
	return results, nil
}

// mutationHash is that of what the mutations of a query depend on.
func (a *Audit) mutationHash(query *Query, tests []string) string {
	hash := sha256.New()
	fmt.Fprintln(hash, query.mutants)
	for _, line := range a.snapshot {
		if (line.Table == "" || slices.Contains(query.Tables, line.Table)) && !strings.HasPrefix(line.Line, "CREATE INDEX") {
			fmt.Fprintln(hash, line)
		}
	}
	for _, test := range tests {
		folder, name, _ := strings.Cut(test, ".")
		fmt.Fprintln(hash, test, a.testSource(folder).reach(name))
	}
	return hex.EncodeToString(hash.Sum(nil))[:16]
}

// testSource is the source of what the tests of a package declare, by name, and the
// names that each declaration uses.
type testSource struct {
	texts map[string]string
	uses  map[string][]string
	data  string // digests of what is in testdata
}

// testSource reads the tests of a folder, by its last element.
func (a *Audit) testSource(name string) *testSource {
	if source := a.sources[name]; source != nil {
		return source
	}
	source := &testSource{map[string]string{}, map[string][]string{}, ""}
	for _, folder := range a.config.MutationTests {
		if filepath.Base(folder) != name {
			continue
		}
		files, _ := filepath.Glob(a.config.path(folder) + "/*_test.go")
		for _, path := range files {
			set := token.NewFileSet()
			// Without comments: they change nothing. A file that cannot be read has no tests.
			if file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution); err == nil {
				source.add(set, file)
			}
		}
		data, _ := filepath.Glob(a.config.path(folder) + "/testdata/*")
		for _, path := range data {
			content, _ := os.ReadFile(path) // A folder has none.
			source.data += fmt.Sprintf("%s %x\n", filepath.Base(path), sha256.Sum256(content))
		}
	}
	if a.sources == nil {
		a.sources = map[string]*testSource{}
	}
	a.sources[name] = source
	return source
}

func (s *testSource) add(set *token.FileSet, file *ast.File) {
	note := func(name string, node ast.Node) {
		var printed bytes.Buffer
		_ = format.Node(&printed, set, node) // It was parsed.
		s.texts[name] += strings.Join(strings.Fields(printed.String()), " ")
		ast.Inspect(node, func(node ast.Node) bool {
			if identifier, ok := node.(*ast.Ident); ok {
				s.uses[name] = append(s.uses[name], identifier.Name)
			}
			return true
		})
	}
	for _, declaration := range file.Decls {
		switch declaration := declaration.(type) {
		case *ast.FuncDecl: // A method is identified by its name only: every use of the name counts.
			note(declaration.Name.Name, declaration)
		case *ast.GenDecl:
			for _, spec := range declaration.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					note(spec.Name.Name, spec)
				case *ast.ValueSpec:
					for _, name := range spec.Names {
						note(name.Name, spec)
					}
				}
			}
		}
	}
}

// reach returns the source of a test with that of everything it uses.
func (s *testSource) reach(name string) string {
	reached := map[string]bool{}
	var visit func(string)
	visit = func(name string) {
		if _, declared := s.texts[name]; declared && !reached[name] {
			reached[name] = true
			for _, used := range s.uses[name] {
				visit(used)
			}
		}
	}
	visit(name)
	var all strings.Builder
	for _, name := range sortedKeys(reached) {
		all.WriteString(s.texts[name] + "\n")
	}
	if strings.Contains(all.String(), "testdata") {
		all.WriteString(s.data)
	}
	return all.String()
}

type runner struct {
	config      Config
	dir, server string
}

func (r *runner) binary(pkg string) string { return filepath.Join(r.dir, filepath.Base(pkg)+".test") }

var generatedConst = regexp.MustCompile("(?s)const (\\w+) = (`-- name: (\\w+) .*?\n`)")

const replaceable = `

import "os"

func replaceable(name, text string) string {
	if os.Getenv("AUDIT_MUTANT") != name {
		return text
	}
	replaced, err := os.ReadFile(os.Getenv("AUDIT_MUTANT_FILE"))
	if err != nil {
		panic(err)
	}
	return string(replaced)
}
`

// build builds the tests, with the constants of the generated code as variables that
// take another text from the environment. The project stays as it is.
func (r *runner) build(ctx context.Context) error {
	folder, err := filepath.Abs(r.config.path(r.config.Generated))
	if err != nil {
		return err
	}
	files, err := filepath.Glob(folder + "/*.sql.go")
	if err != nil {
		return err
	}
	texts := map[string][]byte{folder + "/replaceable.go": []byte("package " + filepath.Base(folder) + replaceable)}
	for _, path := range files {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		texts[path] = generatedConst.ReplaceAll(content, []byte("var $1 = replaceable(\"$3\", $2)"))
	}
	var overlay struct{ Replace map[string]string }
	overlay.Replace = map[string]string{}
	for path, text := range texts {
		overlay.Replace[path] = filepath.Join(r.dir, filepath.Base(path))
		if err := os.WriteFile(overlay.Replace[path], text, 0o600); err != nil {
			return err
		}
	}
	encoded, err := json.Marshal(overlay)
	if err := errors.Join(err, os.WriteFile(filepath.Join(r.dir, "overlay.json"), encoded, 0o600)); err != nil {
		return err
	}
	for _, pkg := range r.config.MutationTests {
		build := exec.CommandContext(ctx, "go", "test", "-c", "-overlay", filepath.Join(r.dir, "overlay.json"), "-o", r.binary(pkg), "./"+pkg)
		build.Dir = r.config.root
		if output, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build the tests of %s: %w: %s", pkg, err, output)
		}
	}
	return nil
}

// try runs tests on each mutant of a query, those that bear the query's name before
// the others, and returns the tests that noticed, and the mutants that none did.
func (r *runner) try(ctx context.Context, query *Query, record []Entry) (noticed, survived []string, err error) {
	own, others := map[string][]string{}, map[string][]string{}
	for _, entry := range record {
		if name, _, _ := strings.Cut(entry.Test, "/"); entry.Query == query.Name && name == "Test"+query.Name {
			own[entry.Package] = insert(own[entry.Package], name)
		} else if entry.Query == query.Name {
			others[entry.Package] = insert(others[entry.Package], name)
		}
	}
	for _, tests := range []map[string][]string{own, others} {
		if failed, err := r.run(ctx, query.Name, query.text, tests); err != nil || failed != "" {
			return nil, nil, errors.Join(err, fmt.Errorf("a test fails without a change: %q", failed))
		}
	}
	var (
		mu    sync.Mutex
		group sync.WaitGroup
		queue = make(chan mutant)
	)
	for range 2 {
		group.Go(func() {
			for m := range queue {
				failed, runErr := r.run(ctx, query.Name, m.text, own)
				if failed == "" && runErr == nil {
					failed, runErr = r.run(ctx, query.Name, m.text, others)
					if failed != "" { // On a busy machine one of so many may fail by itself.
						failed, runErr = r.run(ctx, query.Name, m.text, others)
					}
				}
				mu.Lock()
				if err = errors.Join(err, runErr); failed == "" {
					survived = insert(survived, m.name)
				} else {
					noticed = insert(noticed, failed)
				}
				mu.Unlock()
			}
		})
	}
	for _, m := range query.mutants {
		queue <- m
	}
	close(queue)
	group.Wait()
	return noticed, survived, err
}

var failedTest = regexp.MustCompile(`(?m)^--- FAIL: (\w+)`)

// run runs tests with a query's text replaced, and returns one that failed, "" where
// all passed.
func (r *runner) run(ctx context.Context, query, text string, tests map[string][]string) (failed string, err error) {
	file, err := os.CreateTemp(r.dir, "mutant-*.sql")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(file.Name()) }()
	_, err = file.WriteString(text)
	if err := errors.Join(err, file.Close()); err != nil {
		return "", err
	}
	for _, pkg := range r.config.MutationTests {
		names := tests[filepath.Base(pkg)]
		if len(names) == 0 {
			continue
		}
		cmd := exec.CommandContext(ctx, r.binary(pkg), "-test.run", "^("+strings.Join(names, "|")+")$", "-test.failfast", "-test.timeout=180s")
		cmd.Dir = r.config.path(pkg)
		cmd.Env = append(os.Environ(), "AUDIT_MUTANT="+query, "AUDIT_MUTANT_FILE="+file.Name(), "TEST_DATABASE_URL="+r.server, "AUDIT_RECORD=")
		output, err := cmd.CombinedOutput()
		if match := failedTest.FindSubmatch(output); match != nil {
			return filepath.Base(pkg) + "." + string(match[1]), nil
		} else if err != nil && bytes.Contains(output, []byte("panic: test timed out")) {
			return filepath.Base(pkg) + "." + names[0], nil
		} else if err != nil {
			return "", fmt.Errorf("run the tests: %w: %s", err, output)
		}
	}
	return "", nil
}
