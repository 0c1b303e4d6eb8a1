"""Unpacks JSON schemas of Kubernetes from the wheel kubernetes-validate, in the form that kubeconform reads.

In the wheel a schema refers to a file that all share, which kubeconform cannot follow. Here each holds what it refers to,
and takes no field that is not in it, as the API server does with strict field validation.

usage: kube-schemas.py WHEEL DIRECTORY RELEASE...
"""

import json
import pathlib
import sys
import zipfile

SHARED = ("/api/_definitions.json#/$defs/", "#/$defs/")


def closed(schema):
    """The schema, with references into the same file, and without room for unknown fields."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(value) for key, value in schema.items()}
    if isinstance(made.get("$ref"), str):
        assert made["$ref"].startswith(SHARED), made["$ref"]
        return {"$ref": "#/definitions/" + made["$ref"].rsplit("/", 1)[1]}
    if isinstance(made.get("properties"), dict) and "additionalProperties" not in made:
        if not made.get("x-kubernetes-preserve-unknown-fields"):
            made["additionalProperties"] = False
    return made


def named(schema):
    """The names of what a closed schema refers to directly."""
    if isinstance(schema, list):
        return {name for part in schema for name in named(part)}
    if not isinstance(schema, dict):
        return set()
    if isinstance(schema.get("$ref"), str):
        return {schema["$ref"].rsplit("/", 1)[1]}
    return {name for part in schema.values() for name in named(part)}


def main(wheel, directory, releases):
    with zipfile.ZipFile(wheel) as archive:
        for release in releases:
            source = f"kubernetes_validate/kubernetes-json-schema/v{release}-local/"
            target = pathlib.Path(directory) / release
            target.mkdir(parents=True)
            shared = closed(json.loads(archive.read(source + "_definitions.json"))["$defs"])
            for name in archive.namelist():
                file = name[len(source):]
                if not name.startswith(source) or not file.endswith(".json") or file in ("_definitions.json", "all.json"):
                    continue
                raw = json.loads(archive.read(name))
                # Only kinds are looked up.
                if "x-kubernetes-group-version-kind" not in raw:
                    continue
                schema = closed(raw)
                needed, open_names = {}, named(schema)
                while open_names:
                    one = open_names.pop()
                    if one not in needed:
                        needed[one] = shared[one]
                        open_names |= named(shared[one])
                schema["definitions"] = needed
                (target / file).write_text(json.dumps(schema))


main(sys.argv[1], sys.argv[2], sys.argv[3:])
