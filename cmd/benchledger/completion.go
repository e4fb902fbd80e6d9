package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"The shell: ${enum}."`
}

// Help says how to use it.
func (completionCommand) Help() string {
	return "For bash: source <(benchledger completion bash). For zsh, write it to a file _benchledger in a directory of $fpath; " +
		"for fish, to ~/.config/fish/completions/benchledger.fish."
}

// Run prints the script.
func (c *completionCommand) Run(cli *kong.Context) error {
	write := map[string]func(io.Writer, []*kong.Node) error{"bash": writeBash, "zsh": writeZsh, "fish": writeFish}[c.Shell]
	return write(&stdout, visible(cli.Model.Node))
}

// visible returns a command and its subcommands that are not hidden.
func visible(node *kong.Node) []*kong.Node {
	nodes := []*kong.Node{node}
	for _, child := range node.Children {
		if !child.Hidden {
			nodes = append(nodes, visible(child)...)
		}
	}
	return nodes
}

// visibleFlags returns the flags of a command and of its parents, without --version, which only the program has.
func visibleFlags(node *kong.Node) []*kong.Flag {
	var flags []*kong.Flag
	for _, group := range node.AllFlags(true) {
		for _, flag := range group {
			if flag.Name != "version" || node.Type == kong.ApplicationNode {
				flags = append(flags, flag)
			}
		}
	}
	return flags
}

// flagNames returns the names of a flag: a negatable flag also has --no-….
func flagNames(flag *kong.Flag) []string {
	if flag.Tag.Negatable == "" {
		return []string{flag.Name}
	}
	return []string{flag.Name, "no-" + flag.Name}
}

// helpText returns a help text without the paths of this machine.
func helpText(help string) string {
	return strings.TrimSpace(strings.ReplaceAll(help, defaultDataDir(), "the user's data directory (as root /var/lib/benchledger)"))
}

// summary is the first sentence of a help text, without its full stop.
func summary(help string) string {
	line, _, _ := strings.Cut(helpText(help), "\n")
	sentence, _, _ := strings.Cut(line, ". ")
	return strings.TrimSuffix(sentence, ".")
}

// choices returns the allowed values of a flag or an argument, nil for any.
func choices(value *kong.Value) []string {
	if value.Enum == "" {
		return nil
	}
	return value.EnumSlice()
}

// paths returns a pattern for case in shells: all commands except the program itself.
func paths(nodes []*kong.Node, separator string) string {
	quoted := make([]string, len(nodes)-1)
	for i, node := range nodes[1:] {
		quoted[i] = "'" + node.FullPath() + "'"
	}
	return strings.Join(quoted, separator)
}

// The scripts first find the command of the line: at is its path.

func writeBash(w io.Writer, nodes []*kong.Node) error {
	var s strings.Builder
	fmt.Fprintf(&s, `# bash completion for benchledger
_benchledger() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} at=benchledger word words=
  if [ "$cur" = = ]; then cur=; elif [ "$prev" = = ]; then prev=${COMP_WORDS[COMP_CWORD-2]}; fi
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$at $word" in %s) at="$at $word" ;; esac
  done
  case "$at $prev" in
`, paths(nodes, "|"))
	for _, node := range nodes {
		for _, flag := range visibleFlags(node) {
			if values := choices(flag.Value); values != nil {
				fmt.Fprintf(&s, "    '%s --%s') COMPREPLY=($(compgen -W '%s' -- \"$cur\")); return ;;\n", node.FullPath(), flag.Name, strings.Join(values, " "))
			}
		}
	}
	s.WriteString("  esac\n  case \"$at\" in\n")
	for _, node := range nodes {
		var words, flags []string
		for _, child := range visible(node)[1:] {
			if child.Parent == node {
				words = append(words, child.Name)
			}
		}
		for _, argument := range node.Positional {
			words = append(words, choices(argument)...)
		}
		for _, flag := range visibleFlags(node) {
			for _, name := range flagNames(flag) {
				flags = append(flags, "--"+name)
			}
		}
		fmt.Fprintf(&s, "    '%s') words='%s'; [[ $cur != -* ]] || words='%s' ;;\n", node.FullPath(), strings.Join(words, " "), strings.Join(flags, " "))
	}
	s.WriteString("  esac\n  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\ncomplete -o default -F _benchledger benchledger\n")
	_, err := io.WriteString(w, s.String())
	return err
}

func writeZsh(w io.Writer, nodes []*kong.Node) error {
	inQuotes := strings.NewReplacer("'", `'\''`)
	inSpec := strings.NewReplacer("'", `'\''`, "[", `\[`, "]", `\]`, ":", `\:`)
	var s strings.Builder
	fmt.Fprintf(&s, `#compdef benchledger
