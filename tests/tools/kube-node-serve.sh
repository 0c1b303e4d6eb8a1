#!/usr/bin/env bash
# Runs a cluster of one node in a network namespace of its own: nothing of it is reachable from the machine's network, and
# the machine's network is not from it. HOME has etcd and kube-apiserver (kube.sh), NODE_HOME the rest (kube-node.sh).
# Data, keys and logs are in DIR, whose last component ends with the number of the process that asks for it and is the name
# of the network namespace too. The archives are imported where the kubelet looks for images; what is in one
# gets another NAME where one is given: without a registry in it, a name is that of Docker's to a kubelet.
#
# Says `ready` on standard output once CoreDNS answers. Ends, and leaves nothing behind, when its standard input is closed:
# however the process ends that holds it. DIR/admin.kubeconfig is for an administrator, who must be in the namespace:
# nsenter --net=/run/netns/$(basename DIR)
#
# usage: kube-node-serve.sh HOME NODE_HOME DIR [ARCHIVE[=NAME]...]
set -euo pipefail

home=$1 node_home=$2 directory=$3
shift 3
PATH=$PATH:/usr/sbin:/sbin
name=$(basename "$directory")
tools=$(cd "$(dirname "$0")" && pwd)
address=10.100.0.2

# What runs in the namespace sees the machine's own file systems, cgroups among them; `ip netns exec` would hide these.
inside() { nsenter --net="/run/netns/$name" "$@"; }

# NAME COMMAND...: in the background, in a session of its own: an interrupt of the terminal is for this script.
start() {
  local part=$1
  shift
  setsid nsenter --net="/run/netns/$name" "$@" >"$directory/$part.log" 2>&1 </dev/null &
  echo $! >"$directory/$part.pid"
}

# DIR: ends what runs there, and takes away what is left of it.
take_down() {
  local from=$1 part pid task socket network pods pod
  network=$(basename "$from")
  socket=$from/node/containerd.sock
  for part in kubelet proxy containers containerd scheduler manager apiserver etcd; do
    if [ "$part" = containers ]; then
      [ -S "$socket" ] || continue
      pods=$(timeout 20 ctr -a "$socket" -n k8s.io containers ls -q 2>/dev/null || true)
      for task in $(timeout 20 ctr -a "$socket" -n k8s.io tasks ls -q 2>/dev/null); do
        timeout 20 ctr -a "$socket" -n k8s.io tasks kill -s SIGKILL -a "$task" 2>/dev/null || true
      done
      sleep 1
      for task in $(timeout 20 ctr -a "$socket" -n k8s.io tasks ls -q 2>/dev/null); do
        timeout 20 ctr -a "$socket" -n k8s.io tasks delete -f "$task" >/dev/null 2>&1 || true
      done
      continue
    fi
    [ -f "$from/$part.pid" ] || continue
    pid=$(cat "$from/$part.pid")
    kill -TERM "$pid" 2>/dev/null || continue
    for _ in {1..80}; do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
  done
  # Shims outlive their containerd where it did not get to end them. Their command line names its socket.
  for pid in $(pgrep -f -- "containerd-shim-runc-v2 .*-address $socket" || true); do kill -KILL "$pid" 2>/dev/null || true; done
  awk '{ print $2 }' /proc/mounts | sort -r | while read -r mount; do
    case $mount in "$from"/*) umount "$mount" 2>/dev/null || umount -l "$mount" || true ;; esac
  done
  ip netns delete "$network" 2>/dev/null || true
  # Paths that cannot be chosen.
  find /var/log/containers -lname "$from/*" -delete 2>/dev/null || true
  rm -f /var/lib/cni/results/"$network"-*
  for pod in ${pods:-}; do rm -f /var/lib/cni/results/cni-loopback-"$pod"-*; done
  find /sys/fs/cgroup -depth -type d -path "*/$network*" -exec rmdir {} \; 2>/dev/null || true
  # Never through a mount that is still there.
  if awk '{ print $2 }' /proc/mounts | grep -F "$from/" >/dev/null; then
    echo "mounts are left in $from" >&2
  else
    rm -rf "$from"
  fi
}

# Clusters whose process is gone, and that could not be taken down by their own script.
for left in "$(dirname "$directory")/${name%-*}"-*; do
  if [ -d "$left" ] && ! kill -0 "${left##*-}" 2>/dev/null; then take_down "$left"; fi
done
[ ! -e "$directory" ] || take_down "$directory"
trap 'take_down "$directory"' EXIT
trap 'exit 1' TERM INT HUP

