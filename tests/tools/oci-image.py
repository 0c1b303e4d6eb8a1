#!/usr/bin/env python3
"""Packs a directory into an OCI archive that `ctr images import` takes. Needs no other tool; the same files give the same image.

usage: oci-image.py NAME:TAG DIRECTORY ARCHIVE ENTRYPOINT...
"""
import hashlib
import io
import json
import os
import platform
import sys
import tarfile

name, root, archive, entrypoint = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]


def owned_by_root(entry):
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


layer = io.BytesIO()
with tarfile.open(fileobj=layer, mode="w", format=tarfile.PAX_FORMAT) as tar:
    for directory, directories, files in os.walk(root):
        directories.sort()
        for entry in sorted(directories + files):
            path = os.path.join(directory, entry)
            tar.add(path, os.path.relpath(path, root), recursive=False, filter=owned_by_root)

blobs = {}


def blob(content, kind):
    digest = hashlib.sha256(content).hexdigest()
    blobs[digest] = content
    return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(content)}


machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
layer = blob(layer.getvalue(), "layer.v1.tar")
config = {
    "architecture": machine,
    "os": "linux",
    "config": {"Entrypoint": entrypoint, "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "WorkingDir": "/"},
    "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
}
config = blob(json.dumps(config).encode(), "config.v1+json")
manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": [layer]}
manifest = blob(json.dumps(manifest).encode(), "manifest.v1+json")
manifest["annotations"] = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rsplit(":", 1)[1]}
manifest["platform"] = {"architecture": machine, "os": "linux"}

with tarfile.open(archive, "w") as tar:
    index = json.dumps({"schemaVersion": 2, "manifests": [manifest]}).encode()
    layout = b'{"imageLayoutVersion":"1.0.0"}'
    for path, content in [("oci-layout", layout), ("index.json", index)] + [(f"blobs/sha256/{d}", c) for d, c in blobs.items()]:
        entry = tarfile.TarInfo(path)
        entry.size = len(content)
        entry.mode = 0o644
        tar.addfile(entry, io.BytesIO(content))
