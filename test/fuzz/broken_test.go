package fuzz

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/benchledger/benchledger/internal/testdb"
)

// TestFuzzFindsFaults breaks the service in small ways, each of which has to be found.
func TestFuzzFindsFaults(t *testing.T) {
	t.Parallel()
	s, err := readSpec()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		operation string // "" is a sequence
		spoil     func(*http.Request, *httptest.ResponseRecorder)
		want      string
	}{
		"a failure": {"get-stats", func(_ *http.Request, w *httptest.ResponseRecorder) {
			w.Code = http.StatusInternalServerError
		}, "the server fails: 500"},
		"a failure at one header": {"submit-run", func(r *http.Request, w *httptest.ResponseRecorder) {
			if strings.Contains(r.Header.Get("Content-Type"), "charset") && w.Code < 300 {
				w.Code = http.StatusBadGateway
			}
		}, "the server fails: 502"},
		"a status that is not documented": {"list-runs", func(_ *http.Request, w *httptest.ResponseRecorder) {
			if w.Code == http.StatusUnprocessableEntity {
				w.Code = http.StatusBadRequest
			}
		}, "400"},
		"a field of another type": {"get-stats", replace(`"totalRuns":`, `"totalRuns":0.5,"x":`), "does not conform"},
		"a field too few":         {"list-runs", replace(`"tier":`, `"level":`), "does not conform"},
		"a field too many":        {"get-health", replace(`{`, `{"secret":1,`), "does not conform"},
		"another content type": {"get-batch", func(_ *http.Request, w *httptest.ResponseRecorder) {
			w.Header().Set("Content-Type", "text/json")
		}, "does not conform"},
		"no id of the request": {"get-run", func(_ *http.Request, w *httptest.ResponseRecorder) {
			w.Header().Del("X-Request-Id")
		}, "X-Request-Id"},
		"what is invalid is taken": {"submit-batch", func(_ *http.Request, w *httptest.ResponseRecorder) {
			if w.Code == http.StatusUnprocessableEntity {
				w.Code = http.StatusCreated
				w.Header().Set("Content-Type", "application/json")
				w.Body = bytes.NewBufferString(`{"success":true,"batchId":"b"}`)
			}
		}, "status 201, want one of"},
		"another value is read back": {"", replace(`"isSuccessful":true`, `"isSuccessful":false`), "isSuccessful is"},
		"a replay that does not say so": {"", func(_ *http.Request, w *httptest.ResponseRecorder) {
			w.Header().Del("Idempotent-Replayed")
		}, "a replay"},
		"a page that ends the list": {"", func(_ *http.Request, w *httptest.ResponseRecorder) {
			w.Header().Del("Link")
		}, "runs ["},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broken := serve(t, s, newFigures(), testdb.New(t), func(next http.Handler) http.Handler { return spoiled(next, test.spoil) })
			found := failure(t, func(t rapid.TB) {
				if test.operation != "" {
					fuzzOperation(t, broken, s.operation(test.operation))
				} else {
					rapid.Check(t, func(t *rapid.T) { runSequence(t, broken) })
				}
			})
			if !strings.Contains(found, test.want) {
				t.Errorf("found %q, want %q", found, test.want)
			}
		})
	}
}

// spoiled changes answers.
func spoiled(next http.Handler, spoil func(*http.Request, *httptest.ResponseRecorder)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		recorded := httptest.NewRecorder()
		next.ServeHTTP(recorded, r)
		spoil(r, recorded)
		for name, values := range recorded.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(recorded.Code)
		_, _ = w.Write(recorded.Body.Bytes())
	})
}

func replace(old, replacement string) func(*http.Request, *httptest.ResponseRecorder) {
	return func(_ *http.Request, w *httptest.ResponseRecorder) {
		changed := strings.Replace(w.Body.String(), old, replacement, 1)
		w.Body = bytes.NewBufferString(changed)
		w.Header().Del("Content-Length")
	}
}

// failure runs a check that has to fail, and returns how.
func failure(t *testing.T, check func(rapid.TB)) string {
	t.Helper()
	recorded := &failing{T: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		check(recorded)
	}()
	<-done
	return recorded.said.String()
}

// failing records a failure that is wanted.
type failing struct {
	*testing.T
	said   strings.Builder
	failed bool
}

func (f *failing) Errorf(format string, args ...any) { f.note(fmt.Sprintf(format, args...)) }
func (f *failing) Error(args ...any)                 { f.note(fmt.Sprint(args...)) }
func (f *failing) Fatalf(format string, args ...any) { f.Errorf(format, args...); f.FailNow() }
func (f *failing) Fatal(args ...any)                 { f.Error(args...); f.FailNow() }
func (f *failing) Fail()                             { f.failed = true }
func (f *failing) Failed() bool                      { return f.failed }
func (f *failing) Log(...any)                        {}
func (f *failing) Logf(string, ...any)               {}

func (f *failing) FailNow() {
	f.failed = true
	runtime.Goexit()
}

func (f *failing) note(said string) {
	f.failed = true
	f.said.WriteString(said)
}
