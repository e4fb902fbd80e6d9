// Package jsonlines reads JSON values from lines (NDJSON) or from an array.
package jsonlines

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// ErrTooLarge is the error of a value that is larger than a Reader accepts.
var ErrTooLarge = errors.New("the value is too large")

// ErrSpace is the error of an input with more blank lines, in bytes, than a value may have.
var ErrSpace = errors.New("there is too much white space")

// errMore is the error if text follows an array.
var errMore = errors.New("there is more after the array")

// Value is the text of a value. A line is not checked: it may not be JSON.
type Value struct {
	// Number is the number of the line, including blank lines. If there is not one value
	// per line, it is the number of the value. The first is 1.
	Number int
	// Text is valid until the next value is read.
	Text []byte
}

// Reader reads values.
type Reader struct {
	// ByLine is true if there is one value per line.
	ByLine bool

	maxBytes int
	input    *bufio.Reader
	// lines is how many lines have been read.
	lines int
	// blank is how many bytes of white space, alone in their lines, have been read.
	blank int
	// buffer has the last line.
	buffer []byte
	next   func() (Value, error)
}

// NewReader returns a reader of one value per line or, if the first character is a [, of the
// elements of an array. A value has at most maxBytes; 0 is no limit. It returns io.EOF if
// there is no value at all, and skips a byte order mark at the beginning.
func NewReader(r io.Reader, maxBytes int) (*Reader, error) {
	reader := &Reader{maxBytes: maxBytes, input: bufio.NewReaderSize(r, 64<<10)}
	const mark = "\ufeff"
	if start, _ := reader.input.Peek(len(mark)); string(start) == mark {
		_, _ = reader.input.Discard(len(mark)) // It was peeked.
	}
	first, err := reader.skipSpace()
	if err != nil {
		return nil, err
	}
	if first == '[' {
		reader.next = reader.elements()
	} else {
		reader.ByLine, reader.next = true, reader.line
	}
	return reader, nil
}

// NewFileReader is NewReader for files that people write: a value may have any size, may
// span several lines, and several values may be on one line. It assumes this if neither of
// the first two lines is an object, and the first value spans several lines or the first line
// has several values. Otherwise each line is one value, valid or not.
func NewFileReader(r io.Reader) (*Reader, error) {
	reader, err := NewReader(r, 0)
	if err != nil || !reader.ByLine {
		return reader, err
	}
	var head bytes.Buffer
	byLine := takesLines(&head, io.TeeReader(reader.input, &head))
	reader.input = bufio.NewReaderSize(io.MultiReader(&head, reader.input), 64<<10)
	if !byLine {
		reader.ByLine, reader.next = false, newDecoder(reader.input, 0).value
	}
	return reader, nil
}

// takesLines reports whether there is one value per line. head has the input that was read.
func takesLines(head *bytes.Buffer, input io.Reader) bool {
	lines := &Reader{input: bufio.NewReader(input)}
	first, err := lines.line()
	if err != nil || isObject(first.Text) {
		return true
	}
	first.Text = bytes.Clone(first.Text)
	if second, err := lines.line(); err == nil && isObject(second.Text) {
		return true
	}
	if areObjects(newDecoder(bytes.NewReader(first.Text), 0)) {
		return false
	}
	value, err := newDecoder(io.MultiReader(bytes.NewReader(head.Bytes()), input), 0).value()
	return err != nil || !isObject(value.Text) || bytes.IndexByte(value.Text, '\n') < 0
}

// areObjects reports whether all values are objects.
func areObjects(values *decoder) bool {
	for {
		value, err := values.value()
		if err != nil {
			return errors.Is(err, io.EOF) && values.values > 0
		}
		if !isObject(value.Text) {
			return false
		}
	}
}

// Next returns the next value, and io.EOF after the last. When a line is too large it
// returns its Number and ErrTooLarge, and the next call goes on with the line after it.
// After any other error, no more can be read.
func (r *Reader) Next() (Value, error) { return r.next() }

