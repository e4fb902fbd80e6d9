package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/benchledger/benchledger/db"
	"github.com/benchledger/benchledger/keys"
)

type keysCommand struct {
	databaseFlags `embed:""`

	Create keysCreateCommand `cmd:"" help:"Create an API key; it is shown once."`
	List   keysListCommand   `cmd:"" help:"List the API keys, without their secrets."`
	Revoke keysRevokeCommand `cmd:"" help:"Revoke an API key; this takes effect within a second."`
}

func (keysCommand) Help() string {
	return "Give every person and program its own key: submissions are stored with the name of their key. Scopes: read; submit (also reads); " +
		"admin (everything: also voids and restores runs, and all future operations). The key in API_SECRET_KEY also works."
}

type keysCreateCommand struct {
	Name    string   `arg:"" help:"Name of the key: its owner or purpose, 1 to 150 characters."`
	Scope   string   `enum:"read,submit,admin" default:"submit" placeholder:"SCOPE" help:"Scope of the key: ${enum}; ${default} by default."`
	Expires lifetime `placeholder:"WHEN" help:"Expiry: 90d, 12h, a date or a time (RFC 3339). Never by default."`
}

// Run creates a key.
func (c *keysCreateCommand) Run(parent *commands) error {
	name := strings.TrimSpace(c.Name)
	switch {
	case name == "" || utf8.RuneCountInString(name) > 150 || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return errors.New("the name must have 1 to 150 characters, and no control characters")
	case name == keys.SharedKey:
		return fmt.Errorf("%s is reserved for the shared key: choose another name", name)
	case c.Expires.at != nil && !c.Expires.at.After(time.Now()):
		return fmt.Errorf("the expiry %s is in the past", c.Expires.at.Format(time.RFC3339))
	}
	key, hash := keys.New()
	err := parent.Keys.with(func(ctx context.Context, queries *db.Queries) error {
		return queries.CreateKey(ctx, db.CreateKeyParams{Name: name, Hash: hash, Scope: c.Scope, ExpiresAt: c.Expires.at})
	})
	if db.ConstraintName(err) == "api_keys_pkey" {
		return fmt.Errorf("the key name %q is already used, maybe by a revoked key: choose another name", name)
	}
	if err != nil {
		return err
	}
	printf("%s\n", key)
	until := ""
	if c.Expires.at != nil {
		until = ", valid until " + c.Expires.at.Format(time.RFC3339)
	}
	fmt.Fprintf(stderr, "Created the key %s with the scope %s%s. It is shown only once: store it in a safe place.\n", strconv.Quote(name), c.Scope, until)
	return nil
}

// lifetime has the time when a key expires, nil for never.
type lifetime struct{ at *time.Time }

// UnmarshalText parses a duration from now (also in days), a date in UTC, or a time.
func (l *lifetime) UnmarshalText(text []byte) error {
	at, err := parseWhen(string(text), time.Now().Add)
	l.at = &at
	return err
}

// parseWhen parses a date in UTC, a time, or a duration (also in days), which from converts to a
// time.
func parseWhen(value string, from func(time.Duration) time.Time) (time.Time, error) {
	if days, found := strings.CutSuffix(value, "d"); found {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return from(time.Duration(n) * 24 * time.Hour), nil
		}
	}
	if duration, err := time.ParseDuration(value); err == nil {
		return from(duration), nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if at, err := time.Parse(layout, value); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a duration (90d, 12h), a date (2026-12-31) or a time (2026-12-31T12:00:00Z)", value)
}

type keysListCommand struct {
	JSON bool `name:"json" help:"Print JSON, one line per key."`
}

// listedKey is a key as it is printed.
type listedKey struct {
	Name       string     `json:"name"`
	Scope      string     `json:"scope"`
	State      string     `json:"state"`
	CreatedAt  time.Time  `json:"createdAt"`
	ExpiresAt  *time.Time `json:"expiresAt"`
	RevokedAt  *time.Time `json:"revokedAt"`
	LastUsedAt *time.Time `json:"lastUsedAt"`
}

// Run prints the keys.
func (c *keysListCommand) Run(parent *commands) error {
	return parent.Keys.with(func(ctx context.Context, queries *db.Queries) error {
		rows, err := queries.ListKeys(ctx)
		if err != nil {
			return err
		}
		listed := make([]listedKey, len(rows))
		for i, row := range rows {
			listed[i] = listedKey{
				Name: row.Name, Scope: row.Scope, State: row.State, CreatedAt: row.CreatedAt.UTC(),
				ExpiresAt: inUTC(row.ExpiresAt), RevokedAt: inUTC(row.RevokedAt), LastUsedAt: inUTC(row.LastUsedAt),
			}
		}
		return show(c.JSON, keyColumns, listed)
	})
}

var keyColumns = []column[listedKey]{
	{name: "name", value: func(k listedKey) any { return k.Name }},
	{name: "scope", value: func(k listedKey) any { return k.Scope }},
	{name: "state", value: func(k listedKey) any { return k.State }},
	{name: "created", rank: 2, value: func(k listedKey) any { return k.CreatedAt }},
	{name: "expires", value: func(k listedKey) any { return k.ExpiresAt }},
	{name: "last used", rank: 1, value: func(k listedKey) any { return k.LastUsedAt }},
}

func inUTC(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	return new(t.UTC())
}

type keysRevokeCommand struct {
	Name string `arg:"" help:"Name of the key."`
}

// Run revokes a key.
func (c *keysRevokeCommand) Run(parent *commands) error {
	return parent.Keys.with(func(ctx context.Context, queries *db.Queries) error {
		at, err := queries.UpdateKeyRevoked(ctx, c.Name)
		if db.Classify(err) == db.NotFound {
			return fmt.Errorf("no key has the name %q: benchledger keys list shows all keys", c.Name)
		}
		if err != nil {
			return err
		}
		printf("the key %s was revoked at %s\n", strconv.Quote(c.Name), at.UTC().Format(time.RFC3339))
		return nil
	})
}
