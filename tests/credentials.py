"""Certificates and keys of tests, and an independent reader of manifests."""

import functools
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import c2pa

from serve_app.config.provenance import Algorithm, ProvenanceConfig
from serve_app.provenance.self_signed import Pair, make_pair

GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
SOUND = {"Valid", "Trusted"}


def pair(algorithm: Algorithm = "es256") -> Pair:
    """The pair of this run for an algorithm."""
    return _pair(algorithm)


@functools.cache
def _pair(algorithm: Algorithm) -> Pair:
    return make_pair(algorithm, "tests", 365)


@functools.cache
def expired_pair() -> Pair:
    return make_pair("es256", "tests", 30, datetime.now(UTC) - timedelta(days=40))


def stored(
    folder: Path, made: Pair | None = None, algorithm: Algorithm = "es256", **options: Any
) -> ProvenanceConfig:
    """A configuration that signs with a pair in files."""
    made = made or pair(algorithm)
    certificate = folder / "certificate.pem"
    key = folder / "private_key.pem"
    certificate.write_bytes(made.chain)
    key.write_bytes(made.private_key)
    return ProvenanceConfig(
        certificate_file=str(certificate),
        private_key_file=str(key),
        algorithm=algorithm,
        **options,
    )


def read(content: bytes, media_type: str, manifest: bytes | None = None) -> dict[str, Any]:
    """The manifest store of a file as the library's reader tells it. Raises C2paError for none."""
    reader = c2pa.Reader(media_type, io.BytesIO(content), manifest)
    store: dict[str, Any] = json.loads(reader.json())
    return store


def state(content: bytes, media_type: str, manifest: bytes | None = None) -> str:
    return str(read(content, media_type, manifest)["validation_state"])


def faults(store: dict[str, Any]) -> set[str]:
    """Codes of the failures but the one of an unknown signer."""
    codes = {status["code"] for status in store.get("validation_status", ())}
    return codes - {"signingCredential.untrusted"}


def active(store: dict[str, Any]) -> dict[str, Any]:
    """The manifest of the file itself."""
    manifest: dict[str, Any] = store["manifests"][store["active_manifest"]]
    return manifest


def assertion(store: dict[str, Any], label: str) -> dict[str, Any]:
    """The data of an assertion of the file's own manifest."""
    found = [one["data"] for one in active(store)["assertions"] if one["label"] == label]
    assert len(found) == 1, f"{label}: {len(found)} of them"
    data: dict[str, Any] = found[0]
    return data


def actions(store: dict[str, Any]) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = assertion(store, "c2pa.actions.v2")["actions"]
    return listed


def flipped(content: bytes) -> bytes:
    """The file with one changed bit in the middle of its audio."""
    changed = bytearray(content)
    changed[len(changed) // 2] ^= 1
    return bytes(changed)
