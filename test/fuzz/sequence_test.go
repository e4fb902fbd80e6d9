package fuzz

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"pgregory.net/rapid"
)

// perSequence is how many requests a sequence makes, about.
const perSequence = 20

type object = map[string]any

// sequence submits, changes and reads the runs of a suite of its own, and knows what
// has to come back.
type sequence struct {
	requests
	service *service
	suite   string
	batch   string
	stored  map[string]object // the last submission that was stored, by runId
	texts   map[string]string // its text
	started map[string]time.Time
}

// sequences counts them, so that each has names of its own.
var sequences atomic.Int64

func runSequence(t *rapid.T, s *service) {
	n := sequences.Add(1) // What failed is tried again on the same database.
	q := &sequence{
		requests: requests{values: values{t, s.spec}}, service: s,
		suite: fmt.Sprint("suite-", n), batch: fmt.Sprintf("batch-%d/%s", n, "ä"),
		stored: map[string]object{}, texts: map[string]string{}, started: map[string]time.Time{},
	}
	for range rapid.IntRange(2, 5).Draw(t, "runs") {
		q.submit(fmt.Sprintf("%d-%d-%s", n, len(q.stored), q.text(schema{"maxLength": 100, "pattern": `^[^\x00-\x1f\x7f-\x9f]*$`})))
	}
	ids := slices.Sorted(maps.Keys(q.stored))
	for range rapid.IntRange(2, 6).Draw(t, "steps") {
		id := sample(q.values, ids...)
		switch rapid.IntRange(0, 3).Draw(t, "step") {
		case 0:
			q.replay(id)
		case 1:
			q.submit(id)
		case 2:
			q.submitBatch()
		case 3:
			q.wantRun(id)
		}
	}
	for _, id := range ids {
		q.wantRun(id)
	}
	q.wantBatch()
	q.wantList(url.Values{"suite": {q.suite}}, ids)
	status := sample(q.values, "running", "completed", "failed", "incomplete")
	q.wantList(url.Values{"suite": {q.suite}, "status": {status}}, slices.DeleteFunc(ids, func(id string) bool {
		return q.stored[id]["status"] != status
	}))
}

func (q *sequence) post(operation, body string) answer {
	o := q.spec.operation(operation)
	made := q.sound(o).with(body)
	return must(q.T)(q.service.send(made))
}

func (q *sequence) get(target string) answer {
	return must(q.T)(q.service.send(request{method: http.MethodGet, target: target, header: http.Header{}, want: []int{http.StatusOK}}))
}

// submit submits a run anew: one that is open is replaced, one that is final stays.
func (q *sequence) submit(id string) {
	body := q.with(q.spec.operation("submit-run").body, nil, map[string]string{
		"runId": quote(id), "suite": quote(q.suite), "batchId": sample(q.values, "null", quote(q.batch)),
	})
	before, there := q.stored[id]
	a := q.post("submit-run", body)
	switch {
	case !there && a.status != http.StatusCreated,
		there && isFinal(before) && a.status == http.StatusCreated,
		there && !isFinal(before) && a.status == http.StatusConflict:
		q.Fatalf("%d for a run that was %v before: %s\n%s", a.status, before["status"], body, a.body)
	}
	if a.status == http.StatusConflict {
		return
	}
	// A replay says the same, so that it may stand for what is stored.
	q.stored[id], q.texts[id] = q.decode(body), body
	if q.stored[id]["startedAt"] != nil {
		q.started[id] = q.moment(q.stored[id]["startedAt"])
	} else if !there {
		q.started[id] = time.Time{} // the server's clock
	}
}

func isFinal(run object) bool { return run["status"] == "completed" || run["status"] == "failed" }

// replay sends the same again.
func (q *sequence) replay(id string) {
	if a := q.post("submit-run", q.texts[id]); a.status != http.StatusOK || a.header.Get("Idempotent-Replayed") != "true" {
		q.Fatalf("a replay is answered %d, Idempotent-Replayed %q: %s\n%s", a.status, a.header.Get("Idempotent-Replayed"), q.texts[id], a.body)
	}
}

func (q *sequence) submitBatch() {
	q.post("submit-batch", q.with(q.spec.operation("submit-batch").body, nil, map[string]string{"batchId": quote(q.batch)}))
}

// wantRun reads a run back in each way, and compares it with what was submitted.
func (q *sequence) wantRun(id string) {
	path := "/api/runs/" + url.PathEscape(id)
	details := q.decode(q.get(path).body)
	submitted := q.stored[id]
	run, _ := details["run"].(object)
	for name, got := range run {
		want := submitted[name]
		switch name {
		case "id":
		case "startedAt":
			if started := q.started[id]; !started.IsZero() {
				q.wantSame(name, started, q.moment(got))
			}
		case "isSuccessful":
			q.wantSame(name, want == true, got)
		default:
			q.wantValue(name, want, got)
		}
	}
	evaluations, _ := submitted["evaluations"].([]any)
	stored, _ := details["evaluations"].([]any)
	q.wantSame("the number of evaluations", len(evaluations), len(stored))
	for i, want := range evaluations {
		for _, name := range []string{"evaluatorName", "score", "maxScore", "details"} {
			q.wantValue(name, want.(object)[name], stored[i].(object)[name])
		}
	}
	telemetry, _ := submitted["telemetry"].(object)
	got, _ := details["telemetry"].(object)
	q.wantSame("telemetry", telemetry == nil, got == nil)
	for name, value := range got {
		if name != "id" && name != "runId" {
			q.wantValue(name, telemetry[name], value)
		}
	}
	if list, err := decode[[]any](q.get(path + "/evaluations").body); err != nil || fmt.Sprint(list) != fmt.Sprint(stored) {
		q.Fatalf("evaluations read alone: %v, want %v (%v)", list, stored, err)
	}
	if alone, err := decode[object](q.get(path + "/telemetry?include=prompt").body); err != nil || fmt.Sprint(alone) != fmt.Sprint(got) {
		q.Fatalf("telemetry read alone: %v, want %v (%v)", alone, got, err)
	}
}

