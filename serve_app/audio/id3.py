"""ID3 tags of version 2.4, in UTF-8: at the beginning of mp3 files, in a chunk of wav files.

https://id3.org/id3v2.4.0-structure, https://id3.org/id3v2.4.0-frames
"""

import struct
from collections.abc import Mapping

_HEADER = struct.Struct(">3s3B4s")
_FRAME = struct.Struct(">4s4sH")
_UTF_8 = b"\x03"


def id3_tag(tags: Mapping[str, str]) -> bytes:
    """Build the tag; none of no tags. A tag without a frame of its own gets a named text frame."""
    frames = b"".join(_frame(name, value) for name, value in tags.items())
    return _HEADER.pack(b"ID3", 4, 0, 0, _syncsafe(len(frames))) + frames if frames else b""


def _frame(name: str, value: str) -> bytes:
    text = value.encode()
    if name == "title":
        return _packed(b"TIT2", text)
    if name == "comment":
        return _packed(b"COMM", b"eng\0" + text)
    return _packed(b"TXXX", name.encode() + b"\0" + text)


def _packed(frame_id: bytes, content: bytes) -> bytes:
    content = _UTF_8 + content
    return _FRAME.pack(frame_id, _syncsafe(len(content)), 0) + content


def _syncsafe(size: int) -> bytes:
    """A size in four bytes of seven bits each."""
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
