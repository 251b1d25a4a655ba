"""Manifests are reported as what they are: whatever a file holds is data of a stranger."""

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import c2pa
import pytest

from serve_app.audio.encoder import encode
from serve_app.audio.file_format import FORMATS, Encoding
from serve_app.provenance import reading
from serve_app.provenance.credentials import read_credentials
from serve_app.provenance.manifest import Converted, Definition, Generated
from serve_app.provenance.reading import read_manifest
from serve_app.provenance.signer import ManifestSigner
from tests.audio.files import file_of, tone
from tests.credentials import pair, stored

ADDRESS = "http://127.0.0.1:9/track.c2pa"
TRACK = Generated("small", "facebook/musicgen-small", {"title": "calm piano"}).definition()


def signer(folder: Path) -> ManifestSigner:
    credentials = read_credentials(stored(folder), {})
    assert credentials is not None
    return ManifestSigner(credentials)


def sign(folder: Path, definition: Definition, name: str = "wav") -> bytes:
    file = encode(tone(0.5), 32_000, Encoding(FORMATS[name]))
    return asyncio.run(signer(folder).embed(file, FORMATS[name].media_type, definition))


def detach(folder: Path, name: str) -> tuple[bytes, bytes]:
    """A file, and its manifest outside of it."""
    file = encode(tone(0.5), 32_000, Encoding(FORMATS[name]))
    media_type = FORMATS[name].media_type
    return file, asyncio.run(signer(folder).detach(file, media_type, TRACK))


def remote(name: str) -> bytes:
    """A file that only names the address of its manifest."""
    made = pair()
    info = c2pa.C2paSignerInfo(b"es256", made.chain, made.private_key, None)
    file = encode(tone(0.5), 32_000, Encoding(FORMATS[name]))
    target = io.BytesIO()
    with c2pa.Signer.from_info(info) as own, c2pa.Builder(TRACK) as builder:
        builder.set_no_embed()
        builder.set_remote_url(ADDRESS)
        builder.sign(own, FORMATS[name].media_type, io.BytesIO(file), target)
    return target.getvalue()


@pytest.mark.parametrize("name", ["wav", "flac", "mp3"])
def test_a_signed_track_is_valid_by_an_unknown_signer(tmp_path: Path, name: str) -> None:
    report = read_manifest(sign(tmp_path, TRACK, name))
    assert (report.state, report.generated, report.title) == ("valid", True, "calm piano")
    assert report.software.startswith("musicgen-serve 0.")
    assert report.issuer == "tests"
    assert report.faults == []


def test_a_signed_flac_file_begins_with_the_library_s_tag(tmp_path: Path) -> None:
    """docs/provenance.md says so: programs that know a file by its first bytes are told."""
    content = sign(tmp_path, TRACK, "flac")
    assert content.startswith(b"ID3")
    assert b"fLaC" in content


@pytest.mark.parametrize("name", ["wav", "opus", "pcm"])
def test_a_manifest_outside_the_file_is_checked(tmp_path: Path, name: str) -> None:
    content, manifest = detach(tmp_path, name)
    report = read_manifest(content, detached=manifest)
    assert (report.state, report.generated, report.title) == ("valid", True, "calm piano")
    changed = read_manifest(content[:-1] + bytes([content[-1] ^ 1]), detached=manifest)
    assert (changed.state, "assertion.dataHash.mismatch" in changed.faults) == ("invalid", True)
    for damaged in (b"", b"text", manifest[:500]):
        assert read_manifest(content, detached=damaged).state == "unreadable"


def test_a_manifest_outside_stands_before_the_file_s_own(tmp_path: Path) -> None:
    _, manifest = detach(tmp_path, "opus")
    assert read_manifest(sign(tmp_path, TRACK), detached=manifest).state == "invalid"


@pytest.mark.parametrize("name", ["wav", "flac", "mp3"])
def test_a_manifest_at_an_address_is_not_fetched_and_not_damaged(name: str) -> None:
    report = read_manifest(remote(name))
    assert (report.state, report.address, report.generated) == ("remote", ADDRESS, False)


def test_a_signer_of_the_trust_list_is_trusted(tmp_path: Path) -> None:
    report = read_manifest(sign(tmp_path, TRACK), pair().root.decode())
    assert (report.state, report.faults) == ("trusted", [])


def test_a_flipped_byte_of_audio_is_a_fault(tmp_path: Path) -> None:
    content = bytearray(sign(tmp_path, TRACK))
    content[5_000] ^= 1
    report = read_manifest(bytes(content))
    assert report.state == "invalid"
    assert "assertion.dataHash.mismatch" in report.faults


def test_a_manifest_that_says_nothing_of_models_is_no_mark(tmp_path: Path) -> None:
    converted = Converted("00" * 32, "Conversion", has_manifest=False, edited=False)
    report = read_manifest(sign(tmp_path, converted.definition()))
    assert (report.state, report.generated) == ("valid", False)


def test_a_manifest_that_is_cut_off_is_not_believed(tmp_path: Path) -> None:
    content = sign(tmp_path, TRACK)
    report = read_manifest(content[: content.find(b"jumb") + 500])
    assert report.state in ("none", "unreadable", "invalid")
    assert not report.generated


@pytest.mark.parametrize("kind", ["wav", "mp3", "opus", "aiff"])
def test_unsigned_files_have_none(kind: str) -> None:
    assert read_manifest(file_of(kind, tone(0.3, rate=44_100))).state == "none"


def test_without_the_extra_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "find_spec", lambda _: None)
    assert read_manifest(file_of("wav")).state == "not_checked"


@pytest.mark.parametrize(
    "store",
    [
        {},
        {"active_manifest": [1], "manifests": {"a": 1}, "validation_state": {"b": 2}},
        {"active_manifest": "a", "manifests": {"a": {"assertions": "text", "title": 5}}},
        {"active_manifest": "a", "manifests": {"a": {"assertions": [{"label": "c2pa.actions"}]}}},
        {"active_manifest": "a", "manifests": {"a": {"claim_generator_info": [None]}}},
        {"validation_status": [None, {"code": 5}]},
    ],
)
def test_other_shapes_are_an_invalid_manifest(store: Any) -> None:
    report = reading._report(json.loads(json.dumps(store)))
    assert (report.state, report.generated, report.faults) == ("invalid", False, [])


def test_texts_and_lists_are_bounded_and_printable() -> None:
    store = {
        "active_manifest": "a",
        "manifests": {"a": {"title": "\x1b[2J" + "x" * 9_999}},
        "validation_status": [{"code": f"fault.{number}"} for number in range(999)],
    }
    report = reading._report(store)
    assert report.title.startswith(" [2Jx")
    assert len(report.title) == 200
    assert len(report.faults) == 20
