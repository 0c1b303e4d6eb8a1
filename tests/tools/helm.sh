#!/usr/bin/env bash
# Puts the pinned Helm into the cache and prints the path of its binary. It is built from the module proxy, whose checksums
# Go verifies; that takes some minutes, once. `helm.sh 3` does the same with Helm 3, which most clusters are served with.
# A Helm of your own: set HOPGATE_HELM (or HOPGATE_HELM3) to its path, and nothing is built.
#
# usage: helm.sh [4|3]
source "$(dirname "$0")/common.sh"

major=${1:-4}
case $major in
  4) version=4.3.1 variable=HOPGATE_HELM ;;
  3) version=3.22.0 variable=HOPGATE_HELM3 ;;
  *) die "no Helm $major" "usage: helm.sh [4|3]" ;;
esac
binary=$cache/bin/helm-$version

own=${!variable:-}
if [ -n "$own" ]; then
  "$own" version --short >/dev/null 2>&1 || die "$variable=$own does not run" "unset it to have Helm $version built"
  say "using your own Helm: $own"
  echo "$own"
  exit
fi

# Cut short or another one: all the same, it is built again.
genuine() { [ -x "$binary" ] && [ "$("$binary" version --template '{{.Version}}' 2>/dev/null)" = "v$version" ]; }

# A build from modules knows neither its own version nor that of the Kubernetes it was made for.
flags() {
  local package
  for package in "helm.sh/helm/v$major/internal/version"; do
    printf ' -X %s.version=v%s -X %s.gitTreeState=clean' "$package" "$version" "$package"
  done
  [ "$major" = 3 ] || return 0
  for package in "helm.sh/helm/v3/pkg/chartutil" "helm.sh/helm/v3/pkg/lint/rules"; do
    printf ' -X %s.k8sVersionMajor=1 -X %s.k8sVersionMinor=34' "$package" "$package"
  done
}

make_cache
genuine || {
  command -v go >/dev/null || die "go is missing" "install Go 1.26 or newer, or set $variable to the path of a Helm $version"
  lock "helm-$version"
  genuine || {
    say "building Helm $version (some minutes, once) into $cache"
    new=$(mktemp -d "$cache/helm.XXXXXX")
    GOBIN=$new GOFLAGS=-mod=mod CGO_ENABLED=0 go install -trimpath -ldflags "-s -w$(flags)" \
      "helm.sh/helm/v$major/cmd/helm@v$version" >&2 ||
      die "Helm $version could not be built" \
        "is the network up? go takes its proxy from GOPROXY" \
        "or set $variable to the path of a Helm that you have"
    mkdir -p "$cache/bin"
    mv "$new/helm" "$binary"
    rm -rf "$new"
    genuine || die "$binary is not Helm $version" "run: make clean-cache, and try again"
  }
}
echo "$binary"
