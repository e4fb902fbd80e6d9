package main

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/golang-migrate/migrate/v4/database"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/benchledger/benchledger/internal/testdb"
	"github.com/benchledger/benchledger/internal/testserver"
)

// sharedKey is long enough for all environments.
const sharedKey = "a-key-for-the-tests"

// TestServeRefuses checks the errors of settings, before anything is started.
func TestServeRefuses(t *testing.T) {
	t.Parallel()
	taken := listen(t)
	for name, test := range map[string]struct {
		env  []string
		code int
		want []string
	}{
		"no key in production":      {[]string{"ENVIRONMENT=production"}, 1, []string{"an API key is required", "production"}},
		"no key in staging":         {[]string{"ENVIRONMENT=staging"}, 1, []string{"an API key is required"}},
		"no key in dev":             {[]string{"ENVIRONMENT=dev"}, 1, []string{"an API key is required"}},
		"no key on all addresses":   {[]string{"ADDR=0.0.0.0:0"}, 1, []string{"an API key is required", "0.0.0.0"}},
		"no key on all of IPv6":     {[]string{"ADDR=:0"}, 1, []string{"an API key is required"}},
		"an empty key":              {[]string{"ENVIRONMENT=production", "API_SECRET_KEY="}, 1, []string{"an API key is required"}},
		"everybody's key":           {[]string{"ENVIRONMENT=production", "API_SECRET_KEY=dev-local-key"}, 1, []string{"an API key is required", "public"}},
		"everybody's key, all over": {[]string{"ADDR=0.0.0.0:0", "API_SECRET_KEY=dev-local-key"}, 1, []string{"an API key is required", "0.0.0.0"}},
		"a key with a line's end":   {[]string{"API_SECRET_KEY=key\n"}, 1, []string{"API_SECRET_KEY"}},
		"a short key":               {[]string{"ENVIRONMENT=dev", "API_SECRET_KEY=fifteen-letters"}, 1, []string{"API_SECRET_KEY has 15 characters", "16 or more", "openssl rand"}},
		"a short key, all over":     {[]string{"ADDR=0.0.0.0:0", "API_SECRET_KEY=k"}, 1, []string{"API_SECRET_KEY has 1 characters"}},
		"no database in production": {[]string{"ENVIRONMENT=production", "API_SECRET_KEY=" + sharedKey}, 1, []string{"a database is required"}},
		"migrations elsewhere":      {[]string{"DATABASE_MIGRATE_URL=postgres://h/d"}, 1, []string{"DATABASE_URL is not"}},
		"an unknown environment":    {[]string{"ENVIRONMENT=test"}, 80, []string{"--environment", `"staging"`, `"test"`}},
		"an address without a port": {[]string{"ADDR=localhost"}, 1, []string{"missing port", "ADDR"}},
		"an address that is taken":  {[]string{"ADDR=" + taken.Addr().String()}, 1, []string{"address already in use", "--addr"}},
		"an origin without scheme":  {[]string{"ALLOWED_ORIGINS=https://a.example,localhost:3000"}, 1, []string{"ALLOWED_ORIGINS", `"localhost:3000"`}},
		"an origin with a path":     {[]string{"ALLOWED_ORIGINS=https://a.example/"}, 1, []string{"ALLOWED_ORIGINS"}},
		"an origin of others":       {[]string{"ALLOWED_ORIGINS=https://*example.com"}, 1, []string{"ALLOWED_ORIGINS", `"https://*example.com"`}},
		"an origin that ends in *":  {[]string{"ALLOWED_ORIGINS=https://example.*"}, 1, []string{"ALLOWED_ORIGINS", `"https://example.*"`}},
		"an origin with two *":      {[]string{"ALLOWED_ORIGINS=https://*.*.example.com"}, 1, []string{"ALLOWED_ORIGINS"}},
		"an origin with * inside":   {[]string{"ALLOWED_ORIGINS=https://a.*.example.com"}, 1, []string{"ALLOWED_ORIGINS"}},
		"proxies anywhere":          {[]string{"TRUSTED_PROXIES=10.0.0.1,0.0.0.0/0"}, 1, []string{"TRUSTED_PROXIES: 0.0.0.0/0 contains clients"}},
		"proxies in half of it":     {[]string{"TRUSTED_PROXIES=128.0.0.0/1"}, 1, []string{"TRUSTED_PROXIES: 128.0.0.0/1 contains clients"}},
		"proxies in all of IPv6":    {[]string{"TRUSTED_PROXIES=::/0"}, 1, []string{"TRUSTED_PROXIES: ::/0 contains clients"}},
		"proxies in mapped IPv4":    {[]string{"TRUSTED_PROXIES=::ffff:0:0/96"}, 1, []string{"TRUSTED_PROXIES: ::ffff:0:0/96 contains clients"}},
		"a proxy that is a name":    {[]string{"TRUSTED_PROXIES=10.0.0.0/8,proxy.internal"}, 1, []string{"TRUSTED_PROXIES", `"proxy.internal"`}},
		"a limit below nothing":     {[]string{"RATE_LIMIT_PER_KEY=-1"}, 1, []string{"RATE_LIMIT_PER_KEY is -1"}},
		"a limit that is no number": {[]string{"RATE_LIMIT_PER_ADDRESS=many"}, 1, []string{"RATE_LIMIT_PER_ADDRESS"}},
		"reads that are a word":     {[]string{"PUBLIC_READS=sometimes"}, 1, []string{"PUBLIC_READS"}},
		"a file that is not there":  {[]string{"API_SECRET_KEY_FILE=/nowhere/key"}, 1, []string{"API_SECRET_KEY_FILE", "no such file"}},
		"an empty file":             {[]string{"DATABASE_URL_FILE=/dev/null"}, 1, []string{"DATABASE_URL_FILE", "empty"}},
		"a secret given twice":      {[]string{"API_SECRET_KEY_FILE=/nowhere", "API_SECRET_KEY=k"}, 1, []string{"both set"}},
		"a duration without a unit": {[]string{"SLOW_QUERY=5"}, 1, []string{"SLOW_QUERY"}},
		"another kind of database":  {[]string{"DATABASE_URL=mysql://u:hunter2@h/d"}, 1, []string{"database url"}},
		"a database's wrong port":   {[]string{"DATABASE_URL=postgres://u:hunter2@h:x/d"}, 1, []string{"database url", "port"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(newDir(t), "data")
			code, stdout, stderr := run(t, append([]string{"ADDR=127.0.0.1:0", "DATA_DIR=" + dir}, test.env...), "serve")
			wantOutput(t, code, stderr, test.code, test.want...)
			if strings.Contains(stderr, "hunter2") {
				t.Error("the password is shown")
			}
			if strings.Contains(stdout, "is ready") {
				t.Errorf("it says that it serves: %q", stdout)
			}
			if exists(t, dir) {
				t.Error("the data directory was made")
			}
		})
	}
}

