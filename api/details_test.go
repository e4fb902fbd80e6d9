package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// wantFigure fails the test unless a figure is what is wanted, to nine digits.
func wantFigure(t *testing.T, what string, got, want *float64) {
	t.Helper()
	switch {
	case got == nil && want == nil:
	case got == nil || want == nil:
		t.Errorf("%s: got %s, want %s", what, figure(got), figure(want))
	case !(math.Abs(*got-*want) <= 1e-9*max(1e-3, math.Abs(*want))):
		t.Errorf("%s: got %v, want %v", what, *got, *want)
	}
}

func figure(x *float64) string {
	if x == nil {
		return "null"
	}
	return fmt.Sprint(*x)
}

type detail struct {
	Scenario, Tier, EvaluatorName                                       *string
	Baseline, Candidate, Difference, PValue, QValue, ProbabilityGreater *float64
	BaselineAttempts, CandidateAttempts                                 int64
}

// name is that of a row: what it has of scenario, tier and evaluator.
func (d detail) name() string {
	var parts []string
	for _, part := range []*string{d.Scenario, d.Tier, d.EvaluatorName} {
		if part != nil {
			parts = append(parts, *part)
		}
	}
	return strings.Join(parts, "/")
}

type bothSides struct{ Baseline, Candidate int64 }

type details struct {
	AsOf, Suite, Metric, Infra, By        string
	Level                                 float64
	Runs, InfraErrors, OpenRuns, Unscored bothSides
	Rows                                  []detail
}

const (
	sidesAB = "&baselineAgent=a&candidateAgent=b"
	sidesBA = "&baselineAgent=b&candidateAgent=a"
)

// plain reads the body, numbers as doubles.
func plain[T any](a answer) T {
	a.t.Helper()
	var value T
	if err := json.Unmarshal([]byte(a.want(http.StatusOK).body), &value); err != nil {
		a.t.Fatalf("%v in %s", err, a.body)
	}
	return value
}

// names are those of the rows, in order.
func (d details) names() []string {
	names := []string{}
	for _, row := range d.Rows {
		names = append(names, row.name())
	}
	return names
}

// row is that with a name.
func (d details) row(t *testing.T, name string) detail {
	t.Helper()
	for _, row := range d.Rows {
		if row.name() == name {
			return row
		}
	}
	t.Fatalf("there is no row %s in %v", name, d.names())
	return detail{}
}

func wantNames(t *testing.T, got details, want ...string) {
	t.Helper()
	if !slices.Equal(got.names(), want) {
		t.Errorf("rows %v, want %v", got.names(), want)
	}
}

// attempt is a run of an agent at a scenario.
func attempt(agent, scenario string, fields ...object) object {
	return leastRun("", append([]object{{"agent": agent, "scenario": scenario}}, fields...)...)
}

// submitAll numbers and submits runs.
func (s *service) submitAll(runs []object) {
	s.t.Helper()
	for i, run := range runs {
		if run["runId"] == "" {
			run = maps.Clone(run)
			run["runId"] = fmt.Sprint("run-", i)
		}
		s.submit(run).want(http.StatusCreated)
	}
}

