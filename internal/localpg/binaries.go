//go:build unix

package localpg

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// installed are the folders in which packages of PostgreSQL put their programs.
var installed = []string{
	"/usr/lib/postgresql/*/bin", // Debian, Ubuntu
	"/usr/pgsql-*/bin",          // PostgreSQL's own RPMs
	"/usr/libexec/postgresql*",  // Alpine
	"/opt/homebrew/opt/postgresql*/bin",
	"/usr/local/opt/postgresql*/bin",
	"/Applications/Postgres.app/Contents/Versions/*/bin",
	"/usr/local/pgsql/bin", // built from source
}

// BinaryRepositoryURL is where binaries are fetched from when none are installed:
// a Maven repository with the packages of zonky's embedded-postgres-binaries.
var BinaryRepositoryURL = "https://repo1.maven.org/maven2"

// findBinaries returns the folder of PostgreSQL's programs: of the version that
// the data has, else of the newest installed, else fetched.
func findBinaries(ctx context.Context, dir, data string, progress func(string)) (string, error) {
	needed, err := dataVersion(data)
	if err != nil {
		return "", err
	}
	fetched := filepath.Join(dir, "binaries", "bin")
	folder, found := choose(ctx, append(installedFolders(), fetched), needed)
	if folder != "" {
		return folder, nil
	}
	if needed != 0 {
		if len(found) == 0 {
			return "", fmt.Errorf("the data in %s is of PostgreSQL %d, which is not installed: install it", data, needed)
		}
		return "", fmt.Errorf("the data in %s is of PostgreSQL %d, and this machine has only %s: install version %d, "+
			"or move the data with pg_upgrade, or choose another data directory (DATA_DIR)",
			data, needed, strings.Join(found, ", "), needed)
	}
	if progress != nil {
		progress("no PostgreSQL is installed: fetching one from " + BinaryRepositoryURL)
	}
	if err := fetch(dir); err != nil {
		return "", err
	}
	return fetched, nil
}

// dataVersion returns the major version of the data, 0 when there is none.
func dataVersion(data string) (int, error) {
	content, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the version of the data: %w", err)
	}
	version, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		return 0, fmt.Errorf("read the version of the data: %w", err)
	}
	return version, nil
}

func installedFolders() []string {
	var folders []string
	if onPath, err := exec.LookPath("postgres"); err == nil {
		if resolved, err := filepath.EvalSymlinks(onPath); err == nil {
			folders = append(folders, filepath.Dir(resolved))
		}
	}
	for _, pattern := range installed {
		matches, _ := filepath.Glob(pattern) // The patterns are sound.
		folders = append(folders, matches...)
	}
	return folders
}

// choose returns the folder with the needed major version (0: the newest), or ""
// and the versions there are.
func choose(ctx context.Context, folders []string, needed int) (string, []string) {
	best, bestFolder := 0, ""
	var found []string
	for _, folder := range folders {
		version := programVersion(ctx, folder)
		if version == 0 {
			continue
		}
		found = append(found, strconv.Itoa(version))
		if version == needed || needed == 0 && version > best {
			best, bestFolder = version, folder
		}
	}
	return bestFolder, found
}

var versionOutput = regexp.MustCompile(`^postgres \(PostgreSQL\) (\d+)`)

// programVersion returns the major version of the programs in a folder, 0 when
// they are not all there.
func programVersion(ctx context.Context, folder string) int {
	if _, err := os.Stat(filepath.Join(folder, "initdb")); err != nil {
		return 0
	}
	output, err := exec.CommandContext(ctx, filepath.Join(folder, "postgres"), "--version").Output()
	if err != nil {
		return 0
	}
	match := versionOutput.FindSubmatch(output)
	if match == nil {
		return 0
	}
	version, _ := strconv.Atoi(string(match[1])) // Digits.
	return version
}

// fetch gets PostgreSQL's programs into the data directory. The library can only
// fetch as a part of starting a database; that one is thrown away.
func fetch(dir string) error {
	throwaway, err := os.MkdirTemp(dir, "fetch-")
	if err != nil {
		return fmt.Errorf("fetch PostgreSQL: %w", err)
	}
	defer os.RemoveAll(throwaway)
	port, err := freePort()
	if err != nil {
		return fmt.Errorf("fetch PostgreSQL: %w", err)
	}
	binaries := filepath.Join(dir, "binaries")
	var log strings.Builder
	database := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Version(embeddedpostgres.V18).
		BinaryRepositoryURL(BinaryRepositoryURL).
		CachePath(filepath.Join(throwaway, "cache")).
		RuntimePath(filepath.Join(throwaway, "runtime")).
		DataPath(filepath.Join(throwaway, "data")).
		BinariesPath(binaries).
		Port(port).
		Logger(&log))
	startErr := database.Start()
	if startErr == nil {
		return database.Stop()
	}
	// As root, only the start fails: what was asked for is there.
	if _, err := os.Stat(filepath.Join(binaries, "bin", "initdb")); err == nil {
		return nil
	}
	return fmt.Errorf("no PostgreSQL is installed, and none can be fetched from %s: install PostgreSQL, or set DATABASE_URL "+
		"to one that runs elsewhere: %w", BinaryRepositoryURL, startErr)
}

func freePort() (uint32, error) {
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return uint32(listener.Addr().(*net.TCPAddr).Port), nil //nolint:gosec // a port
}
