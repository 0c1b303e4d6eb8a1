#!/usr/bin/env bash
# Runs every test with the real parts at hand. The last line says `N passed, N failed`, over all test binaries.
source "$(dirname "$0")/common.sh"
cd "$root"

HOPGATE_ENVOY=$("$root/tests/tools/envoy.sh")
export HOPGATE_ENVOY
envoy_version="Envoy $("$HOPGATE_ENVOY" --version | sed -n 's/.*version: //p')"

HOPGATE_NODE=$("$root/tests/tools/node.sh")
export HOPGATE_NODE
# The README of an example is run as it is written.
command -v curl >/dev/null || apt curl || die "curl is missing" "install it"
# Keys of a Kubernetes API server, and certificate requests that others make.
command -v openssl >/dev/null || apt openssl || die "openssl is missing" "install it"

# Connections are captured in network namespaces.
"$root/tests/tools/netfilter.sh" || say "there is no nft or iptables: the tests that need it will fail"

# Without one of these the other tests still run, and those that need it fail with the reason.
if HOPGATE_KEYCLOAK=$("$root/tests/tools/keycloak.sh"); then
  export HOPGATE_KEYCLOAK
else
  say "there is no Keycloak: the tests that need it will fail"
fi
if HOPGATE_NGINX=$("$root/tests/tools/nginx.sh"); then
  export HOPGATE_NGINX
else
  say "there is no nginx: the tests that need it will fail"
fi
if HOPGATE_OPA=$("$root/tests/tools/opa.sh"); then
  export HOPGATE_OPA
else
  say "there is no OPA: the tests that need it will fail"
fi
if HOPGATE_KUBE=$("$root/tests/tools/kube.sh"); then
  export HOPGATE_KUBE
else
  say "there is no Kubernetes API server: the tests that need it will fail"
fi
if HOPGATE_HELM=$("$root/tests/tools/helm.sh"); then
  export HOPGATE_HELM
else
  say "there is no Helm: the tests that need it will fail"
fi
if HOPGATE_KUBECONFORM=$("$root/tests/tools/kubeconform.sh"); then
  export HOPGATE_KUBECONFORM
else
  say "there is no kubeconform: the tests that need it will fail"
fi
if HOPGATE_KUSTOMIZE=$("$root/tests/tools/kustomize.sh"); then
  export HOPGATE_KUSTOMIZE
else
  say "there is no Kustomize: the tests that need it will fail"
fi
if HOPGATE_SPIFFE_GO=$("$root/tests/tools/spiffe-go.sh"); then
  export HOPGATE_SPIFFE_GO
else
  say "there is no go-spiffe client: the tests that need it will fail"
fi
if HOPGATE_SPIFFE_PYTHON=$("$root/tests/tools/spiffe-python.sh"); then
  export HOPGATE_SPIFFE_PYTHON
else
  say "there is no Python library for SPIFFE: the tests that need it will fail"
fi
if HOPGATE_H2SPEC=$("$root/tests/tools/h2spec.sh"); then
  export HOPGATE_H2SPEC
else
  say "there is no h2spec: the test that needs it will fail"
fi
if [ -n "${HOPGATE_LONG:-}" ]; then
  if HOPGATE_KUBE_NODE=$("$root/tests/tools/kube-node.sh"); then
    export HOPGATE_KUBE_NODE
  else
    say "there is no node of Kubernetes: the tests that need it will fail"
  fi
  # The tests need what it does, not how fast it is.
  if ! HOPGATE_IMAGE_PROFILE=quick "$root/tests/tools/image.sh" >&2; then
    say "there is no image: the tests that need it will fail"
  fi
  if HOPGATE_DIRECTUS=$("$root/tests/tools/directus.sh"); then
    export HOPGATE_DIRECTUS
  else
    say "there is no Directus: the tests that need it will fail"
  fi
  if HOPGATE_HELM3=$("$root/tests/tools/helm.sh" 3); then
    export HOPGATE_HELM3
  else
    say "there is no Helm 3: the tests that need it will fail"
  fi
fi

make_cache
log=$(mktemp "$cache/test.XXXXXX")
trap 'rm -f "$log"' EXIT
say "running the tests against $envoy_version"
status=0
cargo test --locked --profile quick --no-fail-fast "$@" 2>&1 | tee "$log" || status=$?

count() { awk -v what="$1" '/^test result: / { for (i = 2; i <= NF; i++) if ($i ~ "^" what) sum += $(i - 1) } END { print sum + 0 }' "$log"; }
passed=$(count passed)
failed=$(count failed)
# A test binary that died has no result line, so cargo's own word counts too.
[ "$status" -eq 0 ] || [ "$failed" -gt 0 ] || say "a test binary did not build or did not finish: see above"
[ "$passed" -gt 0 ] || status=1
echo
echo "$envoy_version"
echo "$passed passed, $failed failed"
exit "$status"
