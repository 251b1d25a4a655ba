"""Idempotency keys of requests, and digests of their bodies."""

import hashlib
import json
import re
from typing import Any

from starlette.datastructures import Headers

from serve_app.errors import InvalidRequest

HEADER = "idempotency-key"
MOST_CHARS = 255
# A string of Structured Fields (RFC 9651, section 3.3.3), with parameters, which are ignored.
_QUOTED = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"\s*(?:;.*)?', re.ASCII)
_BARE = re.compile(r"[\x21-\x7e]+", re.ASCII)


def idempotency_key(headers: Headers) -> str | None:
    """Read the key: a quoted string (draft-ietf-httpapi-idempotency-key-header-07) or bare (Stripe).

    None without the header. Raises InvalidRequest.
    """
    value = headers.get(HEADER)
    if value is None:
        return None
    value = value.strip()
    quoted = _QUOTED.fullmatch(value)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else value
    is_bare = not value.startswith('"') and _BARE.fullmatch(value)
    if not key or len(key) > MOST_CHARS or not (quoted or is_bare):
        raise InvalidRequest(
            f"Idempotency-Key must have 1 to {MOST_CHARS} printable ASCII characters, in quotes or "
            "bare: send a UUID"
        )
    return key


def body_sha256(body: Any) -> str:
    """Hash a body in canonical form: keys in order, no white space, 8.0 as 8."""
    text = json.dumps(
        _canonical(body), sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _canonical(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_canonical(inner) for inner in value]
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
