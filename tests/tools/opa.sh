#!/usr/bin/env bash
# Puts the pinned Open Policy Agent into the cache and prints the path of its binary. It is built from the module proxy,
# whose checksums Go verifies; that takes some minutes, once.
# An OPA of your own: set HOPGATE_OPA to its path, and nothing is built.
source "$(dirname "$0")/common.sh"

version=1.22.2
binary=$cache/bin/opa-$version

if [ -n "${HOPGATE_OPA:-}" ]; then
  "$HOPGATE_OPA" version >/dev/null 2>&1 ||
    die "HOPGATE_OPA=$HOPGATE_OPA does not run" "unset it to have OPA $version built"
  say "using your own OPA: $HOPGATE_OPA"
  echo "$HOPGATE_OPA"
  exit
fi

# Cut short or another one: all the same, it is built again.
genuine() {
  local told
  told=$("$binary" version 2>/dev/null) && grep -qx "Version: $version" <<<"$told"
}

make_cache
genuine || {
  command -v go >/dev/null || die "go is missing" "install Go 1.25 or newer, or set HOPGATE_OPA to the path of an OPA $version"
  lock opa
  genuine || {
    say "building OPA $version (some minutes, once) into $cache"
    new=$(mktemp -d "$cache/opa.XXXXXX")
    GOBIN=$new GOFLAGS=-mod=mod CGO_ENABLED=0 go install -trimpath "github.com/open-policy-agent/opa@v$version" >&2 ||
      die "OPA $version could not be built" \
        "is the network up? go takes its proxy from GOPROXY" \
        "or set HOPGATE_OPA to the path of an OPA that you have"
    mkdir -p "$cache/bin"
    mv "$new/opa" "$binary"
    rm -rf "$new"
    genuine || die "$binary is not OPA $version" "run: make clean-cache, and try again"
  }
}
echo "$binary"
