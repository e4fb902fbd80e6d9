package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/sync/singleflight"

	"github.com/benchledger/benchledger/db"
)

// Scope is what a key may do; each may what those before it may.
type Scope string

// The scopes. No operation needs ScopeAdmin yet.
const (
	ScopeRead   Scope = "read"
	ScopeSubmit Scope = "submit"
	ScopeAdmin  Scope = "admin"
)

// Scopes are all of them, in their order.
var Scopes = []Scope{ScopeRead, ScopeSubmit, ScopeAdmin}

// allows reports whether a key with the scope may do what needs the other.
func (s Scope) allows(needed Scope) bool {
	return slices.Index(Scopes, s) >= slices.Index(Scopes, needed)
}

var (
	// toSubmit is the security of an operation that writes.
	toSubmit = []map[string][]string{{"bearer": {string(ScopeSubmit)}}}
	// toRead is that of an operation that reads: it needs a key where the server's
	// reads are private.
	toRead = []map[string][]string{{}, {"bearer": {string(ScopeRead)}}}
	// open is that of an operation which anyone may use.
	open = []map[string][]string{{}}
)

// neededScope is what the document says of an operation: the scope that a key needs,
// "" for none, and whether that is so only where reads are private.
func neededScope(operation *huma.Operation) (scope Scope, ifPrivate bool) {
	for _, alternative := range operation.Security {
		if len(alternative) == 0 {
			ifPrivate = true
		}
		for _, scopes := range alternative {
			scope = Scope(scopes[0])
		}
	}
	return scope, ifPrivate
}

// SharedKey is what logs call the key of the configuration, which has no name.
const SharedKey = "API_SECRET_KEY"

const (
	// keyAge is how old what is known of the keys may be: what is revoked holds no
	// longer than that.
	keyAge = time.Second
	// unknownKeyAge is the same for a key that is not known: it may be new. Whoever
	// tries keys has the database asked so often and no more.
	unknownKeyAge = 100 * time.Millisecond
	// useAge is how exactly it is recorded when a key was used.
	useAge = time.Minute
)

// keyForm is that of keys of one's own: a prefix by which scanners for secrets find
// them, and 130 bits.
var keyForm = regexp.MustCompile(`^blk_[A-Z2-7]{26}$`)

// NewKey makes a key, and the hash by which it is stored.
func NewKey() (key string, hash []byte) {
	key = "blk_" + rand.Text()
	sum := sha256.Sum256([]byte(key))
	return key, sum[:]
}

// keyring knows the keys of the database, as they were a moment ago.
type keyring struct {
	queries *db.Queries
	wait    time.Duration
	logger  *slog.Logger
	asking  singleflight.Group
	known   atomic.Pointer[knownKeys]

	mu   sync.Mutex
	used map[string]time.Time // when a key's use was recorded last, by its name
}

type knownKeys struct {
	at     time.Time
	byHash map[[sha256.Size]byte]db.ListKeysRow
}

// find returns the key with a hash, if it is known and that is not older than age.
// Where in a hash two differ says nothing about the keys that they are of.
func (k *knownKeys) find(hash [sha256.Size]byte, age time.Duration) (row db.ListKeysRow, found, fresh bool) {
	if k == nil || time.Since(k.at) > age {
		return row, false, false
	}
	row, found = k.byHash[hash]
	return row, found && subtle.ConstantTimeCompare(row.Hash, hash[:]) == 1, true
}

// find returns the key with a hash.
func (k *keyring) find(ctx context.Context, hash [sha256.Size]byte) (db.ListKeysRow, bool, error) {
	if row, found, _ := k.known.Load().find(hash, keyAge); found {
		return row, true, nil
	}
	if _, _, fresh := k.known.Load().find(hash, unknownKeyAge); fresh {
		return db.ListKeysRow{}, false, nil
	}
	if err := k.ask(ctx); err != nil {
		return db.ListKeysRow{}, false, err
	}
	row, found, _ := k.known.Load().find(hash, keyAge+k.wait)
	return row, found, nil
}

