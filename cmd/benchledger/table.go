package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"
)

// column is a column of a table.
type column[T any] struct {
	name  string
	value func(T) any
	// rank decides which columns fit on a terminal: 0 is always shown, then the lowest first.
	rank int
	// extra columns are left out if standard output is not a terminal, unless requested.
	extra bool
	// wide columns are left out everywhere, unless requested.
	wide bool
	// number columns are aligned on the right.
	number bool
	// drawn columns have bars.
	drawn bool
}

const (
	// columnGap is the space between columns.
	columnGap = 2
	// shortColumn is the minimum width of a column with shortened values.
	shortColumn = 16
	// defaultWidth is used if the width of the terminal is unknown.
	defaultWidth = 80
	// minutes is the layout of times on a terminal.
	minutes = "2006-01-02 15:04"
)

// terminalWidth returns the width of the terminal, 0 if standard output is not a terminal.
func terminalWidth() int {
	width, _, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil {
		return 0
	}
	if width <= 0 {
		return defaultWidth
	}
	return width
}

// tableFlags are the flags of commands that print long tables.
type tableFlags struct {
	Columns []string `placeholder:"NAME" xor:"columns" help:"Print these columns, in this order and in full."`
	Wide    bool     `xor:"columns" help:"Print all columns, in full."`
}

// checkColumns checks the flag --columns.
func checkColumns[T any](f tableFlags, columns []column[T]) error {
	for _, name := range f.Columns {
		if !slices.ContainsFunc(columns, func(c column[T]) bool { return c.name == name }) {
			return fmt.Errorf("--columns: there is no column %q; the columns are %s", name, columnNames(columns))
		}
	}
	return nil
}

func columnNames[T any](columns []column[T]) string {
	names := make([]string, len(columns))
	for i, column := range columns {
		names[i] = column.name
	}
	return strings.Join(names, ", ")
}

// printTable prints rows. On a terminal it fits the table to the width: it prints columns with the
// same value in all rows above the table, leaves out columns that do not fit, and returns their names.
// Without a terminal, the columns are always the same.
func printTable[T any](f tableFlags, columns []column[T], rows []T) (hidden []string) {
	width := terminalWidth()
	fit := width > 0 && !f.Wide && f.Columns == nil && len(rows) > 0
	layout := time.DateTime
	if width > 0 {
		layout = minutes
	}
	chosen := chosenCells(f, columns, rows, width, layout)
	if fit {
		var same []string
		if chosen, same, hidden = fitted(chosen, width); len(same) > 0 {
			for line := range strings.SplitSeq(text.WrapSoft(strings.Join(same, ", "), width), "\n") {
				printf("%s\n", strings.TrimSpace(line))
			}
			printf("\n")
		}
	}
	writer := table.NewWriter()
	writer.SetOutputMirror(&stdout)
	writer.SetStyle(table.StyleLight)
	writer.Style().Options = table.OptionsNoBordersAndSeparators
	writer.Style().Box.PaddingLeft, writer.Style().Box.PaddingRight = "", strings.Repeat(" ", columnGap)
	writer.SuppressTrailingSpaces()
	head := table.Row{}
	var aligned []table.ColumnConfig
	for i, column := range chosen {
		head = append(head, column.name)
		if column.number {
			aligned = append(aligned, table.ColumnConfig{Number: i + 1, Align: text.AlignRight, AlignHeader: text.AlignRight})
		}
	}
	writer.SetColumnConfigs(aligned)
	writer.AppendHeader(head)
	for i := range rows {
		row := table.Row{}
		for _, column := range chosen {
			row = append(row, column.values[i])
		}
		writer.AppendRow(row)
	}
	writer.Render()
	return hidden
}

// chosenCells returns the columns to print: those that were requested, or else those for a terminal of a width (0
// for none).
func chosenCells[T any](f tableFlags, columns []column[T], rows []T, width int, layout string) (chosen []cells) {
	for _, name := range f.Columns {
		i := slices.IndexFunc(columns, func(c column[T]) bool { return c.name == name })
		chosen = append(chosen, cellsOf(columns[i], rows, layout))
	}
	for _, column := range columns {
		if f.Columns == nil && (f.Wide || !column.wide && (!column.extra || width > 0)) {
			chosen = append(chosen, cellsOf(column, rows, layout))
		}
	}
	return chosen
}

// cells are the formatted values of a column.
type cells struct {
	name          string
	rank          int
	number, drawn bool
	values        []string
	width         int
}

func cellsOf[T any](column column[T], rows []T, layout string) cells {
	c := cells{name: column.name, rank: column.rank, number: column.number, drawn: column.drawn, width: len(column.name)}
	for _, row := range rows {
		cell := shownWith(column.value(row), layout)
		c.values = append(c.values, cell)
		c.width = max(c.width, text.StringWidthWithoutEscSequences(cell))
	}
	return c
}

