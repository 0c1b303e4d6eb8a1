#!/usr/bin/env bash
# Puts what a node of a cluster runs into the cache, beside the API server of kube.sh, and prints the directory: kubelet,
# kube-proxy, controller manager, scheduler, CoreDNS and kubectl, built from the module proxy (go.sum in kube/, coredns/ and
# kubectl/ has the hashes); that takes some minutes, once. containerd, runc and the plugins of CNI are the system's own.
source "$(dirname "$0")/common.sh"
source "$(dirname "$0")/kube-build.sh"

home=$cache/kube-node-$kube_version
# The last thing written: without it everything is built anew.
stamp=$home/.hopgate-ready

PATH=$PATH:/usr/sbin:/sbin
for tool in containerd ctr runc ip nsenter iptables conntrack; do
  command -v "$tool" >/dev/null || missing=1
done
[ -x /usr/lib/cni/bridge ] || missing=1
if [ -n "${missing:-}" ]; then
  apt containerd runc containernetworking-plugins iproute2 iptables conntrack ethtool ||
    die "containerd, runc, the plugins of CNI in /usr/lib/cni, ip, iptables or conntrack is missing" "install them"
fi

ready() { [ -e "$stamp" ] && runs; }

runs() {
  local part
  for part in kubelet kube-proxy kube-controller-manager kube-scheduler; do
    [ "$("$home/$part" --version 2>/dev/null)" = "Kubernetes v$kube_version" ] || return 1
  done
  [ -n "$("$home/coredns" -version 2>/dev/null)" ] && [ -x "$home/pause" ] && "$home/kubectl" version --client >/dev/null 2>&1
}

build() {
  say "building kubelet, kube-proxy, controller manager and scheduler $kube_version, CoreDNS and kubectl (about ten minutes, once)"
  rm -rf "$home"
  local package=k8s.io/kubernetes/cmd
  build_go kube "$home" kubelet=$package/kubelet kube-proxy=$package/kube-proxy \
    kube-controller-manager=$package/kube-controller-manager kube-scheduler=$package/kube-scheduler
  build_go coredns "$home" coredns=. pause=./pause
  build_go kubectl "$home" kubectl=.
  runs || die "what was built is not Kubernetes $kube_version"
  : >"$stamp"
  rm -rf "$kube_work"
}

make_cache
ready || {
  lock kube
  ready || build
}
echo "$home"
