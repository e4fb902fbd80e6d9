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
	// maxAge is how old what is known of the keys may be. A key that is revoked is valid
	// for no longer than that.
	maxAge = time.Second
	// maxUnknownAge is the same for a key that is not known, which may be new. It bounds
	// how often somebody who guesses keys makes the server ask the database.
	maxUnknownAge = 100 * time.Millisecond
	// useAge is how exactly it is recorded when a key was used.
	useAge = time.Minute
)

// Cache knows the keys of the database as they were a moment ago.
type Cache struct {
	queries *db.Queries
	wait    time.Duration
	logger  *slog.Logger
	asking  singleflight.Group
	known   atomic.Pointer[snapshot]

	mu   sync.Mutex
	used map[string]time.Time // when a key's use was recorded last, by its name
}

// NewCache returns an empty cache. It waits for the database for the given time, and logs
// when the use of a key could not be recorded.
func NewCache(queries *db.Queries, wait time.Duration, logger *slog.Logger) *Cache {
	return &Cache{queries: queries, wait: wait, logger: logger, used: map[string]time.Time{}}
}

// snapshot is all keys at one time.
type snapshot struct {
	at     time.Time
	byHash map[[sha256.Size]byte]db.ListKeysRow
}

// find returns the key with a hash. fresh says that the snapshot is not older than age;
// otherwise nothing is found. Where two hashes differ says nothing about their keys, so
// that the map may compare them in any time.
func (s *snapshot) find(hash [sha256.Size]byte, age time.Duration) (row db.ListKeysRow, found, fresh bool) {
	if s == nil || time.Since(s.at) > age {
		return row, false, false
	}
	row, found = s.byHash[hash]
	return row, found && subtle.ConstantTimeCompare(row.Hash, hash[:]) == 1, true
}

// Find returns what the database has of a key, also where it is revoked or expired, and
// false where it does not have it.
func (c *Cache) Find(ctx context.Context, key string) (db.ListKeysRow, bool, error) {
	hash := hashOf(key)
	if row, found, _ := c.known.Load().find(hash, maxAge); found {
		return row, true, nil
	}
	if _, _, fresh := c.known.Load().find(hash, maxUnknownAge); fresh {
		return db.ListKeysRow{}, false, nil
	}
	if err := c.refresh(ctx); err != nil {
		return db.ListKeysRow{}, false, err
	}
	row, found, _ := c.known.Load().find(hash, maxAge+c.wait)
	return row, found, nil
}

// refresh reads all keys, once for all who ask at the same time.
func (c *Cache) refresh(ctx context.Context) error {
	_, err, _ := c.asking.Do("", func() (any, error) {
		// The first who asked may go away while the others wait.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.wait)
		defer cancel()
		known := &snapshot{at: time.Now(), byHash: map[[sha256.Size]byte]db.ListKeysRow{}}
		rows, err := c.queries.ListKeys(ctx)
		if err != nil {
			return nil, fmt.Errorf("read keys: %w", err)
		}
		for _, row := range rows {
			known.byHash[[sha256.Size]byte(row.Hash)] = row
		}
		c.known.Store(known)
		return nil, nil
	})
	return err
}

// RecordUse records that a key is used, once a minute. When that fails it logs why: the
// request goes on.
func (c *Cache) RecordUse(ctx context.Context, key db.ListKeysRow) {
	if !c.isDue(key, time.Now()) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, c.wait)
	defer cancel()
	if err := c.queries.UpdateKeyUsed(ctx, key.Name); err != nil {
		c.logger.WarnContext(ctx, "the use of a key is not recorded", "error", err)
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
