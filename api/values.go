package api

import (
	"bytes"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"
)

// Types of the API that neither JSON Schema nor Go has. An invalid value is marked
// when it is parsed, and reported by its Resolve method, which knows the path to
// the field.

const (
	// A control character is one of Unicode's category Cc.
	namePattern = `^[^\x00-\x1f\x7f-\x9f]*$`
	// An ID is a name other than "." and "..", which cannot be part of a path.
	idPattern = `^(([^.\x00-\x1f\x7f-\x9f]|\.[^.\x00-\x1f\x7f-\x9f]|\.\.[^\x00-\x1f\x7f-\x9f])[^\x00-\x1f\x7f-\x9f]*)?$`
	maxName   = 150
)

// Name is 1 to 150 characters without control characters.
type Name string

// Schema documents and validates a Name.
func (Name) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeString, MinLength: new(1), MaxLength: new(maxName),
		Pattern: namePattern, PatternDescription: "free of control characters",
	}
}

// isPlain accepts ASCII, whose length is its number of characters.
func (n Name) isPlain() bool {
	for i := range len(n) {
		if n[i] < ' ' || n[i] > '~' {
			return false
		}
	}
	return len(n) >= 1 && len(n) <= maxName
}

// ID is a Name other than "." and "..".
type ID string

// Schema documents and validates an ID.
func (ID) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeString, MinLength: new(1), MaxLength: new(maxName),
		Pattern: idPattern, PatternDescription: `free of control characters, and other than "." and ".."`,
	}
}

func (id ID) isPlain() bool { return Name(id).isPlain() && id != "." && id != ".." }

// Text is any text without NUL, which PostgreSQL does not store.
type Text string

// Resolve rejects NUL.
func (t *Text) Resolve(_ huma.Context, path *huma.PathBuffer) []error {
	if !t.isPlain() {
		return fieldError(path, "expected text without NUL characters")
	}
	return nil
}

func (t *Text) isPlain() bool { return strings.IndexByte(string(*t), 0) < 0 }

// Count is a 64-bit number that is not negative.
type Count int64

const invalidCount = math.MinInt64

// Schema documents and validates a Count.
func (Count) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeInteger, Format: "int64", Minimum: new(0.0)}
}

// UnmarshalJSON accepts an integer in any notation: 5, 5.0, 5e0. The schema rejects
// numbers that are not integers.
func (c *Count) UnmarshalJSON(data []byte) error {
	if integer, err := strconv.ParseInt(string(data), 10, 64); err == nil {
		*c = Count(integer)
		return nil
	}
	if double, err := strconv.ParseFloat(string(data), 64); err != nil || double != math.Trunc(double) {
		*c = -1
		return nil //nolint:nilerr // see above
	}
	*c = invalidCount
	// 256 bits represent every 64-bit integer exactly, in any notation.
	if number, _, err := big.ParseFloat(string(data), 10, 256, big.ToNearestEven); err == nil {
		if integer, accuracy := number.Int64(); accuracy == big.Exact {
			*c = Count(integer)
		}
	}
	return nil
}

// Resolve rejects numbers that are not exact integers, or exceed 64 bits.
func (c *Count) Resolve(_ huma.Context, path *huma.PathBuffer) []error {
	if *c == invalidCount {
		return fieldError(path, "expected integer from 0 to 9223372036854775807")
	}
	return nil
}

func (c *Count) isPlain() bool { return *c >= 0 }

// Time is a moment of the years 0001 to 9999, to the microsecond, in UTC.
type Time struct {
	time.Time
	invalid bool
}

// Schema documents a submitted Time. Resolve validates it, so that huma does not
// check the alternatives.
func (Time) Schema(r huma.Registry) *huma.Schema {
	return component(r, "Timestamp", &huma.Schema{
		Description: "A time in the years 0001 to 9999, at most a day ahead of the server's clock (later ones need a key of the scope admin).",
		Extensions: map[string]any{"anyOf": []*huma.Schema{
			{Type: huma.TypeString, Format: "date-time", Description: "RFC 3339, with any offset"},
			{Type: huma.TypeNumber, Format: "double", Description: "Milliseconds since 1970"},
			{Type: "null"},
		}},
	})
}

