package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.yaml.in/yaml/v3"

	"github.com/benchledger/benchledger/api"
	"github.com/benchledger/benchledger/db"
	"github.com/benchledger/benchledger/internal/testdb"
	"github.com/benchledger/benchledger/keys"
)

// makeKey stores a key, and returns it.
func (s *service) makeKey(name string, scope keys.Scope) string {
	s.t.Helper()
	key, hash := keys.New()
	if err := db.New(s.pool).CreateKey(s.t.Context(), db.CreateKeyParams{Name: name, Hash: hash, Scope: string(scope)}); err != nil {
		s.t.Fatal(err)
	}
	return key
}

func (s *service) exec(sql string) {
	s.t.Helper()
	if _, err := s.pool.Exec(s.t.Context(), sql); err != nil {
		s.t.Fatal(err)
	}
}

// with sends a request with a key, where there is one.
func (s *service) with(key, method, path string, body any) answer {
	s.t.Helper()
	if key == "" {
		return s.do(method, path, body)
	}
	return s.do(method, path, body, "Authorization", "Bearer "+key)
}

// operation is one of the document's, and a request that reaches its handler.
type operation struct {
	id, method, path string
	scope            keys.Scope // that a key needs, "" for none
	ifPrivate        bool       // whether it needs one only where reads are private
}

// operations reads them from the document. One that does not say who may use it is an
// error, so that none is forgotten.
func operations(t *testing.T) []operation {
	t.Helper()
	text, err := api.OpenAPI("test")
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Paths map[string]map[string]struct {
			OperationID string `yaml:"operationId"`
			Security    []map[string][]string
		}
	}
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	var all []operation
	for path, methods := range document.Paths {
		for method, described := range methods {
			o := operation{id: described.OperationID, method: strings.ToUpper(method), path: strings.NewReplacer("{runId}", "r", "{batchId}", "b").Replace(path)}
			if len(described.Security) == 0 {
				t.Errorf("%s does not say who may use it", o.id)
			}
			for _, alternative := range described.Security {
				o.ifPrivate = o.ifPrivate || len(alternative) == 0
				for _, scopes := range alternative {
					if len(scopes) != 1 || !slices.Contains(keys.Scopes, keys.Scope(scopes[0])) {
						t.Fatalf("%s needs %v", o.id, scopes)
					}
					o.scope = keys.Scope(scopes[0])
				}
			}
			if o.method != http.MethodGet && (o.scope == "" || o.ifPrivate) {
				t.Errorf("%s writes, and needs no key", o.id)
			}
			all = append(all, o)
		}
	}
	return all
}

