package api

import (
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

// Admission of requests, apart from API keys: limits of the total size of bodies, and of the
// number of requests of a sender.

const (
	// maxBodies limits the total size of the bodies that are being read.
	maxBodies = 256 << 20
	// burst is how many seconds' worth of requests a sender may send at once.
	burst = 10 * time.Second
)

// limitBodies responds with 503 at once when the request bodies could take more memory than
// is reserved for them. A body without a content length, or that is compressed,
// counts as the largest body that the operation accepts.
func (s *server) limitBodies(ctx huma.Context, next func(huma.Context)) {
	r, _ := humachi.Unwrap(ctx)
	size, most := r.ContentLength, int64(maxBodyBytes)
	if ctx.Operation().OperationID == submitRuns {
		most = maxLineBytes + chunkBytes // As much as it keeps.
		if ctx.Query("mode") == "atomic" {
			most = maxAtomicBytes
		}
	}
	if size < 0 || size > most {
		size = most
	}
	defer s.bodyBytes.Add(-size)
	if s.bodyBytes.Add(size) > maxBodies {
		s.refuse(ctx, busy())
		return
	}
	next(ctx)
}

func isHealth(operation *huma.Operation) bool { return slices.Contains(operation.Tags, "Health") }

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

// limitAddresses refuses the requests of an address that sends too many.
func (s *server) limitAddresses(ctx huma.Context, next func(huma.Context)) {
	if isHealth(ctx.Operation()) || !s.isOverLimit(ctx, s.addressLimit, limitedAddress(middleware.GetClientIPAddr(ctx.Context()))) {
		next(ctx)
	}
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

// isOverLimit counts a request of a sender, and responds with 429 if it exceeds the limit. If
// there are two limits, the headers describe the one that is closer.
func (s *server) isOverLimit(ctx huma.Context, limit *rateLimit, sender string) bool {
	if limit == nil {
		return false
	}
	quota := limit.take(sender, time.Now())
	_, w := humachi.Unwrap(ctx)
	if before, err := strconv.Atoi(w.Header().Get(remainingHeader)); err != nil || quota.remaining <= before {
		ctx.SetHeader(limitHeader, strconv.Itoa(quota.limit))
		ctx.SetHeader(remainingHeader, strconv.Itoa(quota.remaining))
		ctx.SetHeader(resetHeader, seconds(quota.reset))
	}
	if quota.retry == 0 {
		return false
	}
	problem := problemOf(http.StatusTooManyRequests, "The rate limit is exceeded. Nothing was stored; retry after the seconds in Retry-After.")
	problem.headers = http.Header{"Retry-After": {seconds(quota.retry)}}
	s.refuse(ctx, problem)
	return true
}

// seconds rounds up, so that it is not too early.
func seconds(d time.Duration) string { return strconv.Itoa(int(math.Ceil(d.Seconds()))) }
