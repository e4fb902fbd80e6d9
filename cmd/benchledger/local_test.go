//go:build unix

package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/benchledger/benchledger/internal/testdb"
)

// TestLocal starts, uses and stops a server with its own database.
func TestLocal(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(newDir(t), "made", "by it")
	p := serve(t, dir)
	if p.dir != dir {
		t.Errorf("it says that the data is in %q, want %q", p.dir, dir)
	}
	wantOutput(t, 0, p.stdout.String(), 0, "  API   "+p.url+"/api\n", "  docs  "+p.url+"/docs\n", "  key   dev-local-key (valid on this machine only)\n", "  try   curl "+p.url+"/api/runs\n")
	wantOutput(t, 0, p.stderr.String(), 0, `msg="creating a database in `+dir+`/postgres"`, `msg="starting PostgreSQL from /`, `msg="migrating the database schema"`)
	for _, url := range []string{p.url, p.url + "/api/runs", p.url + "/docs"} {
		response, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", url, response.Status)
		}
	}
	p.submit("run-1")
	if ports := listening(t, dir); len(ports) != 1 {
		t.Errorf("ports opened: %v, want only that of the API", ports)
	}
	p.terminate()
	wantNothingRunning(t, dir)

	p = serve(t, dir)
	p.submit("run-2")
	p.wantRuns("run-1", "run-2")
}

// listening returns the ports on which the processes of dir listen.
func listening(t *testing.T, dir string) []string {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Log("which ports are open is only looked up on Linux")
		return make([]string, 1)
	}
	sockets := map[string]string{} // of listeners, by inode
	for _, family := range []string{"tcp", "tcp6"} {
		table, err := os.ReadFile(filepath.Join("/proc/net", family))
		if err != nil {
			continue // a machine without IPv6
		}
		for line := range strings.Lines(string(table)) {
			const listens = "0A"
			if fields := strings.Fields(line); fields[3] == listens {
				sockets["socket:["+fields[9]+"]"] = fields[1]
			}
		}
	}
	var ports []string
	for pid := range processes(t, dir) {
		descriptors, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		for _, descriptor := range descriptors {
			target, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, descriptor.Name())) // It may be closed by now.
			if port, ok := sockets[target]; ok {
				ports = append(ports, fmt.Sprintf("%s of %d", port, pid))
			}
		}
	}
	return ports
}

// TestLocalKilled kills a server: its PostgreSQL ends, and acknowledged runs are kept, even if
// the next server starts immediately.
func TestLocalKilled(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	p := serve(t, dir)
	p.submit("run-1")
	p.signal(syscall.SIGKILL)
	p.wait()

	p = serve(t, dir)
	p.submit("run-2")
	p.signal(syscall.SIGKILL)
	p.wait()
	wantNothingRunning(t, dir)
	serve(t, dir).wantRuns("run-1", "run-2")
}

