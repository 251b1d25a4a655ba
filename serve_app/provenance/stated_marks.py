"""Marks of generated audio by the signed manifest of a file, for files without tags."""

from collections.abc import Mapping
from typing import Any

from serve_app.marks import DIGITAL_SOURCE_TYPE, TITLE, marks_of_comment

_MOST_PARENTS = 32
_UNTRUSTED = "signingCredential.untrusted"  # no fault of the file


def stated_marks(store: Mapping[str, Any]) -> dict[str, str]:
    """Collect the tags that a valid manifest amounts to; empty: it does not say generated.

    store: the library's JSON. The statement may be that of the file which the file was made of, or of
    that one's, as far as each was valid when it was converted.
    """
    if store.get("validation_state") not in ("Valid", "Trusted"):
        return {}
    manifests = _dict(store.get("manifests"))
    manifest = _dict(manifests.get(str(store.get("active_manifest"))))
    for _ in range(_MOST_PARENTS):
        if _says_generated(manifest):
            return _tags(manifest)
        manifest = _dict(manifests.get(_valid_parent(manifest)))
    return {}


def _says_generated(manifest: Mapping[str, Any]) -> bool:
    actions = [
        _dict(action)
        for data in _data(manifest, "c2pa.actions")
        for action in _list(data.get("actions"))
    ]
    return any(action.get("digitalSourceType") == DIGITAL_SOURCE_TYPE for action in actions)


def _tags(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Translate the metadata that Generated writes."""
    metadata = next(iter(_data(manifest, "cawg.metadata")), {})
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
    for ingredient in map(_dict, _list(manifest.get("ingredients"))):
        if ingredient.get("relationship") == "parentOf" and not _failures(ingredient):
            return _text(ingredient.get("active_manifest"))
    return ""


def _failures(ingredient: Mapping[str, Any]) -> list[Any]:
    results = _dict(_dict(ingredient.get("validation_results")).get("activeManifest"))
    return [one for one in _list(results.get("failure")) if _dict(one).get("code") != _UNTRUSTED]


def _data(manifest: Mapping[str, Any], label: str) -> list[Mapping[str, Any]]:
    assertions = map(_dict, _list(manifest.get("assertions")))
    return [
        _dict(one.get("data")) for one in assertions if _text(one.get("label")).startswith(label)
    ]


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _dict(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
