#!/bin/sh
# Tries tools/breaking.sh: a query parameter that is removed fails it, one whose end the
# changelog announces passes.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
sed 's/^          name: suite$/          name: another/' openapi.yaml >"$tmp/openapi.yaml"
cp CHANGELOG.md "$tmp"
if sh tools/breaking.sh "$tmp/openapi.yaml" "$tmp/CHANGELOG.md" >"$tmp/output" 2>&1; then
  echo 'a query parameter is removed, and the gate is open' >&2
  exit 1
fi
grep -q '`suite`' "$tmp/output" || { cat "$tmp/output" >&2; exit 1; }
text=$(sed -nE 's/^[[:space:]]*(deleted .*)/\1/p' "$tmp/output")
echo "- GET /api/runs $text" >>"$tmp/CHANGELOG.md"
sh tools/breaking.sh "$tmp/openapi.yaml" "$tmp/CHANGELOG.md" >"$tmp/output" 2>&1 || {
  cat "$tmp/output" >&2
  echo 'a change is announced, and the gate is closed' >&2
  exit 1
}
echo 'the gate of breaking changes holds'
