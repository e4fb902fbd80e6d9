// Package chaos breaks everything that the service stands on, while clients submit
// runs, and then compares every acknowledgement with the database: what was
// acknowledged is there, whole and once.
package chaos

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/benchledger/benchledger/internal/testdb"
	"github.com/benchledger/benchledger/internal/testdb/recorder"
	"github.com/benchledger/benchledger/internal/testserver"
)

var (
	seeds     = flag.Int("seeds", 0, "how many seeds to run; 0 runs none")
	firstSeed = flag.Uint64("first-seed", 1, "the first seed")
	perSeed   = flag.Int64("results", 10_000, "how many results each seed has to have acknowledged at least")
	short     = flag.Bool("brief", false, "let faults last a quarter of their time, and widen the limits, as in CI")
	only      = flag.String("fault", "", "inject only the faults whose names contain this")
	within    = flag.Duration("within", time.Second, "how soon after the database is writable a request has to succeed; ten times that with -brief")
)

func TestMain(m *testing.M) {
	zerolog.SetGlobalLevel(zerolog.Disabled) // Some of toxiproxy logs to it.
	// What is met by chance is no test of a query.
	if err := os.Unsetenv(recorder.Variable); err != nil {
		panic(err)
	}
	testdb.Main(m, testserver.Remove)
}

// begin skips a test that takes minutes unless it is asked for, and builds the server.
func begin(t *testing.T) {
	t.Helper()
	if *seeds == 0 {
		t.Skip("make chaos runs this")
	}
	if _, err := testserver.Program(); err != nil {
		t.Fatal(err)
	}
}

// patience is the limit of a time. With -brief the machine may do other things too, and
// what counts is that the faults are found and mended, not how soon.
func patience(limit time.Duration) time.Duration {
	if *short {
		return 10 * limit
	}
	return limit
}

// workers are the clients that submit at the same time.
const workers = 12

// total is the sum over all seeds.
type total struct {
	acknowledged, replayed, unavailable, broken int64
	stored                                      int
	faults                                      map[string]int
	slowest                                     map[string]time.Duration
	felt                                        map[string]int64 // requests that failed meanwhile
	wrong                                       []string
}

func TestChaos(t *testing.T) { //nolint:paralleltest // it takes the whole machine
	begin(t)
	sum := total{faults: map[string]int{}, slowest: map[string]time.Duration{}, felt: map[string]int64{}}
	start := time.Now()
	for i := range *seeds {
		seed := *firstSeed + uint64(i)
		begin, before := time.Now(), sum.acknowledged
		if err := sum.runSeed(t, seed); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		t.Logf("seed %d: %d acknowledged in %s", seed, sum.acknowledged-before, time.Since(begin).Round(time.Second))
	}
	t.Logf("%d seeds in %s\n%s", *seeds, time.Since(start).Round(time.Second), sum)
	for _, wrong := range sum.wrong {
		t.Error(wrong)
	}
}

// String is the report.
func (s total) String() string {
	var table strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.faults)) {
		fmt.Fprintf(&table, "%-32s %6d", name, s.faults[name])
		if slowest, measured := s.slowest[name]; measured {
			fmt.Fprintf(&table, "   recovered within %6s   %6d requests failed", slowest.Round(time.Millisecond), s.felt[name])
		}
		fmt.Fprintln(&table)
	}
	fmt.Fprintf(&table, "%-32s %6d\n%-32s %6d\n%-32s %6d\n%-32s %6d\n%-32s %6d\n", "acknowledged", s.acknowledged, "replayed", s.replayed,
		"answered 503 or 429", s.unavailable, "without an answer", s.broken, "stored", s.stored)
	fmt.Fprintf(&table, "%-32s %6d", "lost, duplicated, partial, late", len(s.wrong))
	return table.String()
}

