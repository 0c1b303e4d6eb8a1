#!/usr/bin/env bash
# Puts the pinned etcd and kube-apiserver into the cache and prints the directory of both. They are built from the module
# proxy; kube/go.sum holds the hash of every module. That takes some minutes, once.
# Binaries of your own: set HOPGATE_KUBE to a directory with etcd and kube-apiserver, and nothing is built.
source "$(dirname "$0")/common.sh"
source "$(dirname "$0")/kube-build.sh"

etcd_version=3.6.4
home=$cache/kube-$kube_version
# The last thing written: without it everything is built anew.
stamp=$home/.hopgate-ready

ready() { [ -e "$stamp" ] && runs "$home"; }

runs() {
  local etcd
  etcd=$("$1/etcd" --version 2>/dev/null) &&
    [ "${etcd%%$'\n'*}" = "etcd Version: $etcd_version" ] &&
    [ "$("$1/kube-apiserver" --version 2>/dev/null)" = "Kubernetes v$kube_version" ]
}

if [ -n "${HOPGATE_KUBE:-}" ]; then
  "$HOPGATE_KUBE/kube-apiserver" --version >/dev/null 2>&1 && "$HOPGATE_KUBE/etcd" --version >/dev/null 2>&1 ||
    die "HOPGATE_KUBE=$HOPGATE_KUBE has no etcd and kube-apiserver that run" "unset it to have Kubernetes $kube_version built"
  echo "$HOPGATE_KUBE"
  exit
fi

build() {
  say "building kube-apiserver $kube_version and etcd $etcd_version (about ten minutes, once) into $cache"
  rm -rf "$home"
  build_go kube "$home" etcd=go.etcd.io/etcd/server/v3 kube-apiserver=k8s.io/kubernetes/cmd/kube-apiserver
  runs "$home" || die "what was built is not Kubernetes $kube_version with etcd $etcd_version"
  : >"$stamp"
  # For the rest of a cluster much of it is built once more, so a run of everything keeps it for that.
  [ -n "${HOPGATE_LONG:-}" ] || rm -rf "$kube_work"
}

make_cache
ready || {
  lock kube
  ready || build
}
echo "$home"
