"""Asks a Workload API as an application that uses the Python library does, and prints what came of it.

    probe.py x509|bundles SOCKET
    probe.py watch SOCKET COUNT
    probe.py jwt|validate SOCKET AUDIENCE [TOKEN]

One JSON object per line. An error has the words of the library, which hold the gRPC code and message.
"""

import json
import queue
import sys

from spiffe import JwtSvid, WorkloadApiClient
from spiffe.errors import PySpiffeError

TIMEOUT = 20


def say(**what):
    print(json.dumps(what), flush=True)


def told(context):
    leaf = context.default_svid.leaf
    domains = [bundle.trust_domain.name for bundle in context.x509_bundle_set.bundles]
    return {
        "id": str(context.default_svid.spiffe_id),
        "serial": f"{leaf.serial_number:x}",
        "domains": sorted(domains),
    }


def watch(client, count):
    """Says each update and each error until there were so many updates."""
    updates = queue.Queue()
    handle = client.stream_x509_contexts(updates.put, updates.put)
    while count:
        update = updates.get(timeout=TIMEOUT)
        if isinstance(update, Exception):
            say(error=str(update))
            continue
        say(**told(update))
        count -= 1
    handle.cancel()


def jwt(client, audience):
    svid = client.fetch_jwt_svid(audience={audience}, timeout=TIMEOUT)
    bundles = client.fetch_jwt_bundles(timeout=TIMEOUT)
    bundle = bundles.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
    verified = JwtSvid.parse_and_validate(svid.token, bundle, {audience})
    say(id=str(verified.spiffe_id), audience=sorted(verified.audience), token=svid.token)


def bundles(client):
    roots = client.fetch_x509_bundles(timeout=TIMEOUT)
    keys = client.fetch_jwt_bundles(timeout=TIMEOUT)
    say(
        x509={b.trust_domain.name: len(b.x509_authorities) for b in roots.bundles},
        jwt={b.trust_domain.name: len(b.jwt_authorities) for b in keys.bundles},
    )


def main():
    command, socket, rest = sys.argv[1], sys.argv[2], sys.argv[3:]
    with WorkloadApiClient(socket_path=f"unix://{socket}") as client:
        if command == "x509":
            say(**told(client.fetch_x509_context(timeout=TIMEOUT)))
        elif command == "bundles":
            bundles(client)
        elif command == "watch":
            watch(client, int(rest[0]))
        elif command == "jwt":
            jwt(client, rest[0])
        elif command == "validate":
            svid = client.validate_jwt_svid(rest[1], rest[0], timeout=TIMEOUT)
            say(id=str(svid.spiffe_id), audience=sorted(svid.audience))
        else:
            raise SystemExit(f"unknown command {command}")


if __name__ == "__main__":
    try:
        main()
    except PySpiffeError as error:
        say(error=str(error))