func TestListComparisonDetails(t *testing.T) {
	t.Parallel()
	var runs []object
	add := func(agent, scenario string, scores ...float64) {
		for _, score := range scores {
			runs = append(runs, attempt(agent, scenario, object{"totalScore": score, "weightedScore": -score, "isSuccessful": score > 2}))
		}
	}
	// Of Mann-Whitney: the golden cases that are small.
	type sample struct {
		Name     string
		X, Y     []float64
		Expected struct{ Permutation, ProbabilityGreater float64 }
	}
	samples := map[string]sample{}
	for _, c := range golden[struct{ Cases []sample }](t, "mann_whitney").Cases[:4] {
		if c.Name == "ties" {
			c.Expected.Permutation = 0.06060606060606061 // twice the tail; the file counts both
		}
		samples[c.Name] = c
		add("a", c.Name, c.X...)
		add("b", c.Name, c.Y...)
	}
	add("a", "few", 1, 9)
	add("b", "few", 10, 20, 30, 40)
	add("a", "only a", 4, 5)
	add("b", "only b", 6)
	runs = append(runs,
		attempt("a", "nothing", object{}), attempt("b", "nothing"), // no score
		attempt("a", "few"),                               // no score
		attempt("b", "few", object{"status": "failed"}),   // 0
		attempt("b", "few", object{"status": "running"}),  // open
		attempt("a", "open", object{"status": "running"}), // open
		attempt("b", "few", object{"status": "failed", "metadata": object{"errorType": "workspace"}, "totalScore": 100}),
		attempt("a", "few", object{"suite": "suite-b", "totalScore": 100}),
		attempt("c", "few", object{"totalScore": 100}),
	)
	s := setup(t)
	s.submitAll(runs)
	const path = "/api/comparison/details?suite=suite-a&metric=totalScore"
	get := func(t *testing.T, parameters string) details {
		t.Helper()
		return plain[details](s.get(path + parameters))
	}

	t.Run("compares the attempts at each scenario", func(t *testing.T) {
		got := get(t, sidesAB)
		if got.Suite != "suite-a" || got.Metric != "totalScore" || got.Infra != "exclude" || got.Level != 0.95 || got.By != "scenario" || got.AsOf == "" {
			t.Errorf("%+v", got)
		}
		if got.Runs != (bothSides{23, 27}) || got.InfraErrors != (bothSides{0, 1}) || got.OpenRuns != (bothSides{1, 1}) || got.Unscored != (bothSides{2, 1}) {
			t.Errorf("%+v", got)
		}
		// By p-value; those without one by name.
		wantNames(t, got, "apart/L1", "ties/L1", "no ties, small/L1", "all equal/L1", "few/L1", "only a/L1", "only b/L1")
		for name, c := range samples {
			row := got.row(t, name+"/L1")
			meanX, meanY := mean(c.X), mean(c.Y)
			wantFigure(t, name+" baseline", row.Baseline, &meanX)
			wantFigure(t, name+" candidate", row.Candidate, &meanY)
			wantFigure(t, name+" difference", row.Difference, new(meanY-meanX))
			wantFigure(t, name+" p", row.PValue, &c.Expected.Permutation)
			wantFigure(t, name+" greater", row.ProbabilityGreater, &c.Expected.ProbabilityGreater)
			if row.BaselineAttempts != int64(len(c.X)) || row.CandidateAttempts != int64(len(c.Y)) {
				t.Errorf("%s: %d and %d attempts", name, row.BaselineAttempts, row.CandidateAttempts)
			}
		}
		// Benjamini and Hochberg over four p-values: the rows without one do not count.
		for name, q := range map[string]float64{
			"apart": 4 * 2. / 252, "ties": 2 * 0.06060606060606061, "no ties, small": 4. / 3 / 9, "all equal": 1,
		} {
			wantFigure(t, name+" q", got.row(t, name+"/L1").QValue, &q)
		}
		few := got.row(t, "few/L1")
		if few.BaselineAttempts != 2 || few.CandidateAttempts != 5 || few.PValue != nil || few.QValue != nil {
			t.Errorf("few: %+v", few)
		}
		wantFigure(t, "few difference", few.Difference, new(15.0))
		wantFigure(t, "few greater", few.ProbabilityGreater, new(0.8))
		onlyA, onlyB := got.row(t, "only a/L1"), got.row(t, "only b/L1")
		wantFigure(t, "only a", onlyA.Baseline, new(4.5))
		wantFigure(t, "only b", onlyB.Candidate, new(6.0))
		for _, x := range []*float64{
			onlyA.Candidate, onlyA.Difference, onlyA.PValue, onlyA.QValue, onlyA.ProbabilityGreater,
			onlyB.Baseline, onlyB.Difference, onlyB.PValue, onlyB.QValue, onlyB.ProbabilityGreater,
		} {
			wantFigure(t, "of one side", x, nil)
		}
		if onlyA.BaselineAttempts != 2 || onlyA.CandidateAttempts != 0 || onlyB.BaselineAttempts != 0 || onlyB.CandidateAttempts != 1 {
			t.Errorf("%+v, %+v", onlyA, onlyB)
		}
	})

	t.Run("sorts by p-value, size of the difference, and name", func(t *testing.T) {
		explicit, byDefault := get(t, sidesAB+"&sort=pValue"), get(t, sidesAB)
		wantNames(t, explicit, byDefault.names()...)
		wantNames(t, get(t, sidesAB+"&sort=difference"),
			"few/L1", "apart/L1", "no ties, small/L1", "ties/L1", "all equal/L1", "only a/L1", "only b/L1")
		wantNames(t, get(t, sidesBA+"&sort=difference"), // all with the other sign
			"few/L1", "apart/L1", "no ties, small/L1", "ties/L1", "all equal/L1", "only a/L1", "only b/L1")
		wantNames(t, get(t, sidesAB+"&sort=name"),
			"all equal/L1", "apart/L1", "few/L1", "no ties, small/L1", "only a/L1", "only b/L1", "ties/L1")
	})

	t.Run("judges by metric, and counts infra errors as failures where it should", func(t *testing.T) {
		got := plain[details](s.get("/api/comparison/details?suite=suite-a&infra=failure" + sidesAB))
		if got.Metric != "success" || got.Runs != (bothSides{23, 28}) || got.InfraErrors != (bothSides{0, 1}) || got.Unscored != (bothSides{}) {
			t.Errorf("%+v", got)
		}
		few := got.row(t, "few/L1")
		wantFigure(t, "baseline", few.Baseline, new(1.0/3))
		wantFigure(t, "candidate", few.Candidate, new(4.0/6))
		if few.PValue == nil { // three and six attempts
			t.Errorf("%+v", few)
		}
		nothing := got.row(t, "nothing/L1")
		wantFigure(t, "difference", nothing.Difference, new(0.0))
		few = get(t, sidesAB+"&infra=failure").row(t, "few/L1")
		wantFigure(t, "candidate", few.Candidate, new(200.0/6))
		weighted := plain[details](s.get("/api/comparison/details?suite=suite-a&metric=weightedScore" + sidesAB))
		wantFigure(t, "weighted", weighted.row(t, "apart/L1").Difference, new(-5.0))
	})

	t.Run("mirrors when the sides are swapped", func(t *testing.T) {
		one, other := get(t, sidesAB), get(t, sidesBA)
		wantNames(t, other, one.names()...)
		for i, a := range one.Rows {
			b := other.Rows[i]
			if a.Difference != nil {
				a.Difference, a.ProbabilityGreater = new(-*a.Difference), new(1-*a.ProbabilityGreater)
			}
			wantFigure(t, a.name(), b.Baseline, a.Candidate)
			wantFigure(t, a.name(), b.Candidate, a.Baseline)
			wantFigure(t, a.name(), b.Difference, a.Difference)
			wantFigure(t, a.name(), b.PValue, a.PValue)
			wantFigure(t, a.name(), b.QValue, a.QValue)
			wantFigure(t, a.name(), b.ProbabilityGreater, a.ProbabilityGreater)
		}
		if other.Runs != (bothSides{27, 23}) {
			t.Errorf("%+v", other.Runs)
		}
	})

	t.Run("filters", func(t *testing.T) {
		wantNames(t, get(t, sidesAB+"&scenario=ties"), "ties/L1")
		wantNames(t, get(t, sidesAB+"&tier=L2"))
		for _, by := range []string{"scenario", "evaluator", "scenarioEvaluator"} {
			answer := s.get("/api/comparison/details?suite=unknown&by=" + by + sidesAB).want(http.StatusOK)
			if !strings.Contains(answer.body, `"rows":[]`) {
				t.Error(answer.body)
			}
		}
	})

	t.Run("refuses what is not valid, and names it", func(t *testing.T) {
		for parameters, location := range map[string]string{
			"baselineAgent=a&candidateAgent=b":             "query.suite",
			"suite=x&baselineAgent=a":                      "query.candidateAgent",
			"suite=x&candidateAgent=a":                     "query.baselineAgent",
			"suite=x&by=tier" + sidesAB:                    "query.by",
			"suite=x&sort=qValue" + sidesAB:                "query.sort",
			"suite=x&metric=cost" + sidesAB:                "query.metric",
			"suite=x&level=1" + sidesAB:                    "query.level",
			"suite=x&level=NaN" + sidesAB:                  "query.level",
			"suite=x&level=-Inf" + sidesAB:                 "query.level",
			"suite=x&margin=0.1" + sidesAB:                 "query.margin",
			"suite=x&baselineNoModel=true&baselineModel=m": "query.baselineNoModel",
			"suite=x&since=yesterday" + sidesAB:            "query.since",
		} {
			faults := s.get("/api/comparison/details?" + parameters).wantProblem(http.StatusUnprocessableEntity)
			if faults[location] == "" {
				t.Errorf("%s: faults %v, want one of %s", parameters, faults, location)
			}
		}
	})
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, x := range values {
		sum += x
	}
	return sum / float64(len(values))
}

