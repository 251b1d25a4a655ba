"""Chunks of WAV files, read without the service's own code."""

import struct


def chunks(content: bytes) -> dict[bytes, bytes]:
    """Contents of the chunks by their names, in their order. An open-ended chunk is the last one."""
    assert (content[:4], content[8:12]) == (b"RIFF", b"WAVE")
    found: dict[bytes, bytes] = {}
    at = 12
    while at < len(content):
        name, size = struct.unpack_from("<4sI", content, at)
        assert name not in found
        open_ended = size == 0xFFFFFFFF
        found[name] = content[at + 8 :] if open_ended else content[at + 8 : at + 8 + size]
        assert open_ended or len(found[name]) == size, f"{name!r} is cut off"
        at = len(content) if open_ended else at + 8 + size + size % 2
    return found


def samples_of(content: bytes) -> bytes:
    """The bytes of the samples."""
    return chunks(content)[b"data"]
