package benchledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
)

// SpoolDir returns the directory for undelivered submissions: BENCHLEDGER_SPOOL, or else
// benchledger/spool in XDG_STATE_HOME, or else in ~/.local/state. The TypeScript recorder
// uses the same directory and the same file format.
func SpoolDir() (string, error) {
	if dir := os.Getenv("BENCHLEDGER_SPOOL"); dir != "" {
		return dir, nil
	}
	state := os.Getenv("XDG_STATE_HOME")
	if state == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find a directory for the spool (or set BENCHLEDGER_SPOOL): %w", err)
		}
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "benchledger", "spool"), nil
}

// entry is a file in the spool: a submission, and the server that it is for.
type entry struct {
	URL       string    `json:"url"`
	Operation string    `json:"operation"`
	SpooledAt time.Time `json:"spooledAt"`
	// Status and Problem tell why the server refused it.
	Status  int      `json:"status,omitempty"`
	Problem *Problem `json:"problem,omitempty"`
	// Body is the last field: the TypeScript recorder cuts its text out, to keep all digits.
	Body json.RawMessage `json:"body"`

	// name is that of the file, relative to the spool, and size its size in bytes.
	name string
	size int64
	// id names the run or the batch, once the body is read.
	id string
	// failed tells that it was sent alone, and not delivered.
	failed bool
}

// The operations that an entry can have.
const (
	submitRun   = "submit-run"
	submitBatch = "submit-batch"
)

// spool keeps submissions on disk until they are delivered. Refused submissions move to the
// folder refused, with the reason.
type spool struct {
	dir string
	// err is why there is no directory.
	err error
}

const refusedDir = "refused"

// put stores an entry so that it survives a crash of the machine, and returns its name.
func (s *spool) put(e entry) (string, error) {
	name := fmt.Sprintf("%d-%s.json", e.SpooledAt.UnixMilli(), uuid.NewString())
	if err := s.write(name, e); err != nil {
		return "", fmt.Errorf("spool a submission: %w", err)
	}
	return name, nil
}

func (s *spool) write(name string, e entry) error {
	if s.err != nil {
		return s.err
	}
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(path+".tmp", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600) //nolint:gosec // G304: in the spool
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// remove deletes a delivered entry. Another process may have deleted it already.
func (s *spool) remove(name string) error {
	if err := os.Remove(filepath.Join(s.dir, name)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// refuse moves an entry to the folder refused, with the reason.
func (s *spool) refuse(name string, e entry, why *Error) error {
	e.Status, e.Problem = why.Status, &why.Problem
	if err := s.write(filepath.Join(refusedDir, filepath.Base(name)), e); err != nil {
		return err
	}
	if filepath.Dir(name) == refusedDir {
		return nil
	}
	return s.remove(name)
}

// list returns the names of the files in a folder of the spool that may be entries. It opens none of
// them: there may be very many. unreadable has those that must not be opened, such as a pipe, which
// would not return.
func (s *spool) list(folder string) (names []string, unreadable []error, err error) {
	if s.err != nil {
		return nil, nil, s.err
	}
	files, err := os.ReadDir(filepath.Join(s.dir, folder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	for _, file := range files {
		name := filepath.Join(folder, file.Name())
		switch {
		case !strings.HasSuffix(name, ".json") && !strings.HasSuffix(name, partial):
		case !file.Type().IsRegular():
			unreadable = append(unreadable, fmt.Errorf("%s: not a regular file", name))
		default:
			names = append(names, name)
		}
	}
	return names, unreadable, nil
}

// partial is how the name of a file ends while it is written.
const partial = ".json.tmp"

// head reads an entry without its body: url, operation and spooledAt, which are at the beginning of
// what recorders write.
func (s *spool) head(name string) (entry, error) {
	file, err := os.Open(filepath.Join(s.dir, name)) //nolint:gosec // G304: in the spool
	if err != nil {
		return entry{}, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return entry{}, err
	}
	e := entry{name: name, size: info.Size()}
	for decoder := json.NewDecoder(file); ; {
		token, err := decoder.Token()
		switch {
		case err != nil:
		case token == json.Delim('{'):
			continue
		case token == "url":
			err = decoder.Decode(&e.URL)
		case token == "operation":
			err = decoder.Decode(&e.Operation)
		case token == "spooledAt":
			err = decoder.Decode(&e.SpooledAt)
		default:
			err = errors.New("another member")
		}
		if err != nil { // Someone has edited the file, or it is not an entry.
			whole, err := s.read(name)
			whole.Body, whole.size = nil, info.Size()
			return whole, err
		}
		if isOperation(e.Operation) && e.URL != "" && !e.SpooledAt.IsZero() {
			return e, nil
		}
	}
}

// rescue handles a temporary file that a process left behind more than a minute ago. If it is a whole
// entry, it becomes one, and rescue returns its name. If it is empty, or ends in the middle of an
// entry, it is deleted: it was never said to be safe. Any other file stays.
func (s *spool) rescue(name string) (string, error) {
	path := filepath.Join(s.dir, name)
	info, err := os.Lstat(path)
	if err != nil || time.Since(info.ModTime()) < time.Minute {
		return "", err
	}
	text, err := os.ReadFile(path) //nolint:gosec // G304: in the spool
	if err != nil {
		return "", err
	}
	if _, err := parse(text); err != nil {
		begun, ended := bytes.HasPrefix(text, []byte(`{"url":`)), bytes.HasSuffix(bytes.TrimSpace(text), []byte("}"))
		if len(text) == 0 || begun && !ended {
			return "", os.Remove(path)
		}
		return "", fmt.Errorf("%s: %w", name, err)
	}
	whole := strings.TrimSuffix(name, ".tmp")
	return whole, os.Rename(path, filepath.Join(s.dir, whole))
}

// read reads a whole entry.
func (s *spool) read(name string) (entry, error) {
	text, err := os.ReadFile(filepath.Join(s.dir, name)) //nolint:gosec // G304: in the spool
	if err != nil {
		return entry{}, err
	}
	e, err := parse(text)
	if err != nil {
		return entry{}, fmt.Errorf("%s: %w", name, err)
	}
	e.name, e.size = name, int64(len(text))
	return e, nil
}

func parse(text []byte) (e entry, err error) {
	if err := json.Unmarshal(text, &e); err != nil {
		return entry{}, fmt.Errorf("not a submission: %w", err)
	}
	if !bytes.HasPrefix(e.Body, []byte("{")) || !isOperation(e.Operation) {
		return entry{}, errors.New("not a submission")
	}
	var line bytes.Buffer // It may have been edited, and is sent as one line.
	if err := json.Compact(&line, e.Body); err != nil {
		return entry{}, err
	}
	e.Body = line.Bytes()
	return e, nil
}

func isOperation(name string) bool { return name == submitRun || name == submitBatch }
