package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is the version of the program and of its API.
const version = "0.1.0"

// commit and date are set when a release is linked. In other builds Go records them, if it builds in a clone.
var commit, date string

type versionCommand struct{}

// Run prints the version and the build.
func (versionCommand) Run() error {
	_, err := fmt.Fprintln(&stdout, buildDescription())
	return err
}

// buildDescription is the version, the commit and its date (devel if unknown), Go's version and the platform.
func buildDescription() string {
	commit, date := commit, date
	if info, ok := debug.ReadBuildInfo(); ok && commit == "" {
		settings := map[string]string{}
		for _, setting := range info.Settings {
			settings[setting.Key] = setting.Value
		}
		commit, date = settings["vcs.revision"], settings["vcs.time"]
		if commit != "" && settings["vcs.modified"] == "true" {
			commit += " with changes"
		}
	}
	origin := "devel"
	if commit != "" {
		origin = "commit " + commit + " of " + date
	}
	return fmt.Sprintf("benchledger %s, %s, %s, %s/%s", version, origin, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