mkdir -p "$directory/node"
chmod 700 "$directory"
cd "$directory"
umask 077

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key" 2>/dev/null; }
authority() {
  key "$1"
  openssl req -x509 -new -key "$1.key" -subj "/CN=$1" -days 30 -sha256 -out "$1.crt" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
}
# NAME SUBJECT AUTHORITY USAGE [SANS]
certificate() {
  key "$1"
  printf 'basicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=%s\n' "$4" >"$1.ext"
  [ -z "${5:-}" ] || echo "subjectAltName=$5" >>"$1.ext"
  openssl req -new -key "$1.key" -subj "$2" 2>/dev/null |
    openssl x509 -req -CA "$3.crt" -CAkey "$3.key" -CAcreateserial -days 30 -sha256 -extfile "$1.ext" -out "$1.crt" 2>/dev/null
}
# NAME SUBJECT: a client of the API server.
client() {
  certificate "$1" "$2" cluster clientAuth
  cat >"$1.kubeconfig" <<CONFIG
apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "https://$address:6443", certificate-authority: "$directory/cluster.crt"}}]
users: [{name: $1, user: {client-certificate: "$directory/$1.crt", client-key: "$directory/$1.key"}}]
contexts: [{name: test, context: {cluster: test, user: $1}}]
current-context: test
CONFIG
}
authority cluster
authority front
certificate apiserver /CN=kube-apiserver cluster serverAuth \
  "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:10.96.0.1,IP:$address"
certificate kubelet-server /O=system:nodes/CN=system:node:node1 cluster serverAuth "DNS:node1,IP:$address"
certificate apiserver-kubelet /O=system:masters/CN=kube-apiserver-kubelet-client cluster clientAuth
certificate front-proxy /CN=front-proxy front clientAuth
client admin /O=system:masters/CN=admin
client manager /CN=system:kube-controller-manager
client scheduler /CN=system:kube-scheduler
client kubelet /O=system:nodes/CN=system:node:node1
client proxy /CN=system:kube-proxy
openssl genrsa -out accounts.key 2048 2>/dev/null
openssl rsa -in accounts.key -pubout -out accounts.pub 2>/dev/null
# What containerd makes, containers look into.
umask 022

# The network.
ip netns add "$name"
inside ip link set lo up
inside ip link add node0 type veth peer name node0p
inside ip link set node0 up
inside ip link set node0p up
inside ip addr add "$address/24" dev node0
inside ip route add default dev node0
inside sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables' 2>/dev/null || true

# SECONDS PART COMMAND...: until the command succeeds.
wait_for() {
  local end=$((SECONDS + $1)) part=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    kill -0 "$(cat "$part.pid")" 2>/dev/null && [ "$SECONDS" -lt "$end" ] || {
      echo "$part does not work:" >&2
      tail -n 20 "$part.log" >&2
      exit 1
    }
    sleep 0.2
  done
}
ask() { inside curl -sf -o /dev/null --max-time 2 "$@"; }

start etcd "$home/etcd" --name test --data-dir "$directory/etcd" --unsafe-no-fsync --log-level error \
  --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
  --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
  --initial-cluster test=http://127.0.0.1:2380
start apiserver "$home/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 --bind-address=0.0.0.0 --secure-port=6443 \
  --advertise-address="$address" --tls-cert-file=apiserver.crt --tls-private-key-file=apiserver.key --client-ca-file=cluster.crt \
  --service-account-issuer=https://kubernetes.default.svc --service-account-signing-key-file=accounts.key \
  --service-account-key-file=accounts.pub --api-audiences=https://kubernetes.default.svc --authorization-mode=Node,RBAC \
  --enable-admission-plugins=NodeRestriction --service-cluster-ip-range=10.96.0.0/16 --allow-privileged=true \
  --kubelet-client-certificate=apiserver-kubelet.crt --kubelet-client-key=apiserver-kubelet.key \
  --kubelet-certificate-authority=cluster.crt --kubelet-preferred-address-types=InternalIP \
  --requestheader-client-ca-file=front.crt --requestheader-allowed-names=front-proxy \
  --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
  --requestheader-extra-headers-prefix=X-Remote-Extra- --proxy-client-cert-file=front-proxy.crt \
  --proxy-client-key-file=front-proxy.key --enable-aggregator-routing=true --profiling=false

# containerd, with everything of its own in DIR. Root may lack CAP_SYS_RESOURCE in a container: then no score can be lowered.
snapshotter=overlayfs
[ "$(stat -f -c %T "$directory")" != overlayfs ] || snapshotter=native
node=$directory/node
mkdir -p "$node/cni"
cat >"$node/cni/10-bridge.conflist" <<CNI
{"cniVersion": "0.4.0", "name": "$name", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isDefaultGateway": true, "hairpinMode": true, "ipMasq": false,
   "ipam": {"type": "host-local", "dataDir": "$node/ipam", "ranges": [[{"subnet": "10.244.0.0/24"}]]}}]}
