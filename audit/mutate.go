package audit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
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

	"github.com/jackc/pgx/v5"

	"github.com/benchledger/benchledger/audit/recorder"
)

// MutationCount sums up what the mutations showed.
type MutationCount struct {
	Mutants  int `json:"mutants"`
	Killed   int `json:"killed"`
	Accepted int `json:"accepted"`
	Survived int `json:"survived"`
	// Stillborn are those that PostgreSQL does not take, or not in the same shape:
	// they count for nothing.
	Stillborn int `json:"stillborn"`
	// Unchanged are the columns of results that no mutant changes.
	Unchanged []string `json:"unchanged"`
}

// Mutations is what changing one query showed.
type Mutations struct {
	Query     string `json:"query"`
	Mutants   int    `json:"mutants"`
	Stillborn int    `json:"stillborn"`
	// Survived are the mutants that no test saw, Unchanged the columns of the result
	// that no mutant changes.
	Survived  []string `json:"survived"`
	Unchanged []string `json:"unchanged,omitempty"`
	// Hash is that of what was seen: the query, the schema, the tests that ran it, the
	// ways in which it was changed.
	Hash string `json:"hash"`
}

// Mutate changes every query in small ways, runs the tests that are recorded to
// have run it, and writes down which changes no test saw. Queries whose hash is
// that of the last time are not tried again.
//
// The tests are built once, from a copy of the project in which each query can be
// replaced from outside; testDatabaseURL is their server.
func (a *Audit) Mutate(ctx context.Context, record []recorder.Entry, databaseURL, testDatabaseURL string, progress func(string)) error {
	copied, err := os.MkdirTemp("", "audit-mutate-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(copied) }()
	if err := copyProject(a.config.Root, copied); err != nil {
		return fmt.Errorf("copy the project: %w", err)
	}
	if err := makeReplaceable(filepath.Join(copied, a.config.Generated)); err != nil {
		return fmt.Errorf("make queries replaceable: %w", err)
	}
	runner := &mutationRunner{copied: copied, packages: a.config.MutationTests, url: testDatabaseURL}
	if err := runner.build(ctx); err != nil {
		return err
	}
	connection, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close(ctx) }()

	last, err := a.readMutations()
	if err != nil {
		return err
	}
	var results []Mutations
	for _, query := range a.Queries {
		result := Mutations{Query: query.Name, Hash: a.mutationHash(query), Survived: []string{}}
		if i := slices.IndexFunc(last, func(m Mutations) bool { return m.Query == query.Name && m.Hash == result.Hash }); i >= 0 {
			results = append(results, last[i])
			continue
		}
		var mutants []mutant
		if mutants, result.Stillborn, result.Unchanged, err = a.mutants(ctx, connection, query); err != nil {
			return fmt.Errorf("change %s: %w", query.Name, err)
		}
		tests := testsOf(query.Name, record)
		if len(tests) == 0 {
			return fmt.Errorf("no test runs %s", query.Name)
		}
		start := time.Now()
		if err := runner.confirm(ctx, query.Name, a.code.texts[query.Name], tests); err != nil {
			return fmt.Errorf("%s: its tests fail without a change: %w", query.Name, err)
		}
		result.Mutants = len(mutants)
		if result.Survived, err = runner.survivors(ctx, query.Name, mutants, tests); err != nil {
			return fmt.Errorf("%s: %w", query.Name, err)
		}
		progress(fmt.Sprintf("%-28s %3d changes, %2d survived, %2d not valid, %5.1f s",
			query.Name, len(mutants), len(result.Survived), result.Stillborn, time.Since(start).Seconds()))
		results = append(results, result)
		if err := a.writeMutations(results); err != nil {
			return err
		}
	}
	return a.writeMutations(results)
}

