package api_test

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
)

type powerPlan struct {
	Scenarios, Attempts *int64
	MinimumDetectable   *float64
	Assumed             struct {
		Power, Alpha                                                                 float64
		Difference, Discordant, BetweenVariance, BaselineVariance, CandidateVariance *float64
		Scenarios, SharedScenarios                                                   *int64
		BaselineAttempts, CandidateAttempts                                          int64
	}
}

// wantCount fails the test unless a number is what is wanted; 0 is null.
func wantCount(t *testing.T, what string, got *int64, want int64) {
	t.Helper()
	switch {
	case got == nil && want == 0:
	case got == nil:
		t.Errorf("%s: got null, want %d", what, want)
	case *got != want || want == 0:
		t.Errorf("%s: got %d, want %d", what, *got, want)
	}
}

func TestGetPowerPlan(t *testing.T) {
	t.Parallel()
	s := setup(t)
	get := func(t *testing.T, parameters string) powerPlan {
		t.Helper()
		return plain[powerPlan](s.get("/api/power?" + parameters))
	}

	t.Run("gives the golden numbers of scenarios", func(t *testing.T) {
		for i, c := range golden[struct {
			Cases []struct {
				Kind                                                 string
				Alpha, Power, Difference, Discordant                 float64
				BetweenVariance, BaselineVariance, CandidateVariance float64
				BaselineAttempts, CandidateAttempts                  int64
				Expected                                             struct {
					Scenarios int64
					MDEAt198  *float64
				}
			}
		}](t, "power").Cases {
			name := fmt.Sprint(i, " ", c.Kind)
			common := fmt.Sprintf("difference=%v&alpha=%v&power=%v", c.Difference, c.Alpha, c.Power)
			switch c.Kind {
			case "pairedProportions":
				got := get(t, fmt.Sprintf("%s&discordant=%v", common, c.Discordant))
				wantCount(t, name, got.Scenarios, c.Expected.Scenarios)
				wantCount(t, name+", attempts", got.Attempts, 2*c.Expected.Scenarios)
				wantFigure(t, name, got.MinimumDetectable, nil)
				// The inverse: with these scenarios, this difference or less is found.
				back := get(t, fmt.Sprintf("discordant=%v&alpha=%v&power=%v&scenarios=%d", c.Discordant, c.Alpha, c.Power, c.Expected.Scenarios))
				if m := back.MinimumDetectable; m == nil || *m > c.Difference || *m < 0.98*c.Difference {
					t.Errorf("%s: %s is detectable, want %v", name, figure(m), c.Difference)
				}
				wantCount(t, name+", given", back.Scenarios, c.Expected.Scenarios)
				wantFigure(t, name+", given", back.Assumed.Difference, nil)
			case "pairedMeans":
				got := get(t, fmt.Sprintf("%s&betweenVariance=%v&baselineVariance=%v&candidateVariance=%v&baselineAttempts=%d&candidateAttempts=%d&scenarios=198",
					common, c.BetweenVariance, c.BaselineVariance, c.CandidateVariance, c.BaselineAttempts, c.CandidateAttempts))
				wantCount(t, name, got.Scenarios, c.Expected.Scenarios)
				wantCount(t, name+", attempts", got.Attempts, c.Expected.Scenarios*(c.BaselineAttempts+c.CandidateAttempts))
				wantFigure(t, name, got.MinimumDetectable, c.Expected.MDEAt198)
			}
		}
	})

	t.Run("says what it assumed", func(t *testing.T) {
		got := s.get("/api/power?difference=0.1&discordant=0.3&scenarios=100").want(http.StatusOK).body
		if want := `"assumed":{"power":0.8,"alpha":0.05,"difference":0.1,"scenarios":100,"discordant":0.3,"betweenVariance":null,` +
			`"baselineVariance":null,"candidateVariance":null,"baselineAttempts":1,"candidateAttempts":1,"sharedScenarios":null}}`; !strings.HasSuffix(got, want) {
			t.Errorf("%s, want %s", got, want)
		}
		got = s.get("/api/power?difference=0.1&baselineVariance=0.3&candidateAttempts=4&power=0.9&alpha=0.01").want(http.StatusOK).body
		if want := `"assumed":{"power":0.9,"alpha":0.01,"difference":0.1,"scenarios":null,"discordant":null,"betweenVariance":0,` +
			`"baselineVariance":0.3,"candidateVariance":0,"baselineAttempts":1,"candidateAttempts":4,"sharedScenarios":null}}`; !strings.HasSuffix(got, want) {
			t.Errorf("%s, want %s", got, want)
		}
	})

	t.Run("gives null for what does not exist", func(t *testing.T) {
		wantFigure(t, "too few scenarios", get(t, "discordant=0.1&scenarios=2").MinimumDetectable, nil)
		wantCount(t, "too few scenarios", get(t, "discordant=0.1&scenarios=2").Scenarios, 0)
		wantCount(t, "more than a trillion scenarios", get(t, "difference=1e-7&betweenVariance=1").Scenarios, 0)
		wantCount(t, "less than a trillion", get(t, "difference=1e-5&betweenVariance=1").Scenarios, 78_488_797_344)
		wantCount(t, "at least two", get(t, "difference=100&betweenVariance=1").Scenarios, 2)
		for _, extreme := range []string{
			"difference=5e-324&discordant=1", "difference=1&discordant=1", "difference=5e-324&discordant=5e-324", "difference=1.7e308&betweenVariance=5e-324",
			"difference=5e-324&betweenVariance=1.7e308&baselineVariance=1.7e308&candidateVariance=1.7e308&scenarios=2",
			"scenarios=1000000000&betweenVariance=5e-324", "scenarios=1000000000&discordant=5e-324&alpha=0.5&power=0.999",
		} {
			get(t, extreme)
		}
	})

	t.Run("refuses parameters that make no plan, and says which", func(t *testing.T) {
		for parameters, location := range map[string]string{
			"":                                                         "query.discordant",
			"discordant=0.3":                                           "query.difference",
			"betweenVariance=1":                                        "query.difference",
			"difference=0.1":                                           "query.discordant",
			"difference=0.1&scenarios=10":                              "query.discordant",
			"difference=0.1&betweenVariance=0":                         "query.discordant",
			"difference=0.3&discordant=0.2":                            "query.difference",
			"difference=0&discordant=0.2":                              "query.difference",
			"difference=-1&betweenVariance=1":                          "query.difference",
			"difference=NaN&discordant=0.2":                            "query.difference",
			"difference=Inf&betweenVariance=1":                         "query.difference",
			"difference=1.8e308&betweenVariance=1":                     "query.difference",
			"difference=0.1&discordant=0":                              "query.discordant",
			"difference=0.1&discordant=1.1":                            "query.discordant",
			"difference=0.1&discordant=0.2&betweenVariance=1":          "query.discordant",
			"difference=0.1&discordant=0.2&candidateVariance=1":        "query.discordant",
			"difference=0.1&discordant=0.2&baselineAttempts=2":         "query.baselineAttempts",
			"difference=0.1&discordant=0.2&candidateAttempts=2":        "query.candidateAttempts",
			"difference=0.1&betweenVariance=-1":                        "query.betweenVariance",
			"difference=0.1&baselineVariance=-1":                       "query.baselineVariance",
			"difference=0.1&candidateVariance=-1":                      "query.candidateVariance",
			"difference=0.1&discordant=0.2&baselineAttempts=0":         "query.baselineAttempts",
			"difference=0.1&discordant=0.2&candidateAttempts=0":        "query.candidateAttempts",
			"difference=0.1&betweenVariance=1&baselineAttempts=1001":   "query.baselineAttempts",
			"difference=0.1&discordant=0.2&power=0.4":                  "query.power",
			"difference=0.1&discordant=0.2&power=1":                    "query.power",
			"difference=0.1&discordant=0.2&alpha=0":                    "query.alpha",
			"difference=0.1&discordant=0.2&alpha=0.6":                  "query.alpha",
			"difference=0.1&discordant=0.2&scenarios=1":                "query.scenarios",
			"difference=0.1&discordant=0.2&scenarios=1000000001":       "query.scenarios",
			"difference=0.1&discordant=0.2&scenarios=10.5":             "query.scenarios",
			"difference=0.1&discordant=0.2&baselineAgent=a":            "query.suite",
			"difference=0.1&discordant=0.2&candidateNoModel=true":      "query.suite",
			"difference=0.1&discordant=0.2&tier=L1":                    "query.suite",
			"difference=0.1&discordant=0.2&since=2025-01-01T00:00:00Z": "query.suite",
			"difference=0.1&discordant=0.2&until=2025-01-01T00:00:00Z": "query.suite",
			"suite=x":                                 "query.baselineAgent",
			"suite=x&baselineAgent=a":                 "query.candidateAgent",
			"suite=x&discordant=0.2" + sidesAB:        "query.discordant",
			"suite=x&betweenVariance=0.2" + sidesAB:   "query.betweenVariance",
			"suite=x&baselineVariance=0.2" + sidesAB:  "query.baselineVariance",
			"suite=x&candidateVariance=0.2" + sidesAB: "query.candidateVariance",
			"suite=x&metric=cost" + sidesAB:           "query.metric",
			"suite=x&infra=ignore" + sidesAB:          "query.infra",
			"suite=x&level=0.9" + sidesAB:             "query.level",
		} {
			faults := s.get("/api/power?" + parameters).wantProblem(http.StatusUnprocessableEntity)
			if faults[location] == "" {
				t.Errorf("%s: faults %v, want one of %s", parameters, faults, location)
			}
		}
		message := s.get("/api/power?difference=0.3&discordant=0.2").wantProblem(http.StatusUnprocessableEntity)["query.difference"]
		if !strings.Contains(message, "<= discordant") {
			t.Errorf("unclear: %s", message)
		}
	})
}

