"""A file's facts, tags and samples are read, whatever the file is."""

from pathlib import Path

import numpy as np
import pytest

from serve_app.audio.encoder import encode
from serve_app.audio.file_format import FORMATS, Encoding
from serve_app.audio.inspector import Inspector
from serve_app.audio.workers import AudioWorkers
from serve_app.errors import InvalidAudio
from serve_app.marks import DIGITAL_SOURCE_TYPE, tags_of
from tests.audio.files import file_of, tone

TAGS = tags_of("nano", "MIT", 7, "calm piano")
TAGGED = [name for name in FORMATS if name not in ("pcm", "json")]


@pytest.mark.parametrize("name", TAGGED)
def test_tags_of_generated_audio_are_found(name: str) -> None:
    content = encode(tone(0.5), 32_000, Encoding(FORMATS[name], tags=TAGS))
    found = Inspector(content, 30.0).inspect()
    assert found.tags["digital_source_type"] == DIGITAL_SOURCE_TYPE
    assert found.tags["title"] == "calm piano"
    assert found.duration_s == pytest.approx(0.5, abs=0.08)
    assert found.report(None).generated


def test_a_file_without_marks_says_nothing() -> None:
    found = Inspector(file_of("m4a"), 30.0).inspect()
    assert found.tags == {}
    assert found.manifest.state == "none"
    assert not found.report(None).generated


def test_samples_are_written_interleaved_at_the_rate_that_is_asked_for(tmp_path: Path) -> None:
    stereo = np.concatenate([tone(0.5), 0.5 * tone(0.5)])
    content = encode(stereo, 32_000, Encoding(FORMATS["wav"]))
    found = Inspector(content, 30.0).inspect(pcm=tmp_path / "pcm", pcm_rate=16_000)
    written = np.fromfile(tmp_path / "pcm", "<f4").reshape(-1, 2)
    assert (found.channels, found.sample_rate, len(written)) == (2, 32_000, 8_000)
    np.testing.assert_allclose(written[:, 1], 0.5 * written[:, 0], atol=1e-3)


def test_a_file_that_is_too_long_tells_what_was_decoded() -> None:
    inspector = Inspector(file_of("wav"), 0.1)
    with pytest.raises(InvalidAudio, match="longer than the allowed"):
        inspector.inspect()
    assert inspector.decoded_s > 0.1


async def test_audio_that_cannot_be_decoded_is_a_fault_without_its_manifest(
    tmp_path: Path,
) -> None:
    """A manifest outside fits any bytes; a file that is too long stays refused."""
    found = await AudioWorkers().inspect(bytes(1000), 30.0, tmp_path / "pcm", b"manifest")
    assert (found.channels, found.duration_s, found.manifest.state) == (0, 0.0, "unreadable")
    with pytest.raises(InvalidAudio, match="longer than the allowed"):
        Inspector(file_of("wav"), 0.1).inspect(detached=b"manifest")
    with pytest.raises(InvalidAudio, match="is not a wav"):
        Inspector(b"x" * 1000, 30.0).inspect()


async def test_workers_inspect(tmp_path: Path) -> None:
    content = encode(tone(0.5), 32_000, Encoding(FORMATS["flac"], tags=TAGS))
    workers = AudioWorkers()
    assert await workers.inspect(content, 30.0) == Inspector(content, 30.0).inspect()
    await workers.inspect(content, 30.0, tmp_path / "pcm")
    assert (tmp_path / "pcm").stat().st_size == 4 * 8_000
    with pytest.raises(InvalidAudio, match="longer than the allowed") as refused:
        await workers.inspect(content, 0.1)
    assert refused.value.decoded_s > 0.1
