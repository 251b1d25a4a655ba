"""Answers in two parts (RFC 2046, section 5.1.3): facts in JSON, and a file."""

import json
import secrets
from collections.abc import Mapping
from typing import Any


def multipart_mixed(
    facts: Mapping[str, Any], content: bytes, file_name: str, media_type: str
) -> tuple[bytes, str]:
    """Build the body; return it with its media type.

    ElevenLabs' clients read it line by line: the JSON stands on one line, directly behind the empty
    line of its part, whose only header is `Content-Type`; the boundary is the first line. The
    client for Python takes all that follows the headers of the second part as the file, so the body
    ends with the file, without a closing boundary: a signed file stays valid, samples stay samples.
    """
    boundary = secrets.token_hex(16)
    lines = (
        f"--{boundary}",
        "Content-Type: application/json",
        "",
        json.dumps(facts),
        f"--{boundary}",
        f"Content-Type: {media_type}",
        f'Content-Disposition: attachment; filename="{file_name}"',
        "",
        "",
    )
    return "\r\n".join(lines).encode() + content, f"multipart/mixed; boundary={boundary}"
