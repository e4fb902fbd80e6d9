package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/text"
)

// formatFlags are the flags of commands that print tables for other programs, too.
type formatFlags struct {
	CSV      bool `name:"csv" xor:"output,columns" help:"Print CSV: all fields of the API, under their names, with all digits. A text that a spreadsheet would take for a formula gets a ' in front."`
	Markdown bool `name:"markdown" xor:"output" help:"Print a Markdown table, for an issue or a pull request."`
}

// printCSV prints rows as the API returned them: the named fields first, then the others of T. A field of an
// object in a row has both names: costUsd.ratio.
func printCSV[T any](rows []json.RawMessage, firstNames ...string) error {
	w := newCSV[T](firstNames...)
	for _, row := range rows {
		if err := w.write(row); err != nil {
			return err
		}
	}
	return w.flush()
}

// csvWriter writes the fields of objects.
type csvWriter struct {
	*csv.Writer
	fields []string
}

func newCSV[T any](firstNames ...string) csvWriter {
	fields := slices.DeleteFunc(fieldsOf(reflect.TypeFor[T](), ""), func(name string) bool { return slices.Contains(firstNames, name) })
	w := csvWriter{csv.NewWriter(&stdout), append(slices.Clone(firstNames), fields...)}
	_ = w.Write(w.fields) // Flush returns the error.
	return w
}

// fieldsOf returns the names of the fields in the JSON of a type.
func fieldsOf(t reflect.Type, prefix string) []string {
	var names []string
	for _, field := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		fieldType := field.Type
		if fieldType.Kind() == reflect.Pointer {
			fieldType = fieldType.Elem()
		}
		if fieldType.Kind() == reflect.Struct && fieldType != reflect.TypeFor[time.Time]() {
			names = append(names, fieldsOf(fieldType, prefix+name+".")...)
		} else {
			names = append(names, prefix+name)
		}
	}
	return names
}

func (w csvWriter) write(object json.RawMessage) error {
	record := make([]string, len(w.fields))
	for i, name := range w.fields {
		value := object
		for part := range strings.SplitSeq(name, ".") {
			var members map[string]json.RawMessage
			if err := json.Unmarshal(value, &members); err != nil {
				return err
			}
			if value = members[part]; value == nil {
				value = json.RawMessage("null")
			}
		}
		record[i] = csvValue(value)
	}
	return w.Write(record)
}

func (w csvWriter) flush() error {
	w.Flush()
	return w.Error()
}

// csvValue returns a JSON value as a field of CSV: nothing for null, words for an array of them, other
// arrays and objects as JSON.
func csvValue(value json.RawMessage) string {
	var text *string
	var words []string
	switch {
	case json.Unmarshal(value, &text) == nil:
		if text == nil {
			return ""
		}
		// A spreadsheet runs what begins like this: with one more character it is a text.
		if strings.ContainsAny((*text + " ")[:1], "=+-@\t\r") {
			return "'" + *text
		}
		return *text
	case json.Unmarshal(value, &words) == nil:
		return strings.Join(words, " ")
	}
	var compact bytes.Buffer
	if json.Compact(&compact, value) != nil {
		return string(value)
	}
	return compact.String()
}

// rowsOf returns the rows in the body of a response, or of a body that is an array.
func rowsOf(body []byte) (rows []json.RawMessage, err error) {
	if bytes.HasPrefix(bytes.TrimSpace(body), []byte("[")) {
		return rows, json.Unmarshal(body, &rows)
	}
	var has struct{ Rows []json.RawMessage }
	return has.Rows, json.Unmarshal(body, &has)
}

// printMarkdown prints rows as a table that GitHub renders.
func printMarkdown[T any](f tableFlags, columns []column[T], rows []T) {
	writeMarkdown(&stdout, f, columns, rows)
}

func writeMarkdown[T any](w io.Writer, f tableFlags, columns []column[T], rows []T) {
	chosen := chosenCells(f, columns, rows, 0, time.DateTime)
	line := func(cell func(cells) string) {
		for _, column := range chosen {
			fmt.Fprintf(w, "| %s ", cell(column))
		}
		fmt.Fprintf(w, "|\n")
	}
	line(func(c cells) string { return markdown(c.name) })
	line(func(c cells) string {
		if c.number {
			return "--:"
		}
		return "---"
	})
	for i := range rows {
		line(func(c cells) string {
			if c.drawn && c.values[i] != "" {
				return "`" + c.values[i] + "`"
			}
			return markdown(c.values[i])
		})
	}
}

// markdown escapes what Markdown, or HTML in it, gives a meaning.
func markdown(text string) string {
	var b strings.Builder
	for i, r := range text {
		if strings.ContainsRune("\\`*[]<>|~&$", r) || r == '_' && !isInWord(text, i) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// isInWord reports whether there are letters or digits on both sides of a character of one byte.
func isInWord(text string, at int) bool {
	isWord := func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
	last, _ := utf8.DecodeLastRuneInString(text[:at])
	next, _ := utf8.DecodeRuneInString(text[at+1:])
	return isWord(last) && isWord(next)
}

// page prints a table with sentences, for a terminal, for a file, or as Markdown.
type page struct {
	columns  tableFlags
	markdown bool
	width    int // of the terminal; 0 if there is none
	hidden   []string
}

func newPage(columns tableFlags, format formatFlags) *page {
	p := &page{columns: columns, markdown: format.Markdown}
	if !p.markdown {
		p.width = terminalWidth()
	}
	return p
}

// printOn prints rows. The page has the names of columns that did not fit.
func printOn[T any](p *page, columns []column[T], rows []T) {
	if p.markdown {
		printMarkdown(p.columns, columns, rows)
		return
	}
	p.hidden = append(p.hidden, printTable(p.columns, columns, rows)...)
}

// title prints what an answer says in the first place.
func (p *page) title(sentence string) {
	if p.markdown {
		sentence = "**" + markdown(sentence) + "**"
	}
	printf("%s\n\n", wrapped(sentence, p.width, ""))
}

// notes prints sentences below a table, without empty ones.
func (p *page) notes(sentences ...string) {
	if len(p.hidden) > 0 {
		sentences = append(sentences, "Not shown: "+listed(p.hidden, 4)+"; see --wide and --columns.")
	}
	sentences = slices.DeleteFunc(sentences, func(sentence string) bool { return sentence == "" })
	if len(sentences) == 0 {
		return
	}
	printf("\n")
	for _, sentence := range sentences {
		if p.markdown {
			sentence = markdown(sentence)
		}
		printf("- %s\n", wrapped(sentence, p.width-2, "  "))
	}
}

// unbroken is a space at which no line ends.
const unbroken = "\u00a0"

// wrapped breaks a text into lines of a width, if that is above 0. Lines after the first are indented.
func wrapped(sentence string, width int, indent string) string {
	if width <= 0 {
		return strings.ReplaceAll(sentence, unbroken, " ")
	}
	var lines []string
	line := ""
	for word := range strings.SplitSeq(sentence, " ") {
		if line != "" && text.StringWidthWithoutEscSequences(line+" "+word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return strings.ReplaceAll(strings.Join(append(lines, line), "\n"+indent), unbroken, " ")
}
