#!/usr/bin/env bash
# Builds the static binary and packs it into an OCI archive in the cache. Needs no registry and no daemon.
source "$(dirname "$0")/common.sh"
cd "$root"

# Tests set another profile, which builds in minutes; that image has a name of its own.
profile=${HOPGATE_IMAGE_PROFILE:-release}
archive=$cache/hopgate.tar
[ "$profile" = release ] || archive=$cache/hopgate-$profile.tar
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

say "building the static $profile binary for $triple (several minutes the first time)"
# The explicit target keeps the flag away from build scripts.
RUSTFLAGS='-C target-feature=+crt-static' cargo build --locked --profile "$profile" --target "$triple" --bin hopgate
binary=target/$triple/$profile/hopgate
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

PATH=$PATH:/usr/sbin:/sbin
command -v nft >/dev/null || apt nftables || die "nft is missing" "install nftables: the init step of a pod needs it"

lock image
rm -rf target/image
mkdir -p target/image
install -m 755 "$binary" target/image/hopgate
# Of what is not for people, only what runs.
[ "$profile" = release ] || strip --strip-debug target/image/hopgate
install -m 644 "$authorities" target/image/ca-certificates.crt

# nft, each library under the name that it is looked for, and whose work they are.
nft_root=target/image/nft
mkdir -p "$nft_root/usr/sbin"
install -m 755 "$(command -v nft)" "$nft_root/usr/sbin/nft"
libraries=$(ldd "$nft_root/usr/sbin/nft" | grep -o '/[^ ]*') || die "ldd does not tell the libraries of nft"
for library in $libraries; do
  install -D -m 755 "$library" "$nft_root$library"
  file=$(realpath "$library")
  # Debian's own list has some of them without the /usr that they are in.
  package=$({ dpkg -S "$file" || dpkg -S "${file#/usr}"; } 2>/dev/null | cut -d: -f1) || continue
  copyright=/usr/share/doc/$package/copyright
  [ ! -e "$copyright" ] || install -D -m 644 "$copyright" "$nft_root$copyright"
done
[ ! -e /usr/share/doc/nftables/copyright ] || install -D -m 644 /usr/share/doc/nftables/copyright "$nft_root/usr/share/doc/nftables/copyright"
if [ "$(id -u)" = 0 ]; then
  chroot "$nft_root" /usr/sbin/nft --version >/dev/null || die "nft does not run with what was packed beside it"
fi

say "packing the image"
store=$(mktemp -d "$cache/image.XXXXXX")
trap 'rm -rf "$store"' EXIT
b=(buildah --root "$store/storage" --runroot "$store/run" --storage-driver vfs)
# The timestamp is fixed, so that the same binary gives the same digest.
"${b[@]}" bud --quiet --isolation chroot --timestamp 0 -f Dockerfile -t hopgate:latest . >/dev/null
"${b[@]}" push --quiet --digestfile "$store/digest" hopgate:latest "oci-archive:$archive.new:hopgate:latest" >/dev/null
mv "$archive.new" "$archive"
echo "image:  $archive"
echo "size:   $(stat -c %s "$archive") bytes (binary $(stat -c %s "$binary") bytes, nft with its libraries $(du -sb "$nft_root" | cut -f1) bytes)"
echo "digest: $(cat "$store/digest")"