// Each operation with each kind of key.
func TestEachKindOfKey(t *testing.T) {
	t.Parallel()
	for name, private := range map[string]bool{"public reads": false, "private reads": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, api.Config{Pool: testdb.New(t), ConnectionWait: patience, PrivateReads: private})
			expired, revoked := s.makeKey("expired", keys.ScopeAdmin), s.makeKey("revoked", keys.ScopeAdmin)
			s.exec("update api_keys set expires_at = now() where name = 'expired'")
			s.exec("update api_keys set revoked_at = now() where name = 'revoked'")
			unknown, _ := keys.New()
			kinds := map[string]struct {
				header string
				status int        // where a key is needed
				scope  keys.Scope // of a valid key
			}{
				"none":                    {"", http.StatusUnauthorized, ""},
				"no scheme":               {key, http.StatusUnauthorized, ""},
				"another scheme":          {"Basic " + key, http.StatusUnauthorized, ""},
				"a scheme without a key":  {"Bearer ", http.StatusUnauthorized, ""},
				"wrong":                   {"Bearer wrong", http.StatusForbidden, ""},
				"the beginning of one":    {"Bearer " + key[:4], http.StatusForbidden, ""},
				"more than one":           {"Bearer " + key + " " + key, http.StatusForbidden, ""},
				"of the form, and no one": {"Bearer " + unknown, http.StatusForbidden, ""},
				"expired":                 {"Bearer " + expired, http.StatusForbidden, ""},
				"revoked":                 {"Bearer " + revoked, http.StatusForbidden, ""},
				"to read":                 {"Bearer " + s.makeKey("reader", keys.ScopeRead), 0, keys.ScopeRead},
				"to submit":               {"bearer " + s.makeKey("submitter", keys.ScopeSubmit), 0, keys.ScopeSubmit},
				"for all":                 {"BEARER  " + s.makeKey("admin", keys.ScopeAdmin), 0, keys.ScopeAdmin},
				"the shared one":          {"Bearer " + key, 0, keys.ScopeAdmin},
			}
			for _, o := range operations(t) {
				for kind, k := range kinds {
					var headers []string
					if k.header != "" {
						headers = []string{"Authorization", k.header}
					}
					body := any(nil)
					if o.method == http.MethodPost {
						body = "{" // Nobody gets as far as storing something.
					}
					got := s.do(o.method, o.path, body, headers...)
					want := k.status
					if want == 0 && slices.Index(keys.Scopes, k.scope) < slices.Index(keys.Scopes, o.scope) {
						want = http.StatusForbidden
					}
					if o.scope == "" || o.ifPrivate && !private {
						want = 0
					}
					refused := got.status == http.StatusUnauthorized || got.status == http.StatusForbidden
					if want == 0 && refused || want != 0 && got.status != want || got.status >= http.StatusInternalServerError && o.id != "get-readiness" {
						t.Errorf("%s with the key %q: %d, want %d (0: to pass): %s", o.id, kind, got.status, want, got.body)
					}
					if got.status == http.StatusUnauthorized && got.header.Get("WWW-Authenticate") == "" {
						t.Errorf("%s: 401 without WWW-Authenticate", o.id)
					}
				}
			}
		})
	}
}

func TestRevokedKey(t *testing.T) {
	t.Parallel()
	s := setup(t)
	mine := s.makeKey("mine", keys.ScopeSubmit)
	s.with(mine, http.MethodPost, "/api/results", leastRun("run-1")).want(http.StatusCreated)
	s.exec("update api_keys set revoked_at = now()")
	revoked := time.Now()
	for {
		asked := time.Now()
		got := s.with(mine, http.MethodPost, "/api/results", leastRun("run-1"))
		if got.status == http.StatusForbidden {
			return
		}
		got.want(http.StatusOK)
		if since := asked.Sub(revoked); since > time.Second {
			t.Fatalf("the key holds %s after it was revoked", since)
		}
	}
}

func TestNewKey(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.with(s.makeKey("first", keys.ScopeSubmit), http.MethodPost, "/api/results", leastRun("run-1")).want(http.StatusCreated)
	second := s.makeKey("second", keys.ScopeSubmit)
	made := time.Now()
	for {
		asked := time.Now()
		got := s.with(second, http.MethodPost, "/api/results", leastRun("run-2"))
		if got.status == http.StatusCreated {
			return
		}
		got.want(http.StatusForbidden)
		if since := asked.Sub(made); since > time.Second {
			t.Fatalf("the key does not hold %s after it was made", since)
		}
	}
}

// While the database is unavailable, a key that was valid a moment ago still works, and one that
// was not can be neither accepted nor refused.
func TestKeysWhileDatabaseUnavailable(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	direct := testdb.Pool(t, url)
	proxy := startProxy(t, direct.Config().ConnConfig)
	s := start(t, api.Config{Pool: testdb.Pool(t, proxy.through(url)), ConnectionWait: patience})
	s.pool = direct
	known, unknown := s.makeKey("known", keys.ScopeSubmit), s.makeKey("unknown", keys.ScopeSubmit)
	invalid := func(key string) int { return s.with(key, http.MethodPost, "/api/results", "{}").status }
	goesOn := false
	for range 20 { // On a busy machine it takes longer.
		if got := invalid(known); got != http.StatusUnprocessableEntity {
			t.Fatalf("status %d", got)
		}
		proxy.cut()
		goesOn = invalid(known) == http.StatusUnprocessableEntity
		if goesOn {
			break
		}
		proxy.open()
	}
	if !goesOn {
		t.Error("a key that was known does not go on")
	}
	s.exec("delete from api_keys where name = 'unknown'")
	other, _ := keys.New()
	for _, key := range []string{unknown, other} {
		eventually(t, func() bool { return invalid(key) == http.StatusServiceUnavailable })
	}
	if got := invalid(key); got != http.StatusUnprocessableEntity {
		t.Errorf("the shared key: %d", got)
	}
	if got := invalid("wrong"); got != http.StatusForbidden {
		t.Errorf("what is no key: %d", got)
	}
	proxy.open()
	eventually(t, func() bool { return invalid(known) == http.StatusUnprocessableEntity })
}

