package api

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"
)

// What a body may have at most, so that a small one does not cost much memory or time.
const (
	// maxNumber is how many characters a number may have: reading a longer one exactly takes
	// quadratic time.
	maxNumber = 400
	// maxEvaluations is how many evaluations a run may have: more cannot be stored within the
	// deadline of a request.
	maxEvaluations = 10_000
	// maxNames is how many names of members a body may have: the names of an object are all kept
	// to find those that appear twice.
	maxNames = 100_000
	// maxValues is how many values of a body are read to validate it against its schema.
	maxValues = 200_000
	// maxFaults is how many errors a response has.
	maxFaults = 100
)

// tooMuch returns what a submission has too much of, nil if nothing. It allocates no
// memory for what it reads.
func tooMuch(raw []byte) error {
	if err := scan(raw); err != nil {
		return &huma.ErrorDetail{Location: "body", Message: err.Error()}
	}
	if bytes.Count(raw, []byte(",")) >= maxEvaluations && hasMany(raw, "evaluations", maxEvaluations) {
		return &huma.ErrorDetail{Location: "body.evaluations", Message: fmt.Sprintf("expected array length <= %d", maxEvaluations)}
	}
	return nil
}

// scan returns an error for a JSON text that would take long to parse, or much memory.
func scan(text []byte) error {
	number, names := -1, 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c >= '0' && c <= '9', c == '-', c == '+', c == '.', c == 'e', c == 'E':
			if number < 0 {
				number = i
			}
			if i-number >= maxNumber {
				return fmt.Errorf("expected numbers of at most %d characters; a longer one is at byte %d", maxNumber, number)
			}
			continue
		case c == ':':
			if names++; names > maxNames {
				return fmt.Errorf("expected at most %d names of members", maxNames)
			}
		case c == '"':
			i = endOfString(text, i)
		}
		number = -1
	}
	return nil
}

// endOfString returns where the string that begins at i ends.
func endOfString(text []byte, i int) int {
	for {
		length := bytes.IndexByte(text[i+1:], '"')
		if length < 0 {
			return len(text)
		}
		escapes := 0
		for text[i+length-escapes] == '\\' { // It stops at the quotation mark that begins the string.
			escapes++
		}
		i += length + 1
		if escapes%2 == 0 {
			return i
		}
	}
}

// hasMany reports whether a member of an object is an array with more than most elements.
func hasMany(raw []byte, member string, most int) bool {
	decoder := jsontext.NewDecoder(bytes.NewBuffer(raw), jsontext.AllowDuplicateNames(true))
	if _, err := decoder.ReadToken(); err != nil {
		return false // Validation says so.
	}
	for decoder.PeekKind() == '"' {
		name, err := decoder.ReadToken()
		if err != nil {
			return false
		}
		if name.String() != member || decoder.PeekKind() != '[' {
			if decoder.SkipValue() != nil {
				return false
			}
			continue
		}
		if _, err := decoder.ReadToken(); err != nil {
			return false
		}
		for n := 0; decoder.PeekKind() != ']'; n++ {
			if n == most {
				return true
			}
			if decoder.SkipValue() != nil {
				return false
			}
		}
		return false
	}
	return false
}

// heavyBytes is the size from which a text takes long to read or to write.
const heavyBytes = 256 << 10

// turns has a place for half of the processors.
var turns = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))

// inTurnIfLarge runs work on a text of so many bytes, in turn if they are many.
func inTurnIfLarge(size int, work func()) {
	if size <= heavyBytes {
		work()
		return
	}
	inTurn(work)
}

// inTurn runs what takes much processor time and waits for nothing. It pauses for half as long
// before the next one, so that large bodies take at most a third of the processors.
func inTurn(work func()) {
	turns <- struct{}{}
	defer func() { <-turns }()
	begin := time.Now()
	work()
	time.Sleep(time.Since(begin) / 2)
}

// andMore is the last error of a list that does not say how many there are.
const andMore = "and more"

// cutErrors shortens a list of errors about one part of a request, and says so.
func cutErrors(location string, errors []FieldError, most int) []FieldError {
	if len(errors) <= most {
		return errors
	}
	message := fmt.Sprintf("and %d more", len(errors)-most+1)
	if errors[len(errors)-1].Message == andMore {
		message = andMore
	}
	return append(slices.Clone(errors[:most-1]), FieldError{location, message})
}

// maxAhead is how far a time may be in the future: a run that began in the year 9999 would be
// the first of every list for ever.
const maxAhead = 24 * time.Hour

// futureTimes returns an error for each time that is too far in the future. A key of the scope
// admin may submit any.
func futureTimes(ctx context.Context, times ...namedTime) (errors []FieldError) {
	if requestInfoFrom(ctx).isAdmin {
		return nil
	}
	for _, field := range times {
		if field.at != nil && time.Until(field.at.Time) > maxAhead {
			errors = append(errors, FieldError{"body." + field.name, "expected a time at most a day ahead of the server's clock; only a key of the scope admin may submit later ones"})
		}
	}
	return errors
}

// namedTime is a field with a time.
type namedTime struct {
	name string
	at   *Time
}
