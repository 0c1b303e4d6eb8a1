#!/usr/bin/env bash
# Puts the pinned Keycloak into the cache, configured once and with a database that has its admin user, and prints its
# directory. Needs Java 17 and Maven, which fetches it; on Debian, as root, installs them where they are missing.
source "$(dirname "$0")/common.sh"

version=26.7.3
archive_sha256=77657f30b7e90d70f727712ce1c967f430fd6a5e9f458d32d8c6df0635345f47
# What no test asks for only makes the start longer.
unused=account,account-api,admin,ciba,device-flow,kerberos,organization,par,passkeys,recovery-codes
unused+=,step-up-authentication-saml,web-authn,workflows,update-email,client-policies,twitter-broker,openapi
home=$cache/keycloak-$version
repository=$cache/keycloak-$version.m2
# The last thing written: without it, or with another recipe's, everything is made anew.
stamp=$home/.hopgate-ready
recipe="$archive_sha256 without $unused"

ready() { [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$recipe" ]; }

java_fits() {
  local found
  found=$("${JAVA_HOME:+$JAVA_HOME/bin/}java" -version 2>&1) || return 1
  found=$(sed -nE '1s/.* version "([0-9]+).*/\1/p' <<<"$found")
  [ "${found:-0}" -ge 17 ]
}

need_java() {
  java_fits && return
  apt openjdk-17-jre-headless && java_fits ||
    die "Java 17 or newer is missing; the Keycloak of the tests runs on it" "install it, or set JAVA_HOME"
}

need_maven() {
  command -v mvn >/dev/null && return
  apt maven && command -v mvn >/dev/null ||
    die "Maven is missing; it fetches the Keycloak of the tests" "install it: the command is mvn"
}

fetch() {
  say "downloading Keycloak $version (176 MB, once) into $cache"
  local coordinates=org.keycloak:keycloak-quarkus-dist:$version:tar.gz
  mvn -q -ntp -B "-Dmaven.repo.local=$repository" dependency:get "-Dartifact=$coordinates" -Dtransitive=false >&2 ||
    die "Keycloak $version could not be downloaded with Maven" \
      "is the network up? Maven takes its repository and proxy from ~/.m2/settings.xml"
  local archive=$repository/org/keycloak/keycloak-quarkus-dist/$version/keycloak-quarkus-dist-$version.tar.gz
  echo "$archive_sha256  $archive" | sha256sum --check --status ||
    die "$archive is not the pinned Keycloak $version: its SHA-256 differs" "run: make clean-cache, and try again"
  rm -rf "$home"
  tar -xzf "$archive" -C "$cache"
  rm -rf "$repository"
}

configure() {
  say "configuring Keycloak $version (half a minute, once)"
  "$home/bin/kc.sh" build --db=dev-file "--features-disabled=$unused" >"$home/build.log" 2>&1 ||
    die "Keycloak $version could not be configured: see $home/build.log"
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# An empty database takes longer to fill than Keycloak takes to start, so it is filled once and copied.
fill_database() {
  say "filling Keycloak's database (half a minute, once)"
  local first=$home/first port
  port=$(free_port)
  coproc keycloak { "$root/tests/tools/keycloak-serve.sh" "$home" "$first" "$port" >"$home/first.log" 2>&1; }
  local server=$keycloak_PID
  KEYCLOAK_PORT=$port python3 - >&2 <<'PYTHON' || die "Keycloak $version does not start: see $home/first.log"
import os, sys, time, urllib.parse, urllib.request
url = f"http://127.0.0.1:{os.environ['KEYCLOAK_PORT']}/realms/master/protocol/openid-connect/token"
form = {"grant_type": "password", "client_id": "admin-cli", "username": "root", "password": "root-pw"}
end = time.monotonic() + 300
while time.monotonic() < end:
    try:
        urllib.request.urlopen(url, urllib.parse.urlencode(form).encode(), timeout=10)
        sys.exit(0)
    except OSError:
        time.sleep(0.5)
sys.exit(1)
PYTHON
  # Its database is whole only once it has ended. The server ends when nobody holds its standard input.
  eval "exec ${keycloak[1]}>&-"
  wait "$server" || true
  rm -rf "$home/golden"
  mv "$first.kept" "$home/golden"
}

command -v python3 >/dev/null || die "python3 is missing" "install Python 3.9 or newer"
need_java
make_cache
ready || {
  lock keycloak
  ready || {
    need_maven
    fetch
    configure
    KEYCLOAK_KEEP=$home/first.kept fill_database
    echo "$recipe" >"$stamp"
  }
}
echo "$home"
