package keys

import (
	"strings"
	"testing"
)

func TestNew(t *testing.T) {
	t.Parallel()
	key, hash := New()
	other, otherHash := New()
	if !HasForm(key) || len(hash) != 32 {
		t.Errorf("key %q, hash of %d bytes", key, len(hash))
	}
	if key == other || string(hash) == string(otherHash) {
		t.Error("two keys are the same")
	}
	if sum := hashOf(key); string(sum[:]) != string(hash) {
		t.Error("the hash is not that of the key")
	}
}

func TestHasForm(t *testing.T) {
	t.Parallel()
	key, _ := New()
	for _, text := range []string{
		"", "blk_", "x" + key, key + "A", key + "\n", key[:len(key)-1], strings.ToLower(key), strings.TrimPrefix(key, "blk_"),
		"blk_" + strings.Repeat("1", 26), "BLK_" + key[4:], "blk_" + strings.Repeat("é", 13),
	} {
		if HasForm(text) {
			t.Errorf("%q has the form of a key", text)
		}
	}
}

func TestScopes(t *testing.T) {
	t.Parallel()
	for have, may := range map[Scope][]Scope{
		ScopeRead:   {ScopeRead},
		ScopeSubmit: {ScopeRead, ScopeSubmit},
		ScopeAdmin:  {ScopeRead, ScopeSubmit, ScopeAdmin},
		"unknown":   {},
	} {
		for _, needed := range Scopes {
			want := false
			for _, scope := range may {
				want = want || scope == needed
			}
			if got := have.Allows(needed); got != want {
				t.Errorf("%s allows what needs %s: %t", have, needed, got)
			}
		}
	}
}

func TestSame(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		key, other string
		want       bool
	}{
		{"a-key", "a-key", true},
		{"a-key", "a-kez", false},
		{"a-key", "a-key ", false},
		{"a-key", "", false},
	} {
		if got := Same(test.key, test.other); got != test.want {
			t.Errorf("%q and %q: %t", test.key, test.other, got)
		}
	}
}
