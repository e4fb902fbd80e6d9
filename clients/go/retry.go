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

// noticeAfter is how long a request may take before the user learns of it: users shall read
// it within two seconds.
const noticeAfter = 1500 * time.Millisecond

// Retrier retries the requests to one server, any number concurrently. They share the retry
// time: when an outage has lasted that long, each further request is sent once, until one
// gets a response.
type Retrier struct {
	// For is how long requests are retried in an outage; 0 allows one attempt.
	For time.Duration

	mu sync.Mutex
	// until is when the retry time is over; zero without an outage. spent says that a request
	// has waited for it in vain.
	until time.Time
	spent bool
	// waiting and over say what the user knows about this outage.
	waiting, over bool
}

// Do calls attempt as Retry does. It calls notify when the request has not succeeded within two
// seconds, with the end of the retry time, and when it gives up after no response or a
// Retriable one, with a zero time. Of all requests of an outage, each happens once. notify may
// be nil.
func (r *Retrier) Do(ctx context.Context, attempt func() error, notify func(why error, until time.Time)) error {
	r.mu.Lock()
	until := r.until
	if now := time.Now(); until.IsZero() || !r.spent && now.After(until) {
		until = now.Add(r.For)
	}
	r.mu.Unlock()
	why, done := errors.New("no response within "+noticeAfter.String()), false // Guarded by r.mu.
	timer := time.AfterFunc(noticeAfter, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if done || notify == nil || r.waiting || r.over {
			return
		}
		if time.Now().Before(until) {
			r.waiting = true
			notify(why, until)
		} else {
			r.over = true
			notify(why, time.Time{})
		}
	})
	defer timer.Stop()
	err := Retry(ctx, time.Until(until), func() error {
		start := time.Now()
		err := attempt()
		again, _ := retriable(err)
		r.mu.Lock()
		defer r.mu.Unlock()
		var foreign *ForeignError
		switch {
		case err != nil && ctx.Err() != nil:
		case err != nil && again:
			why = cause(err)
			if !r.spent && r.until.Before(until) {
				r.until = until
			}
		case !errors.As(err, &foreign):
			r.until, r.spent = time.Time{}, false
			if time.Since(start) < noticeAfter { // A server that is slow is mentioned once.
				r.waiting, r.over = false, false
			}
		}
		return err
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	done = true
	if again, _ := retriable(err); err == nil || !again || ctx.Err() != nil {
		return err
	}
	r.until, r.spent = time.Now(), true
	if notify != nil && !r.over {
		r.over = true
		notify(why, time.Time{})
	}
	return err
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
