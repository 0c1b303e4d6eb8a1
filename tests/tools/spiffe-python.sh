#!/usr/bin/env bash
# Puts the Python library for SPIFFE with all it needs into a folder of the cache, pinned by hash, and prints the folder,
# for PYTHONPATH. A folder of your own: set HOPGATE_SPIFFE_PYTHON to its path.
source "$(dirname "$0")/common.sh"

if [ -n "${HOPGATE_SPIFFE_PYTHON:-}" ]; then
  echo "$HOPGATE_SPIFFE_PYTHON"
  exit
fi

command -v python3 >/dev/null || die "python3 is missing" "install Python 3.11 or newer"
python=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
mark=$(sha256sum "$root/tests/tools/spiffe.txt" | cut -c1-16)
home=$cache/spiffe-python$python-$mark

make_cache
[ -d "$home" ] || {
  lock spiffe-python
  [ -d "$home" ] || {
    find_pip
    say "installing the Python library for SPIFFE (15 MB, once) into $cache"
    rm -rf "$home.new"
    "${pip[@]}" install --quiet --disable-pip-version-check --require-hashes --only-binary :all: --no-deps \
      --requirement "$root/tests/tools/spiffe.txt" --target "$home.new" >&2 ||
      die "the Python library for SPIFFE could not be installed with pip" \
        "it is pinned for Python 3.11 to 3.13 on Linux x86-64; this is Python $python" \
        "is the network up? pip takes its index and proxy from PIP_INDEX_URL and HTTPS_PROXY"
    mv "$home.new" "$home"
  }
}
echo "$home"
