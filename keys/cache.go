package keys

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/benchledger/benchledger/db"
)

const (
	// maxAge is how long the keys are cached. A revoked key is valid
	// for no longer than that.
	maxAge = time.Second
	// maxUnknownAge is the same for a key that is not known, which may be new. It bounds
	// how often somebody who guesses keys makes the server ask the database.
	maxUnknownAge = 100 * time.Millisecond
	// useAge is how exactly it is recorded when a key was used.
	useAge = time.Minute
)

// States of a key in the database.
const (
	expired = "expired"
	revoked = "revoked"
)

// Cache knows the keys of the database as they were a moment ago.
type Cache struct {
	use        Use
	logger     *slog.Logger
	refreshing singleflight.Group
	known      atomic.Pointer[snapshot]

	mu   sync.Mutex
	used map[string]time.Time // when a key's use was recorded last, by its name
	// latest is the latest time that the clock of this server or of the database had. A clock
	// that goes back does not make an expired key valid again.
	latest time.Time
}

// Use does work that needs the database, and limits its time.
type Use func(ctx context.Context, work func(context.Context, *db.Queries) error) error

// NewCache returns an empty cache. It logs when the use of a key could not be recorded.
func NewCache(use Use, logger *slog.Logger) *Cache {
	return &Cache{use: use, logger: logger, used: map[string]time.Time{}}
}

// snapshot is all keys at one time.
type snapshot struct {
	at     time.Time
	byHash map[[sha256.Size]byte]db.ListKeysRow
}

// isFresh reports whether the snapshot is not older than age.
func (s *snapshot) isFresh(age time.Duration) bool {
	return s != nil && time.Since(s.at) <= age
}

// find returns the key with a hash. The lookup in the map need not take constant time:
// hashes reveal nothing about their keys.
func (s *snapshot) find(hash [sha256.Size]byte) (db.ListKeysRow, bool) {
	row, found := s.byHash[hash]
	return row, found && subtle.ConstantTimeCompare(row.Hash, hash[:]) == 1
}

// Find returns a key of the database, even if it is revoked or expired, or false if there is
// no such key. A key is expired if it is by the clock of the database or of this server.
func (c *Cache) Find(ctx context.Context, key string) (row db.ListKeysRow, found bool, err error) {
	row, found, err = c.lookUp(ctx, hashOf(key))
	if found && row.State != revoked && c.hasExpired(row, time.Now()) {
		row.State = expired
	}
	return row, found, err
}

func (c *Cache) lookUp(ctx context.Context, hash [sha256.Size]byte) (row db.ListKeysRow, found bool, err error) {
	known := c.known.Load()
	if known.isFresh(maxAge) {
		if row, found = known.find(hash); found || known.isFresh(maxUnknownAge) {
			return row, found, nil
		}
	}
	if known, err = c.refresh(ctx); err != nil {
		return row, false, err
	}
	row, found = known.find(hash)
	return row, found, nil
}

// hasExpired reports whether a key has expired at the latest known time.
func (c *Cache) hasExpired(key db.ListKeysRow, now time.Time) bool {
	if key.ExpiresAt == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if now = now.Round(0); now.After(c.latest) { // Without the monotonic clock, which does not show that the clock was set back.
		c.latest = now
	}
	if key.State == expired && key.ExpiresAt.After(c.latest) { // The clock of the database is ahead.
		c.latest = *key.ExpiresAt
	}
	return !key.ExpiresAt.After(c.latest)
}

// refresh reads all keys, once for all concurrent callers.
func (c *Cache) refresh(ctx context.Context) (*snapshot, error) {
	known, err, _ := c.refreshing.Do("", func() (any, error) {
		known := &snapshot{at: time.Now(), byHash: map[[sha256.Size]byte]db.ListKeysRow{}}
		// The first caller may disconnect while the others wait.
		err := c.use(context.WithoutCancel(ctx), func(ctx context.Context, q *db.Queries) error {
			rows, err := q.ListKeys(ctx)
			for _, row := range rows {
				known.byHash[[sha256.Size]byte(row.Hash)] = row
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("read keys: %w", err)
		}
		c.known.Store(known)
		return known, nil
	})
	if err != nil {
		return nil, err
	}
	return known.(*snapshot), nil //nolint:forcetypeassert // the function returns no other type
}

// RecordUse records that a key is used, once a minute. When that fails it logs why: the
// request goes on.
func (c *Cache) RecordUse(ctx context.Context, key db.ListKeysRow) {
	if !c.isDue(key, time.Now()) {
		return
	}
	err := c.use(ctx, func(ctx context.Context, q *db.Queries) error { return q.UpdateKeyUsed(ctx, key.Name) })
	if err != nil {
		c.logger.WarnContext(ctx, "recording the last use of an API key failed", "error", err)
	}
}

func (c *Cache) isDue(key db.ListKeysRow, now time.Time) bool {
	if key.LastUsedAt != nil && now.Sub(*key.LastUsedAt) < useAge {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.used[key.Name]) < useAge {
		return false
	}
	maps.DeleteFunc(c.used, func(_ string, at time.Time) bool { return now.Sub(at) >= useAge })
	c.used[key.Name] = now
	return true
}
