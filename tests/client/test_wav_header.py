"""A streamed WAV file gets the sizes that a whole one has."""

import io

import av
import pytest

from serve_app.client import MusicGenClient, Track
from serve_app.client.wav_header import lacks_its_end, with_sizes
from serve_app.marks import DIGITAL_SOURCE_TYPE


def test_a_streamed_file_equals_the_whole_one(url: str) -> None:
    with MusicGenClient(url) as client:
        *_, streamed = client.stream("a", duration_s=1, seed=7)
        whole = client.generate("a", duration_s=1, seed=7)
    assert isinstance(streamed, Track)
    assert streamed.content == whole.content


def test_marks_stay_whatever_the_prompt(url: str) -> None:
    """No text in UTF-8 holds the bytes of an unknown size."""
    prompt = "data\u00ff\u00ff\u00ff\u00ff \u7235\u58eb RIFF"
    with MusicGenClient(url) as client:
        *_, streamed = client.stream(prompt, duration_s=1, seed=7)
        whole = client.generate(prompt, duration_s=1, seed=7)
    assert isinstance(streamed, Track)
    assert streamed.content == whole.content
    assert streamed.digital_source_type == whole.digital_source_type == DIGITAL_SOURCE_TYPE
    with av.open(io.BytesIO(streamed.content)) as container:
        assert container.metadata["title"] == prompt
        assert container.metadata["digital_source_type"] == DIGITAL_SOURCE_TYPE


def test_floats_get_their_sizes_too(url: str) -> None:
    with MusicGenClient(url) as client:
        *_, streamed = client.stream("a", duration_s=1, seed=7, sample_format="float32")
    assert isinstance(streamed, Track)
    content = streamed.content
    assert int.from_bytes(content[4:8], "little") == len(content) - 8
    data = content.index(b"data")
    assert int.from_bytes(content[data + 4 : data + 8], "little") == 4 * 32_000
    assert len(content) == data + 8 + 4 * 32_000


@pytest.mark.parametrize("file", [b"", b"RIFF", b"fLaC\xff\xff\xff\xff", b"RIFF\x04\0\0\0WAVEdata"])
def test_other_files_stay(file: bytes) -> None:
    assert with_sizes(file) == file


def test_half_a_header_gets_its_own_size() -> None:
    assert with_sizes(b"RIFF\xff\xff\xff\xffWAVE") == b"RIFF\x04\0\0\0WAVE"


@pytest.mark.parametrize(
    ("file", "is_cut"),
    [
        (b"RIFF\x04\0\0\0WAVE", False),
        (b"RIFF\x04\0\0\0WAVEmore", False),
        (b"RIFF\x05\0\0\0WAVE", True),
        (b"RIFF\xff\xff\xff\xffWAVE", False),
        (b"RIFF", False),
        (b"fLaC\xff\0\0\0", False),
    ],
)
def test_a_file_without_its_end_is_found(file: bytes, is_cut: bool) -> None:
    assert lacks_its_end(file) is is_cut
