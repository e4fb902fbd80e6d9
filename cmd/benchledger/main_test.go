package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestHelp(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args []string
		code int
		want []string
	}{
		"no command":      {nil, 0, []string{"Usage: benchledger <command>", "serve", "migrate up"}},
		"help":            {[]string{"--help"}, 0, []string{"Usage: benchledger <command>"}},
		"serve":           {[]string{"serve", "--help"}, 0, []string{"--data-dir", "$DATA_DIR", "127.0.0.1:8787 by default"}},
		"unknown command": {[]string{"sevre"}, 80, []string{"unexpected argument sevre", "serve"}},
		"unknown flag":    {[]string{"serve", "--adr=x"}, 80, []string{"unknown flag --adr", "benchledger serve --help"}},
		"half a command":  {[]string{"migrate"}, 80, []string{`"up", "down", "status", "force"`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := run(t, nil, test.args...)
			wantOutput(t, code, stdout+stderr, test.code, test.want...)
		})
	}
}

// A build without version control information, such as this one, is devel; make release-check checks the other case.
func TestVersion(t *testing.T) {
	t.Parallel()
	for _, argument := range []string{"version", "--version"} {
		code, stdout, _ := run(t, nil, argument)
		wantOutput(t, code, stdout, 0, "benchledger "+version+", devel, "+runtime.Version()+", "+runtime.GOOS+"/"+runtime.GOARCH)
	}
}

func TestBashCompletion(t *testing.T) {
	t.Parallel()
	code, script, _ := run(t, nil, "completion", "bash")
	wantOutput(t, code, script, 0, "complete ")
	for line, want := range map[string]string{
		"benchledger mig":                         "migrate",
		"benchledger migrate ":                    "up down status force",
		"benchledger migrate d":                   "down",
		"benchledger serve --metr":                "--metrics-addr",
		"benchledger serve --no-":                 "--no-public-reads --no-metadata-as-text",
		"benchledger serve --environment ":        "local dev staging production",
		"benchledger serve --environment = pr":    "production", // As bash splits it.
		"benchledger keys create me --scope = ":   "read submit admin",
		"benchledger keys create me --scope = r":  "read",
		"benchledger completion ":                 "bash zsh fish",
		"benchledger submit --url = x runs.jsonl": "",
		"benchledger run --vers":                  "",
	} {
		const complete = `words=$1; COMP_WORDS=($words); [[ $words != *" " ]] || COMP_WORDS+=(""); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _benchledger; echo "${COMPREPLY[*]}"`
		output, err := exec.Command("bash", "-c", script+complete, "bash", line).CombinedOutput()
		if got := strings.TrimSpace(string(output)); err != nil || got != want {
			t.Errorf("%q is completed by %q, want %q (%v)", line, got, want, err)
		}
	}
}

func TestManual(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	code, stdout, _ := run(t, []string{"HOME=" + home}, "man")
	wantOutput(t, code, stdout, 0, ".TH BENCHLEDGER 1", ".SS keys create <name>", ".EX\n  benchledger compare \\-\\-suite=", `\fB\-\-[no\-]public\-reads\fR`, "Environment: METRICS_ADDR.", "the user's data directory")
	if strings.Contains(stdout, home) {
		t.Errorf("the manual shows where it was made: %s", stdout)
	}
}

func TestOpenAPI(t *testing.T) {
	t.Parallel()
	committed, err := os.ReadFile(filepath.Join("..", "..", "openapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	code, stdout, _ := run(t, nil, "openapi")
	if code != 0 || stdout != string(committed) {
		t.Error("openapi.yaml is not what the program prints: go run ./cmd/benchledger openapi > openapi.yaml")
	}
}