// skipSpace returns the first character that is no white space, without reading it.
func (r *Reader) skipSpace() (byte, error) {
	for ; ; r.blank++ {
		if r.maxBytes > 0 && r.blank > r.maxBytes {
			return 0, ErrSpace
		}
		first, err := r.input.Peek(1)
		if err != nil {
			return 0, err
		}
		if strings.IndexByte(" \t\r\n", first[0]) < 0 {
			return first[0], nil
		}
		if first[0] == '\n' {
			r.lines++
		}
		_, _ = r.input.Discard(1) // It was peeked.
	}
}

// line returns the next line that is not blank.
func (r *Reader) line() (Value, error) {
	for {
		text, err := r.readLine()
		if err != nil {
			return Value{}, err
		}
		r.lines++
		if r.maxBytes > 0 && len(bytes.TrimRight(text, "\r\n")) > r.maxBytes {
			return Value{Number: r.lines}, ErrTooLarge
		}
		blank := len(text)
		if text = bytes.TrimSpace(text); len(text) > 0 {
			return Value{r.lines, text}, nil
		}
		if r.blank += blank; r.maxBytes > 0 && r.blank > r.maxBytes {
			return Value{}, ErrSpace
		}
	}
}

// readLine returns the next line with its end. It does not keep all of a line that is too
// large.
func (r *Reader) readLine() ([]byte, error) {
	r.buffer = r.buffer[:0]
	for {
		part, err := r.input.ReadSlice('\n')
		if r.maxBytes == 0 || len(r.buffer) <= r.maxBytes {
			r.buffer = append(r.buffer, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case err == nil, errors.Is(err, io.EOF) && len(r.buffer) > 0:
			return r.buffer, nil
		default:
			return nil, err
		}
	}
}

// anyText leaves it to those who use a value to refuse names that appear twice, and text
// that is not UTF-8: the values after it can be read.
var anyText = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

func isObject(text jsontext.Value) bool { return text.Kind() == '{' && text.IsValid(anyText...) }

// elements returns a function that reads the elements of an array.
func (r *Reader) elements() func() (Value, error) {
	decoder := newDecoder(r.input, r.maxBytes)
	begun := false
	return func() (Value, error) {
		if !begun {
			begun = true
			if _, err := decoder.ReadToken(); err != nil {
				return Value{}, err
			}
		}
		if decoder.PeekKind() != ']' {
			return decoder.value()
		}
		if _, err := decoder.ReadToken(); err != nil {
			return Value{}, err
		}
		_, err := decoder.ReadToken()
		if err == nil {
			err = errMore
		}
		return Value{}, err // io.EOF
	}
}

// decoder reads values that are not one per line.
type decoder struct {
	*jsontext.Decoder
	input    *boundedReader
	maxBytes int
	// values is how many were read.
	values int
}

func newDecoder(r io.Reader, maxBytes int) *decoder {
	input := &boundedReader{Reader: r, maxBytes: maxBytes}
	return &decoder{Decoder: jsontext.NewDecoder(input, anyText...), input: input, maxBytes: maxBytes}
}

func (d *decoder) value() (Value, error) {
	text, err := d.ReadValue()
	d.input.read = 0
	if err == nil && d.maxBytes > 0 && len(text) > d.maxBytes {
		err = ErrTooLarge
	}
	if err != nil {
		return Value{}, err
	}
	d.values++
	return Value{d.values, bytes.Clone(text)}, nil
}

// boundedReader stops in a value that is too large.
type boundedReader struct {
	io.Reader
	maxBytes int
	// read is how much was read since the last value. When there is more to read, all of
	// that is part of the next one, or space before it.
	read int
}

// Read reads.
func (r *boundedReader) Read(p []byte) (int, error) {
	if r.maxBytes > 0 && r.read > r.maxBytes {
		return 0, ErrTooLarge
	}
	n, err := r.Reader.Read(p)
	r.read += n
	return n, err
}
