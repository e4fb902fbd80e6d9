// Package schema embeds the migrations, which are also the schema that sqlc reads.
package schema

import "embed"

// Files holds the migrations, named as golang-migrate expects them.
//
//go:embed *.sql
var Files embed.FS
