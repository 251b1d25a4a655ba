"""Manifests of uploads: read without a connection, within bounds, and never a reason to fail."""

import asyncio
from pathlib import Path

import pytest

from serve_app.audio.encoder import encode
from serve_app.audio.file_format import FORMATS, Encoding
from serve_app.marks import tags_of
from serve_app.provenance import parent
from serve_app.provenance.credentials import read_credentials
from serve_app.provenance.manifest import Generated, Unkept
from serve_app.provenance.parent import Parent, read_parent
from serve_app.provenance.signer import ManifestSigner
from tests.audio.files import file_of, tone
from tests.credentials import flipped, stored

TAGS = tags_of("small (facebook/musicgen-small)", "CC-BY-NC-4.0", 7, "lofi beat")
SIGNED = [name for name, spec in FORMATS.items() if spec.holds_manifest]


@pytest.fixture(params=SIGNED)
def signed(request: pytest.FixtureRequest, tmp_path: Path) -> bytes:
    credentials = read_credentials(stored(tmp_path), {})
    assert credentials is not None
    spec = FORMATS[request.param]
    file = encode(tone(1.0), 32_000, Encoding(spec))
    definition = Generated("small", "facebook/musicgen-small", TAGS).definition()
    return asyncio.run(ManifestSigner(credentials).embed(file, spec.media_type, definition))


def test_an_archive_has_the_manifest_without_the_audio(signed: bytes) -> None:
    archive = read_parent(signed).archive
    assert b"trainedAlgorithmicMedia" in archive
    assert signed[len(signed) // 2 :][:64] not in archive


def test_an_archive_is_bounded(signed: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parent, "_MOST_BYTES", 100)
    found = read_parent(signed)
    assert (found.archive, found.unkept) == (b"", Unkept.TOO_LARGE)
    assert found.marks == TAGS, "its statement counts nevertheless"


def test_a_manifest_that_is_cut_off_is_unreadable(signed: bytes) -> None:
    at = signed.find(b"jumb")
    assert read_parent(signed[: at + 500]) == Parent(unkept=Unkept.UNREADABLE)


def test_a_valid_manifest_amounts_to_the_tags_of_the_track(signed: bytes) -> None:
    assert read_parent(signed, with_archive=False) == Parent(marks=TAGS)


def test_a_manifest_that_is_not_valid_states_nothing(signed: bytes) -> None:
    found = read_parent(flipped(signed))
    assert found.marks == {}
    assert found.archive


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "opus", "m4a", "aiff"])
def test_unsigned_files_have_none(kind: str) -> None:
    assert read_parent(file_of(kind, tone(0.3, rate=44_100))).archive == b""


@pytest.mark.parametrize(
    "content",
    [b"", b"RIFF", b"RIFF\xff\xff\xff\xffWAVE", b"fLaC" + bytes(99), b"ID3" + b"\x7f" * 99,
     b"\xff\xfb" + bytes(99), bytes(4) + b"ftyp" + b"\xff" * 99, b"text"],
)  # fmt: skip
def test_damaged_files_have_none(content: bytes) -> None:
    assert read_parent(content).archive == b""


def test_without_the_extra_there_is_none(signed: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parent, "find_spec", lambda _: None)
    assert read_parent(signed).archive == b""
