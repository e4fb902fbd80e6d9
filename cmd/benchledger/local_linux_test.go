package main

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// smallDisk mounts a disk of a size, as "64m", and returns its folder and a function that changes its size.
func smallDisk(t *testing.T, size string) (dir string, resize func(string)) {
	t.Helper()
	dir = filepath.Join(newDir(t), "disk")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755,size="+size); err != nil {
		t.Skip("no small disk can be mounted here: ", err)
	}
	t.Cleanup(func() {
		wantNothingRunning(t, dir)
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir, func(size string) {
		t.Helper()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size="+size); err != nil {
			t.Fatal(err)
		}
	}
}

// fill leaves no byte on the disk of a directory until the returned function is called.
func fill(t *testing.T, dir string) (remove func()) {
	t.Helper()
	file, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err := file.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
	return func() {
		t.Helper()
		if err := os.Remove(file.Name()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLocalStartOnFullDisk starts on a disk that is too small for a new database, and with no space for an old one.
func TestLocalStartOnFullDisk(t *testing.T) {
	t.Parallel()
	dir, resize := smallDisk(t, "30m")
	start := func() {
		t.Helper()
		code, _, stderr := run(t, nil, "serve", "--addr=127.0.0.1:0", "--data-dir="+dir)
		wantOutput(t, code, stderr, 1, "no space left on the disk of "+dir, "free some, or choose another data directory (DATA_DIR)")
	}
	start()
	resize("200m")
	p := serve(t, dir)
	p.submit("run")
	p.terminate()
	remove := fill(t, dir)
	start()
	remove()
	serve(t, dir).wantRuns("run")
}

// TestLocalFullDisk fills the disk under a running server. It is not ready until there is space again.
func TestLocalFullDisk(t *testing.T) {
	t.Parallel()
	dir, _ := smallDisk(t, "200m")
	p := serve(t, dir)
	p.submit("run")
	remove := fill(t, dir)
	details := make([]byte, 1<<20)
	_, _ = rand.Read(details) // It never fails. PostgreSQL cannot compress it.
	large := strings.TrimSuffix(submitted("large"), "}") + `,"evaluations":[{"evaluatorName":"e","score":1,"maxScore":1,"details":"` + hex.EncodeToString(details) + `"}]}`
	if response, body := p.request(http.MethodPost, "/api/results", large); response.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("a submission on a full disk: %d %s", response.StatusCode, body)
	}
	eventually(t, "it is not ready", func() bool {
		response, body := p.request(http.MethodGet, "/readyz", "")
		return response.StatusCode == http.StatusServiceUnavailable && strings.Contains(body, "The disk of the database is full")
	})
	remove()
	p.submit("run-2")
	eventually(t, "it is ready", func() bool {
		response, _ := p.request(http.MethodGet, "/readyz", "")
		return response.StatusCode == http.StatusOK
	})
	p.wantRuns("run", "run-2")
}