func (a *Audit) writeMutations(results []Mutations) error {
	encoded, err := json.MarshalIndent(results, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(a.config.path(a.config.Mutations), append(encoded, '\n'), 0o644)
}

func (a *Audit) readMutations() ([]Mutations, error) {
	content, err := os.ReadFile(a.config.path(a.config.Mutations))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var results []Mutations
	err = json.Unmarshal(content, &results)
	return results, err
}

// testsOf returns the test functions that ran a query, by package.
func testsOf(query string, record []recorder.Entry) map[string][]string {
	tests := map[string][]string{}
	for _, entry := range record {
		if entry.Query == query {
			name, _, _ := strings.Cut(entry.Test, "/")
			if !slices.Contains(tests[entry.Package], name) {
				tests[entry.Package] = append(tests[entry.Package], name)
			}
		}
	}
	return tests
}

// judgeMutations sees whether what was tried is current, and what survived.
func (a *Audit) judgeMutations() error {
	results, err := a.readMutations()
	if err != nil {
		return err
	}
	for _, query := range a.Queries {
		i := slices.IndexFunc(results, func(m Mutations) bool { return m.Query == query.Name })
		if i < 0 || results[i].Hash != a.mutationHash(query) {
			a.find("query-unasserted", query.At, "Run `make audit-mutate`.", "%s, its schema or its tests have changed since it was tried.", query.Name)
			continue
		}
		if results[i].Mutants == 0 {
			a.find("query-unasserted", query.At, "Give package audit an operator that applies to it.", "no change to %s was tried.", query.Name)
		}
		a.Mutations.Mutants += results[i].Mutants
		a.Mutations.Stillborn += results[i].Stillborn
		for _, column := range results[i].Unchanged {
			a.Mutations.Unchanged = append(a.Mutations.Unchanged, query.Name+"."+column)
		}
		a.Mutations.Killed += results[i].Mutants - len(results[i].Survived)
		for _, survivor := range results[i].Survived {
			name := query.Name + ": " + survivor
			a.survivors = append(a.survivors, name)
			if a.config.AcceptedMutants[name] != "" {
				a.Mutations.Accepted++
				continue
			}
			a.Mutations.Survived++
			a.find("query-unasserted", query.At, "Assert on it in a test, or say in audit.yaml (accepted_mutants) why none can.",
				"no test of %s sees this change: %s.", query.Name, survivor)
		}
	}
	return nil
}

// mutationHash is that of the query, the schema, the source of the tests that ran
// the query and what they read, and the ways to change it.
func (a *Audit) mutationHash(query *Query) string {
	hash := sha256.New()
	fmt.Fprintln(hash, operatorsSource, plusSQL, a.code.texts[query.Name])
	for _, migration := range a.Migrations {
		text, _ := readStatement(a.config, migration.Up) // It was read before.
		fmt.Fprintln(hash, text)
	}
	sources := a.testSources()
	for _, test := range query.Tests {
		folder, name, _ := strings.Cut(test, ".")
		if !slices.ContainsFunc(a.config.MutationTests, func(path string) bool { return filepath.Base(path) == folder }) {
			continue
		}
		name, _, _ = strings.Cut(name, "/")
		source := strings.Join(sources[folder].reach(name), "\n")
		fmt.Fprintln(hash, test, source)
		if strings.Contains(source, "testdata") {
			fmt.Fprintln(hash, sources[folder].data)
		}
	}
	return hex.EncodeToString(hash.Sum(nil))[:16]
}

// testSource is the source of what the tests of a package declare, by name, and
// the names that each declaration uses.
type testSource struct {
	text map[string]string
	uses map[string][]string
	data string // what is in testdata
}

// reach returns the source of a test with that of everything it uses.
func (s *testSource) reach(name string) []string {
	if s == nil {
		return nil
	}
	reached := map[string]bool{}
	var visit func(string)
	visit = func(name string) {
		if _, declared := s.text[name]; declared && !reached[name] {
			reached[name] = true
			for _, used := range s.uses[name] {
				visit(used)
			}
		}
	}
	visit(name)
	var texts []string
	for _, name := range sortedKeys(reached) {
		texts = append(texts, s.text[name])
	}
	return texts
}

// testSources reads the tests, by the last element of their folder.
func (a *Audit) testSources() map[string]*testSource {
	if a.sources != nil {
		return a.sources
	}
	a.sources = map[string]*testSource{}
	of := func(folder string) *testSource {
		name := filepath.Base(folder)
		if a.sources[name] == nil {
			a.sources[name] = &testSource{text: map[string]string{}, uses: map[string][]string{}}
		}
		return a.sources[name]
	}
	_ = filepath.WalkDir(a.config.Root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if entry.Name() == "node_modules" || entry.Name() == ".git" {
				return filepath.SkipDir
			}
			return nil
		}
		folder, data, isData := strings.Cut(filepath.ToSlash(path), "/testdata/")
		if !isData && !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if isData {
			of(folder).data += fmt.Sprintf("%s %x\n", data, sha256.Sum256(content))
			return nil
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, content, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		of(filepath.Dir(path)).add(set, content, file)
		return nil
	})
	return a.sources
}

