#!/usr/bin/env bash
# Prints the path of an nginx that has `auth_request`; on Debian, as root, installs it where there is none.
# An nginx of your own: set HOPGATE_NGINX to its path, and nothing is installed.
source "$(dirname "$0")/common.sh"

if [ -n "${HOPGATE_NGINX:-}" ]; then
  nginx=$HOPGATE_NGINX
else
  # Debian keeps it where only root's PATH looks.
  PATH=$PATH:/usr/sbin
  command -v nginx >/dev/null || {
    make_cache
    lock nginx
    command -v nginx >/dev/null || apt nginx-light ||
      die "nginx is missing" "install the package nginx-light, or set HOPGATE_NGINX to the path of an nginx"
  }
  nginx=$(command -v nginx)
fi
modules=$("$nginx" -V 2>&1) || die "$nginx does not run" "set HOPGATE_NGINX to the path of an nginx that does"
[[ $modules == *http_auth_request_module* ]] ||
  die "$nginx was built without auth_request" "set HOPGATE_NGINX to the path of an nginx with http_auth_request_module"
echo "$nginx"
