#!/bin/sh
# Tests tools/breaking.sh in a repository with a release: it fails if a query parameter is
# removed, unless the changelog announces it, and if a release has no tag. It passes before the
# first release.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# gate open|closed WHAT: runs it on the files in $tmp, and checks whether it passes.
gate() {
  found=closed
  if sh tools/breaking.sh "$tmp/openapi.yaml" "$tmp/CHANGELOG.md" >"$tmp/output" 2>&1; then found=open; fi
  if [ "$found" != "$1" ]; then
    cat "$tmp/output"
    echo "$2: the gate is $found" >&2
    exit 1
  fi
}

git init --quiet "$tmp"
cp openapi.yaml "$tmp"
git -C "$tmp" add openapi.yaml
git -C "$tmp" -c user.name=test -c user.email=test@example.com commit --quiet --message 'A release'
sed 's/^          name: minCoverage$/          name: another/' openapi.yaml >"$tmp/openapi.yaml"

echo '## [Unreleased]' >"$tmp/CHANGELOG.md"
gate open 'a query parameter is removed before the first release'
printf '\n## [1.2.3] - 2026-11-27\n\n## [1.2.2] - 2026-11-26\n' >>"$tmp/CHANGELOG.md"
gate closed 'a release has no tag'
git -C "$tmp" tag v1.2.3
gate closed 'a query parameter is removed'
grep -q '`minCoverage`' "$tmp/output" || { cat "$tmp/output" >&2; exit 1; }
text=$(sed -nE 's/^[[:space:]]*(deleted .*)/\1/p' "$tmp/output")
echo "- GET /api/leaderboard $text" >>"$tmp/CHANGELOG.md"
gate open 'a change is announced'
echo 'the gate of breaking changes holds'
