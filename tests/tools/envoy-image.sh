#!/usr/bin/env bash
# Packs the Envoy of HOPGATE_ENVOY (envoy.sh) with the libraries that it needs into an OCI archive in the cache, named
# localhost/envoy:1 and laid out as Envoy's own images are, and prints its path.
source "$(dirname "$0")/common.sh"

envoy=$("$root/tests/tools/envoy.sh")
make_cache
lock envoy-image
archive=$cache/envoy-image-$(stat -Lc %s-%Y "$envoy").tar
if [ ! -e "$archive" ]; then
  say "packing an image of Envoy"
  new=$(mktemp -d "$cache/envoy-image.XXXXXX")
  trap 'rm -rf "$new"' EXIT
  install -D -m 755 "$envoy" "$new/root/usr/local/bin/envoy"
  libraries=$(ldd "$envoy" | grep -o '/[^ ]*') || die "ldd does not tell the libraries of $envoy"
  for library in $libraries; do install -D -m 755 "$library" "$new/root$library"; done
  mkdir -m 1777 "$new/root/tmp"
  python3 "$root/tests/tools/oci-image.py" localhost/envoy:1 "$new/root" "$new/archive" /usr/local/bin/envoy
  mv "$new/archive" "$archive"
fi
echo "$archive"
