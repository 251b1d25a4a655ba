"""Validation of custom resources by the schemas of their projects, as Kubernetes does with `fieldValidation=Strict`."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

SCHEMAS = Path(__file__).parent / "schemas"


def faults(document: dict[str, Any]) -> list[str]:
    """List the faults of a custom resource with their paths; unknown fields are faults, too."""
    return sorted(_faults(document))


def _faults(document: dict[str, Any]) -> Iterator[str]:
    for error in _validator(document["kind"]).iter_errors(document):
        yield f"{'.'.join(map(str, error.absolute_path))}: {error.message}"


@cache
def _validator(kind: str) -> Draft202012Validator:
    return Draft202012Validator(_closed(json.loads((SCHEMAS / f"{kind}.json").read_text())))


def _closed(schema: Any) -> Any:
    """Refuse the fields that Kubernetes would drop: those of objects that name all of theirs."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(value) for name, value in schema.items()}
    is_open = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if (
        schema.get("type") == "object"
        and isinstance(schema.get("properties"), dict)
        and not is_open
    ):
        closed["additionalProperties"] = False
    return closed