CNI
cat >"$node/containerd.toml" <<TOML
version = 2
root = "$node/containerd"
state = "$node/containerd-state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "$node/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  disable_apparmor = true
  enable_selinux = false
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "$snapshotter"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$node/cni"
TOML
start containerd containerd -c "$node/containerd.toml"

# Images: what a pod is held by, and names.
mkdir -p images/pause images/coredns
install -m 755 "$node_home/pause" images/pause/pause
install -m 755 "$node_home/coredns" images/coredns/coredns
python3 "$tools/oci-image.py" localhost/pause:1 images/pause images/pause.tar /pause
python3 "$tools/oci-image.py" localhost/coredns:1 images/coredns images/coredns.tar /coredns
wait_for 60 containerd ctr -a "$node/containerd.sock" version
for archive in images/pause.tar images/coredns.tar "$@"; do
  said=$(ctr -a "$node/containerd.sock" -n k8s.io images import --snapshotter "$snapshotter" "${archive%%=*}")
  echo "$said" >>images.log
  # "unpacking NAME (DIGEST)...done"
  if [ "$archive" != "${archive#*=}" ]; then
    said=${said#unpacking }
    ctr -a "$node/containerd.sock" -n k8s.io images tag "${said%% *}" "${archive#*=}" >>images.log
  fi
done
rm -rf images

wait_for 180 apiserver ask --cacert cluster.crt "https://$address:6443/readyz"
start manager "$node_home/kube-controller-manager" --kubeconfig=manager.kubeconfig --bind-address=127.0.0.1 \
  --authentication-kubeconfig=manager.kubeconfig --authorization-kubeconfig=manager.kubeconfig \
  --use-service-account-credentials=true --service-account-private-key-file=accounts.key --root-ca-file=cluster.crt \
  --cluster-signing-cert-file=cluster.crt --cluster-signing-key-file=cluster.key --leader-elect=false \
  --allocate-node-cidrs=true --cluster-cidr=10.244.0.0/16 --node-cidr-mask-size=24 --service-cluster-ip-range=10.96.0.0/16
start scheduler "$node_home/kube-scheduler" --kubeconfig=scheduler.kubeconfig --bind-address=127.0.0.1 \
  --authentication-kubeconfig=scheduler.kubeconfig --authorization-kubeconfig=scheduler.kubeconfig --leader-elect=false

printf 'nameserver 127.0.0.1\n' >"$node/resolv.conf"
cat >"$node/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /$name
containerRuntimeEndpoint: unix://$node/containerd.sock
address: $address
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
resolvConf: $node/resolv.conf
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $directory/cluster.crt}}
authorization: {mode: Webhook}
tlsCertFile: $directory/kubelet-server.crt
tlsPrivateKeyFile: $directory/kubelet-server.key
healthzBindAddress: 127.0.0.1
failSwapOn: false
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}
imageGCHighThresholdPercent: 100
enforceNodeAllocatable: [pods]
serializeImagePulls: false
shutdownGracePeriod: 0s
podLogsDir: $node/pod-logs
volumePluginDir: $node/volume-plugins
YAML
for controller in /sys/fs/cgroup/*/; do
  [ ! -e "$controller/tasks" ] || mkdir -p "$controller/$name"
done
[ ! -e /sys/fs/cgroup/cgroup.controllers ] || mkdir -p "/sys/fs/cgroup/$name"
start kubelet "$node_home/kubelet" --config="$node/kubelet.yaml" --kubeconfig=kubelet.kubeconfig --root-dir="$node/kubelet" \
  --hostname-override=node1 --node-ip="$address" --cert-dir="$node/kubelet-pki"
cat >"$node/proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
bindAddress: 0.0.0.0
clientConnection: {kubeconfig: $directory/proxy.kubeconfig}
clusterCIDR: 10.244.0.0/16
hostnameOverride: node1
mode: iptables
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
conntrack: {maxPerCore: 0, min: 0, tcpCloseWaitTimeout: 0s, tcpEstablishedTimeout: 0s}
YAML
start proxy "$node_home/kube-proxy" --config="$node/proxy.yaml"

kubectl() { inside "$node_home/kubectl" --kubeconfig="$directory/admin.kubeconfig" "$@"; }
wait_for 60 apiserver kubectl apply -f "$tools/coredns/cluster.yaml"
wait_for 120 kubelet kubectl wait --for=condition=Ready node/node1 --timeout=1s
wait_for 180 kubelet kubectl -n kube-system rollout status deployment/coredns --timeout=1s

echo ready
# Until the last holder of our standard input is gone.
cat >/dev/null || true