// eventually waits until a condition is true.
func eventually(t testing.TB, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for tick := time.Tick(10 * time.Millisecond); !holds(); {
		select {
		case <-tick:
		case <-ctx.Done():
			t.Fatal("it does not come to pass")
		}
	}
}

func TestSubmittedBy(t *testing.T) {
	t.Parallel()
	s := setup(t)
	ci, laptop := s.makeKey("ci", keys.ScopeSubmit), s.makeKey("a laptop", keys.ScopeAdmin)
	submittedBy := func(path string) any {
		value := decode[object](s.get(path).want(http.StatusOK))
		if run, ok := value["run"].(object); ok {
			value = run
		}
		return value["submittedBy"]
	}
	wantBy := func(path string, want any) {
		t.Helper()
		if got := submittedBy(path); got != want {
			t.Errorf("%s was submitted by %v, want %v", path, got, want)
		}
	}
	open := leastRun("run-1", object{"status": "running", "batchId": "batch-a"})
	s.with(ci, http.MethodPost, "/api/results", open).want(http.StatusCreated)
	wantBy("/api/runs/run-1", "ci")
	wantBy("/api/batches/batch-a", "ci")
	s.with(laptop, http.MethodPost, "/api/results", open).want(http.StatusOK)
	wantBy("/api/runs/run-1", "ci") // A replay changes nothing.
	s.with(laptop, http.MethodPost, "/api/results", leastRun("run-1", object{"batchId": "batch-a"})).want(http.StatusCreated)
	wantBy("/api/runs/run-1", "a laptop")
	wantBy("/api/batches/batch-a", "ci")
	s.with(laptop, http.MethodPost, "/api/results/batch", object{"batchId": "batch-a"}).want(http.StatusCreated)
	wantBy("/api/batches/batch-a", "a laptop")

	// The shared key has no name, nor can one be made up.
	s.submit(leastRun("run-2", object{"submittedBy": "ci", "submitted_by": "ci", "batchId": "batch-b"})).want(http.StatusCreated)
	wantBy("/api/runs/run-2", nil)
	wantBy("/api/batches/batch-b", nil)

	for _, mode := range []string{"each", "atomic"} {
		runs := []object{leastRun(mode+"-1", object{"batchId": mode, "submittedBy": "someone"}), leastRun(mode + "-2")}
		s.with(ci, http.MethodPost, "/api/results/bulk?mode="+mode, runs).want(http.StatusOK)
		wantBy("/api/runs/"+mode+"-1", "ci")
		wantBy("/api/runs/"+mode+"-2", "ci")
		wantBy("/api/batches/"+mode, "ci")
	}
	for _, run := range decode[[]object](s.get("/api/runs").want(http.StatusOK)) {
		if _, has := run["submittedBy"]; has != (run["runId"] != "run-2") {
			t.Errorf("in the list %v", run)
		}
	}
}

