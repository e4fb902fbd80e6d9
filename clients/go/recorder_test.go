package benchledger

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestManyWarnings checks that the memory for warnings of receipts is limited.
func TestManyWarnings(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	r, err := newRecorder(RecorderOptions{URL: "http://h", Spool: t.TempDir(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for range 2 {
		for i := range 2 * maxReceiptWarnings {
			r.warn([]string{fmt.Sprint(i)})
		}
	}
	if logged := bytes.Count(log.Bytes(), []byte("\n")); logged != maxReceiptWarnings || len(r.said) != maxReceiptWarnings {
		t.Errorf("%d warnings are logged, %d are kept", logged, len(r.said))
	}
}

// TestLargeSpool checks that a spool need not fit into memory: a recorder opens no file before it sends it.
func TestLargeSpool(t *testing.T) { //nolint:paralleltest // it measures the memory of the whole process
	dir := t.TempDir()
	const files, size = 50, 4 << 20
	body := fmt.Sprintf(`{"runId":"large","telemetry":{"promptSent":%q}}`, strings.Repeat("x", size))
	for i := range files {
		text := fmt.Sprintf(`{"url":"http://127.0.0.1:1","operation":"submit-run","spooledAt":"2025-11-17T10:00:00Z","body":%s}`, body)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i, ".json")), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	flushed, err := Flush(t.Context(), FlushOptions{RecorderOptions: RecorderOptions{
		URL: "http://127.0.0.1:1", Spool: dir, RetryFor: new(time.Duration(0)), Logger: slog.New(slog.DiscardHandler),
	}})
	runtime.ReadMemStats(&after)
	if err == nil || flushed.Left != files {
		t.Errorf("%+v, %v", flushed, err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > files*size/2 {
		t.Errorf("%d MiB are used for a spool of %d MiB", n>>20, files*size>>20)
	}
}

// TestSay checks that a warning does not control the terminal.
func TestSay(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	r := Recorder{log: slog.New(slog.NewJSONHandler(&log, nil))}
	r.say("a\x1b[31m\u009b\u202e\n")
	if want := `"msg":"a\\u001b[31m\\u009b\\u202e\\u000a"`; !strings.Contains(log.String(), want) {
		t.Errorf("%s lacks %s", log.String(), want)
	}
}
