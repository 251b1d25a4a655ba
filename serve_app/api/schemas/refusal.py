"""Refusals of values that a dialect allows and this service cannot serve."""

from typing import Any

from pydantic_core import PydanticCustomError

REFUSED_FIELD = "refused_field"  # in the context of an error


def refusal(reason: str, field: str | None = None) -> PydanticCustomError:
    """Build the error that a validator raises; its message is the reason alone.

    field: the one to change, for a validator of several fields.
    """
    context = {"reason": reason} | ({REFUSED_FIELD: field} if field else {})
    return PydanticCustomError("refused", "{reason}", context)


def only_empty(text: Any, reason: str) -> Any:
    """Return "" for a blank text, and a value of another type as it is. Raises for other texts."""
    if not isinstance(text, str):
        return text
    if text.strip():
        raise refusal(reason)
    return ""


def only(neutral: float, value: float, advice: str) -> float:
    """Return the one accepted value. Raises for another."""
    if value != neutral:
        raise refusal(f"{value:g} is not supported, only {neutral:g}: {advice}")
    return value