func TestListComparisonDetailsByEvaluator(t *testing.T) {
	t.Parallel()
	s := setup(t)
	var runs []object
	add := func(agent, scenario, evaluator string, values ...float64) {
		for _, value := range values {
			runs = append(runs, attempt(agent, scenario, object{"evaluations": []object{
				{"evaluatorName": evaluator, "score": value * 4, "maxScore": 4},
			}}))
		}
	}
	// Of the paired test: a golden case for each evaluator.
	type pairs struct {
		Name      string
		Scenarios []struct{ Baseline, Candidate []float64 }
		Expected  struct {
			Shared                                     int
			Difference, BaselineMean, CandidateMean, P *float64
		}
	}
	cases := map[string]pairs{}
	for _, c := range golden[struct{ Cases []pairs }](t, "paired_difference").Cases {
		if len(c.Scenarios) > 40 {
			continue
		}
		cases[c.Name] = c
		for i, scenario := range c.Scenarios {
			add("a", fmt.Sprint(i), c.Name, scenario.Baseline...)
			add("b", fmt.Sprint(i), c.Name, scenario.Candidate...)
		}
	}
	add("a", "s", "only a", 0.25, 0.75)
	add("a", "t", "only a", 1)
	// Two by one evaluator in a run are one value, and one without a score is left out.
	runs = append(runs,
		attempt("a", "s", object{"evaluations": []object{
			{"evaluatorName": "twice", "score": 1, "maxScore": 1},
			{"evaluatorName": "twice", "score": 0, "maxScore": 1},
			{"evaluatorName": "twice", "score": nil, "maxScore": 1},
		}}),
		attempt("a", "s", object{"evaluations": []object{{"evaluatorName": "twice", "score": 1, "maxScore": 1}}}),
		attempt("b", "s", object{"evaluations": []object{{"evaluatorName": "twice", "score": nil, "maxScore": 1}}}),
		attempt("b", "s", object{"evaluations": []object{{"evaluatorName": "unscored", "score": nil, "maxScore": 1}}}),
		attempt("b", "s", object{"status": "failed", "metadata": object{"errorType": "lost"}, "evaluations": []object{
			{"evaluatorName": "twice", "score": 3, "maxScore": 1}, {"evaluatorName": "twice", "score": 3, "maxScore": 1},
		}}),
	)
	for _, score := range []float64{0, 1, 2, 3} {
		runs = append(runs,
			attempt("a", "ranked", object{"tier": "L2", "evaluations": []object{{"evaluatorName": "judge", "score": score, "maxScore": 8}}}),
			attempt("b", "ranked", object{"tier": "L2", "evaluations": []object{{"evaluatorName": "judge", "score": score + 4, "maxScore": 8}}}),
		)
	}
	s.submitAll(runs)
	get := func(t *testing.T, parameters string) details {
		t.Helper()
		return plain[details](s.get("/api/comparison/details?suite=suite-a" + parameters))
	}

	t.Run("compares the scenario means of each evaluator in pairs", func(t *testing.T) {
		got := get(t, "&by=evaluator"+sidesAB)
		if got.By != "evaluator" || got.Unscored != (bothSides{1, 2}) {
			t.Errorf("%+v", got)
		}
		var pValues []float64
		for name, c := range cases {
			row := got.row(t, name)
			wantFigure(t, name+" p", row.PValue, c.Expected.P)
			wantFigure(t, name+" difference", row.Difference, c.Expected.Difference)
			wantFigure(t, name+" greater", row.ProbabilityGreater, nil)
			if c.Expected.P != nil {
				pValues = append(pValues, *c.Expected.P)
			}
			if c.Expected.Shared > 0 {
				wantFigure(t, name+" baseline", row.Baseline, c.Expected.BaselineMean)
				wantFigure(t, name+" candidate", row.Candidate, c.Expected.CandidateMean)
			}
			attempts := bothSides{}
			for _, scenario := range c.Scenarios {
				if c.Expected.Shared == 0 || len(scenario.Baseline) > 0 && len(scenario.Candidate) > 0 {
					attempts.Baseline += int64(len(scenario.Baseline))
					attempts.Candidate += int64(len(scenario.Candidate))
				}
			}
			if row.BaselineAttempts != attempts.Baseline || row.CandidateAttempts != attempts.Candidate {
				t.Errorf("%s: %d and %d attempts, want %+v", name, row.BaselineAttempts, row.CandidateAttempts, attempts)
			}
		}
		slices.Sort(pValues)
		for _, row := range got.Rows {
			if row.PValue == nil {
				wantFigure(t, row.name()+" q", row.QValue, nil)
				continue
			}
			q := 1.0
			for rank, p := range pValues {
				if p >= *row.PValue-1e-9 {
					q = min(q, float64(len(pValues))/float64(rank+1)*p)
				}
			}
			wantFigure(t, row.name()+" q", row.QValue, &q)
		}
		// Nothing shared: each side's own scenarios.
		apart := got.row(t, "nothing shared")
		wantFigure(t, "baseline", apart.Baseline, new(1.0))
		wantFigure(t, "candidate", apart.Candidate, new(0.0))
		onlyA := got.row(t, "only a")
		wantFigure(t, "only a", onlyA.Baseline, new(0.75))
		wantFigure(t, "only a", onlyA.Candidate, nil)
		if onlyA.BaselineAttempts != 3 || onlyA.CandidateAttempts != 0 || onlyA.Difference != nil {
			t.Errorf("%+v", onlyA)
		}
		twice := got.row(t, "twice")
		wantFigure(t, "twice", twice.Baseline, new(0.75))
		if twice.BaselineAttempts != 2 || twice.CandidateAttempts != 0 {
			t.Errorf("%+v", twice)
		}
		if slices.Contains(got.names(), "unscored") {
			t.Error("an evaluator without any score has a row")
		}
		twice = get(t, "&by=evaluator&infra=failure"+sidesAB).row(t, "twice")
		wantFigure(t, "with infra errors", twice.Difference, new(2.25))
		if twice.BaselineAttempts != 2 || twice.CandidateAttempts != 1 {
			t.Errorf("%+v", twice)
		}
	})

	t.Run("mirrors when the sides are swapped", func(t *testing.T) {
		one, other := get(t, "&by=evaluator&sort=name"+sidesAB), get(t, "&by=evaluator&sort=name"+sidesBA)
		wantNames(t, other, one.names()...)
		for i, a := range one.Rows {
			b := other.Rows[i]
			if a.Difference != nil {
				a.Difference = new(-*a.Difference)
			}
			wantFigure(t, a.name(), b.Baseline, a.Candidate)
			wantFigure(t, a.name(), b.Difference, a.Difference)
			wantFigure(t, a.name(), b.PValue, a.PValue)
			wantFigure(t, a.name(), b.QValue, a.QValue)
		}
		if !slices.IsSorted(one.names()) {
			t.Errorf("not sorted by name: %v", one.names())
		}
	})

	t.Run("compares the attempts by an evaluator at a scenario", func(t *testing.T) {
		got := get(t, "&by=scenarioEvaluator&sort=name"+sidesAB)
		if !slices.IsSorted(got.names()) {
			t.Errorf("not sorted by name: %v", got.names())
		}
		row := got.row(t, "ranked/L2/judge")
		wantFigure(t, "baseline", row.Baseline, new(1.5/8))
		wantFigure(t, "candidate", row.Candidate, new(5.5/8))
		wantFigure(t, "difference", row.Difference, new(0.5))
		wantFigure(t, "p", row.PValue, new(2.0/70))
		wantFigure(t, "greater", row.ProbabilityGreater, new(1.0))
		row = got.row(t, "s/L1/twice")
		wantFigure(t, "twice", row.Baseline, new(0.75))
		if row.BaselineAttempts != 2 || row.CandidateAttempts != 0 || row.Candidate != nil {
			t.Errorf("%+v", row)
		}
	})
}