// TestLocalDatabaseKilled kills PostgreSQL, as a machine out of memory does.
func TestLocalDatabaseKilled(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	p := serve(t, dir)
	p.submit("run")
	if err := syscall.Kill(postmaster(t, dir), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wantOutput(t, p.wait(), p.stderr.String(), 1, "the database stopped", filepath.Join(dir, "postgres.log"))
	serve(t, dir).wantRuns("run")
}

// TestLocalBackendKilled kills one of PostgreSQL's processes: PostgreSQL restarts, and the server
// reconnects.
func TestLocalBackendKilled(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	p := serve(t, dir)
	p.submit("run")
	url := "postgres:///benchledger?user=benchledger&host=" + filepath.Join(dir, "socket")
	var backend int
	row := testdb.Pool(t, url).QueryRow(t.Context(), "select pid from pg_stat_activity where pid <> pg_backend_pid() and datname = 'benchledger'")
	if err := row.Scan(&backend); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(backend, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the backend is gone", func() bool { return syscall.Kill(backend, 0) != nil })
	eventually(t, "it answers again", func() bool {
		response, _ := p.request(http.MethodGet, "/api/runs", "")
		return response.StatusCode == http.StatusOK
	})
	p.wantRuns("run")
	p.terminate()
}

// TestLocalAllKilled kills the server together with the watcher of its PostgreSQL.
func TestLocalAllKilled(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	p := serve(t, dir)
	p.submit("run")
	for pid, args := range processes(t, dir) {
		if strings.Contains(args, "/bin/sh") {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	p.signal(syscall.SIGKILL)
	p.wait()
	if syscall.Kill(postmaster(t, dir), 0) != nil {
		t.Fatal("PostgreSQL ended, though nothing was there to end it")
	}
	serve(t, dir).wantRuns("run")
}

// postmaster returns the process of PostgreSQL.
func postmaster(t *testing.T, dir string) int {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, "postgres", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	firstLine, _, _ := strings.Cut(string(content), "\n")
	pid, err := strconv.Atoi(firstLine)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// TestLocalEndsWhileItStarts stops a server before it is ready.
func TestLocalEndsWhileItStarts(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		when    string
		signals []syscall.Signal
	}{
		"before there is data":          {"server.lock", []syscall.Signal{syscall.SIGKILL}},
		"while the data is made":        {"postgres.unfinished-*/global", []syscall.Signal{syscall.SIGKILL, syscall.SIGINT}},
		"while PostgreSQL starts":       {"postgres", []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM}},
		"while it creates its database": {"postgres/postmaster.pid", []syscall.Signal{syscall.SIGKILL}},
	} {
		for _, signal := range test.signals {
			t.Run(fmt.Sprint(name, " ", signal), func(t *testing.T) {
				t.Parallel()
				dir := newDir(t)
				p := command(t, nil, "serve", "--addr=127.0.0.1:0", "--data-dir="+dir).start()
				eventuallyEvery(t, time.Millisecond, test.when+" is there", func() bool { return exists(t, filepath.Join(dir, test.when)) })
				p.signal(signal)
				code := p.wait()
				if signal != syscall.SIGKILL {
					wantOutput(t, code, p.stderr.String(), 0, "level=INFO msg=\"stopped before the server was ready\"\n")
					if exists(t, filepath.Join(dir, "*.unfinished-*")) {
						t.Error("what was unfinished is still there")
					}
				}
				wantNothingRunning(t, dir)
				serve(t, dir).submit("run")
				if exists(t, filepath.Join(dir, "*.unfinished-*")) {
					t.Error("what was unfinished is still there after another start")
				}
			})
		}
	}
}

// TestLocalMigrate migrates the local server's database while the server runs, and while it does not.
func TestLocalMigrate(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	migrate := func(args string, want ...string) {
		t.Helper()
		code, stdout, stderr := run(t, []string{"DATA_DIR=" + dir}, append([]string{"migrate"}, strings.Fields(args)...)...)
		wantOutput(t, code, stdout+stderr, 0, want...)
	}
	for _, isRunning := range []bool{true, false} {
		p := serve(t, dir)
		if !isRunning {
			p.terminate()
		}
		migrate("status", schemaVersion(latest))
		migrate("down --yes", schemaVersion(latest-1))
		migrate("up", schemaVersion(latest))
		migrate(fmt.Sprint("force ", latest-1), schemaVersion(latest-1))
		migrate("up", schemaVersion(latest))
		if isRunning {
			p.terminate()
		}
		wantNothingRunning(t, dir)
	}
	code, stdout, stderr := run(t, []string{"DATA_DIR=" + dir}, "keys", "list")
	wantOutput(t, code, stdout+stderr, 0, "NAME")
}

// TestLocalKilledWhileItMigrates has a database whose server was killed during a migration that is not
// one transaction.
func TestLocalKilledWhileItMigrates(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	serve(t, dir).terminate()
	database, err := startLocal(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		"drop index benchmark_runs_started_at_id_figures_idx",
		"update schema_migrations set dirty = true",
	} {
		if _, err := testdb.Pool(t, database.URL()).Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := database.Stop(); err != nil {
		t.Fatal(err)
	}
	code, stdout, _ := run(t, []string{"DATA_DIR=" + dir}, "migrate", "status")
	wantOutput(t, code, stdout, 0, "did not finish: `benchledger migrate up` repeats it")
	p := serve(t, dir)
	p.submit("run")
	code, stdout, _ = run(t, []string{"DATA_DIR=" + dir}, "migrate", "status")
	wantOutput(t, code, stdout, 0, schemaVersion(latest))
}

// TestLocalTwice starts two servers on the same data at the same time.
func TestLocalTwice(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	one := command(t, nil, "serve", "--addr=127.0.0.1:0", "--data-dir="+dir).start()
	other := command(t, nil, "serve", "--addr=127.0.0.1:0", "--data-dir="+dir).start()
	select {
	case <-one.exited:
		one, other = other, one
	case <-other.exited:
	}
	want := "another server is using the data in " + dir
	wantOutput(t, other.wait(), other.stderr.String(), 1, want)

	one.ready().submit("run")
	code, _, stderr := run(t, nil, "serve", "--addr=127.0.0.1:0", "--data-dir="+dir)
	wantOutput(t, code, stderr, 1, want)
	one.wantRuns("run")
}

// TestLocalOddDirectory uses a relative path that is too long for a socket and has special
// characters of PostgreSQL and shells.
func TestLocalOddDirectory(t *testing.T) {
	t.Parallel()
	work := newDir(t)
	relative := filepath.Join("a b,c'd$e[1]", strings.Repeat("long", 30))
	p := command(t, nil, "serve", "--addr=127.0.0.1:0", "--data-dir="+relative)
	p.cmd.Dir = work
	p.start().ready().submit("run")
	if want := filepath.Join(work, relative); p.dir != want {
		t.Errorf("it says that the data is in %q, want %q", p.dir, want)
	}
	p.terminate()
	wantNothingRunning(t, work)
	serve(t, filepath.Join(work, relative)).wantRuns("run")
}

// TestLocalOtherData starts on data of another PostgreSQL, which must not change.
func TestLocalOtherData(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		file, content string
		want          []string
	}{
		"an older version":       {"postgres/PG_VERSION", "9\n", []string{"needs PostgreSQL 9", "this machine has", "install version 9", "DATA_DIR"}},
		"a newer version":        {"postgres/PG_VERSION", "99\n", []string{"needs PostgreSQL 99"}},
		"a version of two parts": {"postgres/PG_VERSION", "9.6\n", []string{`PostgreSQL "9.6"`}},
		"no version":             {"postgres/base/1", "data", []string{"is not a PostgreSQL database"}},
		"data above":             {"PG_VERSION", "15\n", []string{"contains the data of another PostgreSQL"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := newDir(t)
			for file, content := range map[string]string{test.file: test.content, filepath.Dir(test.file) + "/base/2": "more"} {
				path := filepath.Join(dir, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			root := filepath.Join(dir, filepath.Dir(test.file))
			before := tree(t, root)
			code, _, stderr := run(t, nil, "serve", "--addr=127.0.0.1:0", "--data-dir="+dir)
			wantOutput(t, code, stderr, 1, append(test.want, dir)...)
			if after := tree(t, root); fmt.Sprint(after) != fmt.Sprint(before) {
				t.Errorf("the data changed from %v to %v", before, after)
			}
		})
	}
}

// TestLocalUsers serves as one user after the other.
func TestLocalUsers(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can run programs as other users")
	}
	somebody, somebodyElse := userID(t, "nobody"), userID(t, "daemon")
	self := executableByAll(t)
	as := func(uid uint32, dir string) *program {
		p := command(t, nil, "serve", "--addr=127.0.0.1:0", "--data-dir="+dir)
		p.cmd.Path, p.cmd.Dir = self, "/"
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		return p.start()
	}
	parent := newDir(t)
	dir := filepath.Join(parent, "data")
	p := as(somebody, dir)
	wantOutput(t, p.wait(), p.stderr.String(), 1, "permission denied", dir)

	if err := os.Chown(parent, int(somebody), -1); err != nil {
		t.Fatal(err)
	}
	for i, uid := range []uint32{somebody, 0, somebody} {
		p := as(uid, dir).ready()
		p.submit(fmt.Sprint("run-", i))
		if owner := ownerOf(t, fmt.Sprintf("/proc/%d", postmaster(t, dir))); owner != somebody {
			t.Errorf("PostgreSQL runs as %d, want the owner of the data, %d", owner, somebody)
		}
		p.terminate()
		wantNothingRunning(t, dir)
	}
	as(somebody, dir).ready().wantRuns("run-0", "run-1", "run-2")

	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p = as(somebodyElse, dir)
	wantOutput(t, p.wait(), p.stderr.String(), 1, "belongs to user nobody", dir)

	closed := filepath.Join(newDir(t), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	p = as(0, filepath.Join(closed, "data"))
	wantOutput(t, p.wait(), p.stderr.String(), 1, "cannot access "+closed, "DATA_DIR")
}

// executableByAll returns a copy of the program that every user can run.
func executableByAll(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(newDir(t), "benchledger")
	if err := os.WriteFile(path, content, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func userID(t *testing.T, name string) uint32 {
	t.Helper()
	found, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	id, err := strconv.ParseUint(found.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(id)
}

func ownerOf(t *testing.T, path string) uint32 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Uid
}

// tree returns the content of a folder: each path with its mode and content.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		var content []byte
		if info.Mode().IsRegular() {
			content, err = os.ReadFile(path)
		}
		files[path] = fmt.Sprint(info.Mode(), info.ModTime(), string(content))
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return files
}