// component adds a schema to the components of the document, so that clients get
// one type, and returns a reference to it.
func component(r huma.Registry, name string, schema *huma.Schema) *huma.Schema {
	schema.PrecomputeMessages()
	r.Map()[name] = schema
	return &huma.Schema{Ref: "#/components/schemas/" + name}
}

// UnmarshalJSON accepts RFC 3339 text and milliseconds since 1970.
func (t *Time) UnmarshalJSON(data []byte) error {
	moment, ok := parseTime(data)
	moment = moment.UTC().Truncate(time.Microsecond)
	*t = Time{Time: moment, invalid: !ok || moment.Year() < 1 || moment.Year() > 9999}
	return nil
}

func parseTime(data jsontext.Value) (moment time.Time, ok bool) {
	switch data.Kind() { //nolint:exhaustive // other kinds are not times
	case '"':
		text, err := jsontext.AppendUnquote(nil, data)
		if err != nil {
			return moment, false
		}
		return parseRFC3339(strings.ToUpper(string(text)))
	case '0':
		milliseconds, err := strconv.ParseFloat(string(data), 64)
		if err != nil || math.Abs(milliseconds) > 1e15 { // outside the valid years
			return moment, false
		}
		whole, fraction := math.Modf(milliseconds)
		return time.UnixMilli(int64(whole)).Add(time.Duration(math.Round(fraction*1e3)) * time.Microsecond), true
	}
	return moment, false
}

