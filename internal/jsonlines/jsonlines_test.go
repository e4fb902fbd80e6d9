package jsonlines

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// failing reads a text and then fails.
func failing(text string) io.Reader {
	return io.MultiReader(strings.NewReader(text), iotest.ErrReader(errBroken))
}

var errBroken = errors.New("broken")

const broken = "\x00broken" // The end of a text whose reader fails there.

func TestReaders(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", 200<<10)
	for _, test := range []struct {
		text string
		want []string // number and text of each value, and the error where it is not io.EOF
		// file is what NewFileReader makes of it, nil where that is the same.
		file []string
	}{
		{text: "", want: []string{"nothing"}},
		{text: " \r\n\t\n", want: []string{"nothing"}},
		{text: broken, want: []string{"broken"}},

		// Lines.
		{text: `{"a":1}`, want: []string{`1 {"a":1}`}},
		{text: "{\"a\":1}\n{\"a\":2}\n", want: []string{`1 {"a":1}`, `2 {"a":2}`}},
		{text: "{}\r\n{}\r\n", want: []string{"1 {}", "2 {}"}},
		{text: "\n \n{}\n\n\t{}\t\n \n{}", want: []string{"3 {}", "5 {}", "7 {}"}},
		{text: " {}\n5\n[]\n", want: []string{"1 {}", "2 5", "3 []"}},
		{text: "{}\n{bad\n{\"a\":1,\"a\":2}\n\xff\n{} {}", want: []string{"1 {}", "2 {bad", `3 {"a":1,"a":2}`, "4 \xff", "5 {} {}"}},
		{text: "{bad\n{}\nx\n", want: []string{"1 {bad", "2 {}", "3 x"}},
		{text: "{}\n" + broken, want: []string{"1 {}", "broken"}},
		{text: "{\"a\":NaN}\n{\"a\":NaN}\n{}", want: []string{`1 {"a":NaN}`, `2 {"a":NaN}`, "3 {}"}},
		{text: "\n{} x\n\ny\n{}", want: []string{"2 {} x", "4 y", "5 {}"}},
		{text: "x\n\ny\n" + broken, want: []string{"1 x", "3 y", "broken"}},

		// A byte order mark.
		{text: "\ufeff", want: []string{"nothing"}},
		{text: "\ufeff{}\n\ufeff{}", want: []string{"1 {}", "2 \ufeff{}"}},
		{text: "\ufeff[{}]", want: []string{"1 {}"}},
		{text: "\ufeff\n{\n}", want: []string{"2 {", "3 }"}, file: []string{"1 {\n}"}},
		{text: "{}\n{}\n{" + broken, want: []string{"1 {}", "2 {}", "broken"}},
		{text: large + "\n{}\n" + large, want: []string{"1 " + large, "2 {}", "3 " + large}},

		// Arrays.
		{text: "[]", want: nil},
		{text: " \n[ ] \n", want: nil},
		{text: `[{"a":1},5,"x",[1],null]`, want: []string{`1 {"a":1}`, "2 5", `3 "x"`, "4 [1]", "5 null"}},
		{text: "\n[\n{\"a\":\n1},\n{}\n]\n", want: []string{"1 {\"a\":\n1}", "2 {}"}},
		{text: "[{\"a\":1,\"a\":2},\"\xff\"]", want: []string{`1 {"a":1,"a":2}`, "2 \"\xff\""}},
		{text: `["` + large + `",1]`, want: []string{`1 "` + large + `"`, "2 1"}},
		{text: "[{}", want: []string{"1 {}", "syntax"}},
		{text: "[{},", want: []string{"1 {}", "syntax"}},
		{text: "[{},]", want: []string{"1 {}", "syntax"}},
		{text: "[{} {}]", want: []string{"1 {}", "syntax"}},
		{text: "[{},{bad]", want: []string{"1 {}", "syntax"}},
		{text: "[{}] 5", want: []string{"1 {}", "syntax"}},
		{text: "[{}][{}]", want: []string{"1 {}", "syntax"}},
		{text: "[{}" + broken, want: []string{"1 {}", "broken"}},

		// Other layouts, which only files may have.
		{text: "{\n\"a\": 1\n}\n", want: []string{"1 {", `2 "a": 1`, "3 }"}, file: []string{"1 {\n\"a\": 1\n}"}},
		{text: "{\"a\":1}{\"a\":2}\n{\n}", want: []string{`1 {"a":1}{"a":2}`, "2 {", "3 }"}, file: []string{`1 {"a":1}`, `2 {"a":2}`, "3 {\n}"}},
		{text: "{}{} [{}]", want: []string{"1 {}{} [{}]"}},
		{text: "{}{}\n[{}]", want: []string{"1 {}{}", "2 [{}]"}, file: []string{"1 {}", "2 {}", "3 [{}]"}},
		{text: "5\n6\n7", want: []string{"1 5", "2 6", "3 7"}},
		{text: "some\ntext\n", want: []string{"1 some", "2 text"}},
		{text: "{\n\"a\":", want: []string{"1 {", `2 "a":`}},
		{text: "{\n" + broken, want: []string{"1 {", "broken"}},
		{text: "{\n\n\"a\":1}{}\n" + broken, want: []string{"1 {", `3 "a":1}{}`, "broken"}, file: []string{"1 {\n\n\"a\":1}", "2 {}", "broken"}},
	} {
		if test.file == nil {
			test.file = test.want
		}
		for name, read := range map[string]struct {
			open func(io.Reader) (*Reader, error)
			want []string
		}{
			"NewReader":     {func(r io.Reader) (*Reader, error) { return NewReader(r, 0) }, test.want},
			"bounded":       {func(r io.Reader) (*Reader, error) { return NewReader(r, 1<<20) }, test.want},
			"NewFileReader": {NewFileReader, test.file},
		} {
			for way, through := range map[string]func(io.Reader) io.Reader{
				"at once": func(r io.Reader) io.Reader { return r }, "in small parts": iotest.HalfReader, "byte by byte": iotest.OneByteReader,
			} {
				input := io.Reader(strings.NewReader(test.text))
				if text, fails := strings.CutSuffix(test.text, broken); fails {
					input = failing(text)
				}
				reader, err := read.open(through(input))
				if got := all(reader, err); !slices.Equal(got, read.want) {
					t.Errorf("%s of %.60q %s: %.300q, want %.300q", name, test.text, way, got, read.want)
				}
			}
		}
	}
}

