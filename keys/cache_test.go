package keys

import (
	"testing"
	"time"

	"github.com/benchledger/benchledger/db"
)

// A key expires by the later of both clocks, and stays expired when they go back.
func TestHasExpired(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	const valid = "valid"
	type lookUp struct {
		expiresAt, now time.Time // now is the clock of the server
		state          string    // by the clock of the database
		want           bool
	}
	for name, lookUps := range map[string][]lookUp{
		"both clocks agree": {
			{noon, noon.Add(-1), valid, false},
			{noon, noon, expired, true},
			{noon.Add(1), noon, valid, false},
		},
		"the clock of the server goes back": {
			{noon, noon.Add(time.Hour), valid, true},
			{noon, noon.Add(-time.Hour), valid, true},
			{noon.Add(2 * time.Hour), noon, valid, false},
		},
		"the clock of the database goes back": {
			{noon, noon.Add(-time.Hour), expired, true},
			{noon, noon.Add(-time.Hour), valid, true},
			{noon.Add(1), noon, valid, false},
		},
	} {
		c := NewCache(nil, nil)
		for i, l := range lookUps {
			if got := c.hasExpired(db.ListKeysRow{ExpiresAt: &l.expiresAt, State: l.state}, l.now); got != l.want {
				t.Errorf("%s, %d: %t", name, i, got)
			}
		}
		if c.hasExpired(db.ListKeysRow{State: valid}, noon) {
			t.Errorf("%s: a key without an expiry has expired", name)
		}
	}
}
