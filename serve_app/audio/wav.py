"""Headers of WAV files, with the chunks that hold tags in front of the samples.

RIFF and LIST/INFO: Multimedia Programming Interface and Data Specifications 1.0 (IBM and Microsoft,
1991); iXML: https://www.gallery.co.uk/ixml.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

from serve_app.audio.id3 import id3_tag

_SIZE = struct.Struct("<I")
_FORMAT = struct.Struct("<HHIIHH")
_UNKNOWN = 0xFFFFFFFF
_PCM = 1
_FLOAT = 3
_INFO = {"title": b"INAM", "comment": b"ICMT", "software": b"ISFT"}


@dataclass(frozen=True)
class WavHeader:
    """Header of one file. sample_bytes: 2: integers, 4: floats; tags: also as id3 and iXML.

    Players read INFO or ID3, audio workstations iXML.
    """

    sample_rate: int
    channels: int
    sample_bytes: int
    tags: Mapping[str, str]

    def build(self, data_bytes: int | None) -> bytes:
        """Build the header, of the same length for any number of bytes.

        data_bytes: of the samples; None: the file is streamed, open-ended.
        """
        chunks = b"WAVE" + self._format(data_bytes) + _tag_chunks(self.tags)
        size = _UNKNOWN if data_bytes is None else len(chunks) + 8 + data_bytes
        data = _SIZE.pack(_UNKNOWN if data_bytes is None else data_bytes)
        return b"RIFF" + _SIZE.pack(size) + chunks + b"data" + data

    def _format(self, data_bytes: int | None) -> bytes:
        """The chunks `fmt ` and, for floats of a known number, `fact`."""
        frame_bytes = self.channels * self.sample_bytes
        is_float = self.sample_bytes == 4
        content = _FORMAT.pack(
            _FLOAT if is_float else _PCM,
            self.channels,
            self.sample_rate,
            self.sample_rate * frame_bytes,
            frame_bytes,
            8 * self.sample_bytes,
        )
        if not is_float:
            return _chunk(b"fmt ", content)
        fact = b"" if data_bytes is None else _chunk(b"fact", _SIZE.pack(data_bytes // frame_bytes))
        return _chunk(b"fmt ", content + bytes(2)) + fact


def _tag_chunks(tags: Mapping[str, str]) -> bytes:
    if not tags:
        return b""
    info = b"".join(
        _chunk(name, tags[tag].encode() + b"\0") for tag, name in _INFO.items() if tag in tags
    )
    listed = _chunk(b"LIST", b"INFO" + info)
    return listed + _chunk(b"iXML", _ixml(tags)) + _chunk(b"id3 ", id3_tag(tags))


def _ixml(tags: Mapping[str, str]) -> bytes:
    root = ElementTree.Element("BWFXML")
    ElementTree.SubElement(root, "IXML_VERSION").text = "1.61"
    if "comment" in tags:
        ElementTree.SubElement(root, "NOTE").text = tags["comment"]
    user = ElementTree.SubElement(root, "USER")
    for name, value in tags.items():
        if name != "comment":
            ElementTree.SubElement(user, name.upper()).text = value
    return bytes(ElementTree.tostring(root, "UTF-8", xml_declaration=True))


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + _SIZE.pack(len(content)) + content + bytes(len(content) % 2)
