package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

type manCommand struct{}

// Run prints a manual page with the help of all commands.
func (manCommand) Run(cli *kong.Context) error {
	var s strings.Builder
	fmt.Fprintf(&s, ".TH BENCHLEDGER 1 \"\" \"benchledger %s\" \"User Commands\"\n", version)
	fmt.Fprintf(&s, ".SH NAME\nbenchledger \\- %s\n", roff(summary(cli.Model.Help)))
	s.WriteString(".SH SYNOPSIS\n\\fBbenchledger\\fR \\fIcommand\\fR [\\fIflags\\fR] [\\fIarguments\\fR]\n.br\n\\fBbenchledger \\-\\-version\\fR\n")
	fmt.Fprintf(&s, ".SH DESCRIPTION\n%s\n.SH COMMANDS\n", roff(cli.Model.Help))
	for _, node := range visible(cli.Model.Node)[1:] {
		if !node.Leaf() {
			continue
		}
		fmt.Fprintf(&s, ".SS %s\n%s\n", roff(strings.Replace(node.Summary(), " [flags]", "", 1)), roff(node.Help))
		if node.Detail != "" {
			fmt.Fprintf(&s, ".PP\n%s\n", roff(node.Detail))
		}
		for _, argument := range node.Positional {
			fmt.Fprintf(&s, ".TP\n\\fI%s\\fR\n%s\n", roff(argument.Name), roff(argument.Help))
		}
		for _, flag := range visibleFlags(node) {
			if flag == cli.Model.HelpFlag {
				continue
			}
			name := flag.Summary()
			if len(flagNames(flag)) > 1 {
				name = "--[no-]" + flag.Name
			}
			fmt.Fprintf(&s, ".TP\n\\fB%s\\fR\n%s\n", roff(name), roff(helpText(flag.Help)))
			if len(flag.Envs) > 0 {
				fmt.Fprintf(&s, "Environment: %s.\n", roff(strings.Join(flag.Envs, ", ")))
			}
		}
	}
	_, err := io.WriteString(&stdout, s.String())
	return err
}

// roff escapes markup characters. Indented lines are examples.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(strings.TrimSpace(text))
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		switch {
		case line == "":
			lines[i] = ".PP"
		case strings.HasPrefix(line, "  "):
			lines[i] = ".EX\n" + line + "\n.EE"
		case line[0] == '.' || line[0] == '\'':
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
