"""Options of the file to answer with."""

import pytest
from pydantic import ValidationError

from serve_app.audio.file_format import FORMATS, OPUS, SampleFormat
from serve_app.audio.file_options import FileOptions
from serve_app.audio.mastering import Mastering, Normalization
from serve_app.errors import InvalidRequest


def test_choices_are_those_of_the_tables() -> None:
    properties = FileOptions.model_json_schema()["properties"]
    assert properties["response_format"]["enum"] == list(FORMATS)
    assert properties["sample_format"]["enum"] == list(SampleFormat)
    assert properties["normalization"]["enum"] == list(Normalization)
    assert "float32 in wav and pcm" in properties["sample_format"]["description"]
    assert "mp3 (default: 192), opus (default: 128)" in properties["bitrate_kbps"]["description"]


def test_options_become_an_encoding_and_a_mastering() -> None:
    options = FileOptions(
        response_format="opus", bitrate_kbps=64, normalization="loudness", loudness_lufs=-20.0
    )
    assert options.encoding().file_format is OPUS
    assert options.encoding().bit_rate == 64_000
    assert options.mastering() == Mastering(Normalization.LOUDNESS, lufs=-20.0)


def test_options_that_the_format_lacks_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="sample_rate of opus must be one of 8000"):
        FileOptions(response_format="opus", sample_rate=44_100).encoding()
    with pytest.raises(ValidationError, match="loudness_lufs"):
        FileOptions(loudness_lufs=0.0)
