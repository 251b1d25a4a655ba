"""The manifest of a file that is converted, as the parent of the new one's.

Runs in the process that decodes uploads: the file is untrusted.
"""

import io
from importlib.util import find_spec

from serve_app.provenance.library import offline_context
from serve_app.provenance.manifest import PARENT

_MOST_BYTES = 2**20  # of an archive; manifests of other programs may hold pictures
_INGREDIENT = {"title": "Converted file", "label": PARENT, "relationship": "parentOf"}
_FTYP = b"ftyp"


def parent_archive(content: bytes) -> bytes:
    """Archive the manifests of a signed file without its audio; empty for a file without.

    Also empty for manifests that cannot be read, or take more than 1 MiB. A manifest that is not
    valid is kept with its faults, which the new one then records.
    """
    media_type = media_type_of(content)
    if media_type is None or find_spec("c2pa") is None:
        return b""
    import c2pa

    context = offline_context()
    try:
        reader = c2pa.Reader.try_create(media_type, io.BytesIO(content), context=context)
        if reader is None:
            return b""
        reader.close()
        archive = io.BytesIO()
        with c2pa.Builder({}, context=context) as builder:
            builder.add_ingredient(_INGREDIENT, media_type, io.BytesIO(content))
            builder.write_ingredient_archive(PARENT, archive)
    except c2pa.C2paError:
        return b""
    return archive.getvalue() if archive.tell() <= _MOST_BYTES else b""


def media_type_of(content: bytes) -> str | None:
    """Tell the format by its first bytes; None: of the formats that are read, it holds no manifest."""
    if content[:4] == b"RIFF":
        return "audio/wav"
    if content[:4] == b"fLaC":
        return "audio/flac"
    if content[4:8] == _FTYP:
        return "audio/mp4"
    is_mp3 = content[:3] == b"ID3" or (content[:1] == b"\xff" and content[1:2] >= b"\xe0")
    return "audio/mpeg" if is_mp3 else None
