package fuzz

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"pgregory.net/rapid"
)

const key = "the-key"

// request is a request to be sent, and what may come of it.
type request struct {
	method, target string
	header         http.Header
	body           *string
	want           []int // the statuses that are right; none: any that is documented
}

// requests makes requests for an operation.
type requests struct {
	values
	known []string // ids that are stored
}

// one returns a sound request, or one with a fault of some kind.
func (r requests) one(o *operation) request {
	makers := []func(*operation) request{r.sound, r.sound, r.unknownParameter, r.oddHeaders}
	if len(o.parameters) > 0 {
		makers = append(makers, r.sound, r.badParameter, r.badParameter, r.badParameter)
	}
	if o.secured {
		makers = append(makers, r.withoutKey)
	}
	if o.body != nil {
		makers = append(makers, r.badField, r.badField, r.badField, r.badField, r.badField, r.noJSON, r.noJSON, r.otherType)
		if r.chance(200) {
			return r.hugeBody(o)
		}
	}
	return sample(r.values, makers...)(o)
}

// dependent are the operations with parameters that depend on one another, which the document has
// no words for.
var dependent = []string{"get-comparison", "list-comparison-details", "get-power-plan"}

// sound returns a request that the document allows.
func (r requests) sound(o *operation) request {
	made := request{method: o.method, header: http.Header{}, want: o.successes()}
	if slices.Contains(dependent, o.id) {
		made.want = append(made.want, http.StatusUnprocessableEntity)
	}
	target, query := o.path, url.Values{}
	for _, p := range o.parameters {
		switch {
		case p.In == "path":
			target = strings.ReplaceAll(target, "{"+p.Name+"}", r.id(p))
		case p.Name == "cursor": // The next page's link has one; sequences follow it.
		case p.Required, slices.Contains(dependent, o.id) && r.chance(2), r.chance(max(2, len(o.parameters)/2)): // With all filters, no list would have a row.
			r.addTo(query, p)
		}
	}
	if o.id == "get-power-plan" && query.Has("suite") { // It estimates these from runs.
		for _, name := range []string{"discordant", "betweenVariance", "baselineVariance", "candidateVariance"} {
			query.Del(name)
		}
	}
	made.target = target
	if len(query) > 0 {
		made.target += "?" + query.Encode()
	}
	if o.secured {
		made.header.Set("Authorization", sample(r.values, "Bearer ", "Bearer ", "bearer ", "BEARER  ")+key)
	}
	if o.body != nil {
		made = made.with(r.valid(o.body))
		if o.lines {
			return made.asLines(r.chance(2))
		}
		if contentType := sample(r.values, "application/json", "application/json; charset=utf-8", "text/plain;charset=UTF-8", ""); contentType != "" {
			made.header.Set("Content-Type", contentType)
		}
	}
	return made
}

func (q request) with(body string) request {
	q.body = &body
	return q
}

// asLines sends a list as lines, or as it is.
func (q request) asLines(do bool) request {
	var list []json.RawMessage
	if !do || json.Unmarshal([]byte(*q.body), &list) != nil || len(list) == 0 {
		q.header.Set("Content-Type", "application/json")
		return q
	}
	var lines bytes.Buffer
	for _, line := range list {
		_ = json.Compact(&lines, line) // It was read.
		lines.WriteByte('\n')
	}
	q.header.Set("Content-Type", "application/x-ndjson")
	return q.with(lines.String())
}

// invalid are the answers to a body at fault; lines are answered each by itself.
func (o *operation) invalid() []int {
	if o.lines {
		return nil
	}
	return []int{http.StatusBadRequest, http.StatusUnprocessableEntity}
}

// id returns an id for a path, mostly one that is there.
func (r requests) id(p parameter) string {
	if len(r.known) > 0 && !r.chance(4) {
		return url.PathEscape(sample(r.values, r.known...))
	}
	return url.PathEscape(r.text(p.Schema))
}

// addTo adds a parameter to a query, several times if it is a list.
func (r requests) addTo(query url.Values, p parameter) {
	s := r.spec.resolve(p.Schema)
	switch s.kind() {
	case "array":
		for range rapid.IntRange(1, 3).Draw(r.T, "values") {
			query.Add(p.Name, r.parameter(sub(s["items"])))
		}
	case "object":
		for range rapid.IntRange(1, 3).Draw(r.T, "members") {
			key, value := r.text(schema{}), r.text(sub(s["additionalProperties"]))
			if value == "" || r.chance(2) {
				value = sample(r.values, "1", "-0.5e-7", "1e999", "1e-9999", "null", "true", `"x"`, `"\u0000"`, "[1]", "{}", "0x1", " 2 ")
			}
			query.Add(sample(r.values, p.Name+"."+key, p.Name+"["+key+"]"), value)
		}
	default:
		query.Set(p.Name, r.parameter(p.Schema))
	}
}

