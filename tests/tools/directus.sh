#!/usr/bin/env bash
# Puts the pinned Directus into the cache, with a database that has its administrator, and prints its directory. Takes
# minutes, and a C++ compiler: two of its parts are built here. For `make test-all` only. Its licence is BUSL-1.1: it is run,
# and nothing is taken from it.
source "$(dirname "$0")/common.sh"

version=11.17.4
integrity=sha512-QfDAzXbgm2pabcaF7jn6GX6OvZBHzw1P1GBfY7D52MT7nFUxtAYZoer/g60U+7xLc8uMEMcbckfrSTZiTgcPqg==
home=$cache/directus-$version
stamp=$home/.hopgate-ready

ready() { [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$integrity" ]; }

# The pinned Node, whatever else there is: the parts built here fit its headers only.
unset HOPGATE_NODE
node=$("$root/tests/tools/node.sh")
node_home=$(dirname "$(dirname "$node")")
export PATH="$(dirname "$node"):$PATH" npm_config_nodedir=$node_home npm_config_cache=$cache/directus-$version.npm
export npm_config_update_notifier=false
npm() { "$node" "$node_home/lib/node_modules/npm/bin/npm-cli.js" "$@"; }

install() {
  command -v c++ >/dev/null && command -v make >/dev/null || apt g++ make ||
    die "a C++ compiler is missing; parts of Directus are built here" "install g++ and make"
  rm -rf "$home"
  mkdir -p "$home"
  say "downloading and building Directus $version (833 MB and several minutes, once) in $home"
  echo '{ "private": true }' >"$home/package.json"
  # Of all its packages only these two must run a script, and they build here what they would fetch from elsewhere.
  cd "$home"
  { npm install --ignore-scripts --no-audit --no-fund --loglevel=error "directus@$version" &&
    npm rebuild --build-from-source --loglevel=error isolated-vm sqlite3; } >&2 ||
    die "Directus $version could not be installed with npm"
  local got
  got=$("$node" -p 'require(process.argv[1]).packages["node_modules/directus"].integrity' "$home/package-lock.json")
  [ "$got" = "$integrity" ] || die "this is not the pinned Directus $version: its integrity is $got"
  rm -rf "$npm_config_cache"
  echo "$integrity" >"$home/.installed"
}

fill_database() {
  say "filling Directus' database"
  rm -rf "$home/golden"
  "$root/tests/tools/directus-serve.sh" "$home" "$home/golden" bootstrap >"$home/bootstrap.log" 2>&1 ||
    die "Directus cannot fill its database: see $home/bootstrap.log"
  echo "$integrity" >"$stamp"
}

ready || {
  lock directus
  # The long part is not done again when the short one fails.
  [ -e "$home/.installed" ] && [ "$(cat "$home/.installed")" = "$integrity" ] || install
  ready || fill_database
}
echo "$home"
