package db_test

import (
	"testing"
	"time"

	"github.com/benchledger/benchledger/db"
)

// keyHash is as long as a hash, and differs by its first byte.
func keyHash(first byte) []byte {
	hash := make([]byte, 32)
	hash[0] = first
	return hash
}

func createKey(t testing.TB, q *db.Queries, name string, change func(*db.CreateKeyParams)) {
	t.Helper()
	key := db.CreateKeyParams{Name: name, Hash: keyHash(name[0]), Scope: "submit"}
	if change != nil {
		change(&key)
	}
	wantNoError(t, q.CreateKey(t.Context(), key))
}

// keys returns the keys by their names.
func keys(t testing.TB, q *db.Queries) (names []string, byName map[string]db.ListKeysRow) {
	t.Helper()
	rows, err := q.ListKeys(t.Context())
	wantNoError(t, err)
	byName = map[string]db.ListKeysRow{}
	for _, row := range rows {
		names, byName[row.Name] = append(names, row.Name), row
	}
	return names, byName
}

func TestCreateKey(t *testing.T) {
	t.Parallel()
	q, pool := setup(t)
	expiry := noon.AddDate(100, 0, 0)
	before := value[time.Time](t, pool, "select clock_timestamp()")
	createKey(t, q, "ci", func(k *db.CreateKeyParams) { k.Scope, k.ExpiresAt = "read", &expiry })
	_, stored := keys(t, q)
	got := stored["ci"]
	if got.CreatedAt.Before(before) || got.CreatedAt.After(value[time.Time](t, pool, "select clock_timestamp()")) {
		t.Errorf("created at %s", got.CreatedAt)
	}
	wantEqual(t, got, db.ListKeysRow{Name: "ci", Hash: keyHash('c'), Scope: "read", CreatedAt: got.CreatedAt, ExpiresAt: &expiry, State: "valid"})

	t.Run("a name is there once, also that of a key that was revoked", func(t *testing.T) {
		_, err := q.UpdateKeyRevoked(t.Context(), "ci")
		wantNoError(t, err)
		err = q.CreateKey(t.Context(), db.CreateKeyParams{Name: "ci", Hash: keyHash('x'), Scope: "submit"})
		wantKind(t, err, db.Conflict)
		wantEqual(t, db.ConstraintName(err), "api_keys_pkey")
	})
}

func TestListKeys(t *testing.T) {
	t.Parallel()
	q, pool := setup(t)
	names, _ := keys(t, q)
	wantEqual(t, names, nil)

	for _, name := range []string{"b", "a", "Z", "d", "e"} {
		createKey(t, q, name, nil)
	}
	exec(t, pool, "update api_keys set expires_at = now() - interval '1 second' where name in ('a', 'd')")
	exec(t, pool, "update api_keys set expires_at = now() + interval '1 hour' where name = 'e'")
	exec(t, pool, "update api_keys set revoked_at = now() where name in ('b', 'd')")
	names, stored := keys(t, q)
	wantEqual(t, names, []string{"Z", "a", "b", "d", "e"})
	for name, want := range map[string]string{"Z": "valid", "a": "expired", "b": "revoked", "d": "revoked", "e": "valid"} {
		if got := stored[name].State; got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	t.Run("a key that expires now has expired", func(t *testing.T) {
		q, tx := begin(t, pool)
		exec(t, tx, "update api_keys set expires_at = now() where name = 'Z'")
		_, stored := keys(t, q)
		wantEqual(t, stored["Z"].State, "expired")
	})
}

func TestUpdateKeyRevoked(t *testing.T) {
	t.Parallel()
	q, pool := setup(t)
	createKey(t, q, "ci", nil)
	createKey(t, q, "other", nil)
	since, err := q.UpdateKeyRevoked(t.Context(), "ci")
	wantNoError(t, err)
	_, stored := keys(t, q)
	wantEqual(t, stored["ci"].RevokedAt, &since)
	wantEqual(t, stored["other"].RevokedAt, nil)
	if age := value[time.Time](t, pool, "select now()").Sub(since); age < 0 || age > patienceForClock {
		t.Errorf("revoked %s ago", age)
	}

	t.Run("once is for all", func(t *testing.T) {
		again, err := q.UpdateKeyRevoked(t.Context(), "ci")
		wantNoError(t, err)
		wantEqual(t, again, since)
	})
	t.Run("there is no row without the key", func(t *testing.T) {
		_, err := q.UpdateKeyRevoked(t.Context(), "nobody's")
		wantKind(t, err, db.NotFound)
	})
}

// patienceForClock is the longest time between two statements on a busy machine.
const patienceForClock = time.Minute

func TestUpdateKeyUsed(t *testing.T) {
	t.Parallel()
	q, pool := setup(t)
	createKey(t, q, "ci", nil)
	createKey(t, q, "other", nil)
	use := func(t *testing.T, q *db.Queries) *time.Time {
		t.Helper()
		wantNoError(t, q.UpdateKeyUsed(t.Context(), "ci"))
		_, stored := keys(t, q)
		wantEqual(t, stored["other"].LastUsedAt, nil)
		return stored["ci"].LastUsedAt
	}
	for name, test := range map[string]struct {
		before string
		isNew  bool
	}{
		"the first use is recorded":      {"null", true},
		"one after a minute is recorded": {"now() - interval '61 seconds'", true},
		"one within a minute is not":     {"now() - interval '59 seconds'", false},
		"one at a minute is not":         {"now() - interval '1 minute'", false},
	} {
		t.Run(name, func(t *testing.T) {
			q, tx := begin(t, pool) // now() does not change within a transaction.
			exec(t, tx, "update api_keys set last_used_at = "+test.before+" where name = 'ci'")
			now := value[time.Time](t, tx, "select now()")
			if got := use(t, q); (got != nil && got.Equal(now)) != test.isNew {
				t.Errorf("last used %v, now is %s", got, now)
			}
		})
	}
}
