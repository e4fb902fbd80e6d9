#!/bin/sh
# Makes the files of a release in dist/: for each platform an archive with the static program, its completions, manual
# page and licences, and an SBOM; the package of the TypeScript client; SHA256SUMS. The same commit makes the same archives.
# RELEASE_TARGETS='linux/amd64 …' makes fewer. It needs git, GNU tar, zip and npm.
set -eu
cd "$(dirname "$0")/.."
targets=${RELEASE_TARGETS:-linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64}
version=$(sed -n 's/^const version = "\(.*\)"$/\1/p' cmd/benchledger/version.go)
commit=$(git rev-parse HEAD)
[ -z "$(git status --porcelain)" ] || commit="$commit with changes"
date=$(TZ=UTC git show --no-patch --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ HEAD)

umask 022
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf dist
mkdir -p dist "$work/completions" "$work/man/man1"

build() { # GOOS GOARCH FILE
  CGO_ENABLED=0 GOGC=200 GOOS=$1 GOARCH=$2 go build -buildvcs=false -trimpath \
    -ldflags "-s -w -X 'main.commit=$commit' -X 'main.date=$date'" -o "$3" ./cmd/benchledger
}

# licenses prints the licenses of all modules in the program of a platform.
licenses() { # GOOS GOARCH
  CGO_ENABLED=0 GOOS=$1 GOARCH=$2 go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' ./cmd/benchledger |
    sort -u | while read -r path version dir; do
      [ -n "$dir" ] || { dir=$version version=; } # A module of this repository has no version.
      printf '\n%s\n%s %s\n\n' '----------------------------------------' "$path" "$version"
      cat "$dir"/LICEN[SC]E* "$dir"/COPYING* "$dir"/NOTICE* 2>/dev/null || [ -n "$(find "$dir" -maxdepth 1 -iname 'LICEN*' -o -maxdepth 1 -iname 'COPYING*')" ]
    done
}

host=$work/benchledger
build "$(go env GOHOSTOS)" "$(go env GOHOSTARCH)" "$host"
"$host" completion bash >"$work/completions/benchledger.bash"
"$host" completion zsh >"$work/completions/_benchledger"
"$host" completion fish >"$work/completions/benchledger.fish"
"$host" man >"$work/man/man1/benchledger.1"

for target in $targets; do
  os=${target%/*} arch=${target#*/}
  name=benchledger_${version}_${os}_$arch folder=$work/$name program=$work/$name/benchledger
  [ "$os" != windows ] || program=$program.exe
  echo "$name"
  mkdir "$folder"
  build "$os" "$arch" "$program"
  cp -R "$work/completions" "$work/man" LICENSE README.md CHANGELOG.md deploy "$folder"
  licenses "$os" "$arch" >"$folder/THIRD_PARTY_LICENSES"
  go tool -modfile=tools/sbom.mod cyclonedx-gomod bin -json -std -noserial -notimestamp -version "v$version" -output "dist/$name.cdx.json" "$program"
  find "$folder" -exec touch -d "$date" {} +
  if [ "$os" = windows ]; then
    (cd "$work" && find "$name" -type f | LC_ALL=C sort | TZ=UTC zip -q -X -@ "$name.zip")
    mv "$work/$name.zip" dist
  else
    tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner -cf - "$name" | gzip -9n >"dist/$name.tar.gz"
  fi
  rm -r "$folder"
done

npm ci --prefix clients/typescript --loglevel=error >/dev/null
(cd clients/typescript && npm pack --loglevel=error --pack-destination ../../dist >/dev/null)
(cd dist && LC_ALL=C sha256sum -- * >"$work/SHA256SUMS" && mv "$work/SHA256SUMS" .)
ls -l dist
