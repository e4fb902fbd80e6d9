#!/bin/sh
# breaking.sh SPEC CHANGELOG: fails on a change of the API that breaks clients, since the
# last release, unless the changelog has a line with its method, path and text. What oasdiff
# calls a warning breaks clients too: a query parameter that is gone is refused here.
#
# The base is docs/openapi-released.yaml. Before the first release it is the draft of that
# version; from then on it changes with a release alone, and has the version of the newest one.
set -eu
cd "$(dirname "$0")/.."
released=$(sed -nE 's/^## \[([0-9].*)\].*/\1/p' CHANGELOG.md | head -n 1)
base=$(sed -nE "s/^  version: ['\"]?([^'\"]*)['\"]?$/\1/p" docs/openapi-released.yaml)
if [ -n "$released" ] && [ "$released" != "$base" ]; then
  echo "docs/openapi-released.yaml has version $base, and the newest of CHANGELOG.md is $released: a release copies openapi.yaml there" >&2
  exit 1
fi
exec go tool -modfile=tools/go.mod oasdiff breaking --fail-on WARN --err-ignore "$2" --warn-ignore "$2" docs/openapi-released.yaml "$1"