func TestServeEmptyVariablesAreNotSet(t *testing.T) {
	t.Parallel()
	p := serveDatabase(t, testdb.Empty(t), "ADDR=", "ENVIRONMENT=", "API_SECRET_KEY=", "ALLOWED_ORIGINS=", "DATA_DIR=",
		"DATABASE_MIGRATE_URL=", "SLOW_QUERY=", "METRICS_ADDR=")
	p.submit("run") // with dev-local-key
}

func TestServeKey(t *testing.T) {
	t.Parallel()
	p := serveDatabase(t, testdb.Empty(t), "ENVIRONMENT=production", "API_SECRET_KEY="+sharedKey)
	if response, body := p.request(http.MethodPost, "/api/results", submitted("run")); response.StatusCode != http.StatusForbidden {
		t.Errorf("with dev-local-key: %d %s", response.StatusCode, body)
	}
}

// TestServeAccepts uses settings that are as wide as they may be.
func TestServeAccepts(t *testing.T) {
	t.Parallel()
	p := serveDatabase(t, testdb.Empty(t), "TRUSTED_PROXIES=10.0.0.0/8, fc00::/7,::1,::ffff:192.168.0.0/112,0.0.0.0",
		"ALLOWED_ORIGINS=https://*.example.com:8443, http://localhost:*,chrome-extension://abc,http://[::1]:3000,http://[::1]:*")
	for origin, isAllowed := range map[string]bool{
		"https://a.example.com:8443": true, "http://localhost:1234": true, "http://[::1]:99": true,
		"https://a.example.com": false, "https://evilexample.com:8443": false, "http://localhost.example:80": false,
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+"/livez", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Origin", origin)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if got := response.Header.Get("Access-Control-Allow-Origin") != ""; got != isAllowed {
			t.Errorf("%s is allowed: %t", origin, got)
		}
	}
}

// The server must not pass the parameters of the pool to PostgreSQL.
func TestServePoolParameters(t *testing.T) {
	t.Parallel()
	p := serveDatabase(t, testdb.Empty(t)+"&pool_max_conns=3&pool_max_conn_lifetime=1h")
	p.submit("run")
}