// rfc3339 is what package time does not check: it accepts a comma before the fraction, and
// any offset of two digits. The last second of a minute may be a leap second, 60.
var rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:(\d\d)(?:\.\d+)?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)$`)

// parseRFC3339 reads a time. A leap second becomes the second after it, as in PostgreSQL.
func parseRFC3339(text string) (moment time.Time, ok bool) {
	parts := rfc3339.FindStringSubmatchIndex(text)
	if parts == nil {
		return moment, false
	}
	isLeapSecond := text[parts[2]:parts[3]] == "60"
	if isLeapSecond {
		text = text[:parts[2]] + "59" + text[parts[3]:]
	}
	moment, err := time.Parse(time.RFC3339Nano, text)
	if !isLeapSecond || err != nil {
		return moment, err == nil
	}
	utc := moment.UTC()
	return moment.Add(time.Second), utc.Hour() == 23 && utc.Minute() == 59
}

// Resolve rejects invalid times.
func (t *Time) Resolve(_ huma.Context, path *huma.PathBuffer) []error {
	if t.invalid {
		return fieldError(path, "expected RFC 3339 time or milliseconds since 1970, in the years 0001 to 9999")
	}
	return nil
}

func (t *Time) isPlain() bool { return !t.invalid }

// UTCTime is a Time as it is read back: RFC 3339 in UTC, with three fractional
// digits, six when needed.
type UTCTime struct{ time.Time }

// Schema documents a UTCTime.
func (UTCTime) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeString, Format: "date-time",
		Description: "RFC 3339 in UTC, with three fractional digits, six when needed",
		Examples:    []any{"2025-11-17T10:00:00.000Z"},
	}
}

// AppendText writes the time, five times faster than time.Time with a layout.
func (t UTCTime) AppendText(b []byte) ([]byte, error) {
	utc := t.UTC()
	year, month, day := utc.Date()
	hour, minute, second := utc.Clock()
	b = append(appendDigits(b, 4, year), '-')
	b = append(appendDigits(b, 2, int(month)), '-')
	b = append(appendDigits(b, 2, day), 'T')
	b = append(appendDigits(b, 2, hour), ':')
	b = append(appendDigits(b, 2, minute), ':')
	b = append(appendDigits(b, 2, second), '.')
	if micros := utc.Nanosecond() / 1e3; micros%1e3 == 0 {
		b = appendDigits(b, 3, micros/1e3)
	} else {
		b = appendDigits(b, 6, micros)
	}
	return append(b, 'Z'), nil
}

// appendDigits writes a number with a fixed number of digits.
func appendDigits(b []byte, digits, number int) []byte {
	first := len(b)
	b = append(b, "000000"[:digits]...)
	for i := len(b) - 1; i >= first; i-- {
		b[i] = byte('0' + number%10)
		number /= 10
	}
	return b
}

// MarshalText writes the time.
func (t UTCTime) MarshalText() ([]byte, error) { return t.AppendText(nil) }

// MarshalJSONTo writes the time. It hides the promoted method of time.Time.
func (t UTCTime) MarshalJSONTo(encoder *jsontext.Encoder) error {
	quoted, err := t.AppendText(append(encoder.AvailableBuffer(), '"'))
	if err != nil {
		return err
	}
	return encoder.WriteValue(append(quoted, '"'))
}

func utcTime(t *time.Time) *UTCTime {
	if t == nil {
		return nil
	}
	return &UTCTime{*t}
}

const (
	maxMetadataDepth = 100
	// Numbers in metadata are compared with all digits. A number with an exponent beyond a
	// double would be short to send and take much memory to compare.
	maxMetadataExponent = 308
	minMetadataExponent = -324
)

// Metadata is a JSON object, kept as it was sent: the order of its members, and all digits
// of numbers.
// Without text it is null.
type Metadata struct {
	text jsontext.Value
	// asText writes the text as a JSON string.
	asText bool
}

// Schema documents and validates Metadata.
func (Metadata) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
}

// UnmarshalJSON keeps the text, without white space between its parts: a run is one line in
// files of JSON lines.
func (m *Metadata) UnmarshalJSON(data []byte) error {
	m.text = nil
	if jsontext.Value(data).Kind() == 'n' {
		return nil
	}
	m.text = append(m.text, data...)
	if bytes.ContainsAny(data, " \t\r\n") {
		return m.text.Compact()
	}
	return nil
}

// MarshalJSONTo writes the text.
func (m Metadata) MarshalJSONTo(encoder *jsontext.Encoder) error {
	switch {
	case m.text == nil:
		return encoder.WriteToken(jsontext.Null)
	case m.asText:
		return encoder.WriteToken(jsontext.String(string(m.text)))
	}
	return encoder.WriteValue(m.text)
}

// Resolve rejects what PostgreSQL cannot store, or only in a huge form.
func (m *Metadata) Resolve(_ huma.Context, path *huma.PathBuffer) []error {
	decoder := jsontext.NewDecoder(bytes.NewReader(m.text))
	for {
		token, err := decoder.ReadToken()
		if err != nil {
			return nil // The end: invalid JSON was rejected before.
		}
		switch token.Kind() { //nolint:exhaustive // other kinds are valid
		case '"':
			if strings.IndexByte(token.String(), 0) >= 0 {
				return fieldError(path, "expected text without NUL characters"+inField("/metadata"+decoder.StackPointer()))
			}
		case '0':
			if !fitsDouble(token.String()) {
				return fieldError(path, "expected numbers that a double holds, from 5e-324 to 1.8e308")
			}
		}
		if decoder.StackDepth() > maxMetadataDepth {
			return fieldError(path, "expected at most 100 levels of nesting")
		}
	}
}

func (m *Metadata) isPlain() bool {
	return m.text == nil || m.text.Kind() == '{' && m.Resolve(nil, huma.NewPathBuffer(nil, 0)) == nil
}

// fitsDouble reports whether a number with an exponent is within the range of a double.
func fitsDouble(number string) bool {
	_, exponent, found := strings.Cut(strings.ToLower(number), "e")
	if !found {
		return true
	}
	if double, err := strconv.ParseFloat(number, 64); err != nil || math.IsInf(double, 0) {
		return false
	}
	value, err := strconv.Atoi(exponent)
	return err == nil && value >= minMetadataExponent && value <= maxMetadataExponent
}

func fieldError(path *huma.PathBuffer, message string) []error {
	return []error{&huma.ErrorDetail{Location: path.String(), Message: message}}
}
