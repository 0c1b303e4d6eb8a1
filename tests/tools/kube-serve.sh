#!/usr/bin/env bash
# Runs the etcd and kube-apiserver in HOME on 127.0.0.1, with their data, keys and logs in DIR. Says `ready` on standard
# output once the API server serves. Ends, and removes DIR, when its standard input is closed: however the process ends that
# holds it, nothing is left behind. DIR/admin.kubeconfig is for an administrator.
#
# usage: kube-serve.sh HOME DIR API_PORT ETCD_PORT PEER_PORT
set -euo pipefail

home=$1 directory=$2 port=$3 etcd_port=$4 peer_port=$5
rm -rf "$directory"
mkdir -p "$directory"
chmod 700 "$directory"
cd "$directory"
umask 077

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key" 2>/dev/null; }
# NAME SUBJECT USAGE SANS
certificate() {
  key "$1"
  printf 'basicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=%s\n' "$3" >"$1.ext"
  [ -z "${4:-}" ] || echo "subjectAltName=$4" >>"$1.ext"
  openssl req -new -key "$1.key" -subj "$2" 2>/dev/null |
    openssl x509 -req -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -sha256 -extfile "$1.ext" -out "$1.crt" 2>/dev/null
}
key ca
openssl req -x509 -new -key ca.key -subj /CN=cluster -days 30 -sha256 -out ca.crt \
  -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
certificate apiserver /CN=kube-apiserver serverAuth DNS:localhost,DNS:kubernetes.default.svc,IP:127.0.0.1
certificate admin /O=system:masters/CN=admin clientAuth
key accounts
openssl ec -in accounts.key -pubout -out accounts.pub 2>/dev/null
cat >admin.kubeconfig <<CONFIG
apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "https://127.0.0.1:$port", certificate-authority: ca.crt}}]
users: [{name: admin, user: {client-certificate: admin.crt, client-key: admin.key}}]
contexts: [{name: test, context: {cluster: test, user: admin}}]
current-context: test
CONFIG

etcd_url=http://127.0.0.1:$etcd_port peer_url=http://127.0.0.1:$peer_port
"$home/etcd" --name test --data-dir "$directory/etcd" --unsafe-no-fsync --log-level error \
  --listen-client-urls "$etcd_url" --advertise-client-urls "$etcd_url" --listen-peer-urls "$peer_url" \
  --initial-advertise-peer-urls "$peer_url" --initial-cluster "test=$peer_url" </dev/null >etcd.log 2>&1 &
etcd=$!
"$home/kube-apiserver" --etcd-servers="$etcd_url" --bind-address=127.0.0.1 --secure-port="$port" \
  --advertise-address=192.0.2.2 --tls-cert-file=apiserver.crt --tls-private-key-file=apiserver.key --client-ca-file=ca.crt \
  --service-account-issuer=https://kubernetes.default.svc --service-account-signing-key-file=accounts.key \
  --service-account-key-file=accounts.pub --api-audiences=https://kubernetes.default.svc --authorization-mode=RBAC \
  --service-cluster-ip-range=10.96.0.0/16 --profiling=false </dev/null >apiserver.log 2>&1 &
server=$!

# Blocks until the last holder of our standard input is gone. What does not end when told to, is ended.
{
  cat >/dev/null
  kill -TERM "$server" 2>/dev/null || true
  for _ in {1..20}; do
    kill -0 "$server" 2>/dev/null || break
    sleep 0.25
  done
  kill -KILL "$server" 2>/dev/null || true
  kill -TERM "$etcd" 2>/dev/null || true
} <&0 &
watcher=$!
trap 'kill -TERM "$server" "$etcd" 2>/dev/null || true' TERM INT HUP

for _ in {1..1200}; do
  curl -sf -o /dev/null --max-time 2 --cacert ca.crt "https://127.0.0.1:$port/readyz" && ready=1 && break
  kill -0 "$server" 2>/dev/null || break
  sleep 0.1
done
if [ -n "${ready:-}" ]; then
  echo ready
else
  tail -n 20 etcd.log apiserver.log >&2
  kill -TERM "$server" 2>/dev/null || true
fi
wait "$server" || true
kill -TERM "$etcd" 2>/dev/null || true
wait "$etcd" 2>/dev/null || true
kill "$watcher" 2>/dev/null || true
cd /
rm -rf "$directory"
