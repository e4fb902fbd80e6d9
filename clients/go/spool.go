package benchledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
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

	name string
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
	mu  sync.Mutex
	// delivering holds the names of the entries that this process is sending.
	delivering map[string]bool
}

const refusedDir = "refused"

// put stores an entry so that it survives a crash of the machine, and returns its name.
func (s *spool) put(e entry) (string, error) {
	name := fmt.Sprintf("%d-%s.json", e.SpooledAt.UnixMilli(), uuid.NewString())
	s.hold(name)
	if err := s.write(name, e); err != nil {
		s.release(name)
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

func (s *spool) hold(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delivering[name] = true
}

func (s *spool) release(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.delivering, name)
}

// list returns the entries in a folder of the spool, oldest first, without those that this
// process is sending. unreadable counts files that are not entries.
func (s *spool) list(folder string) (entries []entry, unreadable int, err error) {
	if s.err != nil {
		return nil, 0, s.err
	}
	files, err := os.ReadDir(filepath.Join(s.dir, folder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	for _, file := range files {
		name := filepath.Join(folder, file.Name())
		if strings.HasSuffix(name, ".json.tmp") {
			name = s.rescue(name)
		}
		if !strings.HasSuffix(name, ".json") || s.busy(name) {
			continue
		}
		e, err := s.read(name)
		switch {
		case err == nil:
			entries = append(entries, e)
		case !errors.Is(err, fs.ErrNotExist): // Otherwise another process delivered it.
			unreadable++
		}
	}
	sort.SliceStable(entries, func(i, j int) bool { return entries[i].SpooledAt.Before(entries[j].SpooledAt) })
	return entries, unreadable, nil
}

// rescue handles a temporary file that a process left behind more than a minute ago: it
// becomes an entry if it is complete, and is deleted otherwise. It returns the entry's name.
func (s *spool) rescue(name string) string {
	path := filepath.Join(s.dir, name)
	if info, err := os.Stat(path); err != nil || time.Since(info.ModTime()) < time.Minute {
		return ""
	}
	if _, err := s.read(name); err != nil {
		_ = os.Remove(path) // The next recorder tries again.
		return ""
	}
	whole := strings.TrimSuffix(name, ".tmp")
	if os.Rename(path, filepath.Join(s.dir, whole)) != nil {
		return ""
	}
	return whole
}

func (s *spool) read(name string) (entry, error) {
	text, err := os.ReadFile(filepath.Join(s.dir, name)) //nolint:gosec // G304: in the spool
	if err != nil {
		return entry{}, err
	}
	e := entry{name: name}
	if err := json.Unmarshal(text, &e); err != nil {
		return entry{}, err
	}
	if !bytes.HasPrefix(e.Body, []byte("{")) || e.Operation != submitRun && e.Operation != submitBatch {
		return entry{}, errors.New("not a submission")
	}
	var line bytes.Buffer // It may have been edited, and is sent as one line.
	if err := json.Compact(&line, e.Body); err != nil {
		return entry{}, err
	}
	e.Body = line.Bytes()
	return e, nil
}

func (s *spool) busy(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.delivering[name]
}
