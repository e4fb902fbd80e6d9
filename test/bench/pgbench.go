package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// statement is a query of sql/queries as pgbench runs it: the limit of what the server
// can do with it.
type statement struct {
	query string
	// set are lines of pgbench that draw parameters: \set run_id random(…).
	set []string
	// values are parameters that stay as they are. What has neither is null.
	values map[string]string
	// expressions are parameters that are computed from the others, in SQL.
	expressions map[string]string
	// perPlan says that it is planned each time, as the server has it (-M extended).
	perPlan bool
}

var (
	parameter = regexp.MustCompile(`sqlc\.narg\((\w+)\)|@(\w+)`)
	embedded  = regexp.MustCompile(`sqlc\.embed\((\w+)\)`)
)

// queryText returns the text of a query.
func queryText(name string) (string, error) {
	files, err := filepath.Glob("../sql/queries/*.sql")
	if err != nil {
		return "", err
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		_, after, found := strings.Cut(string(content), "-- name: "+name+" :")
		if !found {
			continue
		}
		_, text, _ := strings.Cut(after, "\n")
		text, _, _ = strings.Cut(text, "\n-- name: ")
		// A comment may follow the statement, for the next one.
		return text[:strings.LastIndex(text, ";")+1], nil
	}
	return "", fmt.Errorf("there is no query %s", name)
}

// script is the statement as a script of pgbench.
func (s statement) script() (string, error) {
	text, err := queryText(s.query)
	if err != nil {
		return "", err
	}
	text = embedded.ReplaceAllString(text, "$1.*")
	text = regexp.MustCompile(`(?m)--.*$`).ReplaceAllString(text, "")
	text = parameter.ReplaceAllStringFunc(text, func(found string) string {
		match := parameter.FindStringSubmatch(found)
		name := cmp.Or(match[1], match[2])
		if expression, computed := s.expressions[name]; computed {
			return expression
		}
		_, constant := s.values[name]
		drawn := slices.ContainsFunc(s.set, func(line string) bool { return strings.HasPrefix(line, `\set `+name+" ") })
		if !constant && !drawn {
			return "null"
		}
		return ":" + name
	})
	return strings.Join(append(slices.Clone(s.set), strings.Join(strings.Fields(text), " ")), "\n") + "\n", nil
}

// pgbench runs a statement with so many clients for a time; for less than half a second,
// which it has no option for, a few times each. It does so one after another, or, where
// perSecond is not 0, so many a second, and latency counts from when each was due.
func (c *cluster) pgbench(ctx context.Context, dir, database string, s statement, clients, perSecond int, long time.Duration) (sample, error) {
	script, err := s.script()
	if err != nil {
		return sample{}, err
	}
	work, err := os.MkdirTemp(dir, "pgbench-")
	if err != nil {
		return sample{}, err
	}
	defer func() { _ = os.RemoveAll(work) }()
	file := filepath.Join(work, "script.sql")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		return sample{}, err
	}
	mode := "prepared"
	if s.perPlan {
		mode = "extended"
	}
	args := []string{
		"-n", "-M", mode, "-c", strconv.Itoa(clients), "-j", strconv.Itoa(min(clients, 2)), "-f", file, "-l", "--log-prefix=" + filepath.Join(work, "log"), "--random-seed=" + strconv.Itoa(int(time.Now().UnixNano()%1e9)),
	}
	if seconds := int(long.Seconds() + 0.5); seconds > 0 {
		args = append(args, "-T", strconv.Itoa(seconds))
	} else {
		args = append(args, "-t", "100")
	}
	if perSecond > 0 {
		args = append(args, "-R", strconv.Itoa(perSecond))
	}
	for name, value := range s.values {
		args = append(args, "-D", name+"="+value)
	}
	// A script that stores counts n up, so that its keys are new, and follow one another.
	args = append(args, "-D", fmt.Sprint("start=", time.Now().UnixMicro()*1000), "-D", "n=0")
	cmd := exec.CommandContext(ctx, "pgbench", append(args, c.url(database))...)
	output, err := cmd.CombinedOutput()
	if err != nil {
		return sample{}, fmt.Errorf("pgbench: %w: %s", err, output)
	}
	rate := regexp.MustCompile(`tps = ([\d.]+) \(without`).FindSubmatch(output)
	if rate == nil {
		return sample{}, fmt.Errorf("pgbench says no rate: %s", output)
	}
	result := sample{}
	if result.rate, err = strconv.ParseFloat(string(rate[1]), 64); err != nil {
		return sample{}, err
	}
	logs, err := filepath.Glob(filepath.Join(work, "log.*"))
	if err != nil {
		return sample{}, err
	}
	for _, log := range logs {
		if err := readLatencies(log, &result); err != nil {
			return sample{}, err
		}
	}
	return result, nil
}

// readLatencies reads pgbench's log: a line per transaction, its third field the time
// in microseconds.
func readLatencies(path string, into *sample) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) > 2 {
			micros, err := strconv.ParseFloat(fields[2], 64)
			if err != nil {
				return err
			}
			into.latencies = append(into.latencies, time.Duration(micros)*time.Microsecond)
		}
	}
	return lines.Err()
}
