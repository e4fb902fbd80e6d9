package benchledger

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestRetrier checks that the requests of an outage share the retry time, and what the user
// reads of it.
func TestRetrier(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const retryTime = 5 * time.Minute
		var mu sync.Mutex
		var notices []string
		start := time.Now()
		notify := func(why error, until time.Time) {
			mu.Lock()
			defer mu.Unlock()
			text := why.Error()
			if !until.IsZero() {
				text = fmt.Sprintf("%s %v, until %s", time.Since(start), why, until.Sub(start))
			}
			notices = append(notices, text)
		}
		want := func(want ...string) {
			t.Helper()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(notices, want) {
				t.Errorf("it says %q, want %q", notices, want)
			}
			notices = nil
		}
		unreachable := &url.Error{Op: "Post", URL: "http://h", Err: syscall.ECONNREFUSED}
		retrier := Retrier{For: retryTime}
		// send returns the number of attempts, and how long they took.
		send := func(attempt func() error) (attempts int, took time.Duration) {
			start := time.Now()
			_ = retrier.Do(t.Context(), func() error { attempts++; return attempt() }, notify)
			return attempts, time.Since(start)
		}
		down := func() error { return unreachable }

		var ends sync.WaitGroup
		for i := range 10 {
			ends.Go(func() {
				time.Sleep(time.Duration(i) * 10 * time.Second)
				if attempts, _ := send(down); attempts < 10 || time.Since(start) > retryTime {
					t.Errorf("%d attempts in %s", attempts, time.Since(start))
				}
			})
		}
		ends.Wait()
		want("1.5s connection refused, until 5m0s", "connection refused")
		for range 10 {
			if attempts, took := send(down); attempts != 1 || took > 0 {
				t.Errorf("after the retry time there are %d attempts in %s", attempts, took)
			}
		}
		want()

		// Any response of the server ends the outage.
		for _, response := range []error{nil, &Error{Status: http.StatusUnprocessableEntity}, &Error{Status: http.StatusForbidden}} {
			if attempts, _ := send(func() error { return response }); attempts != 1 {
				t.Errorf("%d attempts for %v", attempts, response)
			}
			start = time.Now()
			if attempts, took := send(down); attempts < 10 || took < retryTime-15*time.Second {
				t.Errorf("after %v there are %d attempts in %s", response, attempts, took)
			}
			want("1.5s connection refused, until 5m0s", "connection refused")
		}
		// A proxy does not.
		if attempts, _ := send(func() error { return &ForeignError{Status: http.StatusNotFound} }); attempts != 1 {
			t.Errorf("%d attempts", attempts)
		}
		if attempts, _ := send(down); attempts != 1 {
			t.Errorf("%d attempts after the page of a proxy", attempts)
		}
		want()

		// A first attempt that hangs, and a server that is slow each time.
		_, _ = send(func() error { return nil })
		for range 3 {
			start = time.Now()
			_, _ = send(func() error { time.Sleep(10 * time.Second); return nil })
		}
		want("1.5s no response within 1.5s, until 5m0s")

		// The user is warned of an outage after slow responses, also if requests hang.
		for name, outage := range map[string]func() error{
			"1.5s": down, "10s": func() error { time.Sleep(10 * time.Second); return unreachable },
		} {
			_, _ = send(func() error { time.Sleep(10 * time.Second); return nil })
			start = time.Now()
			_, _ = send(outage)
			want(name+" connection refused, until 5m0s", "connection refused")
		}

		// The retry time begins anew when the last failure is that long ago.
		time.Sleep(retryTime - time.Second)
		if attempts, _ := send(down); attempts != 1 {
			t.Errorf("%d attempts in the same outage", attempts)
		}
		want()
		time.Sleep(retryTime + time.Second)
		start = time.Now()
		if attempts, _ := send(down); attempts < 10 {
			t.Errorf("%d attempts long after the last failure", attempts)
		}
		want("1.5s connection refused, until 5m0s", "connection refused")

		// A caller that stops waiting does not use up the retry time; the next outage is reported.
		_, _ = send(func() error { return nil })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := retrier.Do(ctx, down, notify); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		notices = nil
		start = time.Now()
		if attempts, _ := send(down); attempts < 10 {
			t.Errorf("%d attempts", attempts)
		}
		want("1.5s connection refused, until 5m0s", "connection refused")
	})
}

// TestRetrierNotifiesUnlocked checks that notify may use the retrier.
func TestRetrierNotifiesUnlocked(t *testing.T) {
	t.Parallel()
	var retrier Retrier
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = retrier.Do(t.Context(), func() error { return syscall.ECONNREFUSED }, func(error, time.Time) {
			_ = retrier.Do(t.Context(), func() error { return nil }, nil)
		})
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Error("it waits for its own lock")
	}
}

// TestRetrierWithoutRetries checks that it reports an outage once.
func TestRetrierWithoutRetries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var retrier Retrier
		attempts, notices := 0, 0
		for range 3 {
			_ = retrier.Do(t.Context(), func() error { attempts++; return syscall.ECONNREFUSED }, func(error, time.Time) { notices++ })
			time.Sleep(time.Hour)
		}
		if attempts != 3 || notices != 1 {
			t.Errorf("%d attempts, %d notices", attempts, notices)
		}
	})
}

// TestRetry checks which errors are retried.
func TestRetry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for status, again := range map[int]bool{
			http.StatusFound: false, http.StatusOK: false, http.StatusBadRequest: false, http.StatusUnauthorized: false, http.StatusForbidden: false,
			http.StatusNotFound: false, http.StatusRequestTimeout: true, http.StatusConflict: false, http.StatusRequestEntityTooLarge: false,
			http.StatusMisdirectedRequest: false, http.StatusUnprocessableEntity: false, http.StatusTooEarly: true, http.StatusTooManyRequests: true,
			http.StatusInternalServerError: true, http.StatusBadGateway: true, http.StatusServiceUnavailable: true,
		} {
			for _, err := range []error{&Error{Status: status}, &ForeignError{Status: status}} {
				attempts := 0
				if got := Retry(t.Context(), time.Minute, func() error { attempts++; return err }); !errors.Is(got, err) {
					t.Error(got)
				}
				if (attempts > 1) != again {
					t.Errorf("%T %d: %d attempts", err, status, attempts)
				}
			}
		}
		for _, err := range []error{&Error{Status: http.StatusServiceUnavailable, RetryAfter: time.Minute}, &ForeignError{Status: http.StatusServiceUnavailable, RetryAfter: time.Minute}} {
			times := []time.Time{}
			_ = Retry(t.Context(), 2*time.Minute, func() error { times = append(times, time.Now()); return err })
			if len(times) != 2 || times[1].Sub(times[0]) < time.Minute {
				t.Errorf("%T: attempts at %v", err, times)
			}
		}
	})
}
