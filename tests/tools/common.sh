# What the scripts beside this one share. Sourced, never run.

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cache=${HOPGATE_CACHE:?set HOPGATE_CACHE, or go through make}

say() { echo "==> $*" >&2; }

die() {
  echo "error: $1" >&2
  shift
  local hint
  for hint in "$@"; do echo "  hint: $hint" >&2; done
  exit 1
}

# Makes the cache, and marks it as ours: `make clean-cache` removes nothing that lacks the mark.
make_cache() {
  mkdir -p "$cache" || die "cannot create $cache" "set HOPGATE_CACHE to a directory you can write to"
  : >>"$cache/.hopgate-cache"
}

# Runs the rest of the script with the lock NAME held, so that two makes never install the same thing at once.
# The lock is the file descriptor's: it goes when the process goes, however it goes.
lock() {
  command -v flock >/dev/null || die "flock is missing" "install the package util-linux"
  exec 9>"$cache/.$1.lock"
  if ! flock --nonblock 9; then
    say "another make is installing $1; waiting for it"
    flock 9
  fi
}

# Sets `pip`: pip's own command, or that of a virtual environment where the system's Python comes without.
find_pip() {
  pip=(python3 -m pip)
  "${pip[@]}" --version >/dev/null 2>&1 && return
  pip=("$cache/venv/bin/python" -m pip)
  "${pip[@]}" --version >/dev/null 2>&1 && return
  say "python3 has no pip; making a virtual environment for it in $cache/venv"
  python3 -m venv --clear "$cache/venv" >&2 ||
    die "python3 has neither pip nor venv" "install one of the packages python3-pip and python3-venv, and try again"
}

# Installs Debian's packages where that can be done; says no where it cannot.
apt() {
  command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ] || return 1
  say "installing $* with apt-get"
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"; } >&2
}
