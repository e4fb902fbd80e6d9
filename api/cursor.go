package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"net/url"
	"time"
)

// A cursor is a position in a list with a checksum over the position, the list and its
// filters. A cursor that was altered or belongs to another list is rejected, and never
// read as another position. It contains nothing that the list does not show.

const checksumSize = 8

var cursorEncoding = base64.RawURLEncoding.Strict()

func sealCursor(list string, position []byte) string {
	return cursorEncoding.EncodeToString(append(position, cursorChecksum(list, position)...))
}

func openCursor(list, cursor string) ([]byte, error) {
	decoded, err := cursorEncoding.DecodeString(cursor)
	if size := len(decoded) - checksumSize; err == nil && size >= 0 {
		position, checksum := decoded[:size], decoded[size:]
		if subtle.ConstantTimeCompare(checksum, cursorChecksum(list, position)) == 1 {
			return position, nil
		}
	}
	return nil, badCursor()
}

func cursorChecksum(list string, position []byte) []byte {
	sum := sha256.Sum256(append([]byte(list+"\x00"), position...))
	return sum[:checksumSize]
}

func badCursor() *Problem {
	return problemOf(http.StatusUnprocessableEntity, "The request is not valid.", FieldError{
		"query.cursor", "expected the cursor of a Link header of this list, with the same filters",
	})
}

// runPosition is the position of a run in the list of runs.
type runPosition struct {
	startedAt time.Time
	id        int64
}

func (p runPosition) cursor(filters url.Values) string {
	position := appendTime(nil, p.startedAt)
	position = binary.BigEndian.AppendUint64(position, uint64(p.id))
	return sealCursor("runs?"+filters.Encode(), position)
}

func parseRunCursor(cursor string, filters url.Values) (runPosition, error) {
	position, err := openCursor("runs?"+filters.Encode(), cursor)
	if err != nil {
		return runPosition{}, err
	}
	if len(position) != 16 {
		return runPosition{}, badCursor()
	}
	return runPosition{
		startedAt: timeOf(position),
		id:        int64(binary.BigEndian.Uint64(position[8:])),
	}, nil
}

// batchPosition is the position of a batch in the list of batches.
type batchPosition struct {
	createdAt time.Time
	batchID   string
}

func (p batchPosition) cursor() string {
	return sealCursor("batches", append(appendTime(nil, p.createdAt), p.batchID...))
}

func parseBatchCursor(cursor string) (batchPosition, error) {
	position, err := openCursor("batches", cursor)
	if err != nil {
		return batchPosition{}, err
	}
	if len(position) < 8 {
		return batchPosition{}, badCursor()
	}
	return batchPosition{createdAt: timeOf(position), batchID: string(position[8:])}, nil
}

// appendTime appends a time as microseconds since 1970, PostgreSQL's precision.
func appendTime(b []byte, t time.Time) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(t.UnixMicro()))
}

func timeOf(b []byte) time.Time {
	return time.UnixMicro(int64(binary.BigEndian.Uint64(b))).UTC()
}
