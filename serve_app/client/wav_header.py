"""Completion of the header of a WAV file that was streamed before its length was known.

RIFF chunks: Multimedia Programming Interface and Data Specifications 1.0 (IBM and Microsoft, 1991).
"""

import struct

_SIZE = struct.Struct("<I")
_UNKNOWN = _SIZE.pack(0xFFFFFFFF)
_DATA = b"data" + _UNKNOWN


def with_sizes(file: bytes) -> bytes:
    """Write the sizes of a RIFF file and of its samples where they are unknown; other files stay."""
    if not file.startswith(b"RIFF" + _UNKNOWN):
        return file
    completed = bytearray(file)
    _SIZE.pack_into(completed, 4, len(file) - 8)
    data = file.find(_DATA)  # the header has no other place for these eight bytes
    if data > 0:
        _SIZE.pack_into(completed, data + 4, len(file) - data - 8)
    return bytes(completed)
