"""Refusals of values that a dialect allows and this service cannot serve."""

from typing import Any

from pydantic_core import PydanticCustomError


def refusal(reason: str) -> PydanticCustomError:
    """Build the error that a validator raises; its message is the reason alone."""
    return PydanticCustomError("refused", "{reason}", {"reason": reason})


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
