# How Kubernetes is built from the module proxy. Sourced after common.sh, never run.

kube_version=1.34.4
# What is left of an interrupted build stays there for the next, and goes once everything is there.
kube_work=$cache/kube-$kube_version.work

# MODULE DIRECTORY NAME=PACKAGE...: builds the packages with the versions and hashes of tests/tools/MODULE.
build_go() {
  local module=$1 directory=$2 flags="-s -w" package part
  shift 2
  command -v go >/dev/null || die "go is missing" "install Go 1.26 or newer, or set HOPGATE_KUBE to a directory with etcd and kube-apiserver"
  # /version tells what stands here; a build from modules would say v0.0.0.
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags+=" -X $package.gitVersion=v$kube_version -X $package.gitMajor=1 -X $package.gitMinor=34 -X $package.gitTreeState=clean"
    flags+=" -X $package.gitCommit=0000000000000000000000000000000000000000 -X $package.buildDate=1970-01-01T00:00:00Z"
  done
  mkdir -p "$kube_work"
  for part; do
    (cd "$root/tests/tools/$module" &&
      CGO_ENABLED=0 GOFLAGS="-mod=readonly -modcacherw" GOTOOLCHAIN=local GOCACHE=$kube_work/build GOMODCACHE=$kube_work/modules \
        go build -trimpath -buildvcs=false -ldflags "$flags" -o "$directory/${part%%=*}" "${part#*=}") >&2 ||
      die "${part%%=*} could not be built" "is the network up? go takes its proxy from GOPROXY"
  done
}
