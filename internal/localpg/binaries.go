//go:build unix && !aix && !solaris

package localpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// packaged are the folders in which packages of PostgreSQL put their programs.
var packaged = []string{
	"/usr/lib/postgresql/*/bin", // Debian, Ubuntu
	"/usr/pgsql-*/bin",          // PostgreSQL's own RPMs
	"/usr/libexec/postgresql*",  // Alpine
	"/opt/homebrew/opt/postgresql*/bin",
	"/usr/local/opt/postgresql*/bin",
	"/Applications/Postgres.app/Contents/Versions/*/bin",
	"/usr/local/pgsql/bin", // built from source
}

const (
	// repository is where programs are fetched from when none are installed: a
	// Maven repository with the packages of zonky's embedded-postgres-binaries.
	repository = "https://repo1.maven.org/maven2"
	// oldest is the oldest major version that is taken for new data.
	oldest = 14

	// unfinishedData and unfinishedBinaries begin the names of folders that are of
	// no use to a later start.
	unfinishedData     = "postgres.unfinished-"
	unfinishedBinaries = "binaries.unfinished-"
)

// findBinaries returns the folder of PostgreSQL's programs: of the version that
// the data has, else of the newest installed, else fetched.
func (s *Server) findBinaries(ctx context.Context, installed []string, repository string) (string, error) {
	needed, err := dataVersion(s.data)
	if err != nil {
		return "", err
	}
	fetched := filepath.Join(s.dir, "binaries")
	folder, found := choose(ctx, s.user, append(installed, filepath.Join(fetched, "bin")), needed)
	if folder != "" {
		return folder, nil
	}
	if needed != 0 {
		there := "none"
		if len(found) > 0 {
			there = "only " + strings.Join(found, ", ")
		}
		return "", fmt.Errorf("the data in %s is of PostgreSQL %d, and this machine has %s: install version %d, "+
			"or move the data with pg_upgrade, or choose another data directory (DATA_DIR)", s.data, needed, there, needed)
	}
	s.progress("no PostgreSQL is installed: fetching one from " + repository)
	if err := fetch(ctx, s.dir, fetched, repository); err != nil {
		return "", fmt.Errorf("no PostgreSQL (%d or newer) is installed, and none can be fetched from %s: install PostgreSQL, "+
			"or set DATABASE_URL to one that runs elsewhere: %w", oldest, repository, err)
	}
	return filepath.Join(fetched, "bin"), nil
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
	text := strings.TrimSpace(string(content))
	version, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("the data in %s is of a PostgreSQL %q, which is not supported: choose another data directory (DATA_DIR)", data, text)
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
	for _, pattern := range packaged {
		matches, _ := filepath.Glob(pattern) // The patterns are sound.
		folders = append(folders, matches...)
	}
	return folders
}

// choose returns the folder with the needed major version (0: the newest), or ""
// and the versions there are.
func choose(ctx context.Context, user *account, folders []string, needed int) (string, []string) {
	best, bestFolder := oldest-1, ""
	var found []string
	for _, folder := range folders {
		version := programVersion(ctx, user, folder)
		if version == 0 {
			continue
		}
		if text := strconv.Itoa(version); !slices.Contains(found, text) {
			found = append(found, text)
		}
		if version == needed || needed == 0 && version > best {
			best, bestFolder = version, folder
		}
	}
	return bestFolder, found
}

var versionOutput = regexp.MustCompile(`^postgres \(PostgreSQL\) (\d+)`)

// programVersion returns the major version of the programs in a folder, 0 when
// they are not all there or do not run.
func programVersion(ctx context.Context, user *account, folder string) int {
	if _, err := os.Stat(filepath.Join(folder, "initdb")); err != nil {
		return 0
	}
	output, err := user.command(ctx, filepath.Join(folder, "postgres"), "--version").Output()
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

// fetch gets PostgreSQL's programs into the folder target, whole or not at all.
func fetch(ctx context.Context, dir, target, repository string) error {
	work, err := os.MkdirTemp(dir, unfinishedBinaries)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }() // Else the next start does.
	extracted, extractedAll := filepath.Join(work, "binaries"), filepath.Join(work, "runtime")
	// The library fetches as a part of starting a database, which would listen on a
	// port. An encoding that does not exist ends that before it begins.
	var log strings.Builder
	database := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Version(embeddedpostgres.V18).
		BinaryRepositoryURL(repository).
		CachePath(filepath.Join(work, "cache")).
		DataPath(filepath.Join(work, "data")).
		BinariesPath(extracted).
		RuntimePath(extractedAll). // It makes this folder after the last file.
		Encoding("none").
		Port(0).
		Logger(&log))
	started := make(chan error, 1)
	go func() { started <- database.Start() }()
	select {
	case err = <-started:
	case <-ctx.Done():
		return ctx.Err()
	}
	if _, statErr := os.Stat(extractedAll); statErr != nil {
		return err
	}
	return os.Rename(extracted, target) // It fails where something else is.
}

// removeLeftovers removes what servers began and could not finish.
func removeLeftovers(dir string) {
	entries, _ := os.ReadDir(dir) // Where that fails, so does what follows.
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), unfinishedData) || strings.HasPrefix(entry.Name(), unfinishedBinaries) {
			_ = os.RemoveAll(filepath.Join(dir, entry.Name())) // Else the next start does.
		}
	}
}
