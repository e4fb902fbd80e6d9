package main

import (
	"os"
	"path/filepath"
	"runtime"
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

func TestVersion(t *testing.T) {
	t.Parallel()
	code, stdout, _ := run(t, nil, "version")
	wantOutput(t, code, stdout, 0, "benchledger "+version, runtime.Version())
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
