package api

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5/middleware"
)

// Admission of requests: limits of what is in use at the same time, in all and by each sender,
// and of the number of requests per second of a sender.

const (
	// burst is how many seconds' worth of requests a sender may send at once.
	burst = 10 * time.Second
	// requestsOfAddress and requestsOfKey are how many requests one address, or one key, may
	// have at the same time: slow ones do not leave the others without a place.
	requestsOfAddress, requestsOfKey = 512, 256
	// refusalDelay is how long an address that exceeds its rate waits for the answer that says so.
	refusalDelay = 100 * time.Millisecond
	// memoryShare is the part of the memory limit that the bodies of requests may have, and that
	// the bodies of responses may have. A body takes up to four times its size, a response twice.
	memoryShare = 8
	// minBodies and maxBodies are the bounds of that part; the maximum is also what is
	// allowed without a memory limit.
	minBodies, maxBodies = 64 << 20, 256 << 20
	// smallResponse is the size up to which a response is not counted: the operating system
	// has it in its buffers as soon as it is written.
	smallResponse = 64 << 10
)

// usageLimit bounds what is in use at the same time: requests, or bytes.
type usageLimit struct {
	// all and each are the most that all senders, and each of them, may use.
	all, each int64

	mu   sync.Mutex
	used int64
	by   map[string]int64
}

func newUsageLimit(all, each int64) *usageLimit {
	return &usageLimit{all: all, each: each, by: map[string]int64{}}
}

// bodyLimit limits bodies under a memory limit; 0 is none. A sender may use a quarter, or as
// much as the largest body.
func bodyLimit(memory int64) *usageLimit {
	all := int64(maxBodies)
	if memory > 0 {
		all = min(max(memory/memoryShare, minBodies), maxBodies)
	}
	return newUsageLimit(all, max(all/4, maxAtomicBytes))
}

// take reports whether a sender may use more, which is then counted. Who uses nothing yet may
// take more than each: a response that is larger could never be sent otherwise.
func (l *usageLimit) take(sender string, more int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.used+more > l.all || l.by[sender] > 0 && l.by[sender]+more > l.each {
		return false
	}
	l.used += more
	l.by[sender] += more
	return true
}

// isFull reports whether nothing more can be used.
func (l *usageLimit) isFull() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.used >= l.all
}

// give takes back what was counted.
func (l *usageLimit) give(sender string, less int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used -= less
	if l.by[sender] -= less; l.by[sender] == 0 {
		delete(l.by, sender)
	}
}

// limitBodies has the body of a request counted while it is read, and as long as the operation
// works with it.
func (s *server) limitBodies(ctx huma.Context, next func(huma.Context)) {
	if ctx.Operation().RequestBody != nil {
		r, _ := humachi.Unwrap(ctx)
		body := &countedBody{ReadCloser: r.Body, limit: s.bodies, sender: senderOf(ctx.Context())}
		defer body.release()
		requestInfoFrom(ctx.Context()).received = body
		r.Body = body
	}
	next(ctx)
}

// countedBody counts the bytes of a body that are in memory. When there are too many it
// returns a problem as its error.
type countedBody struct {
	io.ReadCloser
	limit  *usageLimit
	sender string
	size   int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 && !b.limit.take(b.sender, int64(n)) {
		return 0, busy()
	}
	b.size += int64(n)
	return n, err
}

// release ends the counting of what was read so far.
func (b *countedBody) release() {
	b.limit.give(b.sender, b.size)
	b.size = 0
}

// senderOf returns who sent a request: the name of its key or, without one, its address.
func senderOf(ctx context.Context) string {
	if key := requestInfoFrom(ctx).key; key != "" {
		return "key " + key
	}
	return limitedAddress(middleware.GetClientIPAddr(ctx))
}

// healthPaths are exempt from all limits: an orchestrator restarts a server that does not
// respond there.
var healthPaths = []string{"/health", "/livez", "/readyz"}

func isHealth(r *http.Request) bool { return slices.Contains(healthPaths, r.URL.Path) }

// rateLimit allows each sender a number of requests per second, and a burst. With the
// generic cell rate algorithm, it only stores when the whole burst is available again. No
// library fits: httprate counts in fixed windows, without bursts that refill, and the store of
// throttled keeps senders forever, or evicts arbitrary ones.
type rateLimit struct {
	perSecond int
	mu        sync.Mutex
	fullAt    map[string]time.Time // by sender
	swept     time.Time            // when senders with a full burst were last removed
}

