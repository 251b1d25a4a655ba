"""The manifest of a file that is converted, as the parent of the new one's.

Runs in the process that decodes uploads: the file is untrusted.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from serve_app.provenance.library import offline_context
from serve_app.provenance.manifest import PARENT, Unkept
from serve_app.provenance.stated_marks import stated_marks

_MOST_BYTES = 2**20  # of an archive; manifests of other programs may hold pictures
_INGREDIENT = {"title": "Converted file", "label": PARENT, "relationship": "parentOf"}
_FTYP = b"ftyp"
_JUMBF = b"jumb"  # type of the boxes of every manifest


@dataclass(frozen=True, slots=True)
class Parent:
    """The manifests of a file. archive: of them, without the audio; unkept: why it is empty;
    marks: tags that a valid manifest amounts to, empty: none says that the file was generated."""

    archive: bytes = b""
    unkept: Unkept = Unkept.NONE
    marks: Mapping[str, str] = field(default_factory=dict)


def read_parent(content: bytes, *, with_archive: bool = True) -> Parent:
    """Read the manifests of a file, which may have none, or one that cannot be read.

    Files without one never reach the library, which a damaged length can end with its process. A
    manifest that is not valid is archived with its faults, which the new one then records.
    """
    media_type = media_type_of(content)
    if media_type is None or _JUMBF not in content or find_spec("c2pa") is None:
        return Parent()
    import c2pa

    context = offline_context()
    try:
        reader = c2pa.Reader.try_create(media_type, io.BytesIO(content), context=context)
        if reader is None:
            return Parent()
        with reader:
            marks = stated_marks(json.loads(reader.json()))
        archive = _archive(content, media_type, context) if with_archive else b""
    except (c2pa.C2paError, ValueError, RecursionError):
        return Parent(unkept=Unkept.UNREADABLE)
    if len(archive) > _MOST_BYTES:
        return Parent(unkept=Unkept.TOO_LARGE, marks=marks)
    return Parent(archive, marks=marks)


def _archive(content: bytes, media_type: str, context: Any) -> bytes:
    import c2pa

    archive = io.BytesIO()
    with c2pa.Builder({}, context=context) as builder:
        builder.add_ingredient(_INGREDIENT, media_type, io.BytesIO(content))
        builder.write_ingredient_archive(PARENT, archive)
    return archive.getvalue()


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