// Recording the use of a key is one statement per minute. The log has the key's name.
func TestKeysInUse(t *testing.T) {
	t.Parallel()
	s, registry, _ := observed(t)
	ci := s.makeKey("ci", keys.ScopeSubmit)
	for range 20 {
		got := s.with(ci, http.MethodPost, "/api/results", leastRun("run-1"))
		if got.status != http.StatusCreated {
			got.want(http.StatusOK)
		}
	}
	if n := queriesOf(t, registry, "UpdateKeyUsed"); n != 1 {
		t.Errorf("%d writes for 20 requests", n)
	}
	rows, err := db.New(s.pool).ListKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if at := rows[0].LastUsedAt; at == nil || time.Since(*at).Abs() > time.Minute {
		t.Errorf("last used %v", at)
	}
	named := 0
	for line := range strings.Lines(s.log.String()) {
		var entry struct{ Msg, Key string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		if entry.Msg == "request" && entry.Key == "ci" {
			named++
		}
	}
	if named != 20 {
		t.Errorf("%d lines name the key", named)
	}
}

// queriesOf is how often a query ran.
func queriesOf(t *testing.T, registry *prometheus.Registry, name string) uint64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	count := uint64(0)
	for _, family := range families {
		if family.GetName() != "benchledger_query_duration_seconds" {
			continue
		}
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if label.GetValue() == name {
					count += metric.GetHistogram().GetSampleCount()
				}
			}
		}
	}
	return count
}

func TestKeysAreKeptSecret(t *testing.T) {
	t.Parallel()
	s, registry, spans := observed(t)
	mine := s.makeKey("mine", keys.ScopeRead)
	unknown, _ := keys.New()
	for _, sent := range []string{mine, unknown, key} {
		for _, path := range []string{"/api/results", "/api/results/bulk", "/nope"} {
			if got := s.with(sent, http.MethodPost, path, leastRun("run-1")); strings.Contains(got.body, sent) {
				t.Errorf("the answer shows the key: %s", got.body)
			}
		}
		if strings.Contains(s.log.String(), sent) {
			t.Errorf("the log shows the key: %s", s.log)
		}
		for _, span := range spans.Ended() {
			if shown := fmt.Sprint(span.Name(), span.Attributes(), span.Events(), span.Status(), span.Links(), span.Resource()); strings.Contains(shown, sent) {
				t.Errorf("the trace shows the key: %s", shown)
			}
		}
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			if strings.Contains(family.String(), sent) {
				t.Errorf("a metric shows the key: %s", family)
			}
		}
	}
	var stored string
	if err := s.pool.QueryRow(t.Context(), "select string_agg(api_keys::text, '') from api_keys").Scan(&stored); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(stored, mine) {
		t.Errorf("the database has the key: %s", stored)
	}
}

// The clock of the database goes ahead and back, as its function now() tells.
func TestExpiredKeysStayExpired(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	s := start(t, api.Config{Pool: testdb.Pool(t, url+"&search_path=public,pg_catalog"), PrivateReads: true})
	s.exec("create table clock as select interval '0' as ahead")
	s.exec("create function public.now() returns timestamptz language sql stable as 'select pg_catalog.now() + ahead from public.clock'")
	mine, later := s.makeKey("mine", keys.ScopeRead), s.makeKey("later", keys.ScopeRead)
	s.exec("update api_keys set expires_at = pg_catalog.now() + case name when 'mine' then interval '1 hour' else '1 day' end")
	status := func(sent string) int { return s.with(sent, http.MethodGet, "/api/stats", nil).status }
	for _, sent := range []string{mine, later} {
		if got := status(sent); got != http.StatusOK {
			t.Errorf("status %d before it expires", got)
		}
	}
	s.exec("update clock set ahead = '2 hours'")
	eventually(t, func() bool { return status(mine) == http.StatusForbidden })
	s.exec("update clock set ahead = '0'")
	anew := s.makeKey("new", keys.ScopeRead)
	eventually(t, func() bool { return status(anew) == http.StatusOK }) // Now the server has read the keys again.
	got := s.with(mine, http.MethodGet, "/api/stats", nil)
	got.wantProblem(http.StatusForbidden)
	if !strings.Contains(got.body, "has expired") {
		t.Errorf("%s", got.body)
	}
	if got := status(later); got != http.StatusOK {
		t.Errorf("status %d of a key that expires later", got)
	}
}

