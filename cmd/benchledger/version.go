package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is that of the program and of its API.
const version = "0.1.0"

type versionCommand struct{}

// Run prints the version, the commit where the build knows it, and Go's version.
func (versionCommand) Run() error {
	commit := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				commit = " " + setting.Value
			}
		}
	}
	_, err := fmt.Printf("benchledger %s%s %s\n", version, commit, runtime.Version())
	return err
}