_benchledger() {
  local at=benchledger word
  local -a commands
  for word in "${(@)words[2,CURRENT-1]}"; do
    case "$at $word" in %s) at="$at $word" ;; esac
  done
  case "$at" in
`, paths(nodes, "|"))
	for _, node := range nodes {
		fmt.Fprintf(&s, "    '%s')\n", node.FullPath())
		if len(node.Children) > 0 {
			s.WriteString("      commands=(")
			for _, child := range visible(node)[1:] {
				if child.Parent == node {
					fmt.Fprintf(&s, " '%s:%s'", child.Name, inQuotes.Replace(summary(child.Help)))
				}
			}
			s.WriteString(" )\n      [[ $PREFIX = -* ]] || { _describe command commands; return }\n")
		}
		s.WriteString("      _arguments")
		for _, flag := range visibleFlags(node) {
			equals, value := "", ""
			if !flag.IsBool() {
				action := "_files"
				if values := choices(flag.Value); values != nil {
					action = "(" + strings.Join(values, " ") + ")"
				}
				equals, value = "=", ":"+inSpec.Replace(flag.FormatPlaceHolder())+":"+action
			}
			for _, name := range flagNames(flag) {
				fmt.Fprintf(&s, " \\\n        '--%s%s[%s]%s'", name, equals, inSpec.Replace(summary(flag.Help)), value)
			}
		}
		argument := "_files"
		for _, positional := range node.Positional {
			if values := choices(positional); values != nil {
				argument = "(" + strings.Join(values, " ") + ")"
			}
		}
		fmt.Fprintf(&s, " \\\n        '*:argument:%s' ;;\n", argument)
	}
	s.WriteString("  esac\n}\n[[ $zsh_eval_context[-1] = loadautofunc ]] && _benchledger \"$@\" || compdef _benchledger benchledger\n")
	_, err := io.WriteString(w, s.String())
	return err
}

func writeFish(w io.Writer, nodes []*kong.Node) error {
	quote := strings.NewReplacer(`\`, `\\`, "'", `\'`)
	var s strings.Builder
	fmt.Fprintf(&s, `# fish completion for benchledger
function __benchledger_at
  set -l at benchledger
  for word in (commandline -opc)[2..-1]
    switch "$at $word"
      case %s
        set at "$at $word"
    end
  end
  test "$at" = "$argv[1]"
end
`, paths(nodes, " "))
	for _, node := range nodes {
		rule := "complete -c benchledger -n '__benchledger_at \"" + node.FullPath() + "\"'"
		for _, child := range visible(node)[1:] {
			if child.Parent == node {
				fmt.Fprintf(&s, "%s -f -a %s -d '%s'\n", rule, child.Name, quote.Replace(summary(child.Help)))
			}
		}
		for _, argument := range node.Positional {
			if values := choices(argument); values != nil {
				fmt.Fprintf(&s, "%s -f -a '%s'\n", rule, strings.Join(values, " "))
			}
		}
		for _, flag := range visibleFlags(node) {
			value := " -r"
			if flag.IsBool() {
				value = ""
			} else if values := choices(flag.Value); values != nil {
				value = " -x -a '" + strings.Join(values, " ") + "'"
			}
			for _, name := range flagNames(flag) {
				fmt.Fprintf(&s, "%s -l %s%s -d '%s'\n", rule, name, value, quote.Replace(summary(flag.Help)))
			}
		}
	}
	_, err := io.WriteString(w, s.String())
	return err
}
