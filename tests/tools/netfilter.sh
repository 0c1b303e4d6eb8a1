#!/usr/bin/env bash
# Sees that what loads rules into the kernel is there (nft, iptables, ip); on Debian, as root, installs what is missing.
source "$(dirname "$0")/common.sh"

PATH=$PATH:/usr/sbin:/sbin
has() { command -v nft && command -v ip && command -v iptables && command -v ip6tables; } >/dev/null
has || {
  make_cache
  lock netfilter
  has || apt nftables iptables iproute2 || die "nft, iptables or ip is missing" "install nftables, iptables and iproute2"
}