// all returns what a reader reads.
func all(reader *Reader, err error) (read []string) {
	if errors.Is(err, io.EOF) {
		return []string{"nothing"}
	}
	for {
		var value Value
		if err == nil {
			value, err = reader.Next()
		}
		switch {
		case err == nil:
			read = append(read, fmt.Sprintf("%d %s", value.Number, value.Text))
		case errors.Is(err, io.EOF):
			return read
		case errors.Is(err, ErrTooLarge) && reader.ByLine:
			read, err = append(read, fmt.Sprintf("%d too large", value.Number)), nil
		case errors.Is(err, ErrTooLarge):
			return append(read, "too large")
		case errors.Is(err, ErrSpace):
			return append(read, "too much space")
		case errors.Is(err, errBroken):
			return append(read, "broken")
		default:
			return append(read, "syntax")
		}
	}
}

func TestLargeValues(t *testing.T) {
	t.Parallel()
	const most = 100_000
	text := func(size int) string { return `"` + strings.Repeat("x", size-2) + `"` }
	spaces := strings.Repeat(" ", most+1)
	for _, test := range []struct {
		text string
		want []string
	}{
		{text(most), []string{"1 " + text(most)}},
		{text(most) + "\r\n5", []string{"1 " + text(most), "2 5"}},
		{"1\n" + text(most+1) + "\n3\n\n" + text(5*most) + "\n6", []string{"1 1", "2 too large", "3 3", "5 too large", "6 6"}},
		{text(most + 1), []string{"1 too large"}},
		{"1\n" + strings.Repeat("\n", most/2) + "2\n" + strings.Repeat(" \n", most/4) + "3", []string{"1 1", fmt.Sprint(most/2+2, " 2"), fmt.Sprint(most/2+most/4+3, " 3")}},
		{"1\n" + strings.Repeat("\n", most+1) + "2", []string{"1 1", "too much space"}},
		{strings.Repeat("\n", most+1) + "2", []string{"too much space"}},
		{strings.Repeat(" ", most+1) + "[2]", []string{"too much space"}},
		{"1\n" + spaces + "\n3", []string{"1 1", "2 too large", "3 3"}},
		{"[" + text(most) + "]", []string{"1 " + text(most)}},
		{"[1," + text(most) + ",3]", []string{"1 1", "2 " + text(most), "3 3"}},
		{"[1," + text(most+1) + ",3]", []string{"1 1", "too large"}},
		{"[1," + text(5*most) + ",3]", []string{"1 1", "too large"}},
		{"[1," + spaces + spaces + "2]", []string{"1 1", "too large"}},
		{"[" + text(most) + strings.Repeat(",5", 3*most) + "]", nil}, // All together may be larger.
	} {
		for way, through := range map[string]func(io.Reader) io.Reader{
			"at once": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader,
		} {
			reader, err := NewReader(through(strings.NewReader(test.text)), most)
			got := all(reader, err)
			if test.want == nil {
				if len(got) != 3*most+1 {
					t.Errorf("%.20q %s: %d values", test.text, way, len(got))
				}
			} else if !slices.Equal(got, test.want) {
				t.Errorf("%.20q %s: %.100q, want %.100q", test.text, way, got, test.want)
			}
		}
	}
}

// TestEndlessElement sees that an element which does not end is given up before it has
// taken memory.
func TestEndlessElement(t *testing.T) {
	t.Parallel()
	input := strings.NewReader("[\"" + strings.Repeat("x", 10<<20))
	reader, err := NewReader(input, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if value, err := reader.Next(); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v, %v", value, err)
	}
	if read := int(input.Size()) - input.Len(); read > 1<<20 {
		t.Errorf("%d bytes were read", read)
	}
}