func (r requests) parameter(of schema) string {
	s := r.spec.resolve(of)
	if names, ok := s["enum"].([]any); ok {
		return sample(r.values, names...).(string)
	}
	if s.kind() == "integer" {
		number, _, _ := strings.Cut(r.integer(schema{"minimum": s.number("minimum", 0)}), ".")
		most := s.number("maximum", 10000)
		if n, err := strconv.Atoi(number); err != nil || n > most {
			return sample(r.values, "1", "2", strconv.Itoa(most))
		}
		return number
	}
	if s.kind() == "number" {
		return sample(r.values, "0.5", "0.75", "9.5e-1") // within the bounds of nearly all
	}
	if s.text("format") == "date-time" {
		return sample(r.values, "2025-11-17T10:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z", "2025-11-17t10:00:00.5-23:59")
	}
	if s.kind() == "boolean" {
		return "false" // strict=true refuses the unknown fields that bodies have.
	}
	return r.text(s)
}

// badParameter has one parameter at fault.
func (r requests) badParameter(o *operation) request {
	made := r.sound(o)
	p := sample(r.values, o.parameters...)
	s := r.spec.resolve(p.Schema)
	if s.kind() == "array" {
		s = r.spec.resolve(sub(s["items"]))
	}
	bad := []string{"%00", "a%00b", "%ff", "%ed%a0%80", "%c0%af"}
	switch {
	case s["enum"] != nil:
		bad = append(bad, "Completed", "x", "completed,failed")
	case s.kind() == "integer":
		bad = append(bad, strconv.Itoa(s.number("minimum", 1)-1), "-1", "10001", "1.5", "1e3", "0x10", "9223372036854775808", "%20", "abc", "null", "1%2C2")
	case s.kind() == "number":
		bad = append(bad, "-1", "abc", "NaN", "Infinity", "1e999", "1%2C2")
	case s.text("format") == "date-time":
		bad = append(bad, "now", "2025-11-17", "0000-12-31T00:00:00Z", "9999-12-31T23:59:59-01:00", "2025-11-17T10:00:00")
	case s.kind() == "boolean":
		bad = append(bad, "yes", "2", "null", "true,false")
	case s.kind() == "string":
		for _, text := range []string{strings.Repeat("x", s.number("maxLength", 0)+1), "a\nb", "\x7f"} {
			if text != "x" && (!matches(s, text) || len(text) > 3) {
				bad = append(bad, url.QueryEscape(text))
			}
		}
	}
	made.want = []int{http.StatusUnprocessableEntity}
	value := sample(r.values, bad...)
	if p.In == "path" {
		made.target = strings.ReplaceAll(o.path, "{"+p.Name+"}", strings.ReplaceAll(value, "+", "%20"))
		return made
	}
	if p.Name == "cursor" {
		value = sample(r.values, append(bad, "x", "AAAA", "e30", "eyJhIjoxfQ", "..", "%7B%7D", strings.Repeat("A", 1000))...)
	}
	return made.and(p.Name + "=" + value)
}

// and adds to the query, in place of what is there by the same name.
func (q request) and(parameter string) request {
	path, query, _ := strings.Cut(q.target, "?")
	name, _, _ := strings.Cut(parameter, "=")
	parts := slices.DeleteFunc(strings.Split(query, "&"), func(part string) bool {
		return part == "" || strings.HasPrefix(part, name+"=")
	})
	q.target = path + "?" + strings.Join(append(parts, parameter), "&")
	return q
}

func (r requests) unknownParameter(o *operation) request {
	made := r.sound(o).and(sample(r.values, "x=1", "Limit=1", "%00=1", "limit%5B%5D=1", "%zz=1", "unknown=%F0%9F%98%80", "filter[a]=b"))
	if !strings.HasPrefix(o.path, "/api/") {
		return made // Health checks take any query.
	}
	made.want = []int{http.StatusUnprocessableEntity}
	return made
}