func TestGetPowerPlanFromRuns(t *testing.T) {
	t.Parallel()
	s := setup(t)
	var runs []object
	// add adds the runs of an agent at the scenarios 0, 1, 2 …: for each, the outcomes of its attempts.
	add := func(suite, agent string, scenarios ...[]int) {
		for i, outcomes := range scenarios {
			for _, outcome := range outcomes {
				runs = append(runs, attempt(agent, fmt.Sprint(i), object{"suite": suite, "isSuccessful": outcome == 1, "totalScore": 3 * outcome}))
			}
		}
	}
	// Differences of the scenario means 0.5, -0.5, 0, 0: variance 1/6. The attempts of each side have the variance
	// 0.5·2/4 = 1/4, which explains 1/8 of that a side: nothing is left.
	add("repeated", "a", []int{0, 1}, []int{1, 1}, []int{0, 0}, []int{0, 1})
	add("repeated", "b", []int{1, 1}, []int{0, 1}, []int{0, 0}, []int{1, 0})
	// Half of four are discordant; with scores the differences are 3, -3, 0, 0: variance 6.
	add("single", "a", []int{0}, []int{1}, []int{0}, []int{0})
	add("single", "b", []int{1}, []int{0}, []int{0}, []int{0})
	runs = append(runs,
		attempt("b", "0", object{"suite": "single", "tier": "L2"}), attempt("a", "0", object{"suite": "single", "tier": "L2"}),
		attempt("b", "3", object{"suite": "single", "startedAt": "2025-11-18T10:00:00Z"}),
		attempt("b", "2", object{"suite": "single", "startedAt": "2025-11-16T10:00:00Z"}),
		attempt("b", "1", object{"suite": "single", "status": "failed", "metadata": object{"errorType": "lost"}}),
		attempt("b", "1", object{"suite": "single", "status": "running"}))
	add("half", "a", []int{0, 1}, []int{1, 1}, []int{0, 0}, []int{0, 1})
	add("half", "b", []int{1}, []int{0}, []int{0}, []int{0})
	add("same", "a", []int{1}, []int{0})
	add("same", "b", []int{1}, []int{0})
	add("same twice", "a", []int{1, 1}, []int{0, 0})
	add("same twice", "b", []int{1, 1}, []int{0, 0})
	add("one", "a", []int{1})
	add("one", "b", []int{0})
	s.submitAll(runs)
	get := func(t *testing.T, suite, parameters string) powerPlan {
		t.Helper()
		return plain[powerPlan](s.get("/api/power?suite=" + strings.ReplaceAll(suite, " ", "%20") + parameters))
	}
	const day = "&tier=L1&since=2025-11-17T00:00:00Z&until=2025-11-18T00:00:00Z"
	const zz = (1.959963984540054 + 0.8416212335729143) * (1.959963984540054 + 0.8416212335729143)

	t.Run("estimates variances from repeated attempts", func(t *testing.T) {
		got := get(t, "repeated", "&difference=0.1&baselineAttempts=2&candidateAttempts=5"+sidesAB)
		wantFigure(t, "between", got.Assumed.BetweenVariance, new(0.0))
		wantFigure(t, "baseline", got.Assumed.BaselineVariance, new(0.25))
		wantFigure(t, "candidate", got.Assumed.CandidateVariance, new(0.25))
		wantFigure(t, "discordant", got.Assumed.Discordant, nil)
		wantCount(t, "shared", got.Assumed.SharedScenarios, 4)
		wantCount(t, "assumed scenarios", got.Assumed.Scenarios, 4)
		want := int64(math.Ceil(zz * (0.125 + 0.05) / 0.01)) // 138
		wantCount(t, "scenarios", got.Scenarios, want)
		wantCount(t, "attempts", got.Attempts, 7*want)
		wantFigure(t, "detectable", got.MinimumDetectable, new(math.Sqrt(zz*0.175/4)))
	})

	t.Run("plans for what the shared scenarios detect, without a difference", func(t *testing.T) {
		got := get(t, "repeated", sidesAB)
		wantFigure(t, "detectable", got.MinimumDetectable, new(math.Sqrt(zz*0.5/4)))
		wantFigure(t, "difference", got.Assumed.Difference, got.MinimumDetectable)
		wantCount(t, "scenarios", got.Scenarios, 4)
		wantCount(t, "attempts", got.Attempts, 8)
		got = get(t, "repeated", "&scenarios=400"+sidesAB)
		wantFigure(t, "detectable", got.MinimumDetectable, new(math.Sqrt(zz*0.5/400)))
		wantFigure(t, "difference", got.Assumed.Difference, got.MinimumDetectable)
		wantCount(t, "scenarios", got.Scenarios, 400)
		wantCount(t, "shared", got.Assumed.SharedScenarios, 4)
	})

	t.Run("estimates the discordant share from single attempts", func(t *testing.T) {
		got := get(t, "single", "&difference=0.1&scenarios=200"+day+sidesAB)
		wantFigure(t, "discordant", got.Assumed.Discordant, new(0.5))
		wantFigure(t, "between", got.Assumed.BetweenVariance, nil)
		wantCount(t, "shared", got.Assumed.SharedScenarios, 4)
		given := get(t, "", "&difference=0.1&scenarios=200&discordant=0.5")
		wantCount(t, "scenarios", got.Scenarios, *given.Scenarios)
		wantFigure(t, "detectable", got.MinimumDetectable, given.MinimumDetectable)
		// Each of these adds runs: a second attempt of the candidate at a scenario, or another tier.
		for parameters, shared := range map[string]int64{
			"&tier=L1&since=2025-11-17T00:00:00Z": 4, "&tier=L1&until=2025-11-18T00:00:00Z": 4, "&infra=failure" + day: 4,
			"&since=2025-11-17T00:00:00Z&until=2025-11-18T00:00:00Z": 5,
		} {
			got := get(t, "single", "&difference=0.1"+parameters+sidesAB)
			wantFigure(t, parameters, got.Assumed.Discordant, nil)
			wantCount(t, parameters, got.Assumed.SharedScenarios, shared)
		}
		// Of scores there are only variances.
		got = get(t, "single", "&difference=1&metric=totalScore"+day+sidesAB)
		wantFigure(t, "between", got.Assumed.BetweenVariance, new(6.0))
		wantFigure(t, "baseline", got.Assumed.BaselineVariance, new(0.0))
		wantFigure(t, "discordant", got.Assumed.Discordant, nil)
		wantCount(t, "scenarios", got.Scenarios, int64(math.Ceil(zz*6)))
	})

	t.Run("refuses what the runs contradict", func(t *testing.T) {
		for parameters, location := range map[string]string{
			"suite=single&difference=0.6" + day:                       "query.difference",
			"suite=single&baselineAttempts=2" + day:                   "query.baselineAttempts",
			"suite=single&candidateAttempts=2" + day:                  "query.candidateAttempts",
			"suite=single&metric=totalScore&baselineAttempts=2" + day: "query.baselineAttempts",
			"suite=half&candidateAttempts=2":                          "query.candidateAttempts",
			"suite=same&difference=0.1":                               "query.difference",
		} {
			faults := s.get("/api/power?" + parameters + sidesAB).wantProblem(http.StatusUnprocessableEntity)
			if faults[location] == "" || len(faults) != 1 {
				t.Errorf("%s: faults %v, want one of %s", parameters, faults, location)
			}
		}
		got := get(t, "half", "&baselineAttempts=2"+sidesAB)
		wantFigure(t, "baseline", got.Assumed.BaselineVariance, new(0.25))
		wantFigure(t, "candidate", got.Assumed.CandidateVariance, new(0.0))
	})

	t.Run("plans nothing where runs tell nothing", func(t *testing.T) {
		for suite, shared := range map[string]int64{"unknown": 0, "one": 1, "same": 2, "same twice": 2} {
			parameters := "&difference=0.1"
			if suite == "same" || suite == "one" { // where it cannot be, or would be another case
				parameters = ""
			}
			got := get(t, suite, parameters+sidesAB)
			wantCount(t, suite, got.Scenarios, 0)
			wantCount(t, suite, got.Attempts, 0)
			wantFigure(t, suite, got.MinimumDetectable, nil)
			if got.Assumed.SharedScenarios == nil || *got.Assumed.SharedScenarios != shared {
				t.Errorf("%s: %+v", suite, got.Assumed)
			}
		}
	})

	t.Run("is the same when the sides are swapped", func(t *testing.T) {
		one, other := get(t, "half", "&difference=0.1"+sidesAB), get(t, "half", "&difference=0.1"+sidesBA)
		wantCount(t, "scenarios", other.Scenarios, *one.Scenarios)
		wantFigure(t, "baseline", other.Assumed.BaselineVariance, one.Assumed.CandidateVariance)
		wantFigure(t, "candidate", other.Assumed.CandidateVariance, one.Assumed.BaselineVariance)
	})
}