// fitted returns the columns that fit into a width, the columns with a single value as name and value,
// and the names of columns that do not fit. If the columns of rank 0 alone are too wide, the widest is
// shortened.
func fitted(all []cells, width int) (fit []cells, same, hidden []string) {
	room := width + columnGap
	widths := map[string]int{}
	var optional []cells
	for _, c := range all {
		if first := c.values[0]; c.rank > 0 || first == "" {
			if len(slices.Compact(slices.Clone(c.values))) == 1 {
				if first != "" {
					same = append(same, c.name+" "+first)
				}
				continue
			}
		}
		if c.rank > 0 {
			optional = append(optional, c)
			continue
		}
		widths[c.name] = c.width
		room -= c.width + columnGap
	}
	if room < 0 {
		widest := slices.MaxFunc(all, func(a, b cells) int { return widths[a.name] - widths[b.name] }).name
		widths[widest] = max(shortColumn, widths[widest]+room)
	}
	slices.SortStableFunc(optional, func(a, b cells) int { return a.rank - b.rank })
	for _, c := range optional {
		if need := min(c.width, shortColumn); need+columnGap <= room {
			widths[c.name] = need
			room -= need + columnGap
		} else {
			hidden = append(hidden, c.name)
		}
	}
	for _, c := range optional {
		if w, isShown := widths[c.name]; isShown {
			widths[c.name] += min(c.width-w, room)
			room -= widths[c.name] - w
		}
	}
	for _, c := range all {
		w, isShown := widths[c.name]
		if !isShown {
			continue
		}
		for i, value := range c.values {
			c.values[i] = text.Snip(value, w, "…")
		}
		fit = append(fit, c)
	}
	return fit, same, hidden
}

// show prints rows as a table or as lines of JSON.
func show[T any](asJSON bool, columns []column[T], rows []T) error {
	if !asJSON {
		printTable(tableFlags{}, columns, rows)
		return nil
	}
	encoder := json.NewEncoder(&stdout)
	encoder.SetEscapeHTML(false)
	for _, item := range rows {
		if err := encoder.Encode(item); err != nil {
			return err
		}
	}
	return nil
}

// section is a title with lines of names and values. Lines without a value and sections without
// lines are left out.
type section struct {
	title string
	lines [][2]string
}

func (s *section) add(name string, value any) {
	if text := shown(value); text != "" {
		s.lines = append(s.lines, [2]string{name, text})
	}
}

func (s *section) addTime(name string, at *time.Time) {
	if at != nil {
		s.add(name, shown(at)+" UTC")
	}
}

// addNumber adds a number, with all digits.
func (s *section) addNumber(name string, n *float64) {
	if n != nil {
		s.add(name, *n)
	}
}

func (s *section) print() {
	if len(s.lines) == 0 {
		return
	}
	if s.title != "" {
		printf("\n%s\n", s.title)
	}
	longest := 0
	for _, line := range s.lines {
		longest = max(longest, len(line[0]))
	}
	for _, line := range s.lines {
		printf("  %-*s  %s\n", longest, line[0], line[1])
	}
}

// shown formats a value for people: nothing for null, and no control characters, which the
// terminal would interpret.
func shown(value any) string { return shownWith(value, time.DateTime) }

// shownWith is like shown, with a layout for times.
func shownWith(value any, layout string) string {
	text := ""
	switch value := value.(type) {
	case *string:
		if value != nil {
			text = *value
		}
	case *float64:
		if value != nil {
			text = fmt.Sprintf("%.4g", *value)
		}
	case *int64:
		if value != nil {
			text = fmt.Sprint(*value)
		}
	case *time.Time:
		if value != nil {
			text = value.Format(layout)
		}
	case time.Time:
		text = value.Format(layout)
	case *time.Duration:
		if value != nil {
			text = roundly(*value).String()
		}
	case bool:
		text = "no"
		if value {
			text = "yes"
		}
	case *bool:
		if value != nil {
			return shown(*value)
		}
	default:
		text = fmt.Sprint(value)
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return '·'
		}
		return r
	}, text)
}

// roundly rounds a duration to a readable precision.
func roundly(d time.Duration) time.Duration {
	switch {
	case d >= time.Minute:
		return d.Round(time.Second)
	case d >= time.Second:
		return d.Round(100 * time.Millisecond)
	default:
		return d.Round(100 * time.Microsecond)
	}
}

// milliseconds returns a duration, nil if unknown or too long for time.Duration.
func milliseconds(n *int64) *time.Duration {
	if n == nil || *n > math.MaxInt64/int64(time.Millisecond) || *n < 0 {
		return nil
	}
	return new(time.Duration(*n) * time.Millisecond)
}
