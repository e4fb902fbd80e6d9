// Command bench measures what the program does in a second, beside what PostgreSQL does
// with the same statements, on little and on much data. See docs/performance.md.
package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/adrg/xdg"
	"github.com/alecthomas/kong"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/schollz/progressbar/v3"

	"github.com/benchledger/benchledger/internal/testserver"
)

type options struct {
	Sizes   []int         `default:"10000,1000000" help:"How many runs the data have; ${default} by default."`
	Rounds  int           `default:"1" help:"How often each is measured, in turn with the others; ${default} by default."`
	Time    time.Duration `default:"2s" help:"How long each is measured in a round; ${default} by default, a quarter of that for lists."`
	Mixed   time.Duration `default:"20s" help:"How long the mixed load lasts; ${default} by default."`
	Clients int           `default:"8" help:"How many clients send one request after another; ${default} by default."`
	Only    string        `help:"Only the scenarios whose name matches this expression."`
	Smoke   bool          `help:"A short look, on 10,000 runs: does everything work?"`
	Data    string        `default:"${data}" help:"Where the database is kept; ${default} by default."`
	Output  string        `short:"o" help:"Write the results to this file, as JSON."`
	Ratios  string        `help:"Write the ratios to PostgreSQL to this file, as JSON: to ../docs/performance.json, to commit them."`
	Compare string        `default:"../docs/performance.json" help:"Compare with the results in this file; ${default} by default."`
}

func say(text string) { fmt.Fprintln(os.Stderr, text) }

