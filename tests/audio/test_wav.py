"""Headers of WAV files: sizes, and tags for every kind of reader."""

import io
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile

from serve_app.audio.encoder import Encoder, encode
from serve_app.audio.file_format import WAV, Encoding, SampleFormat
from serve_app.audio.wav import WavHeader
from serve_app.marks import NAMES, tags_of
from tests.riff import chunks

RATE = 32_000
PROMPTS = ["lofi beat", "odd", "爵士 🎷 <b>&amp;]]>\x01\n", "🎷" * 3000, "data\xff\xff"]


def samples(channels: int = 1) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(0).uniform(-1, 1, (channels, 1000)).astype(np.float32)


def written(encoding: Encoding, *, streamed: bool, channels: int = 1) -> bytes:
    encoder = Encoder(encoding, RATE, channels, streamed=streamed)
    return encoder.add(samples(channels)) + encoder.finish()


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("sample_format", SampleFormat)
@pytest.mark.parametrize("streamed", [False, True])
def test_sizes_are_right(prompt: str, sample_format: SampleFormat, streamed: bool) -> None:
    tags = tags_of("small", "MIT", 7, prompt)
    encoding = Encoding(WAV, sample_format=sample_format, tags=tags)
    content = written(encoding, streamed=streamed)
    found = chunks(content)
    tagged = [b"LIST", b"iXML", b"id3 ", b"data"]
    fact = sample_format is SampleFormat.FLOAT32 and not streamed
    assert [*found] == [b"fmt ", *([b"fact"] if fact else []), *tagged]
    assert len(found[b"data"]) == 1000 * (4 if sample_format is SampleFormat.FLOAT32 else 2)
    unknown = b"\xff" * 4
    assert content[4:8] == (unknown if streamed else (len(content) - 8).to_bytes(4, "little"))
    assert (content.count(b"data" + unknown) == 1) == streamed


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("sample_format", SampleFormat)
def test_a_header_without_tags_is_the_plain_one(sample_format: SampleFormat, channels: int) -> None:
    """The one that libsndfile writes for integers."""
    content = encode(samples(channels), RATE, Encoding(WAV, sample_format=sample_format))
    file = io.BytesIO()
    subtype = "PCM_16" if sample_format is SampleFormat.INT16 else "FLOAT"
    soundfile.write(file, samples(channels).T, RATE, subtype, format="WAV")
    expected = chunks(file.getvalue())
    found = chunks(content)
    assert found[b"fmt "][:16] == expected[b"fmt "][:16]
    assert len(found[b"data"]) == len(expected[b"data"])
    if sample_format is SampleFormat.INT16:
        assert content[:44] == file.getvalue()[:44]
    else:
        assert found[b"fact"] == expected[b"fact"]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_ixml_has_every_tag(prompt: str) -> None:
    tags = tags_of("small", "MIT", 7, prompt)
    found = chunks(written(Encoding(WAV, tags=tags), streamed=False))
    root = ElementTree.fromstring(found[b"iXML"])
    user = root.find("USER")
    assert user is not None
    read = {one.tag.lower(): one.text for one in user} | {"comment": root.findtext("NOTE")}
    assert read == tags
    assert read.keys() == {*NAMES}


def test_libsndfile_reads_info() -> None:
    tags = tags_of("small", "MIT", 7, "爵士 🎷")
    with soundfile.SoundFile(io.BytesIO(written(Encoding(WAV, tags=tags), streamed=False))) as file:
        read = file.copy_metadata()
    assert read == {name: tags[name] for name in ("title", "comment", "software")}


def test_a_header_is_as_long_for_any_file() -> None:
    header = WavHeader(RATE, 2, 2, tags_of("small", "MIT", 7, "lofi"))
    assert len(header.build(None)) == len(header.build(0)) == len(header.build(10**9))
    floats = WavHeader(RATE, 2, 4, {})
    assert len(floats.build(0)) == len(floats.build(10**9)) == 58