// wantValue compares a field with what was submitted of it; absent is null.
func (q *sequence) wantValue(name string, want, got any) {
	switch {
	case want == nil || got == nil:
		q.wantSame(name+" is null", want == nil, got == nil)
	case name == "completedAt":
		q.wantSame(name, q.moment(want), q.moment(got))
	case name == "metadata", isInteger(q.spec, name):
		if !sameJSON(want, got) {
			q.Fatalf("%s is %v, want %v", name, got, want)
		}
	default:
		if number, ok := want.(json.Number); ok {
			want, got = double(number), double(got.(json.Number))
		}
		q.wantSame(name, want, got)
	}
}

func (q *sequence) wantSame(name string, want, got any) {
	if moment, ok := want.(time.Time); ok {
		if d := moment.Sub(got.(time.Time)); d.Abs() < time.Microsecond {
			return
		}
	}
	if want != got {
		q.Fatalf("%s is %v, want %v", name, got, want)
	}
}

func isInteger(s *spec, name string) bool {
	telemetry := s.resolve(s.schemas["TelemetrySubmission"])
	return sub(telemetry.properties()[name]).kind() == "integer"
}

func double(number json.Number) float64 {
	value, _ := strconv.ParseFloat(number.String(), 64) // beyond 64 bits it is 0, as in the service
	return value
}

// sameJSON compares to the digit.
func sameJSON(a, b any) bool {
	switch a := a.(type) {
	case json.Number:
		number, ok := b.(json.Number)
		return ok && rational(a).Cmp(rational(number)) == 0
	case object:
		other, ok := b.(object)
		return ok && maps.EqualFunc(a, other, sameJSON)
	case []any:
		other, ok := b.([]any)
		return ok && slices.EqualFunc(a, other, sameJSON)
	}
	return a == b
}

func rational(number json.Number) *big.Rat {
	value, ok := new(big.Rat).SetString(number.String())
	if !ok {
		panic("no number: " + number)
	}
	return value
}

// moment reads a time as it is submitted or read back.
func (q *sequence) moment(value any) time.Time {
	if number, ok := value.(json.Number); ok {
		micros := new(big.Rat).Mul(rational(number), big.NewRat(1000, 1))
		return time.UnixMicro(new(big.Int).Div(micros.Num(), micros.Denom()).Int64()).UTC()
	}
	moment, err := time.Parse(time.RFC3339Nano, strings.ToUpper(fmt.Sprint(value)))
	if err != nil {
		q.Fatal(err)
	}
	return moment.UTC()
}

func (q *sequence) decode(text string) object {
	value, err := decode[object](text)
	if err != nil {
		q.Fatalf("%v: %s", err, text)
	}
	return value
}

// wantBatch reads the batch with its runs.
func (q *sequence) wantBatch() {
	var want []string
	for id, run := range q.stored {
		if run["batchId"] == q.batch {
			want = append(want, id)
		}
	}
	if len(want) == 0 {
		return // Nobody may have announced it.
	}
	batch := q.decode(q.get("/api/batches/" + url.PathEscape(q.batch)).body)
	runs, _ := batch["runs"].([]any)
	q.wantIDs(runs, want)
}

var nextLink = regexp.MustCompile(`^<([^>]+)>; rel="next"$`)

// wantList follows a list from page to page.
func (q *sequence) wantList(filters url.Values, want []string) {
	filters.Set("limit", sample(q.values, "1", "2", "3", "10000"))
	var all []any
	for target := "/api/runs?" + filters.Encode(); target != ""; {
		page := q.get(target)
		runs, err := decode[[]any](page.body)
		if err != nil {
			q.Fatal(err)
		}
		all = append(all, runs...)
		target = ""
		if link := page.header.Get("Link"); link != "" {
			match := nextLink.FindStringSubmatch(link)
			if match == nil {
				q.Fatalf("Link: %s", link)
			}
			target = "/api/runs" + match[1] // It is relative to the request.
		}
	}
	if !slices.IsSortedFunc(all, func(a, b any) int {
		return q.moment(b.(object)["startedAt"]).Compare(q.moment(a.(object)["startedAt"]))
	}) {
		q.Fatalf("not the newest first: %v", all)
	}
	q.wantIDs(all, want)
}

func (q *sequence) wantIDs(runs []any, want []string) {
	var got []string
	for _, run := range runs {
		got = append(got, run.(object)["runId"].(string))
	}
	slices.Sort(got)
	if want = slices.Sorted(slices.Values(want)); !slices.Equal(got, want) {
		q.Fatalf("runs %q, want %q", got, want)
	}
}
