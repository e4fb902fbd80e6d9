#!/usr/bin/env bash
# steady.sh RUNS [PACKAGES]: runs the tests several times, each time in another random order,
# while busy loops use all processors. A test that fails here is flaky. It prints the seed of each order; `go test -shuffle=SEED` repeats it.
# PACKAGES are of the main module; without them, all of it and of test/ is run.
set -uo pipefail
cd "$(dirname "$0")/.."

for ((i = 0; i < $(nproc); i++)); do
  while :; do :; done &
done
trap 'kill $(jobs -p) 2>/dev/null' EXIT

# tests DIRECTORY SEED PACKAGES...
tests() (cd "$1" && go test -count=1 -timeout=1h -shuffle="$2" "${@:3}")

runs=$1 failed=
shift
for ((run = 1; run <= runs; run++)); do
  seed=$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')
  printf '\n=== run %d of %d: -shuffle=%s\n' "$run" "$runs" "$seed"
  start=$SECONDS verdict=ok
  if [ $# -gt 0 ]; then
    tests . "$seed" "$@" || verdict=FAILED
  else
    tests . "$seed" ./... || verdict=FAILED
    tests test "$seed" ./... || verdict=FAILED
  fi
  printf '=== run %d: %s after %d s\n' "$run" "$verdict" $((SECONDS - start))
  [ "$verdict" = ok ] || failed+=" $seed"
done
if [ -n "$failed" ]; then
  printf '\nFAILED in the order of%s\n' "$failed"
  exit 1
fi
printf '\n%d runs in random order: no failure\n' "$runs"
