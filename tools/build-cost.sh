#!/bin/sh
# What it costs to build the program on a machine that has Go and nothing else: with empty
# caches, so modules are downloaded too. Prints one figure a line.
set -eu
tmp=$(mktemp -d)
trap 'chmod -R u+w "$tmp"; rm -rf "$tmp"' EXIT
export GOCACHE="$tmp/cache" GOMODCACHE="$tmp/mod"

# times prints the processor time of ended children in its second line: "0m1.23s 0m4.56s".
cpu() { times | awk 'NR == 2 { for (i = 1; i <= 2; i++) { split($i, t, /[ms]/); s += 60 * t[1] + t[2] } printf "%.0f\n", s }'; }

go build -o "$tmp/program" ./cmd/benchledger
times >"$tmp/times"
awk 'NR == 2 { for (i = 1; i <= 2; i++) { split($i, t, /[ms]/); s += 60 * t[1] + t[2] } printf "%-28s %6.0f s\n", "go build, processor time", s }' "$tmp/times"
echo "$(du -sm "$GOMODCACHE" | cut -f1)" >"$tmp/modules"
printf '%-28s %6d MB\n' 'modules downloaded' "$(cat "$tmp/modules")"
printf '%-28s %6d\n' 'foreign packages' "$(go list -deps -f '{{with .Module}}{{if not .Main}}{{$.ImportPath}}{{end}}{{end}}' ./cmd/benchledger | grep -c .)"
printf '%-28s %6d\n' 'modules in the program' "$(go version -m "$tmp/program" | grep -c '^	dep')"
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$tmp/program" ./cmd/benchledger
printf '%-28s %6.1f MB\n' 'stripped binary' "$(wc -c <"$tmp/program" | awk '{ print $1 / 1e6 }')"
