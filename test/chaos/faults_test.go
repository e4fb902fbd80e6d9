package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// fault breaks something, lets it be broken for a while, and mends it. Where it
// cannot do so on this machine it returns errNotHere.
type fault struct {
	name string
	// database says that the service depends on the database alone to recover.
	database bool
	run      func(context.Context, *cluster) error
}

var errNotHere = errors.New("not possible on this machine")

var faults = []fault{
	{"server killed", false, killServer},
	{"rolling restart", false, rollServer},
	{"PostgreSQL killed", true, func(ctx context.Context, c *cluster) error {
		c.node().kill()
		c.hold(ctx, time.Second)
		return c.node().start(ctx)
	}},
	{"PostgreSQL stopped at once", true, func(ctx context.Context, c *cluster) error {
		c.node().quit(syscall.SIGQUIT)
		return c.node().start(ctx)
	}},
	{"PostgreSQL restarted", true, func(ctx context.Context, c *cluster) error {
		c.node().quit(syscall.SIGINT)
		return c.node().start(ctx)
	}},
	{"PostgreSQL frozen (SIGSTOP)", true, func(ctx context.Context, c *cluster) error {
		c.node().signalAll(syscall.SIGSTOP)
		defer c.node().signalAll(syscall.SIGCONT)
		c.hold(ctx, 10*time.Second) // 5 s at least
		return nil
	}},
	{"standby killed", true, func(ctx context.Context, c *cluster) error {
		c.standby().kill()
		c.hold(ctx, 2*time.Second)
		if err := c.standby().start(ctx); err != nil {
			return err
		}
		return c.waitForStandby(ctx)
	}},
	{"failover to the standby", true, failOver},
	{"out of connections", true, takeConnections},
	{"disk full", true, fillDisk},
	{"read-only", true, func(ctx context.Context, c *cluster) error {
		return c.withSetting(ctx, "default_transaction_read_only", "on", 2*time.Second)
	}},
	{"serialization failures", true, func(ctx context.Context, c *cluster) error {
		before, err := c.count(ctx, rollbacks)
		if err != nil {
			return err
		}
		if err := c.withSetting(ctx, "default_transaction_isolation", "'serializable'", 2*time.Second); err != nil {
			return err
		}
		return until(ctx, "PostgreSQL took transactions back", func() error {
			now, err := c.count(ctx, rollbacks)
			if err == nil && now == before {
				err = errors.New("none")
			}
			return err
		})
	}},
	{"deadlock", true, deadlock},
	{"network cut", true, func(ctx context.Context, c *cluster) error {
		for _, proxy := range c.proxies {
			proxy.Stop()
		}
		c.hold(ctx, time.Second)
		for _, proxy := range c.proxies {
			if err := proxy.Start(); err != nil {
				return err
			}
		}
		return nil
	}},
	{"network cut before commit", true, network("timeout", "upstream", `{"timeout":0}`)},
	{"network cut after commit", true, network("timeout", "downstream", `{"timeout":0}`)},
	{"network slow", true, network("latency", "downstream", `{"latency":100,"jitter":50}`)},
	{"network narrow", true, network("bandwidth", "upstream", `{"rate":20}`)},
	{"network reset before commit", true, network("reset_peer", "upstream", `{"timeout":0}`)},
	{"network reset after commit", true, network("reset_peer", "downstream", `{"timeout":0}`)},
	// Between the clients and the server: what is stored is not acknowledged.
	{"acknowledgements cut off", false, clientNetwork("timeout", `{"timeout":0}`)},
	{"acknowledgements reset", false, clientNetwork("reset_peer", `{"timeout":0}`)},
	{"acknowledgements broken off", false, clientNetwork("limit_data", `{"bytes":2000}`)},
	{"answers broken off", true, network("limit_data", "downstream", `{"bytes":3000}`)},
	{"clock a day off", true, func(ctx context.Context, c *cluster) error {
		// The program faketime would stand between this test and PostgreSQL.
		library, _ := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1")
		if len(library) == 0 {
			return fmt.Errorf("%w: faketime is not installed", errNotHere)
		}
		for _, clock := range []string{"+1d", "-1d"} {
			c.node().quit(syscall.SIGINT)
			if err := c.node().start(ctx, "LD_PRELOAD="+library[0], "FAKETIME="+clock, "DONT_FAKE_MONOTONIC=1"); err != nil {
				return err
			}
			off := "select abs(extract(epoch from clock_timestamp()) - " + strconv.FormatInt(time.Now().Unix(), 10) + ") > 86000"
			if err := c.node().isTrue(ctx, off); err != nil {
				return fmt.Errorf("a clock a day off: %w", err)
			}
			c.hold(ctx, 2*time.Second)
		}
		c.node().quit(syscall.SIGINT)
		return c.node().start(ctx)
	}},
}

func network(kind, stream, attributes string) func(context.Context, *cluster) error {
	return func(ctx context.Context, c *cluster) error {
		defer c.heal(ctx)
		if err := c.toxic(kind, stream, attributes); err != nil {
			return err
		}
		c.hold(ctx, 2*time.Second)
		return nil
	}
}

// clientNetwork has clients reach the server by a way that does something to its answers.
func clientNetwork(kind, attributes string) func(context.Context, *cluster) error {
	return func(ctx context.Context, c *cluster) error {
		way := c.proxy("clients", strings.TrimPrefix(c.now.URL, "http://"))
		if err := way.Start(); err != nil {
			return err
		}
		defer way.Stop()
		if err := addToxic(way, kind, "downstream", attributes); err != nil {
			return err
		}
		c.through("http://" + way.Listen)
		defer c.through("")
		c.hold(ctx, 2*time.Second)
		return nil
	}
}

