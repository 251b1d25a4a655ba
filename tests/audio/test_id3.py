"""ID3 tags, as mutagen reads them."""

import io

import pytest
from mutagen.id3 import ID3

from serve_app.audio.id3 import id3_tag
from serve_app.marks import tags_of


@pytest.mark.parametrize("prompt", ["lofi beat", "爵士 🎷 Größe", "🎷" * 2000, "\xff\xfb" * 100])
def test_every_tag_is_read_back(prompt: str) -> None:
    tags = tags_of("small", "MIT", 7, prompt)
    content = id3_tag(tags)
    read = ID3(io.BytesIO(content))
    assert read.version == (2, 4, 0)
    assert read.size == len(content)
    named = {frame.desc: str(frame) for frame in read.getall("TXXX")}
    assert named | {"title": str(read["TIT2"]), "comment": str(read["COMM::eng"])} == tags


def test_no_tags_are_no_bytes() -> None:
    assert id3_tag({}) == b""
