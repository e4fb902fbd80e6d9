package db_test

import (
	"slices"
	"testing"
	"time"

	"github.com/benchledger/benchledger/db"
)

// otherFilters are filters each of which otherRun matches, but neither fullRun nor leastRun.
var otherFilters = map[string]string{
	"suite": "suite-b", "scenario": "scenario-b", "tier": "L2", "agent": "agent-b", "model": "model-b", "batchId": "batch-b",
	"status": "failed", "since": noon.Add(time.Microsecond).Format(time.RFC3339Nano), "specialistName": "django", "evaluator": "build",
	"metadata.big": "9007199254740992",
}

// wantFiltersSelect fails the test unless each filter selects the one run of suite-b, otherRun, of three.
func wantFiltersSelect[T any](t *testing.T, q *db.Queries, want T, read func(filters db.Filters) T) {
	t.Helper()
	create(t, q, fullRun("run-1"))
	create(t, q, otherRun("run-2"))
	create(t, q, leastRun("run-3"))
	for name, value := range otherFilters {
		t.Run(name, func(t *testing.T) { wantEqual(t, read(db.Filters{name: {value}}), want) })
	}
}

func TestFilters(t *testing.T) {
	t.Parallel()
	ids := func(t *testing.T, q *db.Queries, filters db.Filters) (ids []string) {
		t.Helper()
		runs, err := db.ListRunsPage(t.Context(), q, filters, db.OrderNewest, db.OrderNewest.First(), 99)
		wantNoError(t, err)
		for _, run := range runs {
			ids = append(ids, run.RunID)
		}
		return ids
	}
	q, _ := setup(t)
	create(t, q, fullRun("full"))
	create(t, q, otherRun("other"))
	create(t, q, leastRun("least"))
	create(t, q, fullRun("voided"))
	void(t, q, "voided")
	for name, metadata := range map[string]string{
		"text":  `{"commit":"abc","build":"3","dry":"true","note":"null"}`,
		"typed": `{"commit":["abc"],"build":3,"dry":true,"note":null}`,
		"odd":   `{"a.b":"c","\"quoted\" \\":"\"x\"","ключ":"😀\n","":"empty","o":{"commit":"abc"},"small":1e-320,"large":1e308,"three":3.0}`,
	} {
		create(t, q, with(leastRun(name), func(r *db.Submission) {
			r.Suite, r.MetadataText, r.StartedAt = "metadata", []byte(metadata), noon.Add(-time.Hour)
		}))
	}
	type test struct {
		filters db.Filters
		want    []string
	}
	three := []string{"other", "least", "full"}
	for name, test := range map[string]test{
		"none":                           {db.Filters{}, []string{"other", "least", "full", "typed", "text", "odd"}},
		"any of several values":          {db.Filters{"suite": {"suite-a", "suite-b", "suite-c"}}, three},
		"one value twice":                {db.Filters{"suite": {"suite-b", "suite-b"}}, []string{"other"}},
		"several that nothing has":       {db.Filters{"agent": {"agent-x", "agent-y"}}, nil},
		"each filter":                    {db.Filters{"suite": {"suite-a", "suite-b"}, "tier": {"L2"}, "model": {"model-a", "model-b"}}, []string{"other"}},
		"two filters that contradict":    {db.Filters{"suite": {"suite-a"}, "agent": {"agent-b"}}, nil},
		"several statuses":               {db.Filters{"status": {"failed", "running"}}, []string{"other"}},
		"successful":                     {db.Filters{"isSuccessful": {"true"}}, []string{"full"}},
		"not successful":                 {db.Filters{"isSuccessful": {"false"}, "suite": {"suite-a", "suite-b"}}, []string{"other", "least"}},
		"any of several evaluators":      {db.Filters{"evaluator": {"build", "judge"}}, []string{"other", "full"}},
		"an evaluator that said nothing": {db.Filters{"evaluator": {"nobody"}}, nil},
		"since":                          {db.Filters{"since": {"2025-11-17T12:00:00.123457Z"}}, []string{"other"}},
		"until":                          {db.Filters{"until": {"2025-11-17T12:00:00.123457Z"}, "suite": {"suite-a", "suite-b"}}, []string{"least", "full"}},
		"a window":                       {db.Filters{"since": {"2025-11-17T12:00:00.123456Z"}, "until": {"2025-11-17T12:00:00.123457Z"}}, []string{"least", "full"}},
		"an empty window":                {db.Filters{"since": {"2025-11-17T12:00:00Z"}, "until": {"2025-11-17T12:00:00Z"}}, nil},
		"no model":                       {db.Filters{"noModel": {"true"}, "suite": {"suite-a"}}, []string{"least"}},
		"voided":                         {db.Filters{"voided": {"true"}, "model": {"model-a"}}, []string{"voided", "full"}},

		"a text":                             {db.Filters{"metadata.commit": {"abc"}}, []string{"text"}},
		"another text":                       {db.Filters{"metadata.commit": {"ab"}}, nil},
		"any of several texts":               {db.Filters{"metadata.commit": {"x", "abc"}}, []string{"text"}},
		"two members":                        {db.Filters{"metadata.commit": {"abc"}, "metadata.dry": {"true"}}, []string{"text"}},
		"two, one of them wrong":             {db.Filters{"metadata.commit": {"abc"}, "metadata.dry": {"false"}}, nil},
		"a number, also as text":             {db.Filters{"metadata.build": {"3"}}, []string{"typed", "text"}},
		"a number that is written otherwise": {db.Filters{"metadata.build": {"3.0"}}, []string{"typed"}},
		"a text that is quoted":              {db.Filters{"metadata.build": {`"3"`}}, []string{"text"}},
		"a boolean, also as text":            {db.Filters{"metadata.dry": {"true"}}, []string{"typed", "text"}},
		"null, also as text":                 {db.Filters{"metadata.note": {"null"}}, []string{"typed", "text"}},
		"a large number exactly":             {db.Filters{"metadata.big": {"9007199254740993"}}, []string{"full"}},
		"the largest number":                 {db.Filters{"metadata.large": {"1e308"}}, []string{"odd"}},
		"the smallest number":                {db.Filters{"metadata.small": {"1e-320"}}, []string{"odd"}},
		"a number beyond all":                {db.Filters{"metadata.large": {"1e999999999", "1e-999999999"}}, nil},
		"a member with a dot":                {db.Filters{"metadata.a.b": {"c"}}, []string{"odd"}},
		"a member with quotes":               {db.Filters{`metadata."quoted" \`: {`"x"`}}, []string{"odd"}},
		"a member with any letter":           {db.Filters{"metadata.ключ": {"😀\n"}}, []string{"odd"}},
		"a member without a name":            {db.Filters{"metadata.": {"empty"}}, []string{"odd"}},
		"an object as text":                  {db.Filters{"metadata.o": {`{"commit":"abc"}`}}, nil},
		"a list as text":                     {db.Filters{"metadata.commit": {`["abc"]`}}, nil},
		"NUL in a quoted text":               {db.Filters{"metadata.commit": {`"\u0000"`}}, nil},
		"half a character":                   {db.Filters{"metadata.commit": {`"\ud83d"`}}, nil},
		"what looks like a path":             {db.Filters{"metadata.commit": {`x" || $."commit" == "abc`}}, nil},
		"spaces":                             {db.Filters{"metadata.build": {" 3"}}, []string{"typed"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantEqual(t, slices.Sorted(slices.Values(ids(t, q, test.filters))), slices.Sorted(slices.Values(test.want)))
		})
	}

	t.Run("each alone", func(t *testing.T) {
		q, _ := setup(t)
		wantFiltersSelect(t, q, []string{"run-2"}, func(filters db.Filters) []string {
			return ids(t, q, filters)
		})
	})
}
