// Package keys is what an API key looks like, what it may do, and which keys there are:
// keys.go has their format and scopes, cache.go a cache of the keys in the database.
package keys

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"regexp"
	"slices"
)

// Scope is what a key allows. Each scope includes the previous ones.
type Scope string

// The scopes.
const (
	ScopeRead   Scope = "read"
	ScopeSubmit Scope = "submit"
	ScopeAdmin  Scope = "admin"
)

// Scopes are all of them, in their order.
var Scopes = []Scope{ScopeRead, ScopeSubmit, ScopeAdmin}

// Allows reports whether a key with the scope may do what needs the other scope.
func (s Scope) Allows(needed Scope) bool {
	return slices.Index(Scopes, s) >= slices.Index(Scopes, needed)
}

// SharedKey is the name of the configured key in logs. No other key may
// have it.
const SharedKey = "API_SECRET_KEY"

// form is the form of a key: a prefix by which scanners for secrets find it, and 130
// random bits.
var form = regexp.MustCompile(`^blk_[A-Z2-7]{26}$`)

// HasForm reports whether a text could be a key that New made.
func HasForm(text string) bool { return form.MatchString(text) }

// New makes a key, and the hash by which it is stored.
func New() (key string, hash []byte) {
	key = "blk_" + rand.Text()
	sum := hashOf(key)
	return key, sum[:]
}

// Same reports whether two keys are the same, in constant time.
func Same(key, other string) bool {
	hash, otherHash := hashOf(key), hashOf(other)
	return subtle.ConstantTimeCompare(hash[:], otherHash[:]) == 1
}

func hashOf(key string) [sha256.Size]byte { return sha256.Sum256([]byte(key)) }
