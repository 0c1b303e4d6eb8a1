#!/usr/bin/env bash
# Starts the three services, the gate and the door on loopback, says when the door is open, and ends all of them when it
# is ended (Ctrl-C) or one of them ends. Logs are in logs/.
#
# HOPGATE, HOPGATE_ENVOY, NODE: where these programs are, if not in PATH.
set -euo pipefail
cd "$(dirname "$0")"
hopgate=${HOPGATE:-hopgate} envoy=${HOPGATE_ENVOY:-envoy} node=${NODE:-node}

for program in "$hopgate" "$envoy" "$node"; do
  command -v "$program" >/dev/null || { echo "error: there is no $program" >&2; exit 1; }
done
mkdir -p logs
# One secret for those who sign and those who verify, made here, readable by nobody else.
[ -s resources/hs.key ] || (umask 077 && "$node" -e 'process.stdout.write(crypto.randomBytes(48).toString("base64"))' >resources/hs.key)

pids=()
stop() {
  trap - EXIT
  kill "${pids[@]}" 2>/dev/null || true
  wait "${pids[@]}" 2>/dev/null || true
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
start() {
  local name=$1
  shift
  "$@" >"logs/$name.log" 2>&1 </dev/null &
  pids+=($!)
}

start auth "$node" services/auth.mjs
start users "$node" services/users.mjs
start products "$node" services/products.mjs
start gate "$hopgate" sidecar --config sidecar.yaml
start door "$envoy" -c envoy.yaml --disable-hot-restart --log-level warning

open() { "$node" -e 'fetch("http://127.0.0.1:8080/public").then((a) => process.exit(a.ok ? 0 : 1), () => process.exit(1))'; }
for _ in {1..150}; do
  for pid in "${pids[@]}"; do
    kill -0 "$pid" 2>/dev/null || { echo "error: something did not start:" >&2; tail -n 5 logs/*.log >&2; exit 1; }
  done
  if open; then
    echo "the door is open: http://127.0.0.1:8080"
    # One that ends, ends all.
    wait -n "${pids[@]}" || true
    echo "error: something ended:" >&2
    tail -n 5 logs/*.log >&2
    exit 1
  fi
  sleep 0.2
done
echo "error: the door does not open:" >&2
tail -n 5 logs/*.log >&2
exit 1
