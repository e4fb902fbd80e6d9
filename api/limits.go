package api

import (
	"maps"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5/middleware"
)

// burst is the length of a burst: the requests of that time may come at once.
const burst = 10 * time.Second

// limit lets so many requests a second pass from each of those who send them, and a
// burst at once: the generic cell rate algorithm, which has to keep no more than when
// each will have all of the burst again.
type limit struct {
	perSecond int
	mu        sync.Mutex
	whole     map[string]time.Time
	swept     time.Time
}

// newLimit allows so many requests a second; it is nil, for any number, where that is 0.
func newLimit(perSecond int) *limit {
	if perSecond == 0 {
		return nil
	}
	return &limit{perSecond: perSecond, whole: map[string]time.Time{}}
}

// quota is how a limit stands with one of those who send requests.
type quota struct {
	limit, remaining int
	// reset is after how long all of the burst may be sent again, and retry after how
	// long a request will pass, 0 where this one did.
	reset, retry time.Duration
}

// take counts a request that passes.
func (l *limit) take(from string, now time.Time) quota {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.swept) > burst {
		maps.DeleteFunc(l.whole, func(_ string, at time.Time) bool { return at.Before(now) })
		l.swept = now
	}
	each := time.Second / time.Duration(l.perSecond)
	q := quota{limit: int(burst / each), reset: max(0, l.whole[from].Sub(now))}
	if q.retry = max(0, q.reset+each-burst); q.retry > 0 {
		return q
	}
	q.reset += each
	q.remaining = int((burst - q.reset) / each)
	l.whole[from] = now.Add(q.reset)
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

// limitedAddress is what counts as one address: of IPv6 a network of 64 bits, since
// whoever has one address has them all.
func limitedAddress(address netip.Addr) string {
	if !address.Is6() {
		return address.String()
	}
	network, _ := address.WithZone("").Prefix(64) // It fails for more bits than there are.
	return network.String()
}

// isOverLimit counts a request for whom it is from, and answers it where they are too
// many. Of two limits the headers say the one that is reached first.
func (s *server) isOverLimit(ctx huma.Context, limit *limit, from string) bool {
	if limit == nil {
		return false
	}
	quota := limit.take(from, time.Now())
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

// clientAddresses finds out whom a request is from: who connected, or, where that is a
// trusted proxy, whom it says.
func clientAddresses(trustedProxies []netip.Prefix) func(http.Handler) http.Handler {
	if len(trustedProxies) == 0 {
		return middleware.ClientIPFromRemoteAddr
	}
	prefixes := make([]string, len(trustedProxies))
	for i, prefix := range trustedProxies {
		prefixes[i] = prefix.String()
	}
	forwarded := middleware.ClientIPFromXFF(prefixes...)
	// Where the proxy does not say whom it is from, it is from the proxy.
	return func(next http.Handler) http.Handler { return middleware.ClientIPFromRemoteAddr(forwarded(next)) }
}
