#!/usr/bin/env bash
# attack.sh [-brief]: breaks, overloads and measures the running program, one part after the
# other, and prints the results at the end. The tests whose results depend on load and time are
# here, and not in CI. It takes more than an hour on an otherwise idle machine.
#
# -brief checks in a few minutes that the parts work, as CI does: one seed, wide limits. A
# part that fails is run once more, and the report says so.
set -uo pipefail
cd "$(dirname "$0")/.."

brief=
case "$*" in
'') ;;
-brief) brief=1 ;;
*) echo "attack.sh [-brief], not $*" >&2 && exit 2 ;;
esac

code=0 report=
# part NAME COMMAND...
part() {
  local name=$1 start=$SECONDS verdict=ok
  shift
  printf '\n=== attack: %s\n' "$name"
  if ! "$@"; then
    verdict=FAILED
    if [ -n "$brief" ]; then
      printf '\n!!! attack: %s FAILED. It is tried once more; find out why it failed.\n\n' "$name"
      if "$@"; then verdict='passed ONLY WHEN TRIED AGAIN: find out why'; fi
    fi
    [ "$verdict" != FAILED ] || code=1
  fi
  report+=$(printf '%6d s  %-8s %s' $((SECONDS - start)) "$name" "$verdict")$'\n'
}

# compose tries the image and compose.yaml, if a Docker engine is available. If no
# registry is reached, the tests' PostgreSQL has an image, and Go comes from this machine.
compose() {
  if ! docker info >/dev/null 2>&1; then
    echo 'skipped: no Docker engine answers'
    return
  fi
  if [ -n "${TEST_POSTGRES_IMAGE:-}" ]; then
    export POSTGRES_IMAGE=$TEST_POSTGRES_IMAGE GO_IMAGE=${GO_IMAGE:-local/go}
    [ "$GO_IMAGE" != local/go ] || make go-image || return
  fi
  make compose-check
}

# limits has a bad client use as much memory and time as it can, while a good one works.
limits() (cd test && go test -count=1 -timeout=1h -v ./attack -attacks "$@")

if [ -n "$brief" ]; then
  part chaos make chaos CHAOS_FLAGS='-seeds=1 -results=3000 -brief'
  part limits limits -brief
  part bench make bench-smoke
else
  part fuzz make fuzz
  part limits limits
  part chaos make chaos
  part compose compose
  part bench make bench
fi
printf '\nattack:\n%s' "$report"
exit $code
