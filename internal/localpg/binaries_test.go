//go:build unix && !aix && !solaris

package localpg

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ulikunitz/xz"
)

func TestChoose(t *testing.T) {
	t.Parallel()
	root := newDir(t)
	script := func(folder, program, content string) {
		if err := os.MkdirAll(filepath.Join(root, folder), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, folder, program), []byte("#!/bin/sh\n"+content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for folder, output := range map[string]string{
		"13": "postgres (PostgreSQL) 13.9", "15": "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)",
		"17": "postgres (PostgreSQL) 17.5", "18": "postgres (PostgreSQL) 18beta1", "odd": "postgres (Greenplum) 7",
		"client only": "postgres (PostgreSQL) 16.1",
	} {
		script(folder, "postgres", "echo '"+output+"'\n")
		if folder != "client only" {
			script(folder, "initdb", "")
		}
	}
	script("broken", "postgres", "echo 'postgres (PostgreSQL) 19.1'; exit 1\n")
	script("broken", "initdb", "")

	user, err := databaseUser(root, filepath.Join(root, "data"))
	if err != nil {
		t.Fatal(err)
	}
	all := []string{"missing", "client only", "broken", "odd", "15", "18", "13", "17", "17"}
	for name, test := range map[string]struct {
		folders []string
		needed  int
		want    string
		found   string
	}{
		"the newest":          {all, 0, "18", "15 18 13 17"},
		"the one of the data": {all, 15, "15", "15 18 13 17"},
		"an old one for data": {all, 13, "13", "15 18 13 17"},
		"none of the data":    {all, 16, "", "15 18 13 17"},
		"only too old":        {[]string{"13"}, 0, "", "13"},
		"nothing that works":  {[]string{"missing", "client only", "broken", "odd"}, 0, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var folders []string
			for _, folder := range test.folders {
				folders = append(folders, filepath.Join(root, folder))
			}
			folder, found := choose(t.Context(), user, folders, test.needed)
			if strings.Join(found, " ") != test.found {
				t.Errorf("found %v, want %s", found, test.found)
			}
			if test.want != "" {
				test.want = filepath.Join(root, test.want)
			}
			if folder != test.want {
				t.Errorf("chose %q, want %q", folder, test.want)
			}
		})
	}
}

// TestStartFetched starts with programs that are downloaded, once.
func TestStartFetched(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	repository := newRepository(t, archive(t))
	for range 2 {
		s, err := startWith(t.Context(), Options{DataDir: dir}, nil, repository.URL)
		if err != nil {
			t.Fatal(err)
		}
		if got := ask(t, s, "select 'it works'"); got != "it works" {
			t.Error(got)
		}
		stop(t, s)
	}
	if got := repository.jars.Load(); got != 1 {
		t.Errorf("downloaded %d times, want once", got)
	}
	wantFiles(t, dir, "binaries", "postgres", "postgres.lock", "postgres.log", "server.lock")
}

// TestStartFetchFails says so, and leaves nothing half.
func TestStartFetchFails(t *testing.T) {
	t.Parallel()
	whole := archive(t)
	for name, test := range map[string]struct {
		archive []byte
		spoil   func(*repositoryServer)
		want    string
	}{
		"not reachable":       {whole, func(r *repositoryServer) { r.Close() }, "unable to connect"},
		"not there":           {whole, func(r *repositoryServer) { r.jar = nil }, "no version found"},
		"another checksum":    {whole, func(r *repositoryServer) { r.checksum = strings.Repeat("0", 64) }, "checksums do not match"},
		"no archive":          {nil, func(*repositoryServer) {}, "cannot find binary"},
		"half of the archive": {whole[:len(whole)/2], func(*repositoryServer) {}, "unable to extract"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := newDir(t)
			repository := newRepository(t, test.archive)
			test.spoil(repository)
			_, err := startWith(t.Context(), Options{DataDir: dir}, nil, repository.URL)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range []string{test.want, repository.URL, "install PostgreSQL", "DATABASE_URL"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q lacks %q", err, want)
				}
			}
			wantFiles(t, dir, "postgres.lock", "server.lock")
		})
	}
}

// TestStartFetchCanceled cancels a download that hangs.
func TestStartFetchCanceled(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	repository := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	defer repository.Close()
	defer repository.CloseClientConnections()
	if _, err := startWith(ctx, Options{DataDir: dir}, nil, repository.URL); err == nil {
		t.Error("no error")
	}
	wantFiles(t, dir, "postgres.lock", "server.lock")
}

// TestStartCleansUp removes what starts left that were killed.
func TestStartCleansUp(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	for _, leftover := range []string{"binaries.unfinished-1/binaries/bin", "postgres.unfinished-1/base", "unfinished-novel/1"} {
		if err := os.MkdirAll(filepath.Join(dir, leftover), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	startIn(t, dir)
	wantFiles(t, dir, "postgres", "postgres.lock", "postgres.log", "server.lock", "socket", "unfinished-novel")
}

func wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s holds %v, want %v", dir, got, want)
	}
}

// repositoryServer is a Maven repository with one archive of programs.
type repositoryServer struct {
	*httptest.Server
	jar      []byte
	checksum string
	jars     atomic.Int32 // downloaded
}

func newRepository(t *testing.T, archive []byte) *repositoryServer {
	t.Helper()
	var jar bytes.Buffer
	files := zip.NewWriter(&jar)
	if archive != nil {
		file, err := files.Create("postgres-linux-x86_64.txz")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.Write(archive); err != nil {
			t.Fatal(err)
		}
	}
	if err := files.Close(); err != nil {
		t.Fatal(err)
	}
	checksum := sha256.Sum256(jar.Bytes())
	r := &repositoryServer{jar: jar.Bytes(), checksum: hex.EncodeToString(checksum[:])}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		switch {
		case r.jar == nil:
			http.NotFound(w, request)
		case strings.HasSuffix(request.URL.Path, ".sha256"):
			fmt.Fprint(w, r.checksum)
		default:
			r.jars.Add(1)
			_, _ = w.Write(r.jar)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

// archive returns the programs of this machine's PostgreSQL, packed as they are
// downloaded: as scripts that run them, so that it is small.
func archive(t *testing.T) []byte {
	t.Helper()
	dir := newDir(t)
	user, err := databaseUser(dir, dir)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{dir: dir, data: filepath.Join(dir, "postgres"), user: user, progress: func(string) {}}
	binaries, err := s.findBinaries(t.Context(), installedFolders(), repository)
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	compressor, err := xz.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	files := tar.NewWriter(compressor)
	for _, program := range []string{"initdb", "pg_ctl", "postgres"} {
		script := fmt.Sprintf("#!/bin/sh\nexec %s \"$@\"\n", filepath.Join(binaries, program))
		header := &tar.Header{Name: "./bin/" + program, Mode: 0o755, Size: int64(len(script)), Typeflag: tar.TypeReg}
		if err := files.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := files.Write([]byte(script)); err != nil {
			t.Fatal(err)
		}
	}
	if err := files.Close(); err != nil {
		t.Fatal(err)
	}
	if err := compressor.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}
