"""Manifests of uploads: read without a connection, within bounds, and never a reason to fail."""

import asyncio
from pathlib import Path

import pytest

from serve_app.audio.encoder import encode
from serve_app.audio.file_format import FORMATS, Encoding
from serve_app.provenance import parent
from serve_app.provenance.credentials import read_credentials
from serve_app.provenance.manifest import Generated
from serve_app.provenance.parent import parent_archive
from serve_app.provenance.signer import ManifestSigner
from tests.audio.files import file_of, tone
from tests.credentials import stored

SIGNED = [name for name, spec in FORMATS.items() if spec.holds_manifest]


@pytest.fixture(params=SIGNED)
def signed(request: pytest.FixtureRequest, tmp_path: Path) -> bytes:
    credentials = read_credentials(stored(tmp_path), {})
    assert credentials is not None
    spec = FORMATS[request.param]
    file = encode(tone(1.0), 32_000, Encoding(spec))
    definition = Generated("small", "facebook/musicgen-small", {}).definition()
    return asyncio.run(ManifestSigner(credentials).embed(file, spec.media_type, definition))


def test_an_archive_has_the_manifest_without_the_audio(signed: bytes) -> None:
    archive = parent_archive(signed)
    assert b"trainedAlgorithmicMedia" in archive
    assert signed[len(signed) // 2 :][:64] not in archive


def test_an_archive_is_bounded(signed: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parent, "_MOST_BYTES", 100)
    assert parent_archive(signed) == b""


def test_a_manifest_that_is_cut_off_is_none(signed: bytes) -> None:
    at = signed.find(b"jumb")
    assert parent_archive(signed[: at + 500]) == b""


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "opus", "m4a", "aiff"])
def test_unsigned_files_have_none(kind: str) -> None:
    assert parent_archive(file_of(kind, tone(0.3, rate=44_100))) == b""


@pytest.mark.parametrize(
    "content",
    [b"", b"RIFF", b"RIFF\xff\xff\xff\xffWAVE", b"fLaC" + bytes(99), b"ID3" + b"\x7f" * 99,
     b"\xff\xfb" + bytes(99), bytes(4) + b"ftyp" + b"\xff" * 99, b"text"],
)  # fmt: skip
def test_damaged_files_have_none(content: bytes) -> None:
    assert parent_archive(content) == b""


def test_without_the_extra_there_is_none(signed: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parent, "find_spec", lambda _: None)
    assert parent_archive(signed) == b""