func TestListComparisonDetailsInAnyOrder(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(5, 6))
	var runs []object
	for i := range 120 {
		score := random.NormFloat64() * math.Pow(10, float64(i%7-3))
		runs = append(runs, leastRun(fmt.Sprint("run-", i), object{
			"agent": string("ab"[i%2]), "scenario": fmt.Sprint(i % 9), "tier": fmt.Sprint("L", i%2), "totalScore": score, "isSuccessful": score > 0,
			"evaluations": []object{{"evaluatorName": "x", "score": score, "maxScore": 3}, {"evaluatorName": "x", "score": score * 0.7, "maxScore": 0.9}},
		}))
		if i%9 == 4 {
			runs[i]["tier"] = "L1"
		}
	}
	paths := []string{"/api/power?suite=suite-a&metric=totalScore" + sidesAB}
	for _, by := range []string{"scenario", "evaluator", "scenarioEvaluator"} {
		for _, metric := range []string{"success", "totalScore"} {
			paths = append(paths, "/api/comparison/details?suite=suite-a&by="+by+"&metric="+metric+sidesAB)
		}
	}
	want := map[string]string{}
	for range 3 {
		s := setup(t)
		for _, i := range random.Perm(len(runs)) {
			s.submit(runs[i]).want(http.StatusCreated)
		}
		for _, path := range paths {
			got := asOf.ReplaceAllString(s.get(path).want(http.StatusOK).body, "")
			if want[path] == "" {
				want[path] = got
			}
			if got != want[path] {
				t.Errorf("%s: %s after another order of submission, before %s", path, got, want[path])
			}
		}
	}
}

