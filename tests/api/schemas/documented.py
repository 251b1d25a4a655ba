"""Documentation of one field, whatever schema it is in."""

from typing import Any

from serve_app.types import SamplingParams

SAMPLING = SamplingParams.model_json_schema()["properties"]
_KEYWORDS = ("type", "minimum", "maximum", "default", "description")


def documented(field: dict[str, Any]) -> dict[str, Any]:
    """Collect the keywords of a field's schema; of a nullable field, those of its type."""
    merged = next((one for one in field.get("anyOf", []) if one["type"] != "null"), {}) | field
    return {name: merged[name] for name in _KEYWORDS if name in merged}
