package benchledger

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// Retry calls attempt until it succeeds, returns an *Error or *ForeignError that is not
// Retriable, maxDuration has passed (0 allows one attempt), or ctx ends. It returns the last
// error. Between attempts it waits as long as the server asks, plus a random part, so that
// clients do not all return at once. Otherwise the wait grows to 10 seconds at most.
func Retry(ctx context.Context, maxDuration time.Duration, attempt func() error) error {
	const longest = 10 * time.Second
	end := time.Now().Add(maxDuration)
	for growing := 400 * time.Millisecond; ; growing = min(growing*3/2, longest) {
		err := attempt()
		if err == nil {
			return nil
		}
		again, asked := retriable(err)
		if !again {
			return err
		}
		pause := growing/2 + jitter(growing/2)
		if asked > 0 {
			pause = asked + jitter(min(asked, longest)/2)
		}
		if time.Now().Add(pause).After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

func jitter(most time.Duration) time.Duration {
	return rand.N(most + 1) //nolint:gosec // G404: not a secret
}

// retriable reports whether the same request may succeed later, and how long the server asks
// to wait, 0 if it does not ask.
func retriable(err error) (again bool, asked time.Duration) {
	var failed *Error
	var foreign *ForeignError
	switch {
	case errors.As(err, &failed):
		return failed.Retriable(), failed.RetryAfter
	case errors.As(err, &foreign):
		return foreign.Retriable(), foreign.RetryAfter
	}
	return true, 0 // There was no response.
}

// noticeAfter is how long a request may take before the user is warned, which has to happen
// within two seconds.
const noticeAfter = 1500 * time.Millisecond

// Retrier retries the requests to one server, any number concurrently. They share the retry
// time: when an outage has lasted that long, each further request is sent once, until one
// gets a response, or the last failure is longer ago than the retry time.
type Retrier struct {
	// For is how long requests are retried in an outage; 0 allows one attempt.
	For time.Duration

	mu sync.Mutex
	// until is when the retry time is over; zero without an outage. spent is true when a request
	// has waited until then without success. failed is the time of the last failure.
	until, failed time.Time
	spent         bool
	// waiting, over and slow say of what the user was already warned.
	waiting, over, slow bool
}

// Do calls attempt as Retry does. It calls notify when the request has not succeeded within two
// seconds, with the end of the retry time, and when it gives up after no response or a
// Retriable one, with a zero time. Of all requests of an outage, each happens once. A server
// that is slow each time is mentioned once. notify may be nil.
func (r *Retrier) Do(ctx context.Context, attempt func() error, notify func(why error, until time.Time)) error {
	begun := time.Now()
	r.mu.Lock()
	if r.For > 0 && !r.failed.IsZero() && begun.Sub(r.failed) > r.For { // It may be another outage.
		r.until, r.spent, r.waiting, r.over = time.Time{}, false, false, false
	}
	until := r.until
	if until.IsZero() || !r.spent && begun.After(until) {
		until = begun.Add(r.For)
	}
	r.mu.Unlock()
	var failure error // That of the last attempt; guarded by r.mu, as done is.
	done := false
	notice := func() {
		r.mu.Lock()
		why, end := failure, until
		if done || notify == nil || r.waiting || r.over || why == nil && r.slow {
			r.mu.Unlock()
			return
		}
		if why == nil {
			why, r.slow = errors.New("no response within "+noticeAfter.String()), true
		}
		if r.waiting = time.Now().Before(end); !r.waiting {
			r.over, end = true, time.Time{}
		}
		r.mu.Unlock()
		notify(why, end)
	}
	timer := time.AfterFunc(noticeAfter, notice)
	defer timer.Stop()
	err := Retry(ctx, time.Until(until), func() error {
		start := time.Now()
		err := attempt()
		if r.note(ctx, err, start, until, &failure) && time.Since(begun) > noticeAfter {
			notice() // The timer may have found the server only slow.
		}
		return err
	})
	r.mu.Lock()
	done = true
	if again, _ := retriable(err); err == nil || !again || ctx.Err() != nil {
		r.mu.Unlock()
		return err
	}
	r.until, r.spent = time.Now(), true
	silent := notify == nil || r.over
	r.over = r.over || !silent
	r.mu.Unlock()
	if !silent {
		notify(cause(err), time.Time{})
	}
	return err
}

// note records the result of an attempt, and reports whether it failed so that the same request
// may succeed later. It sets why then.
func (r *Retrier) note(ctx context.Context, err error, start, until time.Time, why *error) bool {
	again, _ := retriable(err)
	r.mu.Lock()
	defer r.mu.Unlock()
	var foreign *ForeignError
	switch {
	case err != nil && ctx.Err() != nil:
	case err != nil && again:
		*why, r.failed = cause(err), time.Now()
		if !r.spent && r.until.Before(until) {
			r.until = until
		}
		return true
	case !errors.As(err, &foreign):
		r.until, r.failed, r.spent, r.waiting, r.over = time.Time{}, time.Time{}, false, false, false
		r.slow = r.slow && time.Since(start) >= noticeAfter
	}
	return false
}

// cause returns the response, or else the innermost error, like "connection refused".
func cause(err error) error {
	var failed *Error
	var foreign *ForeignError
	switch {
	case errors.As(err, &failed):
		return failed
	case errors.As(err, &foreign):
		return foreign
	}
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return err
}