// TestServeTogether starts servers on one empty database at once, as a rollout does.
func TestServeTogether(t *testing.T) {
	t.Parallel()
	url := testdb.Empty(t)
	var servers []*program
	for range 3 {
		servers = append(servers, command(t, []string{"DATABASE_URL=" + url}, "serve", "--addr=127.0.0.1:0").start())
	}
	for i, p := range servers {
		p.ready().submit(fmt.Sprint("run-", i))
	}
	for _, p := range servers {
		p.wantRuns("run-0", "run-1", "run-2")
	}
}

func TestServePrintsAddresses(t *testing.T) {
	t.Parallel()
	url := testdb.Empty(t)
	config, err := pgconn.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	p := serveDatabase(t, url)
	if want := fmt.Sprintf("%s at %s:%d", config.Database, config.Host, config.Port); p.dir != want {
		t.Errorf("data in %q, want %q", p.dir, want)
	}
}

// TestServeMigrateURL uses different databases for the server and its migrations, to distinguish
// them.
func TestServeMigrateURL(t *testing.T) {
	t.Parallel()
	served, migrated := testdb.Empty(t), testdb.Empty(t)
	serveDatabase(t, served, "DATABASE_MIGRATE_URL="+migrated)
	for url, want := range map[string]bool{served: false, migrated: true} {
		var there bool
		row := testdb.Pool(t, url).QueryRow(t.Context(), "select to_regclass('benchmark_runs') is not null")
		if err := row.Scan(&there); err != nil {
			t.Fatal(err)
		}
		if there != want {
			t.Errorf("the schema is in %s: %t, want %t", url, there, want)
		}
	}
}

// TestServeWaitsForDatabase starts a server before its database.
func TestServeWaitsForDatabase(t *testing.T) {
	t.Parallel()
	config, err := pgconn.ParseConfig(testdb.Empty(t))
	if err != nil {
		t.Fatal(err)
	}
	addr := freeAddr(t)
	url := fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", config.User, config.Password, addr, config.Database)
	p := command(t, []string{"DATABASE_URL=" + url}, "serve", "--addr=127.0.0.1:0").start()
	eventually(t, "it waits", func() bool { return strings.Contains(p.stderr.String(), "not available yet") })

	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	network, address := pgconn.NetworkAddress(config.Host, config.Port)
	go forward(listener, network, address)
	p.ready().submit("run")
}

// TestServeWhileOthersMigrate starts servers during a migration: a server that needs the migration
// waits, alive but not ready; a server with a sufficient schema does not wait.
func TestServeWhileOthersMigrate(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	pool := testdb.Pool(t, url)
	lockID, err := database.GenerateAdvisoryLockId(pool.Config().ConnConfig.Database, "public", "schema_migrations")
	if err != nil {
		t.Fatal(err)
	}
	other, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Release()
	if _, err := other.Exec(t.Context(), "select pg_advisory_lock($1::text::bigint)", lockID); err != nil {
		t.Fatal(err)
	}
	serveDatabase(t, url).submit("run")

	if _, err := pool.Exec(t.Context(), "update schema_migrations set version = 1"); err != nil {
		t.Fatal(err)
	}
	addr := freeAddr(t)
	p := command(t, []string{"DATABASE_URL=" + url}, "serve", "--addr="+addr).start()
	ask := func(path string) int {
		response, err := http.Get("http://" + addr + path)
		if err != nil {
			return 0
		}
		_ = response.Body.Close()
		return response.StatusCode
	}
	eventually(t, "it is alive", func() bool { return ask("/livez") == http.StatusOK })
	for _, path := range []string{"/readyz", "/api/runs"} {
		if status := ask(path); status != http.StatusServiceUnavailable {
			t.Errorf("%s is answered %d", path, status)
		}
	}
	if _, err := pool.Exec(t.Context(), "update schema_migrations set version = $1", latest); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Exec(t.Context(), "select pg_advisory_unlock($1::text::bigint)", lockID); err != nil {
		t.Fatal(err)
	}
	p.ready().wantRuns("run")
}

// forward forwards each connection to an address.
func forward(listener net.Listener, network, address string) {
	for {
		from, err := listener.Accept()
		if err != nil {
			return
		}
		to, err := net.Dial(network, address)
		if err != nil {
			from.Close()
			continue
		}
		for _, pair := range [][2]net.Conn{{from, to}, {to, from}} {
			go func() {
				_, _ = io.Copy(pair[0], pair[1]) // It ends with either side.
				pair[0].Close()
			}()
		}
	}
}

