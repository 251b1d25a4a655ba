"""Signatures of webhooks by Standard Webhooks (github.com/standard-webhooks, specification 1.0.0)."""

import base64
import hashlib
import hmac
from collections.abc import Sequence

SECRET_PREFIX = "whsec_"
MOST_BODY_BYTES = 20_000  # "payloads should be kept under 20kb"


def signature(message_id: str, timestamp: int, body: str, secrets: Sequence[str]) -> str:
    """Sign a message with each of the secrets: `v1,` and base64 each, with spaces between.

    A receiver accepts any of them, so that it may know either secret during a rotation.
    """
    message = f"{message_id}.{timestamp}.{body}".encode()
    digests = (hmac.digest(_key_of(secret), message, hashlib.sha256) for secret in secrets)
    return " ".join(f"v1,{base64.b64encode(digest).decode('ascii')}" for digest in digests)


def signed_headers(
    message_id: str, timestamp: int, body: str, secrets: Sequence[str]
) -> dict[str, str]:
    """Build the headers of one attempt. message_id: the same in all of them."""
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(message_id, timestamp, body, secrets),
    }


def _key_of(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix(SECRET_PREFIX))
