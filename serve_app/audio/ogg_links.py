"""Links of a chained Ogg file (RFC 3533, 4): logical bitstreams that follow one another.

FFmpeg decodes a further link only if its format is that of the first, and drops it in silence else.
"""

import re
from collections.abc import Iterator

# Page header with the flag "beginning of stream", up to the number of segments.
_FIRST_PAGE = re.compile(rb"OggS\x00[\x02\x06].{20}(.)", re.DOTALL)


def format_changes(content: bytes) -> bool:
    """Test that the audio of a further link has another format than that of the first link."""
    formats = list(_formats(content))
    return any(later != formats[0] for later in formats[1:])


def _formats(content: bytes) -> Iterator[bytes]:
    """Yield the format of each link's first audio stream.

    The first pages of a link's streams follow one another without a gap.
    """
    link_end = -1
    is_known = False
    for page in _FIRST_PAGE.finditer(content):
        segments = content[page.end() : page.end() + page[1][0]]
        start = page.end() + len(segments)
        is_known = is_known and page.start() == link_end
        link_end = start + sum(segments)
        found = None if is_known else _format(content[start:link_end])
        if found is not None:
            is_known = True
            yield found


def _format(head: bytes) -> bytes | None:
    """Keep the bytes of an identification header that no link may change; None: no audio.

    Opus (RFC 7845, 5.1): channels and their mapping. Vorbis I, 4.2.2: channels and rate.
    FLAC (RFC 9639, 10.1): greatest block, rate, channels and bits of a sample.
    """
    if head.startswith(b"OpusHead"):
        return head[:8] + head[9:10] + head[18:]
    if head.startswith(b"\x01vorbis"):
        return head[:7] + head[11:16]
    if head.startswith(b"\x7fFLAC"):
        return head[:5] + head[19:21] + head[27:30] + bytes(byte & 0xF0 for byte in head[30:31])
    return None
