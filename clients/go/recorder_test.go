package benchledger

import (
	"bytes"
	"fmt"
	"log/slog"
	"testing"
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