func TestRateLimits(t *testing.T) {
	t.Parallel()
	// until sends requests until one is refused, and returns how many were not.
	until := func(t *testing.T, send func() answer) int {
		t.Helper()
		for n := range 100 {
			got := send()
			if got.status != http.StatusTooManyRequests {
				got.want(http.StatusOK)
				if got.header.Get("RateLimit-Limit") != "10" || got.header.Get("RateLimit-Remaining") != strconv.Itoa(9-n) && n < 5 {
					t.Errorf("headers %v", got.header)
				}
				continue
			}
			got.wantProblem(http.StatusTooManyRequests)
			reset := got.header.Get("RateLimit-Reset")
			if got.header.Get("Retry-After") != "1" || got.header.Get("RateLimit-Remaining") != "0" || reset != "9" && reset != "10" {
				t.Errorf("headers %v", got.header)
			}
			return n
		}
		t.Fatal("no request is refused")
		return 0
	}
	t.Run("of keys", func(t *testing.T) {
		t.Parallel()
		s := start(t, api.Config{Pool: testdb.New(t), ConnectionWait: patience, PrivateReads: true, RequestsPerKey: 1})
		one, other := s.makeKey("one", keys.ScopeRead), s.makeKey("other", keys.ScopeRead)
		for _, sent := range []string{one, other, key} {
			// One more passes each second.
			if n := until(t, func() answer { return s.with(sent, http.MethodGet, "/api/stats", nil) }); n < 10 {
				t.Errorf("%d requests pass, want 10", n)
			}
		}
		s.with("wrong", http.MethodGet, "/api/stats", nil).want(http.StatusForbidden)
		s.get("/livez").want(http.StatusOK)
	})
	t.Run("of keys for public reads", func(t *testing.T) {
		t.Parallel()
		s := start(t, api.Config{Pool: testdb.New(t), ConnectionWait: patience, RequestsPerKey: 1})
		mine := s.makeKey("mine", keys.ScopeRead)
		if n := until(t, func() answer { return s.with(mine, http.MethodGet, "/api/stats", nil) }); n < 10 {
			t.Errorf("%d requests pass, want 10", n)
		}
		if !strings.Contains(s.log.String(), `"key":"mine"`) {
			t.Errorf("the log does not name the key: %s", s.log)
		}
		for _, other := range []string{"", "wrong"} { // Whoever that is, it is not the key.
			s.with(other, http.MethodGet, "/api/stats", nil).want(http.StatusOK)
		}
	})
	t.Run("of both: the headers describe the one that is closer", func(t *testing.T) {
		t.Parallel()
		s := start(t, api.Config{Pool: testdb.New(t), ConnectionWait: patience, PrivateReads: true, RequestsPerKey: 1, RequestsPerAddress: 2})
		if got := s.with(key, http.MethodGet, "/api/stats", nil).header.Get("RateLimit-Limit"); got != "10" {
			t.Errorf("the key is sooner at its limit: %s", got)
		}
		s = start(t, api.Config{Pool: testdb.New(t), ConnectionWait: patience, PrivateReads: true, RequestsPerKey: 2, RequestsPerAddress: 1})
		if got := s.with(key, http.MethodGet, "/api/stats", nil).header.Get("RateLimit-Limit"); got != "10" {
			t.Errorf("the address is sooner at its limit: %s", got)
		}
	})
	t.Run("pass after Retry-After", func(t *testing.T) {
		t.Parallel()
		s := start(t, api.Config{Pool: testdb.New(t), ConnectionWait: patience, RequestsPerAddress: 1})
		until(t, func() answer { return s.get("/api/stats") })
		refused := time.Now()
		eventually(t, func() bool { return s.get("/api/stats").status == http.StatusOK })
		if after := time.Since(refused); after > 5*time.Second {
			t.Errorf("a request passes after %s", after)
		}
	})
	t.Run("of addresses", func(t *testing.T) {
		t.Parallel()
		s := start(t, api.Config{Pool: testdb.New(t), ConnectionWait: patience, RequestsPerAddress: 1})
		from := "203.0.113.1"
		stats := func() answer { return s.do(http.MethodGet, "/api/stats", nil, "X-Forwarded-For", from) }
		if n := until(t, stats); n < 10 {
			t.Errorf("%d requests pass, want 10", n)
		}
		from = "203.0.113.2" // No one says that it is to be believed.
		until(t, stats)
		s.get("/livez").want(http.StatusOK)
		s.get("/readyz")
	})
	t.Run("of addresses behind a proxy", func(t *testing.T) {
		t.Parallel()
		s := start(t, api.Config{
			Pool: testdb.New(t), ConnectionWait: patience, RequestsPerAddress: 1,
			TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")},
		})
		for _, from := range []string{
			"203.0.113.1",
			"203.0.113.1, 203.0.113.2",       // The client can invent the addresses before it.
			"203.0.113.3, 10.1.2.3",          // A proxy before the proxy.
			"2001:db8::1", "2001:db8:0:1::1", // Separate networks,
			"unknown, 203.0.113.4", "2001:db9::", // and what is no address before one.
			"unknown", // This is from the proxy.
		} {
			if n := until(t, func() answer { return s.do(http.MethodGet, "/api/stats", nil, "X-Forwarded-For", from) }); n < 10 {
				t.Errorf("%s: %d requests pass, want 10", from, n)
			}
		}
		if got := s.do(http.MethodGet, "/api/stats", nil); got.status == http.StatusOK && got.header.Get("RateLimit-Remaining") == "9" {
			t.Error("a proxy that does not say whom a request is from counts anew")
		}
		if strings.Contains(s.log.String(), `"from":""`) {
			t.Errorf("a request is from nobody: %s", s.log)
		}
		got := s.do(http.MethodGet, "/api/stats", nil, "X-Forwarded-For", "2001:db8::ffff:1")
		if got.status == http.StatusOK && got.header.Get("RateLimit-Remaining") == "9" {
			t.Error("another address of the same network counts anew")
		}
	})
}

