#!/usr/bin/env bash
# Builds the static binary and packs it into an OCI archive in the cache. Needs no registry and no daemon.
source "$(dirname "$0")/common.sh"
cd "$root"

archive=$cache/hopgate.tar
triple=$(rustc -vV | sed -n 's/^host: //p')

make_cache
if ! command -v buildah >/dev/null; then
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null ||
    die "buildah is missing" "install the package buildah, or run make image as root on Debian"
  lock buildah
  say "installing buildah with apt-get"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends buildah; } >/dev/null ||
    die "apt-get could not install buildah" "is the network up?"
fi

say "building the static release binary for $triple (several minutes the first time)"
# The explicit target keeps the flag away from build scripts.
RUSTFLAGS='-C target-feature=+crt-static' cargo build --locked --release --target "$triple"
binary=target/$triple/release/hopgate
# ldd itself fails on a static binary.
linked=$(ldd "$binary" 2>&1 || true)
case $linked in
  *'statically linked'* | *'not a dynamic executable'*) ;;
  *) die "$binary is not static: $linked" ;;
esac

authorities=
for candidate in "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
  if [ -n "$candidate" ] && [ -s "$candidate" ]; then authorities=$candidate && break; fi
done
[ -n "$authorities" ] || die "this machine has no CA certificates to put into the image" "install the package ca-certificates"

lock image
rm -rf target/image
mkdir -p target/image
install -m 755 "$binary" target/image/hopgate
install -m 644 "$authorities" target/image/ca-certificates.crt

say "packing the image"
store=$(mktemp -d "$cache/image.XXXXXX")
trap 'rm -rf "$store"' EXIT
b=(buildah --root "$store/storage" --runroot "$store/run" --storage-driver vfs)
# The timestamp is fixed, so that the same binary gives the same digest.
"${b[@]}" bud --quiet --isolation chroot --timestamp 0 -f Dockerfile -t hopgate:latest . >/dev/null
"${b[@]}" push --quiet --digestfile "$store/digest" hopgate:latest "oci-archive:$archive.new:hopgate:latest" >/dev/null
mv "$archive.new" "$archive"
echo "image:  $archive"
echo "size:   $(stat -c %s "$archive") bytes (binary $(stat -c %s "$binary") bytes)"
echo "digest: $(cat "$store/digest")"
