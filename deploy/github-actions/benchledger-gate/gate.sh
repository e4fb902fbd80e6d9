#!/bin/sh
# Runs benchledger gate in a pipeline. action.yml says what the variables are; other CI systems can run this script, too.
#
# GATE_BASELINE, GATE_CANDIDATE  selectors, one per line: baseline:main, batch:pr-17
# GATE_FLAGS                     more flags of benchledger gate, one per line
# GATE_MOVE_BASELINE             after a pass, this baseline becomes the candidate, which has to be one batch
#
# The exit status is that of benchledger gate. If the baseline cannot be moved after a pass, it is 3.
set -u
outcome=

fail() {
  echo "gate.sh: $1" >&2
  [ -z "${GITHUB_OUTPUT-}" ] || [ -n "$outcome" ] || echo outcome=notRun >>"$GITHUB_OUTPUT"
  exit 3
}

newline='
'
candidate=
set --
while IFS= read -r line; do
  [ -z "$line" ] || set -- "$@" "--baseline=$line"
done <<END
${GATE_BASELINE-}
END
while IFS= read -r line; do
  [ -z "$line" ] || {
    set -- "$@" "--candidate=$line"
    candidate=${candidate:+$candidate$newline}$line
  }
done <<END
${GATE_CANDIDATE-}
END
while IFS= read -r line; do
  [ -z "$line" ] || set -- "$@" "$line"
done <<END
${GATE_FLAGS-}
END

if [ -n "${GATE_MOVE_BASELINE-}" ]; then
  case $candidate in
    *"$newline"*) fail "GATE_MOVE_BASELINE needs one candidate, such as batch:main-42" ;;
    batch:?*) ;;
    *) fail "GATE_MOVE_BASELINE needs a batch as candidate, such as batch:main-42" ;;
  esac
fi

report=$(mktemp "${RUNNER_TEMP:-${TMPDIR:-/tmp}}/benchledger-gate.XXXXXX") || fail "no file for the report"
benchledger gate "$@" "--report=$report"
status=$?
case $status in
  0) outcome=pass ;;
  1) outcome=regression ;;
  2) outcome=cannotTell ;;
  *) outcome=notRun ;;
esac
[ -s "$report" ] || printf '## Benchmarks: no report\n\nThe outcome is %s, with exit status %s. The log of this step says why.\n' "$outcome" "$status" >"$report"

[ -z "${GITHUB_STEP_SUMMARY-}" ] || cat "$report" >>"$GITHUB_STEP_SUMMARY"
[ -z "${GITHUB_OUTPUT-}" ] || printf 'outcome=%s\nreport=%s\n' "$outcome" "$report" >>"$GITHUB_OUTPUT"

if [ "$outcome" = pass ] && [ -n "${GATE_MOVE_BASELINE-}" ]; then
  benchledger baseline set -- "$GATE_MOVE_BASELINE" "$candidate" || fail "the gate passes, but the baseline was not moved"
fi
exit "$status"
