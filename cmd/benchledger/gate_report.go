package main

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"slices"

	benchledger "github.com/benchledger/benchledger/clients/go"
)

// mostChanged returns the scenarios with the largest losses, then those with the largest gains: 10 at most.
func mostChanged(rows []benchledger.ComparisonDetail) []benchledger.ComparisonDetail {
	const most = 5
	var losses, gains []benchledger.ComparisonDetail
	for _, r := range rows {
		switch {
		case r.Difference == nil:
		case *r.Difference < 0:
			losses = append(losses, r)
		case *r.Difference > 0:
			gains = append(gains, r)
		}
	}
	bySize := func(a, b benchledger.ComparisonDetail) int {
		return cmp.Or(cmp.Compare(math.Abs(*b.Difference), math.Abs(*a.Difference)), cmp.Compare(shown(a.Scenario), shown(b.Scenario)))
	}
	slices.SortStableFunc(losses, bySize)
	slices.SortStableFunc(gains, bySize)
	return append(losses[:min(most, len(losses))], gains[:min(most, len(gains))]...)
}

// writeReport writes Markdown for a pull request.
func (c *gateCommand) writeReport(w io.Writer, result *gateResult) error {
	failed := error(nil)
	text := func(format string, args ...any) {
		for i := range args {
			args[i] = markdown(shown(args[i]))
		}
		if _, err := fmt.Fprintf(w, format, args...); err != nil && failed == nil {
			failed = err
		}
	}
	text("## Benchmarks: %s\n\n", map[outcome]string{0: "PASS", exitRegression: "FAIL, there is a regression", exitCannotTell: "CANNOT TELL"}[result.Outcome])
	text("Candidate: %s. Compared with: %s.\n\n", result.Candidate, result.Baseline)
	for i := range result.Checks {
		check := &result.Checks[i]
		text("- **"+check.Outcome.title()+"** %s: %s\n", check.about(), check.Sentence)
	}
	if len(result.Suites) > 0 {
		text("\n")
		writeMarkdown(w, tableFlags{}, c.suiteColumns(), result.Suites)
	}
	for _, suite := range result.Suites {
		if len(suite.rows) == 0 {
			continue
		}
		text("\n### %s: scenarios that changed most\n\n", suite.Suite)
		found := &suite.comparison
		text("Of %s, the candidate is better at %s, worse at %s, and equal at %s.\n\n",
			counted(found.SharedScenarios, "shared scenario"), thousands(found.Wins), thousands(found.Losses), thousands(found.Ties))
		columns := slices.DeleteFunc(detailColumns(unitOf(c.Metric), suite.rows), func(c column[benchledger.ComparisonDetail]) bool { return c.drawn || c.name == "evaluator" })
		writeMarkdown(w, tableFlags{}, columns, suite.rows)
	}
	if notes := result.allNotes(); len(notes) > 0 {
		text("\n### What to know\n\n")
		for _, note := range notes {
			text("- %s\n", note)
		}
	}
	return failed
}

// The elements of JUnit XML, as GitLab and Jenkins read it.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Time     string      `xml:"time,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name      string      `xml:"name,attr"`
		ClassName string      `xml:"classname,attr"`
		Time      string      `xml:"time,attr"`
		Failure   *junitFault `xml:"failure"`
		Error     *junitFault `xml:"error"`
		Output    string      `xml:"system-out,omitempty"`
	}
	junitFault struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
		Text    string `xml:",chardata"`
	}
)

// writeJUnit writes a testsuite for each suite, and a testcase for each check. What cannot be told is an error, not a
// skipped test: CI systems do not show the message of a skipped test where people look, and its pipeline looks fine.
func writeJUnit(w io.Writer, result *gateResult) error {
	all := junitSuites{Name: "benchledger gate"}
	for i := range result.Checks {
		check := &result.Checks[i]
		name := cmp.Or(shown(check.Suite), "(no suite)")
		if last := len(all.Suites) - 1; last < 0 || all.Suites[last].Name != name {
			all.Suites = append(all.Suites, junitSuite{Name: name, Time: "0"})
		}
		suite := &all.Suites[len(all.Suites)-1]
		sentence := shown(check.Sentence)
		c := junitCase{Name: shown(check.Name), ClassName: "benchledger." + name, Time: "0"}
		fault := &junitFault{Message: sentence, Type: check.Outcome.String(), Text: sentence}
		switch check.Outcome {
		case exitRegression:
			c.Failure = fault
			suite.Failures++
			all.Failures++
		case exitCannotTell:
			c.Error = fault
			suite.Errors++
			all.Errors++
		default:
			c.Output = sentence
		}
		suite.Tests++
		all.Tests++
		suite.Cases = append(suite.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", "  ")
	if err := encoder.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
