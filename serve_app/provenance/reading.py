"""Reading of the signed manifest of any file. The file is untrusted: the report tells what it holds."""

import io
import json
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from serve_app.provenance.library import offline_context
from serve_app.provenance.manifest_store import (
    UNTRUSTED,
    active_manifest,
    items,
    mapping,
    says_generated,
)
from serve_app.provenance.parent import media_type_of
from serve_app.provenance_report import ManifestReport, ManifestState

_BARE = "application/octet-stream"  # a detached manifest fits any bytes
_REMOTE = "Remote:"  # the library's words where a file only names an address
_MOST_CHARS = 200  # of one text
_MOST_FAULTS = 20
_STATES: dict[str, ManifestState] = {"Invalid": "invalid", "Valid": "valid", "Trusted": "trusted"}


def read_manifest(
    content: bytes, trust_anchors: str | None = None, detached: bytes | None = None
) -> ManifestReport:
    """Validate the manifest of a file, without a connection to anywhere.

    trust_anchors: certificates in PEM; a signer under one of them is trusted; detached: manifest that
    lies outside the file, and is read instead of the file's own.
    """
    media_type = media_type_of(content) or (_BARE if detached is not None else None)
    if media_type is None:
        return ManifestReport(state="none")
    if find_spec("c2pa") is None:
        return ManifestReport(state="not_checked")
    import c2pa

    context = offline_context(trust_anchors)
    try:
        file = io.BytesIO(content)
        reader = c2pa.Reader.try_create(media_type, file, detached, context=context)
        if reader is None:
            return ManifestReport(state="none")
        with reader:
            return _report(json.loads(reader.json()))
    except c2pa.C2paError as error:
        return _not_read(str(error))
    except (ValueError, RecursionError):
        return ManifestReport(state="unreadable")


def _not_read(fault: str) -> ManifestReport:
    """Report a manifest that lies elsewhere, or is damaged, by the library's words."""
    if not fault.startswith(_REMOTE):
        return ManifestReport(state="unreadable")
    return ManifestReport(state="remote", address=_text(fault.partition(" from url ")[2]))


def _report(store: Mapping[str, Any]) -> ManifestReport:
    """Summarize the library's JSON; texts and lists are bounded."""
    manifest = active_manifest(store)
    signature = mapping(manifest.get("signature_info"))
    return ManifestReport(
        state=_STATES.get(str(store.get("validation_state")), "invalid"),
        generated=says_generated(manifest),
        title=_text(manifest.get("title")),
        software=_software(manifest),
        issuer=_text(signature.get("issuer")),
        signer=_text(signature.get("common_name")),
        signed_at=_text(signature.get("time")),
        faults=_faults(store),
    )


def _software(manifest: Mapping[str, Any]) -> str:
    first = mapping(next(iter(items(manifest.get("claim_generator_info"))), None))
    return _text(f"{_text(first.get('name'))} {_text(first.get('version'))}".strip())


def _faults(store: Mapping[str, Any]) -> list[str]:
    codes = [
        _text(mapping(one).get("code"))
        for one in items(store.get("validation_status"))
        if mapping(one).get("code") != UNTRUSTED
    ]
    return list(dict.fromkeys(code for code in codes if code))[:_MOST_FAULTS]


def _text(value: object) -> str:
    """One line of printable text."""
    text = value if isinstance(value, str) else ""
    return "".join(one if one.isprintable() else " " for one in text[:_MOST_CHARS])
