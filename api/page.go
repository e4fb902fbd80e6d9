package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"maps"
	"math"
	"net/url"
	"strconv"
	"time"

	"github.com/benchledger/benchledger/db"
)

// A list is read page by page, each page from the cursor in the Link header
// of the one before.

// beyondEveryTime is later than every time that is accepted: the position before
// the first page.
var beyondEveryTime = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)

// pageBytes is how many bytes the rows of a page have, unless it has only one: a page is
// shorter than its limit if its rows are large.
const pageBytes = 8 << 20

// cutPage cuts a page from rows that were read with a limit higher by 1 and a budget. last is
// the last row of the page if there are more rows after it, otherwise nil.
func cutPage[R any](rows []R, limit int32, budget db.Budget) (page []R, last *R) {
	switch {
	case len(rows) > int(limit):
		return rows[:limit], &rows[limit-1]
	case budget.Exceeded:
		return rows, &rows[len(rows)-1]
	}
	return rows, nil
}

// linkToNext returns a Link header (RFC 8288). Its target is relative to the address of
// the request, so that it works behind a proxy that adds a prefix to the path.
func linkToNext(filters db.Filters, limit int32, cursor string) string {
	query := url.Values{"cursor": {cursor}}
	maps.Copy(query, url.Values(filters))
	if limit > 0 {
		query.Set("limit", strconv.Itoa(int(limit)))
	}
	return "<?" + query.Encode() + `>; rel="next"`
}

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
	return invalid(FieldError{"query.cursor", "expected the cursor of a Link header of this list, with the same filters"})
}

// runCursor is the cursor of a position in a list of runs.
func runCursor(list string, order db.RunOrder, position db.RunPosition) string {
	encoded := appendTime(nil, position.StartedAt)
	if !order.IsByTime() {
		encoded = binary.BigEndian.AppendUint64(nil, math.Float64bits(position.Figure))
	}
	encoded = binary.BigEndian.AppendUint64(encoded, uint64(position.ID))
	return sealCursor(list, encoded)
}

func parseRunCursor(list, cursor string, order db.RunOrder) (db.RunPosition, error) {
	encoded, err := openCursor(list, cursor)
	if err != nil {
		return db.RunPosition{}, err
	}
	if len(encoded) != 16 {
		return db.RunPosition{}, badCursor()
	}
	position := db.RunPosition{ID: int64(binary.BigEndian.Uint64(encoded[8:]))}
	if order.IsByTime() {
		position.StartedAt = timeFromBytes(encoded)
	} else {
		position.Figure = math.Float64frombits(binary.BigEndian.Uint64(encoded))
	}
	return position, nil
}

// listName names a list with its filters, for the checksum.
func listName(list string, filters db.Filters) string {
	return list + "?" + url.Values(filters).Encode()
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
	return batchPosition{createdAt: timeFromBytes(position), batchID: string(position[8:])}, nil
}

// appendTime appends a time as microseconds since 1970, PostgreSQL's precision.
func appendTime(b []byte, t time.Time) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(t.UnixMicro()))
}

func timeFromBytes(b []byte) time.Time {
	return time.UnixMicro(int64(binary.BigEndian.Uint64(b))).UTC()
}