// newRateLimit returns nil, which is no limit, if perSecond is 0.
func newRateLimit(perSecond int) *rateLimit {
	if perSecond == 0 {
		return nil
	}
	return &rateLimit{perSecond: perSecond, fullAt: map[string]time.Time{}}
}

// quota is what a sender may send.
type quota struct {
	limit, remaining int
	// reset is the time until all of the burst may be sent again. retry is the time until
	// the next request is allowed, 0 if this one is.
	reset, retry time.Duration
}

// take counts a request if it is allowed.
func (l *rateLimit) take(sender string, now time.Time) quota {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.swept) > burst {
		maps.DeleteFunc(l.fullAt, func(_ string, at time.Time) bool { return at.Before(now) })
		l.swept = now
	}
	each := time.Second / time.Duration(l.perSecond)
	q := quota{limit: int(burst / each), reset: max(0, l.fullAt[sender].Sub(now))}
	if q.retry = max(0, q.reset+each-burst); q.retry > 0 {
		return q
	}
	q.reset += each
	q.remaining = int((burst - q.reset) / each)
	l.fullAt[sender] = now.Add(q.reset)
	return q
}

// The headers of limits (draft-ietf-httpapi-ratelimit-headers-07).
const (
	limitHeader     = "RateLimit-Limit"
	remainingHeader = "RateLimit-Remaining"
	resetHeader     = "RateLimit-Reset"
)

// limitAddresses refuses the requests of an address that sends too many, or has too many
// under way.
func (s *server) limitAddresses(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isHealth(r) {
			next.ServeHTTP(w, r)
			return
		}
		address := limitedAddress(middleware.GetClientIPAddr(r.Context()))
		if !s.addresses.take(address, 1) {
			s.writeProblem(w, r, tooMany(fmt.Sprintf("This address has more than %d requests under way.", requestsOfAddress), time.Second))
			return
		}
		defer s.addresses.give(address, 1)
		if problem := checkRate(w, s.addressLimit, address); problem != nil {
			select { // Who does not wait for an answer would send the next request at once.
			case <-time.After(refusalDelay):
			case <-r.Context().Done():
			}
			s.writeProblem(w, r, problem)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// limitKeys does the same for the key of a request.
func (s *server) limitKeys(ctx huma.Context, next func(huma.Context)) {
	key := requestInfoFrom(ctx.Context()).key
	if key == "" {
		next(ctx)
		return
	}
	if !s.keyRequests.take(key, 1) {
		s.refuse(ctx, tooMany(fmt.Sprintf("This API key has more than %d requests under way.", requestsOfKey), time.Second))
		return
	}
	defer s.keyRequests.give(key, 1)
	_, w := humachi.Unwrap(ctx)
	if problem := checkRate(w, s.keyLimit, key); problem != nil {
		s.refuse(ctx, problem)
		return
	}
	next(ctx)
}

// tooMany is the response to a sender that exceeds a limit.
func tooMany(why string, retry time.Duration) *Problem {
	problem := problemOf(http.StatusTooManyRequests, why+" Nothing was stored; retry after the seconds in Retry-After.")
	problem.headers = http.Header{"Retry-After": {seconds(retry)}}
	return problem
}

// limitedAddress is what counts as one sender: an address or, of IPv6, a network of 64
// bits, because a client with one of its addresses has all of them.
func limitedAddress(address netip.Addr) string {
	if !address.Is6() {
		return address.String()
	}
	network, _ := address.WithZone("").Prefix(64) // It only fails for too many bits.
	return network.String()
}

// checkRate counts a request of a sender, and returns a problem if it exceeds the limit. If
// there are two limits, the headers describe the one that is closer.
func checkRate(w http.ResponseWriter, limit *rateLimit, sender string) *Problem {
	if limit == nil {
		return nil
	}
	quota := limit.take(sender, time.Now())
	if before, err := strconv.Atoi(w.Header().Get(remainingHeader)); err != nil || quota.remaining <= before {
		w.Header().Set(limitHeader, strconv.Itoa(quota.limit))
		w.Header().Set(remainingHeader, strconv.Itoa(quota.remaining))
		w.Header().Set(resetHeader, seconds(quota.reset))
	}
	if quota.retry == 0 {
		return nil
	}
	return tooMany("The rate limit is exceeded.", quota.retry)
}

// seconds rounds up, so that it is not too early.
func seconds(d time.Duration) string { return strconv.Itoa(int(math.Ceil(d.Seconds()))) }
