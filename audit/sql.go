package audit

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

var nameLine = regexp.MustCompile(`^-- name: (\w+) :(\w+)`)

// readQueries reads the named queries in the SQL files, in their order.
func readQueries(config Config) ([]*Query, error) {
	files, err := filepath.Glob(config.path(config.Queries) + "/*.sql")
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var queries []*Query
	for _, path := range files {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		relative := config.Queries + "/" + filepath.Base(path)
		var current *Query
		inComment := false
		for i, line := range strings.Split(string(content), "\n") {
			if match := nameLine.FindStringSubmatch(line); match != nil {
				if !slices.Contains([]string{"one", "many", "exec", "execrows", "execresult"}, match[2]) {
					return nil, fmt.Errorf("%s:%d: %s is :%s, which the audit does not know how to follow", relative, i+1, match[1], match[2])
				}
				current = &Query{Name: match[1], Rows: match[2], At: Position{relative, i + 1}}
				queries, inComment = append(queries, current), true
				continue
			}
			comment, isComment := strings.CutPrefix(line, "--")
			if current == nil || !inComment || !isComment {
				inComment = false
				continue
			}
			comment = strings.TrimSpace(comment)
			if reason, ok := strings.CutPrefix(comment, "audit: "); ok {
				current.Reason = reason
				continue
			}
			current.Comment = strings.TrimSpace(current.Comment + " " + comment)
		}
	}
	return queries, nil
}

// Migration is a step of the schema.
type Migration struct {
	Version string `json:"version"`
	Up      string `json:"up"`
	Down    string `json:"down,omitempty"`
}

var migrationFile = regexp.MustCompile(`^(\d+)_.*\.(up|down)\.sql$`)

func readMigrations(config Config) ([]Migration, error) {
	files, err := os.ReadDir(config.path(config.Schema))
	if err != nil {
		return nil, err
	}
	byVersion := map[string]*Migration{}
	for _, file := range files {
		match := migrationFile.FindStringSubmatch(file.Name())
		if match == nil {
			continue
		}
		migration := byVersion[match[1]]
		if migration == nil {
			migration = &Migration{Version: match[1]}
			byVersion[match[1]] = migration
		}
		path := config.Schema + "/" + file.Name()
		if match[2] == "up" {
			migration.Up = path
		} else {
			migration.Down = path
		}
	}
	var migrations []Migration
	for _, version := range sortedKeys(byVersion) {
		migrations = append(migrations, *byVersion[version])
	}
	return migrations, nil
}

// readStatement returns the text of a file of the project.
func readStatement(config Config, path string) (string, error) {
	content, err := os.ReadFile(config.path(path))
	if err != nil {
		return "", fmt.Errorf("read migration: %w", err)
	}
	return string(content), nil
}
