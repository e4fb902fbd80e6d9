package operate

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/benchledger/benchledger/internal/testserver"
)

// guide runs the commands of a guide, a block at a time.
type guide struct {
	t      *testing.T
	blocks []string
	dir    string // where they are run
	owner  string // a directory of the user as whom they are run
	env    []string
	// instead has what the test has instead of what the guide says, in pairs.
	instead []string
}

// withCompose are the blocks that are for compose.
var withCompose = regexp.MustCompile(`docker compose|>\.env `).MatchString

func byHand(block string) bool { return !withCompose(block) }

// readGuide reads the blocks of commands that a page has, as far as they are wanted;
// the test has to run them all.
func readGuide(t *testing.T, page string, wanted func(block string) bool) *guide {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	g := &guide{t: t, dir: os.TempDir()}
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		if wanted(block[1]) {
			g.blocks = append(g.blocks, block[1])
		}
	}
	t.Cleanup(func() {
		if len(g.blocks) > 0 && !t.Failed() {
			t.Errorf("the guide has a block that is not run: %s", g.blocks[0])
		}
	})
	return g
}

// next runs the next block, which has to begin as said, and returns what it prints.
func (g *guide) next(beginning string) string {
	g.t.Helper()
	return g.run(g.take(beginning))
}

// take takes the next block, which has to begin as said.
func (g *guide) take(beginning string) string {
	g.t.Helper()
	if len(g.blocks) == 0 || !strings.HasPrefix(g.blocks[0], beginning) {
		g.t.Fatalf("the guide goes on with %q, want %s", g.blocks, beginning)
	}
	block := g.blocks[0]
	g.blocks = g.blocks[1:]
	return block
}

// run runs commands, and returns what they print.
func (g *guide) run(commands string) string {
	g.t.Helper()
	cmd := g.start(commands)
	err := cmd.Wait()
	output, readErr := os.ReadFile(cmd.Stdout.(*os.File).Name())
	if err != nil || readErr != nil {
		log, _ := os.ReadFile(cmd.Stderr.(*os.File).Name())
		g.t.Fatalf("%s: %v, %v: %s%s", commands, err, readErr, output, log)
	}
	return strings.TrimSpace(string(output))
}

// start starts commands. What they leave running ends with the test.
func (g *guide) start(commands string) *exec.Cmd {
	g.t.Helper()
	path, err := testserver.Program()
	if err != nil {
		g.t.Fatal(err)
	}
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", strings.NewReplacer(g.instead...).Replace(commands))
	cmd.Dir = g.dir
	cmd.Env = append([]string{"PATH=" + filepath.Dir(path) + ":" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, g.env...)
	asOwner(g.t, cmd, g.owner)
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	// Files, since nobody waits for a file to be closed.
	dir := g.t.TempDir()
	for name, to := range map[string]func(*os.File){"stdout": func(f *os.File) { cmd.Stdout = f }, "stderr": func(f *os.File) { cmd.Stderr = f }} {
		file, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			g.t.Fatal(err)
		}
		defer file.Close()
		to(file)
	}
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	return cmd
}

func (g *guide) set(name, value string) { g.env = append(g.env, name+"="+value) }

// checkout copies what is checked out.
func checkout(t *testing.T) string {
	t.Helper()
	dir := newDir(t)
	if err := testserver.CopyRepository(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}
