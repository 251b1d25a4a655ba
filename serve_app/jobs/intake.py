"""Requests for jobs, before they are checked, and the rules for their texts."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from serve_app.errors import InvalidRequest
from serve_app.jobs.job import JobRequest, Upload, Webhook

_MOST_DEPTH = 32  # of JSON that is stored and sent again


@dataclass(frozen=True, slots=True)
class Submission:
    """A job to check and accept.

    request: its `model` as it was named, empty for the default; audio_prompt, melody: contents of
    the files; audio_prompt_s: its seconds, where it was decoded before;
    max_wait_s: as of a generation; expires_in_s: None: the configured time;
    the other fields: as of a NewJob.
    """

    owner: str
    request: JobRequest
    audio_prompt: bytes | None = None
    audio_prompt_s: float | None = None
    melody: bytes | None = None
    max_wait_s: float | None = None
    priority: int = 0
    webhook: Webhook | None = None
    upload: Upload | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    deadline_s: float | None = None
    expires_in_s: float | None = None
    idempotency_key: str | None = None
    body_sha256: str = ""


@contextmanager
def checking(field: str) -> Iterator[None]:
    """Note in each InvalidRequest which field of the request it is about."""
    try:
        yield
    except InvalidRequest as error:
        error.field = error.field or field
        raise


def check_storable(name: str, value: Any) -> None:
    """Refuse JSON that cannot be stored or answered.

    NUL characters, half surrogate pairs, numbers that are not finite, deep nesting.

    Raises InvalidRequest, naming the field.
    """
    for text in _texts(name, value, 0):
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            raise InvalidRequest(
                f"{name} must not have NUL characters or halves of surrogate pairs"
            )


def _texts(name: str, value: Any, depth: int) -> Iterator[str]:
    if depth > _MOST_DEPTH:
        raise InvalidRequest(f"{name} is nested more than {_MOST_DEPTH} levels deep")
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidRequest(f"{name} must hold finite numbers: JSON has no {value}")
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(name, key, depth + 1)
            yield from _texts(name, inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(name, inner, depth + 1)
