package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// role is the server's, and its database.
const role = "bench"

// cluster is a primary with a synchronous standby, proxies before both, and a server.
type cluster struct {
	dir       string
	random    *rand.Rand
	short     bool
	options   string // more of the server's connection string
	nodes     [2]*node
	primary   int
	toxiproxy *toxiproxy.ApiServer
	proxies   [2]*toxiproxy.Proxy
	*balancer
	client *client
	counts map[string]int
}

// newCluster starts all of it. Two servers migrate the empty database at once.
func newCluster(ctx context.Context, dir string, random *rand.Rand, options string) (*cluster, error) {
	c := &cluster{dir: dir, random: random, options: options, balancer: &balancer{}, counts: map[string]int{}}
	c.toxiproxy = toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	for i := range c.nodes {
		var err error
		if c.nodes[i], err = newNode(filepath.Join(dir, fmt.Sprint("node", i))); err != nil {
			return c, err
		}
		c.proxies[i] = c.proxy(fmt.Sprint("node", i), fmt.Sprintf("127.0.0.1:%d", c.nodes[i].port))
		if err := c.proxies[i].Start(); err != nil {
			return c, err
		}
	}
	if err := c.nodes[0].initialise(ctx); err != nil {
		return c, err
	}
	if err := c.nodes[0].start(ctx); err != nil {
		return c, err
	}
	if err := c.nodes[0].exec(ctx, "create role bench login", "create database bench owner bench"); err != nil {
		return c, err
	}
	if err := c.addStandby(ctx); err != nil {
		return c, err
	}
	return c, c.migrateTogether()
}

// migrateTogether starts two servers on the empty database at once, and keeps one.
func (c *cluster) migrateTogether() error {
	type started struct {
		server *server
		err    error
	}
	both := make(chan started, 2)
	for range 2 {
		go func() {
			s, err := startServer(c.url(), c.log())
			both <- started{s, err}
		}()
	}
	one, other := <-both, <-both
	if one.err != nil || other.err != nil {
		return fmt.Errorf("two servers on an empty database: %w, %w", one.err, other.err)
	}
	c.turn(one.server)
	c.counts["two servers migrate at once"]++
	return other.server.Stop()
}

func (c *cluster) close() {
	if c.now != nil {
		c.now.Kill()
	}
	for i, n := range c.nodes {
		if c.proxies[i] != nil {
			c.proxies[i].Stop()
		}
		if n != nil {
			n.remove()
		}
	}
}

// url has the server find the primary, wherever it is.
func (c *cluster) url() string {
	return fmt.Sprintf("postgres://%s@%s,%s/%s?target_session_attrs=read-write&connect_timeout=2&sslmode=disable",
		role, c.proxies[0].Listen, c.proxies[1].Listen, role) + c.options
}

func (c *cluster) log() string { return filepath.Join(c.dir, "server.log") }

func (c *cluster) node() *node    { return c.nodes[c.primary] }
func (c *cluster) standby() *node { return c.nodes[1-c.primary] }

// addStandby makes the other node a synchronous standby of the primary.
func (c *cluster) addStandby(ctx context.Context) error {
	if err := c.standby().copyFrom(ctx, c.node()); err != nil {
		return err
	}
	if err := c.standby().start(ctx); err != nil {
		return err
	}
	if err := c.node().exec(ctx, "alter system set synchronous_standby_names = '*'", "select pg_reload_conf()"); err != nil {
		return err
	}
	return c.waitForStandby(ctx)
}

func (c *cluster) waitForStandby(ctx context.Context) error {
	return until(ctx, "a synchronous standby", func() error {
		return c.node().isTrue(ctx, "select exists (select from pg_stat_replication where state = 'streaming' and sync_state = 'sync')")
	})
}

// toxic does something to all connections of the server's with the database, until
// it is healed.
func (c *cluster) toxic(kind, stream, attributes string) error {
	for _, proxy := range c.proxies {
		if err := addToxic(proxy, kind, stream, attributes); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) proxy(name, to string) *toxiproxy.Proxy {
	return toxiproxy.NewProxy(c.toxiproxy, name, "127.0.0.1:0", to)
}

func addToxic(proxy *toxiproxy.Proxy, kind, stream, attributes string) error {
	description := fmt.Sprintf(`{"name":"fault","type":%q,"stream":%q,"attributes":%s}`, kind, stream, attributes)
	_, err := proxy.Toxics.AddToxicJson(strings.NewReader(description))
	return err
}

func (c *cluster) heal(ctx context.Context) {
	for _, proxy := range c.proxies {
		proxy.Toxics.ResetToxics(ctx)
	}
}

// waitWritable returns when a transaction of the server's role is stored.
func (c *cluster) waitWritable(ctx context.Context) error {
	return until(ctx, "a writable database", func() error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		connection, err := c.node().connect(ctx, role)
		if err != nil {
			return err
		}
		defer connection.Close(ctx)
		_, err = connection.Exec(ctx, "insert into batch_runs (batch_id, created_at) values ('probe', now()) on conflict (batch_id) do update set created_at = now()")
		return err
	})
}

// recovery measures how long after the database is writable the first request of a
// client succeeds that did not begin before.
func (c *cluster) recovery(ctx context.Context, probe string) (time.Duration, error) {
	if err := c.waitWritable(ctx); err != nil {
		return 0, err
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	succeeded := make(chan struct{}, 1)
	for n := 0; ; n++ {
		go func() {
			if c.client.submit(ctx, fmt.Sprintf("probe-%s-%d", probe, n), final) == nil {
				select {
				case succeeded <- struct{}{}:
				default:
				}
			}
		}()
		select {
		case <-succeeded:
			return time.Since(start), nil
		case <-ctx.Done():
			return time.Since(start), fmt.Errorf("no request succeeds for %s", time.Since(start))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// hold lets a fault last: long, or short in CI.
func (c *cluster) hold(ctx context.Context, most time.Duration) {
	if c.short {
		most /= 4
	}
	select {
	case <-ctx.Done():
	case <-time.After(most/2 + time.Duration(c.random.Int64N(int64(most/2)+1))):
	}
}