func TestListComparisonDetailsExtremeScores(t *testing.T) {
	t.Parallel()
	s := setup(t)
	var runs []object
	for i, score := range []float64{math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, -math.SmallestNonzeroFloat64, 1e200, 0} {
		for _, scenario := range []string{"mixed", fmt.Sprint(i)} {
			for j := range 4 {
				run := attempt(string("ab"[j%2]), scenario, object{
					"totalScore": score, "weightedScore": score,
					"evaluations": []object{
						{"evaluatorName": "x", "score": score, "maxScore": math.SmallestNonzeroFloat64}, {"evaluatorName": "y", "score": score, "maxScore": math.MaxFloat64},
					},
				})
				if scenario == "mixed" && j%2 == 1 {
					run["totalScore"] = -score
				}
				runs = append(runs, run)
			}
		}
	}
	runs = append(runs,
		attempt("a", "far", object{"totalScore": -math.MaxFloat64}), attempt("b", "far", object{"totalScore": math.MaxFloat64}))
	s.submitAll(runs)
	for _, metric := range []string{"success", "totalScore", "weightedScore"} {
		for _, by := range []string{"scenario", "evaluator", "scenarioEvaluator"} {
			for _, sort := range []string{"pValue", "difference", "name"} {
				s.get("/api/comparison/details?suite=suite-a&metric=" + metric + "&by=" + by + "&sort=" + sort + sidesAB).want(http.StatusOK)
			}
		}
		s.get("/api/power?suite=suite-a&metric=" + metric + sidesAB).want(http.StatusOK)
	}
	far := plain[details](s.get("/api/comparison/details?suite=suite-a&metric=totalScore&scenario=far"+sidesAB)).row(t, "far/L1")
	wantFigure(t, "a difference that no double holds", far.Difference, nil)
	wantFigure(t, "candidate", far.Candidate, new(math.MaxFloat64))
}
