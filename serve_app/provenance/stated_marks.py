"""Marks of generated audio by the signed manifest of a file, for files without tags."""

from collections.abc import Mapping
from typing import Any

from serve_app.marks import DIGITAL_SOURCE_TYPE, TITLE, marks_of_comment
from serve_app.provenance.manifest_store import (
    UNTRUSTED,
    active_manifest,
    assertion_data,
    items,
    mapping,
    says_generated,
)

_MOST_PARENTS = 32


def stated_marks(store: Mapping[str, Any]) -> dict[str, str]:
    """Collect the tags that a valid manifest amounts to; empty: it does not say generated.

    store: the library's JSON. The statement may be that of the file which the file was made of, or of
    that one's, as far as each was valid when it was converted.
    """
    if store.get("validation_state") not in ("Valid", "Trusted"):
        return {}
    manifests = mapping(store.get("manifests"))
    manifest = active_manifest(store)
    for _ in range(_MOST_PARENTS):
        if says_generated(manifest):
            return _tags(manifest)
        manifest = mapping(manifests.get(_valid_parent(manifest)))
    return {}


def _tags(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Translate the metadata that Generated writes."""
    metadata = next(iter(assertion_data(manifest, "cawg.metadata")), {})
    comment = _text(metadata.get("dc:description"))
    found = {
        TITLE: _text(metadata.get("Iptc4xmpExt:AIPromptInformation")),
        "comment": comment,
        "ai_model": _text(metadata.get("Iptc4xmpExt:AISystemUsed")),
        "digital_source_type": DIGITAL_SOURCE_TYPE,
    }
    return marks_of_comment(comment) | {name: text for name, text in found.items() if text}


def _valid_parent(manifest: Mapping[str, Any]) -> str:
    """Label of the manifest of the file that this one was made of; empty: none that was valid."""
    for ingredient in map(mapping, items(manifest.get("ingredients"))):
        if ingredient.get("relationship") == "parentOf" and not _failures(ingredient):
            return _text(ingredient.get("active_manifest"))
    return ""


def _failures(ingredient: Mapping[str, Any]) -> list[Any]:
    results = mapping(mapping(ingredient.get("validation_results")).get("activeManifest"))
    return [one for one in items(results.get("failure")) if mapping(one).get("code") != UNTRUSTED]


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