func main() {
	data := filepath.Join(xdg.CacheHome, "benchledger-bench")
	if os.Geteuid() == 0 { // Its home is closed to the user whom the database runs as.
		data = "/var/cache/benchledger-bench"
	}
	var o options
	cli := kong.Parse(&o, kong.Name("bench"), kong.Vars{"data": data}, kong.Description(
		"Measures the program through HTTP, and beside it pgbench with the same statements. Run it in the folder test, on a machine that does nothing else."))
	if o.Smoke {
		o.Sizes, o.Rounds, o.Time, o.Mixed = []int{10_000}, 1, 100*time.Millisecond, 2*time.Second
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	cli.FatalIfErrorf(o.run(ctx))
}

func (o *options) run(ctx context.Context) error {
	only, err := regexp.Compile(o.Only)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.Data, 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if _, err := testserver.Program(); err != nil {
		return err
	}
	defer testserver.Remove()
	c, err := startCluster(ctx, o.Data)
	if err != nil {
		return err
	}
	defer c.stop()
	results := newResults(ctx, c)
	places := make([]*place, len(o.Sizes))
	for i, size := range o.Sizes {
		if places[i], err = c.open(ctx, dir, size, only); err != nil {
			return err
		}
		defer places[i].close()
		results.Start = append(results.Start, startResult{Runs: size, FirstAnswerMs: milliseconds(places[i].server.firstAnswer), ResidentMiB: float64(places[i].server.residentAtStart) / (1 << 20)})
	}
	// What adds data comes after what reads it.
	if err := o.measure(ctx, c, dir, places, results, func(s scenario) bool { return s.runs == 0 }); err != nil {
		return err
	}
	if only.MatchString("mixed") || o.Only == "" {
		if err := o.measureMixed(ctx, c, dir, places, results); err != nil {
			return err
		}
	}
	if err := o.measure(ctx, c, dir, places, results, func(s scenario) bool { return s.runs > 0 }); err != nil {
		return err
	}
	if only.MatchString("copy") || o.Only == "" {
		if err := o.measureCopy(ctx, places, results); err != nil {
			return err
		}
	}
	results.print(o.Sizes)
	if !o.Smoke {
		results.printGoals()
	}
	if o.Compare != "" {
		results.compare(o.Compare)
	}
	if o.Ratios != "" {
		if err := results.ratios().write(o.Ratios); err != nil {
			return err
		}
	}
	if o.Output != "" {
		return results.write(o.Output)
	}
	return nil
}

// place is a database with data of a size, and a server on it.
type place struct {
	size      int
	database  string
	server    *server
	scenarios []scenario
	pool      *pgxpool.Pool
}

func (c *cluster) open(ctx context.Context, dir string, size int, only *regexp.Regexp) (*place, error) {
	database, err := c.prepare(ctx, size)
	if err != nil {
		return nil, err
	}
	p := &place{size: size, database: database}
	folder := filepath.Join(dir, strconv.Itoa(size))
	if err := os.Mkdir(folder, 0o700); err != nil {
		return nil, err
	}
	if p.server, err = startServer(folder, c.url(database)); err != nil {
		return nil, err
	}
	if p.pool, err = pgxpool.New(ctx, c.url(database)); err != nil {
		return nil, err
	}
	all, err := scenarios(ctx, p.server, size)
	p.scenarios = slices.DeleteFunc(all, func(s scenario) bool { return !only.MatchString(s.name) })
	return p, err
}

func (p *place) close() {
	p.pool.Close()
	_ = p.server.Stop() // What was measured counts.
}

// measure measures the chosen scenarios: the server and pgbench, at each size, in turn, so
// that other load affects all of them.
func (o *options) measure(ctx context.Context, c *cluster, dir string, places []*place, results *results, chosen func(scenario) bool) error {
	names := []string{}
	for _, p := range places {
		for _, s := range p.scenarios {
			if chosen(s) && !slices.Contains(names, s.name) {
				names = append(names, s.name)
			}
		}
	}
	bar := progressbar.Default(int64(len(names)), "measuring")
	for _, name := range names {
		for round := range o.Rounds {
			for _, p := range places {
				i := slices.IndexFunc(p.scenarios, func(s scenario) bool { return s.name == name })
				if i < 0 {
					continue // There is no such page.
				}
				s := p.scenarios[i]
				long, clients := o.Time, o.Clients
				if s.short {
					long /= 4
				}
				if s.alone {
					clients = 1
				}
				// Plans are made, caches filled, and pages that are written to are in the log whole, before.
				if round == 0 {
					if _, err := runClosed(ctx, p.server, clients, long, s.next); err != nil {
						return fmt.Errorf("%s: %w", name, err)
					}
					if s.limit != nil && s.runs > 0 {
						if _, err := c.pgbench(ctx, dir, p.database, *s.limit, clients, 0, long); err != nil {
							return fmt.Errorf("%s: %w", name, err)
						}
					}
				}
				got, err := runClosed(ctx, p.server, clients, long, s.next)
				if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				var limit *sample
				if s.limit != nil {
					limited, err := c.pgbench(ctx, dir, p.database, *s.limit, clients, 0, long)
					if err != nil {
						return fmt.Errorf("%s: %w", name, err)
					}
					limit = &limited
				}
				results.add(name, p.size, max(1, s.runs), got, limit)
			}
		}
		_ = bar.Add(1)
	}
	return nil
}

// measureCopy measures COPY into the same tables, with their indexes, by as many
// clients: the limit of bulk submission.
func (o *options) measureCopy(ctx context.Context, places []*place, results *results) error {
	const chunk = 2000
	for _, p := range places {
		var next, stored atomic.Int64
		next.Store(int64(10 * p.size)) // Ids beyond those of the data.
		start := time.Now()
		var working sync.WaitGroup
		failures := make([]error, o.Clients)
		for i := range o.Clients {
			working.Go(func() {
				for time.Since(start) < time.Duration(o.Rounds)*o.Time && failures[i] == nil {
					first := int(next.Add(chunk)) - chunk
					failures[i] = copyRuns(ctx, p.pool, first, first+chunk, p.size)
					stored.Add(chunk)
				}
			})
		}
		working.Wait()
		for _, err := range failures {
			if err != nil {
				return fmt.Errorf("copy: %w", err)
			}
		}
		results.limitBulk(p.size, float64(stored.Load())/time.Since(start).Seconds())
	}
	return nil
}

// poolSize is how many connections to the database a server has unless it is told otherwise.
const poolSize = 20

// measureMixed has harnesses submit while people look at dashboards; its limit is pgbench
// that submits as much a second, and nobody reads.
func (o *options) measureMixed(ctx context.Context, c *cluster, dir string, places []*place, results *results) error {
	submissions := 1000
	if o.Smoke {
		submissions = 200
	}
	for _, p := range places {
		streams := []stream{
			{submissions, func(r *rand.Rand) request { return request{http.MethodPost, "/api/results", submission(r, p.size)} }},
			{50, func(r *rand.Rand) request {
				path := "/api/runs"
				switch draw := r.IntN(10); {
				case draw < 3:
					path += "?limit=50"
				case draw < 6:
					path += "?limit=50&" + []string{"suite=suite-0", "agent=agent-3", "status=failed", "suite=suite-2&scenario=scenario-2-1"}[r.IntN(4)]
				case draw < 9:
					path += "/" + strconv.Itoa(r.IntN(p.size))
				default:
					path = "/api/batches/" + strconv.Itoa(r.IntN(batchCount(p.size)))
				}
				return request{http.MethodGet, path, nil}
			}},
		}
		if _, _, err := runOpen(ctx, p.server, 64, o.Mixed/4, streams); err != nil {
			return fmt.Errorf("mixed: %w", err)
		}
		samples, resident, err := runOpen(ctx, p.server, 64, o.Mixed, streams)
		if err != nil {
			return fmt.Errorf("mixed: %w", err)
		}
		limit, err := c.pgbench(ctx, dir, p.database, submitted(p.size), poolSize, submissions, o.Mixed/2)
		if err != nil {
			return fmt.Errorf("mixed: %w", err)
		}
		limit.rate = 0 // It is the same.
		results.add("mixed: submissions", p.size, 1, samples[0], &limit)
		results.add("mixed: reads", p.size, 1, samples[1], nil)
		results.Mixed = append(results.Mixed, mixedResult{Runs: p.size, ResidentMiB: float64(resident) / (1 << 20)})
	}
	return nil
}
