"""The demonstration prints the marks that its file carries."""

import asyncio
from pathlib import Path

import pytest

from serve_app.audio.encoder import encode
from serve_app.audio.file_format import WAV, Encoding
from serve_app.marks import tags_of
from serve_app.provenance.credentials import read_credentials
from serve_app.provenance.manifest import Generated
from serve_app.provenance.signer import ManifestSigner
from tests.audio.files import tone
from tests.credentials import stored
from tools import demo

TAGS = tags_of("nano (embedded:musicgen-nano)", "Apache-2.0", 7, "lofi")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "demo.wav"
    file.write_bytes(encode(tone(0.2), 32_000, Encoding(WAV, tags=TAGS)))
    return file


def test_a_file_with_tags(file: Path) -> None:
    marks = demo.marks_of(file)
    tags = "trainedAlgorithmicMedia, by nano (embedded:musicgen-nano)"
    assert marks["mark: tags"] == tags
    assert "musicgen provenance init" in marks["mark: signature"]


def test_a_file_that_names_no_model(file: Path) -> None:
    tags = {name: text for name, text in TAGS.items() if name != "ai_model"}
    file.write_bytes(encode(tone(0.2), 32_000, Encoding(WAV, tags=tags)))
    said = demo.marks_of(file)["mark: tags"]
    assert said == "trainedAlgorithmicMedia, by a model that no tag names"


def test_a_file_without_marks(file: Path) -> None:
    file.write_bytes(encode(tone(0.2), 32_000, Encoding(WAV)))
    assert demo.marks_of(file)["mark: tags"].startswith("none")


def test_a_signed_file(file: Path, tmp_path: Path) -> None:
    credentials = read_credentials(stored(tmp_path), {})
    assert credentials is not None
    definition = Generated("nano", "nano", TAGS).definition()
    signing = ManifestSigner(credentials).embed(file.read_bytes(), WAV.media_type, definition)
    file.write_bytes(asyncio.run(signing))
    assert demo.marks_of(file)["mark: signature"] == "C2PA manifest, Valid"


def test_without_the_extra(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda _: None)
    assert "uv sync --extra c2pa" in demo.marks_of(file)["mark: signature"]