func (s *total) runSeed(t *testing.T, seed uint64) (err error) {
	t.Helper()
	dir, err := testdb.TempDir()
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(seed, 0))
	ctx := t.Context()
	c, err := newCluster(ctx, dir, random, "")
	defer func() {
		c.close()
		if err == nil {
			err = os.RemoveAll(dir)
		} else {
			err = fmt.Errorf("%w (the logs are in %s)", err, dir)
		}
	}()
	if err != nil {
		return err
	}
	c.short = *short
	l := newLedger()
	c.client = newClient(l, c.to)

	loaded, stop := context.WithCancel(ctx)
	defer stop()
	var load sync.WaitGroup
	for worker := range workers {
		random := rand.New(rand.NewPCG(seed, uint64(worker+1)))
		load.Go(func() { c.client.work(loaded, fmt.Sprintf("run-%d-%d", seed, worker), random) })
	}
	if err := s.injectAll(ctx, t, c, seed); err != nil {
		return err
	}
	if err := until(ctx, "enough results", func() error {
		if n := l.acknowledged.Load(); n < *perSeed {
			return fmt.Errorf("%d are acknowledged", n)
		}
		return nil
	}); err != nil {
		return err
	}
	stop()
	load.Wait()
	if err := c.now.Stop(); err != nil { // What is under way still counts.
		return err
	}
	return s.settle(ctx, c, l, seed)
}

// injectAll injects each fault once, in an order that the seed chooses.
func (s *total) injectAll(ctx context.Context, t *testing.T, c *cluster, seed uint64) error {
	t.Helper()
	order := slices.Clone(faults)
	c.random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	for i, f := range order {
		if !strings.Contains(f.name, *only) {
			continue
		}
		before := c.client.ledger.failed()
		err := f.run(ctx, c)
		if errors.Is(err, errNotHere) && os.Getenv("CI") == "" {
			t.Logf("%s: %v", f.name, err)
			continue
		}
		if err != nil {
			return fmt.Errorf("%s, after %v: %w", f.name, names(order[:i]), err)
		}
		took, err := c.recovery(ctx, fmt.Sprintf("%d-%d", seed, i))
		if err != nil {
			return fmt.Errorf("after %s: %w", f.name, err)
		}
		s.faults[f.name]++
		s.felt[f.name] += c.client.ledger.failed() - before
		s.slowest[f.name] = max(s.slowest[f.name], took)
		if f.database && took > patience(*within) {
			s.wrong = append(s.wrong, fmt.Sprintf("seed %d: %s: the first success came %s after the database was writable", seed, f.name, took))
		}
		if f.name == "failover to the standby" {
			if err := c.addStandby(ctx); err != nil {
				return err
			}
		}
		c.hold(ctx, time.Second) // of peace
	}
	return nil
}

func names(of []fault) []string {
	var all []string
	for _, f := range of {
		all = append(all, f.name)
	}
	return all
}

// settle compares what was acknowledged with what is stored.
func (s *total) settle(ctx context.Context, c *cluster, l *ledger, seed uint64) error {
	connection, err := c.node().connect(ctx, role)
	if err != nil {
		return err
	}
	defer connection.Close(ctx)
	found, err := check(ctx, connection, l)
	if err != nil {
		return err
	}
	for kind, runs := range map[string][]string{"lost": found.lost, "duplicated": found.duplicated, "partial": found.partial} {
		for _, run := range runs {
			s.wrong = append(s.wrong, fmt.Sprintf("seed %d: %s: %s", seed, kind, run))
		}
	}
	for status, example := range l.refused {
		s.wrong = append(s.wrong, fmt.Sprintf("seed %d: answered %d: %s", seed, status, example))
	}
	for name, n := range c.counts {
		s.faults[name] += n
	}
	s.acknowledged += l.acknowledged.Load()
	s.replayed += l.replayed.Load()
	s.unavailable += l.unavailable.Load()
	s.broken += l.broken.Load()
	s.stored += found.stored
	return nil
}