func TestServeStopsWhileItWaits(t *testing.T) {
	t.Parallel()
	p := command(t, []string{"DATABASE_URL=postgres://u@" + freeAddr(t) + "/d"}, "serve", "--addr=127.0.0.1:0").start()
	eventually(t, "it waits", func() bool { return strings.Contains(p.stderr.String(), "not available yet") })
	p.terminate()
}

// TestServeLogs finds a request in the log by the ID in its response.
func TestServeLogs(t *testing.T) {
	t.Parallel()
	p := serveDatabase(t, testdb.Empty(t), "ENVIRONMENT=dev", "API_SECRET_KEY="+sharedKey)
	response, _ := p.request(http.MethodGet, "/api/stats", "")
	id := response.Header.Get("X-Request-Id")
	want := fmt.Sprintf(`"requestId":%q,"operation":"get-stats"`, id)
	eventually(t, "the log has "+want, func() bool { return id != "" && strings.Contains(p.stderr.String(), want) })
}

// TestServeOnTerminal reads the log as a person does.
func TestServeOnTerminal(t *testing.T) {
	t.Parallel()
	terminal, screen, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	var log syncBuffer
	go func() { _, _ = io.Copy(&log, terminal) }()
	p := command(t, []string{"DATABASE_URL=" + testdb.Empty(t), "ENVIRONMENT=dev", "API_SECRET_KEY=" + sharedKey, "NO_COLOR=1"}, "serve", "--addr=127.0.0.1:0")
	p.cmd.Stderr = screen
	p.start()
	screen.Close()
	p.ready()
	if strings.Contains(p.stdout.String(), "  key ") {
		t.Errorf("the key is shown: %s", p.stdout.String())
	}
	p.request(http.MethodGet, "/api/stats", "")
	response, _ := p.request(http.MethodGet, "/%1b[31mred", "")
	for _, line := range []string{
		`INF migrating the database schema from=0 to=\d+`,
		`INF 200 GET  /api/stats  [\d.]+(µs|ms|s)`,
		`INF 404 GET  /·\[31mred  [\d.]+(µs|ms|s) requestId=` + response.Header.Get("X-Request-Id"),
	} {
		pattern := regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d ` + line + `\r$`)
		eventually(t, "the log has "+line, func() bool { return pattern.MatchString(log.String()) })
	}
}

// TestServeFinishesRequests stops the server while the body of a submission is arriving: the
// submission is stored and gets its response before the server ends.
func TestServeFinishesRequests(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	p := serve(t, dir)
	addr := strings.TrimPrefix(p.url, "http://")
	connection, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	body := submitted("run")
	fmt.Fprintf(connection, "POST /api/results HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n"+
		"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n", addr, localKey, len(body))
	answers := bufio.NewReader(connection)
	// The server sends 100 Continue when it starts to read the body.
	if response, err := http.ReadResponse(answers, nil); err != nil || response.StatusCode != http.StatusContinue {
		t.Fatalf("%v %v", response, err)
	}
	fmt.Fprint(connection, body[:10])

	p.signal(syscall.SIGTERM)
	eventually(t, "the server takes no more connections", func() bool {
		refused, err := net.Dial("tcp", addr)
		if err == nil {
			refused.Close()
		}
		return err != nil
	})
	fmt.Fprint(connection, body[10:])
	response, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusCreated {
		t.Errorf("status %d", response.StatusCode)
	}
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	wantNothingRunning(t, dir)
	serve(t, dir).wantRuns("run")
}

// TestServeMemoryLimit starts servers in a cgroup with a memory limit, as in a container.
func TestServeMemoryLimit(t *testing.T) {
	t.Parallel()
	group := limitedGroup(t)
	for env, want := range map[string]string{
		"TZ=UTC":            `msg="memory limit of Go" limit=460.8MiB`,
		"GOMEMLIMIT=100MiB": `msg="memory limit of Go" limit=100MiB`,
	} {
		p := command(t, []string{env, "DATABASE_URL=" + testdb.URL(t)}, "serve", "--addr=127.0.0.1:0")
		p.cmd.Args = append([]string{"sh", "-c", `echo $$ >"$0" && exec "$@"`, filepath.Join(group, "cgroup.procs"), p.cmd.Path}, p.cmd.Args[1:]...)
		p.cmd.Path = "/bin/sh"
		p.start().ready().submit("run")
		wantOutput(t, 0, p.stderr.String(), 0, want)
		p.terminate()
	}
	p := serveDatabase(t, testdb.URL(t), "GOMEMLIMIT=off")
	if strings.Contains(p.stderr.String(), "memory limit") {
		t.Error("it has a limit")
	}
}

// limitedGroup returns the folder of a new cgroup with a memory limit of 512 MiB.
func limitedGroup(t *testing.T) string {
	t.Helper()
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Skip("no cgroups: ", err)
	}
	for line := range strings.Lines(string(own)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		var group, file string
		switch {
		case slices.Contains(strings.Split(parts[1], ","), "memory"): // version 1
			group, file = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
		case parts[0] == "0": // version 2
			group, file = "/sys/fs/cgroup", "memory.max"
		default:
			continue
		}
		group = filepath.Join(group, parts[2], "benchledger-test-"+rand.Text())
		if os.Mkdir(group, 0o755) != nil {
			continue
		}
		t.Cleanup(func() { eventually(t, "the cgroup is removed", func() bool { return os.Remove(group) == nil }) })
		setting, err := os.OpenFile(filepath.Join(group, file), os.O_WRONLY, 0) // It is there if this is a cgroup with that controller.
		if err != nil {
			continue
		}
		defer setting.Close()
		if _, err := fmt.Fprint(setting, 512<<20); err == nil {
			return group
		}
	}
	t.Skip("no cgroup with a memory limit can be created here")
	return ""
}

// TestSlowRequests has clients that send their headers too slowly, or endlessly: they do not block
// other clients, and the server disconnects them.
func TestSlowRequests(t *testing.T) {
	t.Parallel()
	p := serve(t, newDir(t))
	address := strings.TrimPrefix(p.url, "http://")
	open := func(text string) net.Conn {
		t.Helper()
		connection, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = connection.Close() })
		if _, err := io.WriteString(connection, text); err != nil {
			t.Fatal(err)
		}
		return connection
	}
	slow := make([]net.Conn, 500)
	for i := range slow {
		slow[i] = open("POST /api/results HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
	}
	p.submit("run-1")
	p.wantRuns("run-1")
	long := open("GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Long: " + strings.Repeat("x", 80<<10) + "\r\n\r\n")
	if answer, err := http.ReadResponse(bufio.NewReader(long), nil); err != nil || answer.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("80 KiB of headers: %v, %v", answer, err)
	}
	for _, connection := range slow {
		if err := connection.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, connection); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("a connection that sends no whole request is kept")
		}
	}
}

// A client that is refused before its body is read gets the response even if the body never comes,
// and is then disconnected.
func TestMissingBodyTimesOut(t *testing.T) {
	t.Parallel()
	p := serveDatabase(t, testdb.Empty(t))
	for name, test := range map[string]struct {
		request string
		status  int
	}{
		"no key":              {"POST /api/results HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n", http.StatusUnauthorized},
		"a wrong key":         {"POST /api/results/bulk HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\nTransfer-Encoding: chunked\r\n\r\n", http.StatusForbidden},
		"no such path":        {"POST /nope HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n", http.StatusNotFound},
		"no such form":        {"POST /api/results HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: br\r\nContent-Length: 1000\r\n\r\n", http.StatusUnsupportedMediaType},
		"a body of no use":    {"GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n", http.StatusOK},
		"a preflight request": {"OPTIONS /api/results HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n", http.StatusNoContent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			connection, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer connection.Close()
			if err := connection.SetDeadline(time.Now().Add(patience / 2)); err != nil { // Shorter than the timeout of a body.
				t.Fatal(err)
			}
			if _, err := io.WriteString(connection, test.request); err != nil {
				t.Fatal(err)
			}
			answers := bufio.NewReader(connection)
			response, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if response.StatusCode != test.status {
				t.Errorf("status %d, want %d", response.StatusCode, test.status)
			}
			if _, err := io.Copy(io.Discard, answers); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the connection is kept")
			}
		})
	}
}

// TestServeSecondSignal immediately ends a server that waits for a request.
func TestServeSecondSignal(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	p := serve(t, dir)
	connection, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	fmt.Fprintf(connection, "POST /api/results HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n"+
		"Content-Length: 9\r\nExpect: 100-continue\r\n\r\n", localKey)
	if _, err := http.ReadResponse(bufio.NewReader(connection), nil); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGTERM)
	eventually(t, "it is stopping", func() bool { return strings.Contains(p.stderr.String(), "stopping") })
	p.signal(syscall.SIGTERM)
	if p.wait(); p.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("ended by %s", p.cmd.ProcessState)
	}
	wantNothingRunning(t, dir)
}

// listen listens on a free address until the end of the test.
func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener
}

// freeAddr returns an address on which nothing listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	port, err := testserver.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint("127.0.0.1:", port)
}
