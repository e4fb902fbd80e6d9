package main

import (
	"fmt"
	"os"
)

// stdout is standard output. It keeps its first error, such as a full disk, for main: most callers
// do not check errors.
var stdout output

type output struct{ err error }

// Write writes to standard output.
func (o *output) Write(p []byte) (int, error) {
	n, err := os.Stdout.Write(p)
	if o.err == nil {
		o.err = err
	}
	return n, err
}

func printf(format string, args ...any) { fmt.Fprintf(&stdout, format, args...) }
