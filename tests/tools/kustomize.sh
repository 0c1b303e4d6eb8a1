#!/usr/bin/env bash
# Puts the pinned Kustomize into the cache and prints the path of its binary. It is built from the module proxy, whose
# checksums Go verifies.
# A Kustomize of your own: set HOPGATE_KUSTOMIZE to its path, and nothing is built.
source "$(dirname "$0")/common.sh"

version=5.8.1
binary=$cache/bin/kustomize-$version

if [ -n "${HOPGATE_KUSTOMIZE:-}" ]; then
  "$HOPGATE_KUSTOMIZE" version >/dev/null 2>&1 ||
    die "HOPGATE_KUSTOMIZE=$HOPGATE_KUSTOMIZE does not run" "unset it to have Kustomize $version built"
  say "using your own Kustomize: $HOPGATE_KUSTOMIZE"
  echo "$HOPGATE_KUSTOMIZE"
  exit
fi

# Cut short or another one: all the same, it is built again.
genuine() { [ -x "$binary" ] && [ "$("$binary" version 2>/dev/null)" = "v$version" ]; }

make_cache
genuine || {
  command -v go >/dev/null || die "go is missing" "install Go 1.25 or newer, or set HOPGATE_KUSTOMIZE to the path of a Kustomize $version"
  lock kustomize
  genuine || {
    say "building Kustomize $version (a minute, once) into $cache"
    new=$(mktemp -d "$cache/kustomize.XXXXXX")
    GOBIN=$new GOFLAGS=-mod=mod CGO_ENABLED=0 go install -trimpath \
      -ldflags "-s -w -X sigs.k8s.io/kustomize/api/provenance.version=v$version" \
      "sigs.k8s.io/kustomize/kustomize/v5@v$version" >&2 ||
      die "Kustomize $version could not be built" \
        "is the network up? go takes its proxy from GOPROXY" \
        "or set HOPGATE_KUSTOMIZE to the path of a Kustomize that you have"
    mkdir -p "$cache/bin"
    mv "$new/kustomize" "$binary"
    rm -rf "$new"
    genuine || die "$binary is not Kustomize $version" "run: make clean-cache, and try again"
  }
}
echo "$binary"