func (s *testSource) add(set *token.FileSet, content []byte, file *ast.File) {
	note := func(name string, node ast.Node) {
		s.text[name] += string(content[set.Position(node.Pos()).Offset:set.Position(node.End()).Offset])
		ast.Inspect(node, func(node ast.Node) bool {
			if identifier, ok := node.(*ast.Ident); ok {
				s.uses[name] = append(s.uses[name], identifier.Name)
			}
			return true
		})
	}
	for _, declaration := range file.Decls {
		switch declaration := declaration.(type) {
		case *ast.FuncDecl: // A method goes by its name alone: whoever uses the name uses it.
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

// copyProject copies what the tests are built from.
func copyProject(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, relative)
		if entry.IsDir() {
			if name := entry.Name(); relative != "." && (name == ".git" || name == "node_modules") {
				return filepath.SkipDir
			}
			return os.MkdirAll(target, 0o755)
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, content, 0o644)
	})
}

var generatedConst = regexp.MustCompile("(?s)const (\\w+) = (`-- name: (\\w+) .*?\n`)")

// makeReplaceable turns the generated constants into variables that take another
// text from the environment.
func makeReplaceable(folder string) error {
	files, err := filepath.Glob(folder + "/*.sql.go")
	if err != nil {
		return err
	}
	for _, path := range files {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		content = generatedConst.ReplaceAll(content, []byte("var $1 = replaceable(\"$3\", $2)"))
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(folder+"/replaceable.go", []byte(`package `+filepath.Base(folder)+`

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
`), 0o644)
}

type mutationRunner struct {
	copied   string
	packages []string
	url      string
}

func (r *mutationRunner) binary(pkg string) string {
	return filepath.Join(r.copied, filepath.Base(pkg)+".audit.test")
}

func (r *mutationRunner) build(ctx context.Context) error {
	for _, pkg := range r.packages {
		cmd := exec.CommandContext(ctx, "go", "test", "-c", "-o", r.binary(pkg), "./"+pkg)
		cmd.Dir = r.copied
		if output, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build the tests of %s: %w: %s", pkg, err, output)
		}
	}
	return nil
}

// survivors returns the mutants that no test sees.
func (r *mutationRunner) survivors(ctx context.Context, query string, mutants []mutant, tests map[string][]string) ([]string, error) {
	const workers = 2
	var (
		mu     sync.Mutex
		group  sync.WaitGroup
		queue  = make(chan mutant)
		found  = []string{}
		own    = map[string][]string{}
		failed error
	)
	for pkg, names := range tests {
		if slices.Contains(names, "Test"+query) {
			own[pkg] = []string{"Test" + query}
		}
	}
	for range workers {
		group.Go(func() {
			for m := range queue {
				var err error
				if len(own) > 0 { // The tests that bear the query's name see most, and soon.
					err = r.run(ctx, query, m.text, own)
				}
				if err == nil {
					err = r.confirm(ctx, query, m.text, tests)
				}
				mu.Lock()
				switch {
				case err == nil:
					found = append(found, m.name)
				case !errors.Is(err, errSeen):
					failed = err
				}
				mu.Unlock()
			}
		})
	}
	for _, m := range mutants {
		queue <- m
	}
	close(queue)
	group.Wait()
	slices.Sort(found)
	return found, failed
}

// confirm runs the tests, and once more when one fails: on a busy machine those that
// wait may fail by themselves.
func (r *mutationRunner) confirm(ctx context.Context, query, text string, tests map[string][]string) error {
	err := r.run(ctx, query, text, tests)
	if errors.Is(err, errSeen) {
		err = r.run(ctx, query, text, tests)
	}
	return err
}

// errSeen says that a test failed, and not that it could not be run.
var errSeen = errors.New("a test fails")

// run runs the tests with a query's text replaced, and returns errSeen when one fails.
func (r *mutationRunner) run(ctx context.Context, query, text string, tests map[string][]string) error {
	file, err := os.CreateTemp(r.copied, "mutant-*.sql")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file.Name()) }()
	if _, err := file.WriteString(text); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	ran := false
	for _, pkg := range r.packages {
		names := tests[filepath.Base(pkg)]
		if len(names) == 0 {
			continue
		}
		ran = true
		cmd := exec.CommandContext(ctx, r.binary(pkg), "-test.run", "^("+strings.Join(names, "|")+")$", "-test.failfast", "-test.timeout=60s")
		cmd.Dir = filepath.Join(r.copied, pkg)
		cmd.Env = append(os.Environ(), "AUDIT_MUTANT="+query, "AUDIT_MUTANT_FILE="+file.Name(), "TEST_DATABASE_URL="+r.url, recorder.Variable+"=")
		output, err := cmd.CombinedOutput()
		if text := string(output); err != nil && (strings.Contains(text, "--- FAIL: ") || strings.Contains(text, "panic: test timed out")) {
			return fmt.Errorf("%w: %s", errSeen, output)
		} else if err != nil {
			return fmt.Errorf("run the tests: %w: %s", err, output)
		}
	}
	if !ran {
		return errors.New("no test runs it")
	}
	return nil
}
