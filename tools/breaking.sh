#!/bin/sh
# breaking.sh SPEC CHANGELOG: fails if the API has changed since the last release in a way that
# breaks clients, unless the changelog has a line with its method, path and text. Warnings of
# oasdiff count too: the server refuses a query parameter that was removed.
#
# The last release is the newest version that the changelog has a heading for. Its
# openapi.yaml comes from the tag of that version, in the changelog's repository.
set -eu
spec=$(realpath "$1") changelog=$(realpath "$2")
cd "$(dirname "$0")/.."
released=$(sed -nE 's/^## \[([0-9].*)\].*/\1/p' "$changelog" | head -n 1)
if [ -z "$released" ]; then
  echo 'Breaking changes: there is no release yet to compare with'
  exit
fi
base=$(mktemp)
trap 'rm -f "$base"' EXIT
git -C "$(dirname "$changelog")" show "v$released:openapi.yaml" >"$base" || {
  echo "Breaking changes: the release $released has no tag v$released here; git fetch --tags" >&2
  exit 1
}
go tool -modfile=tools/go.mod oasdiff breaking --fail-on WARN --err-ignore "$changelog" --warn-ignore "$changelog" "$base" "$spec"
