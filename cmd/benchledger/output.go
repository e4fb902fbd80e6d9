package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
)

// stdout is standard output. It keeps its first error, such as a full disk, for main: most callers
// do not check errors.
var stdout output

// stderr is standard error, for all but progress bars and colors.
var stderr = printer{os.Stderr}

type output struct{ err error }

// Write writes to standard output.
func (o *output) Write(p []byte) (int, error) {
	n, err := printer{os.Stdout}.Write(p)
	if o.err == nil {
		o.err = err
	}
	return n, err
}

// printer writes texts, which may contain something of a server, a file or an argument, so that
// they do not control the terminal.
type printer struct{ io.Writer }

// Write writes a text, in UTF-8.
func (w printer) Write(p []byte) (int, error) {
	if _, err := io.WriteString(w.Writer, printable(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// printable returns a text in which control characters, except newlines and tabs, and characters that
// change the direction of text are escaped as in JSON, where they only occur in strings.
func printable(text string) string {
	isUnsafe := func(r rune) bool {
		return unicode.IsControl(r) && r != '\n' && r != '\t' || unicode.Is(unicode.Bidi_Control, r)
	}
	text = strings.ToValidUTF8(text, "\ufffd")
	if !strings.ContainsFunc(text, isUnsafe) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if isUnsafe(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func printf(format string, args ...any) { fmt.Fprintf(&stdout, format, args...) }
