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

// packaged are the folders where PostgreSQL packages install their programs.
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
	// repository is where programs are downloaded from if none are installed: a Maven
	// repository with the packages of zonky's embedded-postgres-binaries.
	repository = "https://repo1.maven.org/maven2"
	// oldest is the oldest major version that is used for new data.
	oldest = 14

	// unfinishedData and unfinishedBinaries are the prefixes of temporary folders. A later
	// start deletes them.
	unfinishedData     = "postgres.unfinished-"
	unfinishedBinaries = "binaries.unfinished-"
)

// findBinaries returns the folder with PostgreSQL's programs: the version of existing data,
// or else the newest installed version, or else a downloaded one.
func (s *Server) findBinaries(ctx context.Context, installed []string, repository string) (string, error) {
	needed, err := dataVersion(s.data)
	if err != nil {
		return "", err
	}
	downloaded := filepath.Join(s.dir, "binaries")
	folder, found := choose(ctx, s.user, append(installed, filepath.Join(downloaded, "bin")), needed)
	if folder != "" {
		return folder, nil
	}
	if needed != 0 {
		there := "none"
		if len(found) > 0 {
			there = "only " + strings.Join(found, ", ")
		}
		return "", fmt.Errorf("the data in %s needs PostgreSQL %d, and this machine has %s: install version %d, "+
			"or move the data with pg_upgrade, or choose another data directory (DATA_DIR)", s.data, needed, there, needed)
	}
	if owner := statOf(s.dir); s.user != nil && (owner == nil || owner.Uid != 0) {
		return "", fmt.Errorf("no PostgreSQL (%d or newer) is installed, and root downloads none into %s, which belongs to another user: "+
			"install PostgreSQL, or give the directory to root", oldest, s.dir)
	}
	s.progress("no PostgreSQL is installed: downloading it from " + repository)
	if err := download(ctx, s.dir, downloaded, repository); err != nil {
		return "", fmt.Errorf("no PostgreSQL (%d or newer) is installed, and the download from %s failed: install PostgreSQL, "+
			"or set DATABASE_URL to a running server: %w", oldest, repository, err)
	}
	return filepath.Join(downloaded, "bin"), nil
}

// dataVersion returns the major version of the data, 0 if there is no data.
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
		return 0, fmt.Errorf("the data in %s needs PostgreSQL %q, which is not supported: choose another data directory (DATA_DIR)", data, text)
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
		matches, _ := filepath.Glob(pattern) // The patterns are valid.
		folders = append(folders, matches...)
	}
	return folders
}

// choose returns the folder with the needed major version (0: the newest), "" if there is
// none, and the versions that it found.
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

// programVersion returns the major version of the programs in a folder, 0 if some are
// missing or do not run.
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
	version, _ := strconv.Atoi(string(match[1])) // Only digits match.
	return version
}

// download downloads PostgreSQL's programs into the folder target, completely or not at all.
func download(ctx context.Context, dir, target, repository string) error {
	work, err := os.MkdirTemp(dir, unfinishedBinaries)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }() // If this fails, the next start removes it.
	extracted, extractedAll := filepath.Join(work, "binaries"), filepath.Join(work, "runtime")
	// The library downloads as a part of starting a database, which would listen on a port.
	// With an encoding that does not exist, it fails before that.
	var log strings.Builder
	database := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Version(embeddedpostgres.V18).
		BinaryRepositoryURL(repository).
		CachePath(filepath.Join(work, "cache")).
		DataPath(filepath.Join(work, "data")).
		BinariesPath(extracted).
		RuntimePath(extractedAll). // It creates this folder after the last file.
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
	return os.Rename(extracted, target) // It fails if target exists.
}

// removeLeftovers removes the temporary folders of servers that did not finish.
func removeLeftovers(dir string) {
	entries, _ := os.ReadDir(dir) // If this fails, the next steps fail, too.
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), unfinishedData) || strings.HasPrefix(entry.Name(), unfinishedBinaries) {
			_ = os.RemoveAll(filepath.Join(dir, entry.Name())) // If this fails, the next start removes it.
		}
	}
}
