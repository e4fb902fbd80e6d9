// Command benchledger-audit writes a project's audit, and fails where a rule is
// broken. What it looks at is in the project's audit.yaml.
//
//	TEST_DATABASE_URL=postgres://… benchledger-audit -record DIR           # the report
//	TEST_DATABASE_URL=postgres://… benchledger-audit -record DIR mutate    # the mutations
//
// TEST_DATABASE_URL is a PostgreSQL on which databases can be made.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/benchledger/benchledger/audit"
)

var (
	root   = flag.String("root", ".", "the project's folder")
	record = flag.String("record", "", "the folder that the tests wrote their record to (AUDIT_RECORD)")
	check  = flag.Bool("check", false, "write no report; fail unless the committed one is current")
	output = flag.String("json", "", "write everything that was found out to this file too")
)

func main() {
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "Usage: benchledger-audit [flags] [mutate [QUERY…]]")
		flag.PrintDefaults()
	}
	flag.Parse()
	if err := run(context.Background(), flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "benchledger-audit:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	server := os.Getenv("TEST_DATABASE_URL")
	if server == "" {
		return errors.New("set TEST_DATABASE_URL to a PostgreSQL on which databases can be made")
	}
	if len(args) > 0 && args[0] != "mutate" {
		return fmt.Errorf("there is no command %q, but mutate", args[0])
	}
	config, err := audit.ReadConfig(*root)
	if err != nil {
		return err
	}
	entries, err := audit.ReadRecord(*record)
	if err != nil {
		return err
	}
	result, err := audit.New(ctx, config, entries, server)
	if err != nil {
		return err
	}
	if len(args) > 0 {
		return result.Mutate(ctx, entries, server, args[1:], func(line string) { fmt.Println(line) })
	}
	if *output != "" {
		encoded, err := json.MarshalIndent(result, "", " ")
		if err := errors.Join(err, os.WriteFile(*output, append(encoded, '\n'), 0o644)); err != nil {
			return err
		}
	}
	fmt.Println(result.Summary())
	for _, finding := range result.Findings {
		fmt.Println(finding)
	}
	if len(result.Findings) > 0 {
		err = fmt.Errorf("%d findings", len(result.Findings))
	}
	path := filepath.Join(*root, config.Report)
	if *check {
		return errors.Join(err, wantCurrent(ctx, path, result))
	}
	return errors.Join(err, os.WriteFile(path, result.Markdown(), 0o644))
}

// wantCurrent fails unless the committed report is that of the audit, and prints how
// it differs.
func wantCurrent(ctx context.Context, path string, result *audit.Audit) error {
	committed, err := os.ReadFile(path)
	if err == nil && bytes.Equal(committed, result.Markdown()) {
		return nil
	}
	diff := exec.CommandContext(ctx, "diff", "-u", path, "-")
	diff.Stdin, diff.Stdout, diff.Stderr = bytes.NewReader(result.Markdown()), os.Stdout, os.Stderr
	_ = diff.Run() // It fails, since they differ.
	return fmt.Errorf("%s is not current: run `make audit`, and commit what it writes; another version of PostgreSQL than the report's may plan otherwise", path)
}
