package api_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"testing"
	"time"
)

// TestExchanges sends the requests that the replaced system was recorded with, in
// their order, and compares the responses. If a response differs from the original's,
// the file has both.
func TestExchanges(t *testing.T) {
	t.Parallel()
	type response struct {
		Status      int
		ContentType string
		Body        any
	}
	type exchange struct {
		Name    string
		Request struct {
			Method, Path, Raw string
			Headers           map[string]string
			Body              json.RawMessage
		}
		Response response
		Original *response
	}
	content, err := os.ReadFile("testdata/exchanges.json")
	if err != nil {
		t.Fatal(err)
	}
	var exchanges []exchange
	if err := json.Unmarshal(content, &exchanges); err != nil {
		t.Fatal(err)
	}
	if len(exchanges) != 41 {
		t.Fatalf("%d exchanges, want 41", len(exchanges))
	}
	s := setup(t)
	for _, e := range exchanges {
		var headers []string
		for name, value := range e.Request.Headers {
			if value == "Bearer dev-local-key" {
				value = "Bearer " + key
			}
			headers = append(headers, name, value)
		}
		body := any(nil)
		if e.Request.Raw != "" {
			body = e.Request.Raw
		} else if e.Request.Body != nil {
			body = string(e.Request.Body)
		}
		got := s.do(e.Request.Method, e.Request.Path, body, headers...)
		if got.status != e.Response.Status || got.header.Get("Content-Type") != e.Response.ContentType {
			t.Errorf("%s: %d %s, want %d %s", e.Name, got.status, got.header.Get("Content-Type"), e.Response.Status, e.Response.ContentType)
		}
		var value any
		if err := json.Unmarshal([]byte(got.body), &value); err != nil {
			t.Errorf("%s: %v", e.Name, err)
		}
		for _, difference := range differences("", value, e.Response.Body) {
			t.Errorf("%s: %s", e.Name, difference)
		}
	}
}

// timeReadBack has three fractional digits, or six when needed.
var timeReadBack = regexp.MustCompile(`\.(\d{3}|\d{3}(?:[1-9]\d\d|\d[1-9]\d|\d\d[1-9]))Z$`)

// differences compares JSON values; "<time>" and "<id>" match any time and ID.
func differences(path string, got, want any) []string {
	switch want := want.(type) {
	case string:
		text, ok := got.(string)
		if want == "<id>" && ok && text != "" {
			return nil
		}
		if want == "<time>" {
			if _, err := time.Parse(time.RFC3339, text); err == nil && timeReadBack.MatchString(text) {
				return nil
			}
		}
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok || len(object) != len(want) {
			break
		}
		var all []string
		for name := range want {
			all = append(all, differences(path+"."+name, object[name], want[name])...)
		}
		return all
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			break
		}
		var all []string
		for i := range want {
			all = append(all, differences(fmt.Sprintf("%s[%d]", path, i), list[i], want[i])...)
		}
		return all
	default:
		if got == want {
			return nil
		}
	}
	if text, ok := want.(string); ok && got == text {
		return nil
	}
	return []string{fmt.Sprintf("%s is %v, want %v", path, got, want)}
}
