#!/usr/bin/env bash
# Runs the Keycloak in HOME on 127.0.0.1:PORT with its database in DIR, a copy of the golden one if there is one. Ends, and
# removes DIR, when its standard input is closed: however the process ends that holds it, nothing is left behind.
# The admin is root with the password root-pw. KEYCLOAK_KEEP=PATH moves the database there in the end.
#
# usage: keycloak-serve.sh HOME DIR PORT
set -euo pipefail

home=$1 directory=$2 port=$3
rm -rf "$directory"
mkdir -p "$directory/tmp"
[ ! -d "$home/golden" ] || cp -a "$home/golden" "$directory/h2"

export KC_BOOTSTRAP_ADMIN_USERNAME=root KC_BOOTSTRAP_ADMIN_PASSWORD=root-pw
export JAVA_OPTS_KC_HEAP="-Xms64m -Xmx256m"
# Short-lived: the quick compiler and the plain collector start it in half the time.
export JAVA_OPTS_APPEND="-XX:TieredStopAtLevel=1 -XX:-UseG1GC -XX:+UseSerialGC -XX:-UsePerfData -Djava.io.tmpdir=$directory/tmp"
export QUARKUS_TRANSACTION_MANAGER_OBJECT_STORE_DIRECTORY=$directory/transactions

# Without --cache=local here it would listen on the machine's own address for other Keycloaks.
"$home/bin/kc.sh" start --optimized --cache=local --http-enabled=true --hostname-strict=false \
  --http-host=127.0.0.1 "--http-port=$port" --log-level=warn \
  "--db-url=jdbc:h2:file:$directory/h2/keycloakdb;NON_KEYWORDS=VALUE;DB_CLOSE_ON_EXIT=FALSE" </dev/null &
server=$!

# Blocks until the last holder of our standard input is gone. What does not end when told to, is ended.
{
  cat >/dev/null
  kill -TERM "$server" 2>/dev/null || exit 0
  for _ in {1..60}; do
    kill -0 "$server" 2>/dev/null || exit 0
    sleep 0.25
  done
  pkill -KILL -P "$server" || true
} <&0 &
watcher=$!
trap 'kill -TERM "$server" 2>/dev/null || true' TERM INT HUP
wait "$server" || true
wait "$server" 2>/dev/null || true
kill "$watcher" 2>/dev/null || true
[ -z "${KEYCLOAK_KEEP:-}" ] || mv "$directory/h2" "$KEYCLOAK_KEEP"
rm -rf "$directory"
