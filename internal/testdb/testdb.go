// Package testdb gives each test its own migrated PostgreSQL database.
//
// It uses the server at TEST_DATABASE_URL, or else a container if a Docker engine is available,
// or else the PostgreSQL programs on this machine. Tests are never skipped because there is
// no server.
package testdb

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib" // The driver that pgtestdb opens by name.
	"github.com/peterldowns/pgtestdb"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/modules/postgres"

	"github.com/benchledger/benchledger/api"
	"github.com/benchledger/benchledger/db"
	"github.com/benchledger/benchledger/internal/localpg"
	"github.com/benchledger/benchledger/internal/testdb/recorder"
	"github.com/benchledger/benchledger/sql/schema"
)

// timeZone is unusual, so that a time that lost its zone is noticed.
const timeZone = "Asia/Kathmandu"

// settings trade durability, which tests do not need, for speed.
var settings = map[string]string{"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "max_connections": "1000"}

// Main runs a package's tests, ends the server that they used, and cleans up what else
// they shared.
func Main(m *testing.M, cleanUp ...func()) {
	code := m.Run()
	for _, f := range cleanUp {
		f()
	}
	if stop != nil {
		if err := stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop the tests' PostgreSQL:", err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// New returns a pool for a new database with the schema.
func New(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return Pool(t, URL(t))
}

// URL returns the connection string of a new database with the schema. Statements wait for
// locks as long as tests hold them on a busy machine.
func URL(t testing.TB) string {
	t.Helper()
	return pgtestdb.Custom(t, config(t), migrator{}).URL() + "&lock_timeout=1min"
}

// Empty returns the connection string of a new, empty database.
func Empty(t testing.TB) string {
	t.Helper()
	return pgtestdb.Custom(t, config(t), pgtestdb.NoopMigrator{}).URL()
}

// WithoutPrivilege returns the connection string of a new database with the schema, whose
// role lacks a privilege, like "select on api_keys".
func WithoutPrivilege(t testing.TB, privilege string) string {
	t.Helper()
	url := URL(t)
	owner, admin, role := Pool(t, url), Admin(t), "role_"+strings.ToLower(rand.Text())
	exec := func(pool *pgxpool.Pool, statement string) {
		t.Helper()
		if _, err := pool.Exec(context.Background(), statement); err != nil {
			t.Fatal(err)
		}
	}
	exec(admin, "create role "+role)
	exec(admin, "grant "+role+" to "+owner.Config().ConnConfig.User)
	exec(owner, "grant select, insert, update, delete on all tables in schema public to "+role)
	exec(owner, "revoke "+privilege+" from "+role)
	t.Cleanup(func() {
		exec(owner, "drop owned by "+role)
		exec(admin, "drop role "+role)
	})
	return url + "&role=" + role
}

// WithEncoding returns the connection string of a new, empty database with an encoding.
func WithEncoding(t testing.TB, encoding string) string {
	t.Helper()
	admin, name := Admin(t), "encoding_"+strings.ToLower(rand.Text())
	if _, err := admin.Exec(context.Background(), "create database "+name+" encoding '"+encoding+"' locale 'C' template template0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = admin.Exec(context.Background(), "drop database "+name+" with (force)") })
	address, err := server() // It has worked for Admin.
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	parsed.Path = "/" + name
	return parsed.String()
}

// Admin returns a pool with administrator rights on the server of the test databases.
func Admin(t testing.TB) *pgxpool.Pool {
	t.Helper()
	url, err := server()
	if err != nil {
		t.Fatal("no PostgreSQL for tests: ", err)
	}
	return Pool(t, url)
}

// Pool returns a pool for a database; it is closed at the end of the test.
func Pool(t testing.TB, url string, tracers ...pgx.QueryTracer) *pgxpool.Pool {
	t.Helper()
	if tracer := recordingTracer(t); tracer != nil {
		tracers = append(tracers, tracer)
	}
	pool, err := db.Open(context.Background(), url, tracers...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// recordingTracer records which queries the test runs, if recording is on.
func recordingTracer(t testing.TB) pgx.QueryTracer {
	t.Helper()
	return recorder.New(folder(t), t.Name(), api.OperationID)
}

// Called records that the test called an operation, if recording is on.
func Called(t testing.TB, operation string) {
	t.Helper()
	recorder.Operation(folder(t), t.Name(), operation)
}

// folder returns the name of the folder of the test's package.
func folder(t testing.TB) string {
	t.Helper()
	path, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Base(path)
}

var (
	server = sync.OnceValues(start)
	stop   func() error
)

func config(t testing.TB) pgtestdb.Config {
	t.Helper()
	url, err := server()
	if err != nil {
		t.Fatal("no PostgreSQL for tests: ", err)
	}
	config, err := parse(url)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// start returns the connection string of a server with the right to create databases.
func start() (string, error) {
	ctx := context.Background()
	if url := os.Getenv("TEST_DATABASE_URL"); url != "" {
		fmt.Fprintln(os.Stderr, "testdb: PostgreSQL at TEST_DATABASE_URL")
		return url, nil
	}
	// If an image is named, the tests must run in a container.
	image, named := os.LookupEnv("TEST_POSTGRES_IMAGE")
	if !named {
		image = "postgres:17-alpine"
	}
	err := dockerAnswers(ctx)
	if err == nil {
		var url string
		if url, err = startContainer(ctx, image); err == nil {
			fmt.Fprintln(os.Stderr, "testdb: PostgreSQL in a container of", image)
			return url, nil
		}
	}
	if named {
		return "", err
	}
	fmt.Fprintln(os.Stderr, "testdb: PostgreSQL's programs on this machine, because there is no container:", err)
	return startLocal(ctx)
}

func dockerAnswers(ctx context.Context) (err error) {
	defer func() { // The library panics if it finds no engine.
		if failure := recover(); failure != nil {
			err = fmt.Errorf("%v", failure)
		}
	}()
	provider, err := testcontainers.NewDockerProvider()
	if err != nil {
		return err
	}
	defer func() { _ = provider.Close() }()
	return provider.Health(ctx)
}

func startContainer(ctx context.Context, image string) (string, error) {
	args := []string{"postgres"}
	for setting, value := range settings {
		args = append(args, "-c", setting+"="+value)
	}
	container, err := postgres.Run(ctx, image, postgres.BasicWaitStrategies(),
		postgres.WithUsername("postgres"), postgres.WithPassword("postgres"), postgres.WithDatabase("postgres"),
		testcontainers.WithCmd(args...))
	if err != nil {
		return "", err
	}
	stop = func() error { return container.Terminate(context.Background()) }
	return container.ConnectionString(ctx, "sslmode=disable")
}

func startLocal(ctx context.Context) (string, error) {
	dir, err := TempDir()
	if err != nil {
		return "", err
	}
	local, err := localpg.Start(ctx, localpg.Options{DataDir: dir, Settings: settings})
	if err != nil {
		return "", err
	}
	stop = func() error {
		if err := local.Stop(); err != nil {
			return err
		}
		return os.RemoveAll(dir)
	}
	return local.URL(), nil
}

// TempDir creates a temporary folder that a database of another user can reach.
func TempDir() (string, error) {
	dir, err := os.MkdirTemp("", "benchledger-test-")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}

func parse(connection string) (pgtestdb.Config, error) {
	parsed, err := pgconn.ParseConfig(connection)
	if err != nil {
		return pgtestdb.Config{}, err
	}
	// On a busy machine a connection may take long.
	options := url.Values{"sslmode": {"prefer"}, "timezone": {timeZone}, "connect_timeout": {"30"}}
	host := parsed.Host
	if filepath.IsAbs(host) { // A socket path cannot be the host of a URL.
		options.Set("host", host)
		host = ""
	}
	return pgtestdb.Config{
		DriverName: "pgx", Host: host, Port: fmt.Sprint(parsed.Port), User: parsed.User, Password: parsed.Password,
		Database: parsed.Database, Options: options.Encode(),
		ForceTerminateConnections: true,
	}, nil
}

// migrator creates the template database with the same migrations as the server.
type migrator struct{}

// Hash returns the hash of all migrations, which names the template.
func (migrator) Hash() (string, error) {
	hash := sha256.New()
	err := fs.WalkDir(schema.Files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := schema.Files.ReadFile(path)
		fmt.Fprintf(hash, "%s %d\n%s", path, len(content), content)
		return err
	})
	return hex.EncodeToString(hash.Sum(nil)), err
}

// Migrate migrates the template.
func (migrator) Migrate(_ context.Context, _ *sql.DB, config pgtestdb.Config) error {
	migrations, err := db.OpenMigrations(config.URL())
	if err != nil {
		return err
	}
	if err := migrations.Up(); err != nil {
		return err
	}
	return migrations.Close()
}