func TestSubmissionsAreCounted(t *testing.T) {
	t.Parallel()
	s, registry, _ := observed(t)
	s.submit(leastRun("run-1")).want(http.StatusCreated)
	s.submit(leastRun("run-1")).want(http.StatusOK)
	s.submit(leastRun("run-1", object{"agent": "b"})).want(http.StatusConflict)
	s.submit("{}").want(http.StatusUnprocessableEntity)
	s.do(http.MethodPost, "/api/results", "{}").want(http.StatusUnauthorized)
	s.submitBatch(object{"batchId": "batch-a"}).want(http.StatusCreated)
	s.with(key, http.MethodPost, "/api/results/bulk", []any{leastRun("run-1"), leastRun("run-2"), leastRun("run-3"), object{}}).want(http.StatusOK)
	s.with(key, http.MethodPost, "/api/results/bulk?mode=atomic", []any{leastRun("run-4"), object{}}).want(http.StatusUnprocessableEntity)
	s.with(key, http.MethodPost, "/api/results/bulk?mode=atomic", []any{leastRun("run-4"), leastRun("run-1", object{"agent": "b"})}).want(http.StatusConflict)
	s.exec("alter table benchmark_runs rename to gone")
	for _, mode := range []string{"each", "atomic"} {
		s.with(key, http.MethodPost, "/api/results/bulk?mode="+mode, []any{leastRun("run-5"), leastRun("run-6"), leastRun("run-7")}).want(http.StatusInternalServerError)
	}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP benchledger_submissions_total Runs and batches submitted, by outcome: recorded, replayed, conflict, refused (invalid), failed (not stored, or unknown).
# TYPE benchledger_submissions_total counter
benchledger_submissions_total{kind="batch",outcome="recorded"} 1
benchledger_submissions_total{kind="run",outcome="conflict"} 3
benchledger_submissions_total{kind="run",outcome="failed"} 6
benchledger_submissions_total{kind="run",outcome="recorded"} 3
benchledger_submissions_total{kind="run",outcome="refused"} 5
benchledger_submissions_total{kind="run",outcome="replayed"} 2
`), "benchledger_submissions_total"); err != nil {
		t.Error(err)
	}
}