func (r requests) withoutKey(o *operation) request {
	made := r.sound(o)
	if r.chance(2) {
		made.header.Set("Authorization", sample(r.values, "Bearer wrong", "Bearer "+key+"x", "Bearer "+key+" "+key, "Bearer \xff", "Bearer "+strings.Repeat("k", 9000)))
		made.want = []int{http.StatusForbidden}
		return made
	}
	made.header.Del("Authorization")
	if value := sample(r.values, "", "Bearer", "Bearer ", "Basic dGhlLWtleQ==", key, "Bearer\t"+key); value != "" {
		made.header.Set("Authorization", value)
	}
	made.want = []int{http.StatusUnauthorized}
	return made
}

// oddHeaders may be answered in any documented way.
func (r requests) oddHeaders(o *operation) request {
	made := r.sound(o)
	made.want = nil
	for range rapid.IntRange(1, 3).Draw(r.T, "headers") {
		name := sample(r.values, "X-Request-Id", "Accept", "Accept-Encoding", "Content-Type", "Authorization", "Origin", "Content-Encoding",
			"If-None-Match", "Range", "Expect-Ct", "Cookie", "X-Forwarded-For", "Traceparent", "Idempotency-Key")
		made.header.Add(name, sample(r.values, "", "*", "x", "\xff\xfe", "é", "null", ";;;", "a/b;q=x", "application/json, text/html;q=0", "application/xml",
			"gzip", "bytes=0-1", "'; drop table x; --", "00-"+strings.Repeat("0", 32)+"-0000000000000000-00", strings.Repeat("h", 8000)))
	}
	return made
}

// badField has one field of the body at fault.
func (r requests) badField(o *operation) request {
	made := r.sound(o).with(r.with(o.body, sample(r.values, r.spec.places(o.body)...), nil))
	made.want = o.invalid()
	return made
}

// noJSON has a body that is no JSON, or not an object, or says things twice.
func (r requests) noJSON(o *operation) request {
	valid := r.valid(o.body)
	body := sample(r.values, "", " ", "null", "[]", `"x"`, "1", "true", "{}", "{", "}", "[", "\x00", "\xff", "\ufeff", "\x1f\x8b\x08\x00",
		"\ufeff"+valid, valid+valid, valid+"}", valid+",", valid+"\x00", "["+valid+"]", "/**/"+valid, valid[:len(valid)/2], valid[1:],
		`{"unknown":1,"unknown":2,`+strings.TrimSpace(valid)[1:], "{\"unknown\":\"\xff\","+strings.TrimSpace(valid)[1:], `{"unknown":"\ud800",`+strings.TrimSpace(valid)[1:],
		strings.Repeat("[", 100_000), strings.Repeat(`{"a":`, 50_000), "a=b&c=d", "<xml/>", string([]byte{0xfe, 0xff, 0, '{', 0, '}'}), strings.ReplaceAll(valid, `"`, "'"))
	if o.optionalBody && slices.Contains([]string{"", "null", "{}"}, strings.Join(strings.Fields(body), "")) {
		return r.sound(o)
	}
	made := r.sound(o).with(body)
	made.want = o.invalid()
	return made
}

func (r requests) otherType(o *operation) request {
	made := r.sound(o)
	made.header.Set("Content-Type", sample(r.values, "application/xml", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
		"application/octet-stream", "text/html", "image/png"))
	made.want = []int{http.StatusUnsupportedMediaType}
	return made
}

func (r requests) hugeBody(o *operation) request {
	made := r.sound(o).with(`{"unknown":"` + strings.Repeat("x", 9<<20) + `"}`)
	if o.lines {
		made = made.with(strings.Repeat("5\n", 10_001))
		made.header.Set("Content-Type", "application/x-ndjson")
	}
	made.want = []int{http.StatusRequestEntityTooLarge}
	return made
}

// unrouted is a request that no operation takes.
func (r requests) unrouted() request {
	path := sample(r.values, "/", "/api", "/api/", "/api/runs/", "/api/runs/a/b", "/api/results", "/api/results/", "//api/runs", "/api//runs", "/API/runs",
		"/api/runs/a/evaluations/", "/api/batches/..", "/api/runs/.", "/%00", "/%ff", "/api/runs%2Fa", "/api/runs/%2e%2e/x", "/.git/config", "/api/stats/x",
		"/"+strings.Repeat("a/", 2000), "/api/runs/"+url.PathEscape(r.text(schema{"maxLength": 3000})))
	method := sample(r.values, "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "get")
	made := request{method: method, target: path, header: http.Header{}}
	if r.chance(2) {
		made = made.with(r.any(2))
		made.header.Set("Authorization", "Bearer "+key)
	}
	return made
}

// decode reads JSON, numbers to the digit.
func decode[V any](text string) (V, error) {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var value V
	err := decoder.Decode(&value)
	return value, err
}
