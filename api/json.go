package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// jsonFormat is strict JSON (RFC 8259 and RFC 7493): duplicate names, invalid UTF-8
// and lone surrogates are errors, names are case-sensitive.
var jsonFormat = huma.Format{
	Marshal: marshal,
	Unmarshal: func(data []byte, v any) (err error) {
		if run, ok := v.(*checkedRun); ok {
			run.read(data)
			return nil
		}
		inTurnIfLarge(len(data), func() { err = unmarshal(data, v) })
		return err
	},
}

// unmarshal reads a body other than a run.
func unmarshal(data []byte, v any) error {
	if err := scan(data); err != nil {
		return err
	}
	err := decode(data, v)
	if batch, ok := v.(*BatchSubmission); ok && err == nil {
		batch.unknown = unknownFields(data, batchSubmissionFields)
	}
	return err
}

// decode reads JSON for validation, or into a value whose Resolve methods run later.
func decode(data []byte, v any) error {
	if _, forValidation := v.(*any); forValidation {
		return publicError(data, json.Unmarshal(data, v, forSchema()))
	}
	return publicError(data, json.Unmarshal(data, v, readAllFields))
}

// encoded is a value that is JSON already.
type encoded []byte

// marshal writes the whole response at once: the encoder alone would write it, and
// the server send it, in pieces of a few kilobytes.
func marshal(w io.Writer, v any) error {
	text, err := encode(v)
	if err == nil {
		_, err = w.Write(text)
	}
	return err
}

func encode(v any) ([]byte, error) {
	switch v := v.(type) {
	case encoded:
		return v, nil
	case []Run:
		return appendInTurn(v, func(b []byte) ([]byte, error) { return appendRuns(b, v), nil })
	case BatchDetails:
		return appendInTurn(v.Runs, func(b []byte) ([]byte, error) { return appendBatch(b, &v) })
	}
	return json.Marshal(v, asStored)
}

// appendInTurn appends runs to a slice with about as many bytes as they have in JSON: a slice that
// is too short would be copied, which takes several times as much memory.
func appendInTurn(runs []Run, add func([]byte) ([]byte, error)) (text []byte, err error) {
	length := lengthOf(runs)
	inTurnIfLarge(length, func() { text, err = add(make([]byte, 0, length)) })
	return text, err
}

// lengthOf is about how many bytes a body has in JSON, as far as it consists of runs.
func lengthOf(body any) int {
	const fields = 800 // of a run, without what may be large
	switch body := body.(type) {
	case BatchDetails:
		return len(body.Metadata.text) + lengthOf(body.Runs)
	case []Run:
		length := fields
		for i := range body {
			length += fields + len(body[i].Metadata.text)
		}
		return length
	}
	return 0
}

// encodeBody encodes the body of a response, and counts it until the response is sent. The body
// itself is cleared: a slow client keeps no more in memory than the text.
func (s *server) encodeBody(ctx context.Context, body reflect.Value) error {
	value, info := body.Interface(), requestInfoFrom(ctx)
	if err := s.countResponse(ctx, lengthOf(value)); err != nil {
		return err
	}
	text, err := encode(value)
	if err == nil {
		err = s.countResponse(ctx, len(text))
	}
	if err != nil {
		return err
	}
	body.SetZero()
	info.body = text
	return nil
}

// countResponse counts at least so many bytes of a response until it is sent.
func (s *server) countResponse(ctx context.Context, size int) error {
	info := requestInfoFrom(ctx)
	more := size - info.counted
	if size <= smallResponse || more <= 0 {
		return nil
	}
	if !s.responses.take(senderOf(ctx), int64(more)) {
		return busy()
	}
	info.counted = size
	return nil
}

// finishBody returns what is sent as the body of a response: what was encoded before, or a
// problem document with the request ID.
func finishBody(ctx huma.Context, _ string, body any) (any, error) {
	info := requestInfoFrom(ctx.Context())
	if problem, ok := body.(*Problem); ok {
		problem.RequestID = info.id
		return problem, nil
	}
	if info.body != nil {
		return encoded(info.body), nil
	}
	return body, nil
}

// asStored keeps the form in which strings of metadata were sent.
var asStored = jsontext.PreserveRawStrings(true)

// readAllFields continues after a field of the wrong type, so that the Resolve methods
// of the other fields see their values.
var readAllFields = jsonv1.ReportErrorsWithLegacySemantics(true)

// notRepresentable replaces a number outside the range of double precision. No schema
// accepts it, so that validation reports its field.
type notRepresentable struct{}

// errTooManyValues is the error of a body that has more values than are validated.
var errTooManyValues = errors.New("too many values")

// forSchema lets huma validate a limited number of values, and integers with all their digits.
func forSchema() json.Options {
	left := maxValues
	return json.WithUnmarshalers(json.UnmarshalFromFunc(func(decoder *jsontext.Decoder, value *any) error {
		if left--; left < 0 {
			return errTooManyValues
		}
		switch decoder.PeekKind() { //nolint:exhaustive // the others are read as usual
		case '0':
			return decodeNumber(decoder, value)
		case '{':
			// Metadata may have many values; it validates itself.
			if decoder.StackDepth() == 1 && decoder.StackPointer() == "/metadata" {
				*value = map[string]any{}
				return decoder.SkipValue()
			}
		}
		return errors.ErrUnsupported
	}))
}

func decodeNumber(decoder *jsontext.Decoder, value *any) error {
	number, err := decoder.ReadValue()
	if err != nil {
		return err
	}
	if integer, err := strconv.ParseInt(string(number), 10, 64); err == nil {
		*value = integer
		return nil
	}
	double, err := strconv.ParseFloat(string(number), 64)
	if err != nil {
		*value = notRepresentable{}
		return nil //nolint:nilerr // validation reports it
	}
	*value = double
	return nil
}

// halfPair begins with an escape of half of a surrogate pair.
var halfPair = regexp.MustCompile(`^\\u[dD][89a-fA-F]`)

// publicError converts an error of the decoder to one for the client: it has the place, but
// neither the value nor a Go type.
func publicError(text []byte, err error) error {
	var syntactic *jsontext.SyntacticError
	var semantic *json.SemanticError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errTooManyValues):
		return fmt.Errorf("it is not valid, and has more than %d values", maxValues)
	case errors.Is(err, jsontext.ErrDuplicateName) && errors.As(err, &syntactic):
		return errors.New("a name appears twice in one object" + inField(syntactic.JSONPointer.Parent()))
	case errors.As(err, &syntactic):
		at := syntactic.ByteOffset
		if halfPair.Match(text[min(at, int64(len(text))):]) {
			return fmt.Errorf("a \\u escape is half of a surrogate pair, at byte %d%s", at, inField(syntactic.JSONPointer))
		}
		return fmt.Errorf("not valid JSON in UTF-8, at byte %d%s", at, inField(syntactic.JSONPointer))
	case errors.As(err, &semantic):
		return fmt.Errorf("the value at %s has the wrong type", semantic.JSONPointer)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("not valid JSON: it ends too early")
	}
	return errors.New("not valid JSON")
}

// inField describes a place in a value, as " in evaluations[0].details". Long names
// are cut, and control characters left out.
func inField(pointer jsontext.Pointer) string {
	var path strings.Builder
	for token := range pointer.Tokens() {
		if _, err := strconv.Atoi(token); err == nil {
			path.WriteString("[" + token + "]")
		} else {
			path.WriteString("." + token)
		}
		if path.Len() > maxName {
			break
		}
	}
	if path.Len() == 0 {
		return ""
	}
	shown := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.TrimPrefix(path.String(), "."))
	return " in " + cut(shown, maxName)
}