func killServer(_ context.Context, c *cluster) error {
	c.now.Kill()
	next, err := startServer(c.url(), c.log())
	if err == nil {
		c.turn(next)
	}
	return err
}

// rollServer has a new server take over from the old one, which ends when the
// requests that it was sent have their answers.
func rollServer(_ context.Context, c *cluster) error {
	next, err := startServer(c.url(), c.log())
	if err != nil {
		return err
	}
	before := c.turn(next)
	before.busy.Wait()
	return before.Stop()
}

// failOver kills the primary, promotes the standby, and makes the old primary a
// standby of it.
func failOver(ctx context.Context, c *cluster) error {
	if err := c.waitForStandby(ctx); err != nil {
		return err
	}
	c.node().kill()
	c.primary = 1 - c.primary
	return c.node().exec(ctx, "select pg_promote(true, 30)")
}

// takeConnections leaves none to the server.
func takeConnections(ctx context.Context, c *cluster) error {
	var taken []*pgx.Conn
	defer func() {
		for _, connection := range taken {
			_ = connection.Close(ctx)
		}
	}()
	until := time.Now().Add(2 * time.Second)
	for time.Now().Before(until) {
		connection, err := c.node().connect(ctx, role)
		if err == nil {
			taken = append(taken, connection)
			continue
		}
		// All are taken: those of the server are next.
		if err := c.node().exec(ctx, "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'benchledger'"); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// fillDisk leaves no byte on the disk of the primary. What ends of that is started
// again when there is room.
func fillDisk(ctx context.Context, c *cluster) error {
	n := c.node()
	if !n.full {
		return fmt.Errorf("%w: a tmpfs cannot be mounted", errNotHere)
	}
	path := filepath.Join(n.dir, "filler")
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(path) }()
	for size := 1 << 20; size >= 1; {
		if _, err := file.Write(make([]byte, size)); err != nil {
			size /= 16
		}
	}
	if err := file.Close(); err != nil {
		return err
	}
	c.hold(ctx, 4*time.Second)
	if err := os.Remove(path); err != nil {
		return err
	}
	if n.ended() {
		return n.start(ctx)
	}
	return nil
}

// withSetting changes a setting for all sessions, for a while.
func (c *cluster) withSetting(ctx context.Context, name, value string, most time.Duration) error {
	if err := c.node().exec(ctx, "alter system set "+name+" = "+value, "select pg_reload_conf()"); err != nil {
		return err
	}
	c.hold(ctx, most)
	return c.node().exec(ctx, "alter system reset "+name, "select pg_reload_conf()")
}

// deadlock has the server store a run whose batch somebody else is about to store,
// who then wants the run: the server is the one to give way.
func deadlock(ctx context.Context, c *cluster) error {
	before, err := c.count(ctx, deadlocks)
	if err != nil {
		return err
	}
	// Where another request of the server waits for the same batch, there is none.
	for range 20 {
		id := fmt.Sprintf("deadlock-%d-%d", time.Now().UnixNano(), c.random.Int64())
		if err := deadlockOn(ctx, c, id, makeRun(id, final).BatchID); err != nil {
			return err
		}
		if now, err := c.count(ctx, deadlocks); err != nil || now > before {
			return err
		}
	}
	// It counts them a moment later.
	return until(ctx, "PostgreSQL saw a deadlock", func() error {
		now, err := c.count(ctx, deadlocks)
		if err == nil && now == before {
			err = errors.New("none")
		}
		return err
	})
}

const (
	deadlocks = "select deadlocks from pg_stat_database where datname = current_database()"
	// Without another fault, what is taken back lost against another transaction.
	rollbacks = "select xact_rollback from pg_stat_database where datname = current_database()"
)

// count asks how many of something there were.
func (c *cluster) count(ctx context.Context, question string) (n int, err error) {
	connection, err := c.node().connect(ctx, role)
	if err != nil {
		return 0, err
	}
	defer connection.Close(ctx)
	err = connection.QueryRow(ctx, question).Scan(&n)
	return n, err
}

func deadlockOn(ctx context.Context, c *cluster, id, batch string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	connection, err := pgx.Connect(ctx, c.node().url("postgres", role))
	if err != nil {
		return err
	}
	defer connection.Close(ctx)
	if _, err := connection.Exec(ctx, "set deadlock_timeout = '10s'"); err != nil { // The other one notices first.
		return err
	}
	tx, err := connection.Begin(ctx)
	if err != nil {
		return err
	}
	// Locked for good, the batch lets no run refer to it.
	if _, err := tx.Exec(ctx, "insert into batch_runs (batch_id, created_at) values ($1, now()) on conflict do nothing", batch); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "select from batch_runs where batch_id = $1 for update", batch); err != nil {
		return err
	}
	var submitted sync.WaitGroup
	submitted.Go(func() { c.client.persist(ctx, id, final) })
	if err := until(ctx, "the server waits for the batch", func() error {
		return c.node().isTrue(ctx, "select exists (select from pg_stat_activity where application_name = 'benchledger' and wait_event_type = 'Lock')")
	}); err != nil {
		return err
	}
	// What is not there cannot be locked: the key is, by whoever inserts it.
	_, err = tx.Exec(ctx, `insert into benchmark_runs (run_id, suite, scenario, tier, agent, status, started_at, started_at_given, is_successful)
		values ($1, 's', 's', 't', 'a', 'running', now(), true, false) on conflict do nothing`, id)
	if rollbackErr := tx.Rollback(ctx); err == nil {
		err = rollbackErr
	}
	submitted.Wait()
	return err
}
