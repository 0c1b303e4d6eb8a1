#!/usr/bin/env bash
# Builds h2spec, which tries what a server of HTTP/2 does with a peer that breaks the protocol, into the cache and prints the
# path of its binary. Its modules are pinned by go.sum. An h2spec of your own: set HOPGATE_H2SPEC to its path.
source "$(dirname "$0")/common.sh"

if [ -n "${HOPGATE_H2SPEC:-}" ]; then
  echo "$HOPGATE_H2SPEC"
  exit
fi

sources=$root/tests/h2spec
# Other modules are another tool.
mark=$(cat "$sources/go.mod" "$sources/go.sum" | sha256sum | cut -c1-16)
binary=$cache/bin/h2spec-$mark

make_cache
[ -x "$binary" ] || {
  command -v go >/dev/null || die "go is missing" "install Go 1.26 or newer"
  lock h2spec
  [ -x "$binary" ] || {
    say "building h2spec (a minute, once) into $cache"
    mkdir -p "$cache/bin"
    (cd "$sources" && CGO_ENABLED=0 GOFLAGS=-mod=readonly go build -trimpath -o "$binary.new" \
      github.com/summerwind/h2spec/cmd/h2spec) >&2 ||
      die "h2spec could not be built" "is the network up? go takes its proxy from GOPROXY" \
        "or set HOPGATE_H2SPEC to the path of one that you have"
    mv "$binary.new" "$binary"
  }
}
echo "$binary"
