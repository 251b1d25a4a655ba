"""Audio is a path, bytes or an open file; a str is a path."""

import base64
import io
from pathlib import Path
from typing import Any

import pytest

from serve_app.client.audio_input import read_audio


@pytest.mark.parametrize(
    "audio", [b"RIFF", bytearray(b"RIFF"), memoryview(b"RIFF"), io.BytesIO(b"RIFF")]
)
def test_contents(audio: Any) -> None:
    assert read_audio(audio) == b"RIFF"


def test_paths(tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    file.write_bytes(b"RIFF")
    assert read_audio(file) == read_audio(str(file)) == b"RIFF"


@pytest.mark.parametrize(
    "text", ["missing.wav", base64.b64encode(b"RIFF" * 9000).decode(), "a\0b", ""]
)
def test_a_text_that_names_no_file(text: str) -> None:
    with pytest.raises(OSError, match="A str is the path of an audio file") as error:
        read_audio(text)
    assert len(str(error.value)) < 250


@pytest.mark.parametrize("audio", [1, None, io.StringIO("RIFF"), [b"RIFF"]])
def test_other_values_are_refused(audio: Any) -> None:
    with pytest.raises(TypeError, match="audio must be a path, bytes or a file opened with 'rb'"):
        read_audio(audio)
