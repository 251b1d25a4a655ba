"""Reading of the library's JSON of any file's manifests. It is untrusted: no part has to be there."""

from collections.abc import Mapping
from typing import Any

from serve_app.marks import DIGITAL_SOURCE_TYPE

UNTRUSTED = "signingCredential.untrusted"  # C2PA's code for an unknown signer; no fault of the file


def active_manifest(store: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the manifest of the file itself; empty: there is none."""
    return mapping(mapping(store.get("manifests")).get(str(store.get("active_manifest"))))


def says_generated(manifest: Mapping[str, Any]) -> bool:
    """Test whether an action of the manifest states the digital source type."""
    actions = [
        mapping(action)
        for data in assertion_data(manifest, "c2pa.actions")
        for action in items(data.get("actions"))
    ]
    return any(action.get("digitalSourceType") == DIGITAL_SOURCE_TYPE for action in actions)


def assertion_data(manifest: Mapping[str, Any], label: str) -> list[Mapping[str, Any]]:
    """Return the contents of the assertions whose labels begin with `label`."""
    assertions = map(mapping, items(manifest.get("assertions")))
    return [
        mapping(one.get("data")) for one in assertions if str(one.get("label")).startswith(label)
    ]


def mapping(value: object) -> Mapping[str, Any]:
    """Return the value, or an empty one in place of any other."""
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[Any]:
    """Return the value, or an empty one in place of any other."""
    return value if isinstance(value, list) else []
