package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/benchledger/benchledger/internal/testdb"
)

// runKeys runs `benchledger keys …`, which must succeed, and returns its output.
func runKeys(t *testing.T, database string, args ...string) (stdout, stderr string) {
	t.Helper()
	code, stdout, stderr := run(t, []string{"DATABASE_URL=" + database}, append([]string{"keys"}, args...)...)
	if code != 0 {
		t.Fatalf("keys %s: %d %s%s", args, code, stdout, stderr)
	}
	return stdout, stderr
}

// withKey returns the status of a request with a key.
func (p *program) withKey(key, method, path, body string) int {
	p.t.Helper()
	request, err := http.NewRequestWithContext(p.t.Context(), method, p.url+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	if key != "" {
		request.Header.Set("Authorization", "Bearer "+key)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}

func TestKeys(t *testing.T) {
	t.Parallel()
	database := testdb.URL(t)
	server := serveDatabase(t, database, "PUBLIC_READS=false")

	stdout, stderr := runKeys(t, database, "create", "ci", "--expires=90d")
	if !regexp.MustCompile(`^blk_[A-Z2-7]{26}\n$`).MatchString(stdout) {
		t.Fatalf("standard output has more than the key: %q", stdout)
	}
	ci := strings.TrimSpace(stdout)
	wantOutput(t, 0, stderr, 0, `"ci"`, "the scope submit, valid until ", "shown only once")
	reader, _ := runKeys(t, database, "create", "a dashboard", "--scope", "read", "--expires=2999-12-31")
	reader = strings.TrimSpace(reader)

	for _, test := range []struct {
		key, method, path string
		want              int
	}{
		{ci, http.MethodPost, "/api/results", http.StatusCreated},
		{ci, http.MethodGet, "/api/runs", http.StatusOK},
		{reader, http.MethodPost, "/api/results", http.StatusForbidden},
		{reader, http.MethodGet, "/api/runs", http.StatusOK},
		{"", http.MethodGet, "/api/runs", http.StatusUnauthorized},
		{localKey, http.MethodGet, "/api/runs", http.StatusOK},
	} {
		// A new key takes effect within a second.
		eventually(t, test.method+" is answered", func() bool { return server.withKey(test.key, test.method, test.path, submitted("run-1")) == test.want })
	}

	stdout, _ = runKeys(t, database, "list", "--json")
	var listed []listedKey
	for line := range strings.Lines(stdout) {
		var key listedKey
		if err := json.Unmarshal([]byte(line), &key); err != nil {
			t.Fatal(err)
		}
		listed = append(listed, key)
	}
	if len(listed) != 2 || listed[0].Name != "a dashboard" || listed[0].Scope != "read" || listed[1].Name != "ci" || listed[1].State != "valid" {
		t.Fatalf("listed %+v", listed)
	}
	if until := time.Until(*listed[1].ExpiresAt); until < 89*24*time.Hour || until > 91*24*time.Hour {
		t.Errorf("expires in %s", until)
	}
	if listed[1].LastUsedAt == nil {
		t.Error("no use is recorded")
	}
	if strings.Contains(stdout, ci) {
		t.Error("the list shows the key")
	}
	stdout, _ = runKeys(t, database, "list")
	wantOutput(t, 0, stdout, 0, "NAME", "a dashboard", "valid", "2999-12-31")

	stdout, _ = runKeys(t, database, "revoke", "ci")
	wantOutput(t, 0, stdout, 0, `"ci" was revoked at`)
	eventually(t, "the key holds no longer", func() bool {
		return server.withKey(ci, http.MethodPost, "/api/results", submitted("run-1")) == http.StatusForbidden
	})
	stdout, _ = runKeys(t, database, "list")
	wantOutput(t, 0, stdout, 0, "revoked")

	for name, test := range map[string]struct {
		args []string
		code int
		want string
	}{
		"a name that is taken":       {[]string{"create", "a dashboard"}, 1, "choose another"},
		"a name that was revoked":    {[]string{"create", "ci"}, 1, "choose another"},
		"the name of the shared key": {[]string{"create", "API_SECRET_KEY"}, 1, "choose another"},
		"an empty name":              {[]string{"create", " "}, 1, "1 to 150 characters"},
		"a name with a line's end":   {[]string{"create", "a\nb"}, 1, "control characters"},
		"a long name":                {[]string{"create", strings.Repeat("x", 151)}, 1, "1 to 150 characters"},
		"an unknown scope":           {[]string{"create", "x", "--scope=root"}, 80, "read"},
		"no time":                    {[]string{"create", "x", "--expires=soon"}, 80, "90d"},
		"a time that is over":        {[]string{"create", "x", "--expires=2001-01-01"}, 1, "is in the past"},
		"nobody's key":               {[]string{"revoke", "nobody"}, 1, `no key has the name "nobody"`},
	} {
		code, stdout, stderr := run(t, []string{"DATABASE_URL=" + database}, append([]string{"keys"}, test.args...)...)
		if code != test.code || !strings.Contains(stderr, test.want) || strings.Contains(stdout, "blk_") {
			t.Errorf("%s: %d %q %q", name, code, stdout, stderr)
		}
	}
}

// Keys of a local server are created without a connection string.
func TestKeysOfALocalServer(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	server := command(t, []string{"ADDR=127.0.0.1:0", "DATA_DIR=" + dir}, "serve").start().ready()
	code, stdout, stderr := run(t, []string{"DATA_DIR=" + dir}, "keys", "create", "mine")
	wantOutput(t, code, stderr, 0, "mine")
	eventually(t, "the key holds", func() bool {
		return server.withKey(strings.TrimSpace(stdout), http.MethodPost, "/api/results", submitted("run-1")) == http.StatusCreated
	})
	code, stdout, stderr = run(t, []string{"DATA_DIR=" + dir, "ADDR=" + strings.TrimPrefix(server.url, "http://")}, "doctor")
	wantOutput(t, code, stdout+stderr, 0, "1 valid", "is ready", "free on the disk of", "ok    encoding       UTF8")
	if strings.Contains(stdout, "warn") || strings.Contains(stdout, "random_page_cost") {
		t.Errorf("doctor complains about the server's own database:\n%s", stdout)
	}
	code, _, stderr = run(t, []string{"DATA_DIR=" + filepath.Join(dir, "elsewhere")}, "keys", "list")
	wantOutput(t, code, stderr, 1, "no database is configured")
}

func TestSecretsFromFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	server := command(t, []string{
		"ADDR=127.0.0.1:0", "API_SECRET_KEY_FILE=" + write("key", "key-of-a-file\n"), "DATABASE_URL_FILE=" + write("url", testdb.URL(t)+"\n"),
	}, "serve").start().ready()
	if got := server.withKey("key-of-a-file", http.MethodPost, "/api/results", submitted("run-1")); got != http.StatusCreated {
		t.Errorf("status %d", got)
	}
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	database := testdb.URL(t)
	sound := []string{"DATABASE_URL=" + database, "ENVIRONMENT=production", "API_SECRET_KEY=" + strings.Repeat("k", 32), "ADDR=127.0.0.1:1"}
	doctor := func(env ...string) (int, string) {
		code, stdout, stderr := run(t, append(sound, env...), "doctor")
		return code, stdout + stderr
	}

	other := listen(t) // Not a BenchLedger server.
	denied := testdb.URL(t)
	if _, err := testdb.Pool(t, denied).Exec(t.Context(), "alter table schema_migrations rename column version to other"); err != nil {
		t.Fatal(err)
	}

	runKeys(t, database, "create", "soon", "--expires=1d")
	_, output := doctor() // The database of the tests runs without fsync.
	wantOutput(t, 0, output, 0, "ok    configuration", "ok    database       PostgreSQL", "ok    clocks", "ok    schema", "up to date", "writes", `"soon" expires`,
		"1 valid", "no server is running at 127.0.0.1:1", "ok    connections", "skip  disk")

	for name, test := range map[string]struct {
		env  []string
		want string
	}{
		"no key":               {[]string{"API_SECRET_KEY="}, "FAIL  configuration  an API key is required"},
		"public reads":         {nil, "warn  reads          everyone who reaches the server can read everything without a key, prompts included"},
		"a short key":          {[]string{"API_SECRET_KEY=short"}, "FAIL  configuration  API_SECRET_KEY has 5 characters"},
		"proxies of all":       {[]string{"TRUSTED_PROXIES=::/0"}, "FAIL  configuration  TRUSTED_PROXIES: ::/0 contains clients"},
		"origins of others":    {[]string{"ALLOWED_ORIGINS=https://*example.com"}, `FAIL  configuration  ALLOWED_ORIGINS: "https://*example.com"`},
		"a wrong password":     {[]string{"DATABASE_URL=postgres://nobody:wrong@127.0.0.1:1/none"}, "connection refused"}, // The cause is told too.
		"migrations nowhere":   {[]string{"DATABASE_MIGRATE_URL=postgres://nobody:wrong@127.0.0.1:1/none"}, "FAIL  migrations"},
		"migrations":           {[]string{"DATABASE_MIGRATE_URL=" + database}, "ok    migrations"},
		"another schema":       {[]string{"DATABASE_URL=" + denied}, "FAIL  schema"},
		"no privilege":         {[]string{"DATABASE_URL=" + testdb.WithoutPrivilege(t, "select on evaluation_results")}, "FAIL  privileges     the role in DATABASE_URL lacks these privileges; grant SELECT on evaluation_results"},
		"another encoding":     {[]string{"DATABASE_URL=" + testdb.WithEncoding(t, "LATIN1")}, "FAIL  encoding"},
		"an address taken":     {[]string{"ADDR=" + other.Addr().String()}, "FAIL  server         another program uses"},
		"no connection string": {[]string{"DATABASE_URL=postgres://host:port/"}, "FAIL  database"},
		"an empty database":    {[]string{"DATABASE_URL=" + testdb.Empty(t)}, "warn  schema         there is no schema"},
		"too many connections": {[]string{"DATABASE_URL=" + database + "&pool_max_conns=100000"}, "FAIL  connections"},
		"a pooler":             {[]string{"DATABASE_URL=" + database + "&default_query_exec_mode=exec"}, "warn  pooler"},
		"public metrics":       {[]string{"METRICS_ADDR=:9090"}, "warn  metrics"},
		"origins":              {[]string{"ALLOWED_ORIGINS=*", "PUBLIC_READS=false"}, "warn  origins"},
	} {
		code, output := doctor(test.env...)
		if !strings.Contains(output, test.want) || strings.HasPrefix(test.want, "FAIL") && code != 1 {
			t.Errorf("%s: %d\n%s", name, code, output)
		}
		if strings.Contains(output, "wrong@") {
			t.Errorf("%s: the password is shown:\n%s", name, output)
		}
	}
}
