#!/usr/bin/env bash
# Puts the pinned etcd and kube-apiserver into the cache and prints the directory of both. They are built from the module
# proxy; kube/go.sum holds the hash of every module. That takes some minutes, once.
# Binaries of your own: set HOPGATE_KUBE to a directory with etcd and kube-apiserver, and nothing is built.
source "$(dirname "$0")/common.sh"

version=1.34.4
etcd_version=3.6.4
home=$cache/kube-$version
work=$cache/kube-$version.work
# The last thing written: without it everything is built anew.
stamp=$home/.hopgate-ready

ready() { [ -e "$stamp" ] && runs "$home"; }

runs() {
  local etcd
  etcd=$("$1/etcd" --version 2>/dev/null) &&
    [ "${etcd%%$'\n'*}" = "etcd Version: $etcd_version" ] &&
    [ "$("$1/kube-apiserver" --version 2>/dev/null)" = "Kubernetes v$version" ]
}

if [ -n "${HOPGATE_KUBE:-}" ]; then
  "$HOPGATE_KUBE/kube-apiserver" --version >/dev/null 2>&1 && "$HOPGATE_KUBE/etcd" --version >/dev/null 2>&1 ||
    die "HOPGATE_KUBE=$HOPGATE_KUBE has no etcd and kube-apiserver that run" "unset it to have Kubernetes $version built"
  echo "$HOPGATE_KUBE"
  exit
fi

build() {
  command -v go >/dev/null ||
    die "go is missing" "install Go 1.25 or newer, or set HOPGATE_KUBE to a directory with etcd and kube-apiserver"
  say "building kube-apiserver $version and etcd $etcd_version (about ten minutes, once) into $cache"
  rm -rf "$home"
  mkdir -p "$work"
  # /version tells what stands here; a build from modules would say v0.0.0.
  local flags="-s -w" package
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags+=" -X $package.gitVersion=v$version -X $package.gitMajor=1 -X $package.gitMinor=34 -X $package.gitTreeState=clean"
    flags+=" -X $package.gitCommit=0000000000000000000000000000000000000000 -X $package.buildDate=1970-01-01T00:00:00Z"
  done
  # What an interrupted build made stays there for the next.
  export CGO_ENABLED=0 GOFLAGS="-mod=readonly -modcacherw" GOTOOLCHAIN=local GOCACHE=$work/build GOMODCACHE=$work/modules
  local part
  for part in etcd=go.etcd.io/etcd/server/v3 kube-apiserver=k8s.io/kubernetes/cmd/kube-apiserver; do
    (cd "$root/tests/tools/kube" &&
      go build -trimpath -buildvcs=false -ldflags "$flags" -o "$home/${part%%=*}" "${part#*=}") >&2 ||
      die "${part%%=*} could not be built" \
        "is the network up? go takes its proxy from GOPROXY" \
        "or set HOPGATE_KUBE to a directory with etcd and kube-apiserver"
  done
  runs "$home" || die "what was built is not Kubernetes $version with etcd $etcd_version"
  : >"$stamp"
  rm -rf "$work"
}

make_cache
ready || {
  lock kube
  ready || build
}
echo "$home"
