#!/bin/sh
# Measures how long it takes to build the program on a machine that only has Go: with empty caches, so that the
# modules are downloaded too. CPU time depends on the machine, so it is also printed as a multiple of the time
# that Go's net/http takes there. GOGC=200 costs a little memory; make build, the Dockerfile and releases set it.
set -eu
tmp=$(mktemp -d)
trap 'chmod -R u+w "$tmp"; rm -rf "$tmp"' EXIT
export GOCACHE="$tmp/cache" GOMODCACHE="$tmp/mod"

# seconds sets spent to the CPU time of all children of this script. It must not run in a subshell, which has other children.
seconds() {
  times >"$tmp/times"
  spent=$(awk 'NR == 2 { for (i = 1; i <= 2; i++) { split($i, t, "[ms]"); s += 60 * t[1] + t[2] } printf "%.1f", s }' "$tmp/times")
}
show() { printf '%-36s %s\n' "$1" "$2"; }

go build net/http
seconds && net_http=$spent
go build -o "$tmp/program" ./cmd/benchledger 2>"$tmp/downloads"
seconds && all=$spent
show 'processor time, net/http alone' "$net_http s"
show 'processor time, all' "$all s"
show 'all, by net/http alone' "$(echo "$all $net_http" | awk '{ printf "%.2f", $1 / $2 }')"
show 'modules downloaded' "$(du -sm "$GOMODCACHE" | cut -f1) MB"
show 'foreign packages in the program' "$(go list -deps -f '{{with .Module}}{{if not .Main}}{{$.ImportPath}}{{end}}{{end}}' ./cmd/benchledger | wc -l)"
show 'modules in the program' "$(go version -m "$tmp/program" | grep -c '^	dep')"
go build -ldflags '-s -w' -o "$tmp/program" ./cmd/benchledger # It links again, and compiles nothing.
show 'stripped' "$(wc -c <"$tmp/program" | awk '{ printf "%.1f", $1 / 1e6 }') MB"
