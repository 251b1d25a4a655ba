"""Sizes in the header of a WAV file: those of a streamed one are unknown until its end.

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


def lacks_its_end(file: bytes) -> bool:
    """Whether a RIFF file is shorter than its header says."""
    if not file.startswith(b"RIFF") or len(file) < 8 or file[4:8] == _UNKNOWN:
        return False
    [size] = _SIZE.unpack_from(file, 4)
    return len(file) < int(size) + 8