// ask reads all keys, once for everyone who asks meanwhile.
func (k *keyring) ask(ctx context.Context) error {
	_, err, _ := k.asking.Do("", func() (any, error) {
		// The first of them may go away while the others wait.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), k.wait)
		defer cancel()
		known := &knownKeys{at: time.Now(), byHash: map[[sha256.Size]byte]db.ListKeysRow{}}
		rows, err := k.queries.ListKeys(ctx)
		if err != nil {
			return nil, fmt.Errorf("read keys: %w", err)
		}
		for _, row := range rows {
			known.byHash[[sha256.Size]byte(row.Hash)] = row
		}
		k.known.Store(known)
		return nil, nil
	})
	return err
}

// noteUse records that a key is used, once a minute. It is no reason for a request to fail.
func (k *keyring) noteUse(ctx context.Context, key db.ListKeysRow) {
	if !k.isDue(key, time.Now()) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, k.wait)
	defer cancel()
	if err := k.queries.UpdateKeyUsed(ctx, key.Name); err != nil {
		k.logger.WarnContext(ctx, "the use of a key is not recorded", "error", err)
	}
}

func (k *keyring) isDue(key db.ListKeysRow, now time.Time) bool {
	if key.LastUsedAt != nil && now.Sub(*key.LastUsedAt) < useAge {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if now.Sub(k.used[key.Name]) < useAge {
		return false
	}
	maps.DeleteFunc(k.used, func(_ string, at time.Time) bool { return now.Sub(at) >= useAge })
	k.used[key.Name] = now
	return true
}

// requireKey lets only those pass who have a key with the scope that the document
// asks for. It decides before the body is read.
func (s *server) requireKey(ctx huma.Context, next func(huma.Context)) {
	needed, ifPrivate := neededScope(ctx.Operation())
	public, header := ifPrivate && !s.PrivateReads, ctx.Header("Authorization")
	if needed == "" || public && header == "" {
		next(ctx)
		return
	}
	name, problem := s.identify(ctx.Context(), header, needed)
	if problem != nil && public { // Who needs no key is nobody with a wrong one.
		next(ctx)
		return
	}
	if problem != nil {
		s.refuse(ctx, problem)
		return
	}
	infoOf(ctx.Context()).key = name
	if s.isOverLimit(ctx, s.keyLimit, name) {
		return
	}
	next(ctx)
}

// identify returns the name of the key that the header has, where it may do what is
// needed.
func (s *server) identify(ctx context.Context, header string, needed Scope) (string, *Problem) {
	scheme, key, _ := strings.Cut(header, " ")
	key = strings.TrimSpace(key)
	if !strings.EqualFold(scheme, "Bearer") || key == "" {
		problem := problemOf(http.StatusUnauthorized, "An API key is required: send the header Authorization: Bearer KEY.")
		problem.headers = http.Header{"Www-Authenticate": {`Bearer realm="benchledger"`}}
		return "", problem
	}
	hash := sha256.Sum256([]byte(key))
	shared := sha256.Sum256([]byte(s.APISecretKey))
	if subtle.ConstantTimeCompare(hash[:], shared[:]) == 1 && s.APISecretKey != "" {
		return SharedKey, nil
	}
	if !keyForm.MatchString(key) { // Nothing to ask the database about.
		return "", problemOf(http.StatusForbidden, "Invalid API key.")
	}
	found, ok, err := s.keys.find(ctx, hash)
	switch {
	case err != nil:
		return "", s.problem(ctx, err)
	case !ok:
		return "", problemOf(http.StatusForbidden, "Invalid API key.")
	case found.State != "valid":
		return "", problemOf(http.StatusForbidden, "This API key has "+map[string]string{"revoked": "been revoked", "expired": "expired"}[found.State]+".")
	case !Scope(found.Scope).allows(needed):
		return "", problemOf(http.StatusForbidden, fmt.Sprintf("This API key has the scope %s; the operation needs %s.", found.Scope, needed))
	}
	s.keys.noteUse(ctx, found)
	return found.Name, nil
}

// submitter is the name of the key that submits, nil for the shared one.
func submitter(ctx context.Context) *string {
	if name := infoOf(ctx).key; name != SharedKey && name != "" {
		return &name
	}
	return nil
}

// refuse answers a request before its operation begins.
func (s *server) refuse(ctx huma.Context, problem *Problem) {
	for name, values := range problem.headers {
		ctx.SetHeader(name, values[0])
	}
	if err := huma.WriteErr(s.api, ctx, problem.GetStatus(), problem.Detail); err != nil {
		s.Logger.InfoContext(ctx.Context(), "answer not sent", "error", err)
	}
}
