#!/bin/sh
# Checks the files of tools/release.sh in dist/, and runs the program for linux/amd64, which must be in RELEASE_TARGETS.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "release: $*" >&2 && exit 1; }

(cd dist && sha256sum --check --quiet --strict SHA256SUMS) || fail 'a checksum is wrong'
(cd dist && ls | grep -vx SHA256SUMS) >"$work/files"
awk '{ print $2 }' dist/SHA256SUMS | diff "$work/files" - || fail 'SHA256SUMS does not have every file'

version=$(sed -n 's/^const version = "\(.*\)"$/\1/p' cmd/benchledger/version.go)
pgx=$(awk '$1 == "github.com/jackc/pgx/v5" { print $2 }' go.mod)
for target in $RELEASE_TARGETS; do
  os=${target%/*} arch=${target#*/}
  name=benchledger_${version}_${os}_$arch program=benchledger
  if [ "$os" = windows ]; then
    program=benchledger.exe
    (cd "$work" && unzip -q "$OLDPWD/dist/$name.zip")
  else
    tar -C "$work" -xzf "dist/$name.tar.gz"
  fi
  { printf '%s\n' "$program" CHANGELOG.md LICENSE README.md THIRD_PARTY_LICENSES completions/_benchledger completions/benchledger.bash \
    completions/benchledger.fish man/man1/benchledger.1 && find deploy -type f; } | LC_ALL=C sort >"$work/want"
  (cd "$work/$name" && find . -type f | sed 's|^\./||' | LC_ALL=C sort) | diff "$work/want" - || fail "$name does not hold what it should"
  go version -m "$work/$name/$program" >"$work/build"
  for setting in CGO_ENABLED=0 GOOS="$os" GOARCH="$arch"; do
    grep -q "build	$setting\$" "$work/build" || fail "$name is not built with $setting"
  done
  for module in $(awk '$1 == "dep" { print $2 }' "$work/build"); do
    grep -q "^$module " "$work/$name/THIRD_PARTY_LICENSES" || fail "$name does not have the license of $module"
  done
  grep -qF "\"purl\": \"pkg:golang/github.com/jackc/pgx/v5@$pgx" "dist/$name.cdx.json" || fail "the SBOM of $name does not list pgx $pgx"
done

release=$work/benchledger_${version}_linux_amd64 program=$work/benchledger_${version}_linux_amd64/benchledger
commit=$(git rev-parse HEAD)
[ -z "$(git status --porcelain)" ] || commit="$commit with changes"
want="benchledger $version, commit $commit of $(TZ=UTC git show --no-patch --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ HEAD), $(go env GOVERSION), linux/amd64"
[ "$("$program" version)" = "$want" ] || fail "it says $("$program" version), not $want"
[ "$("$program" --version)" = "$want" ] || fail "--version says something else than version"
"$program" openapi | diff openapi.yaml - || fail 'it prints another OpenAPI document'
! ldd "$program" >/dev/null 2>&1 || fail 'it is not static'

completed=$(bash --norc -c 'source "$1"; complete -p benchledger >/dev/null && COMP_WORDS=(benchledger migrate st) COMP_CWORD=2 && _benchledger && echo "${COMPREPLY[*]}"' \
  bash "$release/completions/benchledger.bash")
[ "$completed" = status ] || fail "bash completes: $completed"
! command -v zsh >/dev/null || zsh -n "$release/completions/_benchledger" || fail 'zsh cannot read its completions'
! command -v fish >/dev/null || [ "$(fish -c "source $release/completions/benchledger.fish; complete -C 'benchledger migrate st'" | cut -f1)" = status ] ||
  fail 'fish does not complete'
if command -v man >/dev/null; then
  MANWIDTH=100 man --warnings --local-file "$release/man/man1/benchledger.1" >"$work/manual" 2>"$work/warnings" || fail 'the manual page does not render'
  [ ! -s "$work/warnings" ] || fail "the manual page: $(cat "$work/warnings")"
  grep -q METRICS_ADDR "$work/manual" || fail 'the manual page lacks a setting'
else
  echo 'release: man is not here, so the manual page was not rendered'
fi

# Without a network the packages that it depends on come from the ones installed for building it.
mkdir "$work/project" "$work/packages"
(cd clients/typescript && npm ls --omit=dev --all --parseable | tail -n +2 | xargs npm pack --ignore-scripts --loglevel=error --pack-destination "$work/packages" >/dev/null)
cd "$work/project"
printf '{ "private": true, "type": "module" }\n' >package.json
npm install --offline --loglevel=error --no-audit --no-fund "$OLDPWD"/dist/benchledger-client-"$version".tgz "$work"/packages/*.tgz >/dev/null
node --input-type=module -e 'import { BenchLedger } from "@benchledger/client"; new BenchLedger({ url: "http://127.0.0.1:8787" })'
echo "release: what was made for $RELEASE_TARGETS holds"
