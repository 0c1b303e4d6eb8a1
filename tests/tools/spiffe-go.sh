#!/usr/bin/env bash
# Builds the client of tests/spiffe/go, which uses go-spiffe, into the cache and prints the path of its binary. Its modules
# are pinned by go.sum. A build of your own: set HOPGATE_SPIFFE_GO to its path.
source "$(dirname "$0")/common.sh"

if [ -n "${HOPGATE_SPIFFE_GO:-}" ]; then
  echo "$HOPGATE_SPIFFE_GO"
  exit
fi

sources=$root/tests/spiffe/go
# Changed sources are another client.
mark=$(cat "$sources/main.go" "$sources/go.mod" "$sources/go.sum" | sha256sum | cut -c1-16)
binary=$cache/bin/spiffe-go-$mark

make_cache
[ -x "$binary" ] || {
  command -v go >/dev/null || die "go is missing" "install Go 1.25 or newer"
  lock spiffe-go
  [ -x "$binary" ] || {
    say "building the go-spiffe client (a minute, once) into $cache"
    mkdir -p "$cache/bin"
    (cd "$sources" && CGO_ENABLED=0 GOFLAGS=-mod=readonly go build -trimpath -o "$binary.new" .) >&2 ||
      die "the go-spiffe client could not be built" "is the network up? go takes its proxy from GOPROXY"
    mv "$binary.new" "$binary"
  }
}
echo "$binary"
