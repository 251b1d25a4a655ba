"""Files are marked as configured, or refused. tests/api covers every route."""

from pathlib import Path

import pytest

from serve_app.audio.file_format import FORMATS, OPUS, PCM, WAV
from serve_app.config.provenance import ProvenanceConfig
from serve_app.errors import ConfigError, FormatNotSigned
from serve_app.gateway.marking import Marking
from serve_app.types import GenerationRequest
from tests.credentials import stored
from tests.fakes import SMALL, RecordingObserver

REQUEST = GenerationRequest(request_id="a", model="small", prompt="lofi", duration_s=1.0)


@pytest.fixture
def observer() -> RecordingObserver:
    return RecordingObserver()


def test_tags_follow_the_configuration() -> None:
    assert Marking().tags(REQUEST, SMALL)["title"] == "lofi"
    assert "title" not in Marking(ProvenanceConfig(tag_prompt=False)).tags(REQUEST, SMALL)
    assert Marking(ProvenanceConfig(tags=False)).tags(REQUEST, SMALL) == {}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_without_a_certificate_nothing_is_refused(name: str, streamed: bool) -> None:
    Marking().check(FORMATS[name], streamed=streamed)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_unsigned_formats_are_refused(
    tmp_path: Path, observer: RecordingObserver, name: str, streamed: bool
) -> None:
    strict = Marking.of(stored(tmp_path, unsigned_formats="refuse"), observer, {})
    if name in ("wav", "flac", "mp3") and not streamed:
        strict.check(FORMATS[name])
        assert observer.refused == []
        return
    with pytest.raises(FormatNotSigned, match="wav, flac, mp3"):
        strict.check(FORMATS[name], streamed=streamed)
    assert observer.refused == [name]
    Marking.of(stored(tmp_path), observer, {}).check(FORMATS[name], streamed=streamed)


async def test_a_route_that_does_not_check_first_sends_no_unsigned_file(
    tmp_path: Path, observer: RecordingObserver
) -> None:
    strict = Marking.of(stored(tmp_path, unsigned_formats="refuse"), observer, {})
    with pytest.raises(FormatNotSigned):
        await strict.mark(b"x", OPUS, REQUEST, SMALL)
    assert observer.marks == []
    assert await strict.mark(b"x", OPUS, REQUEST, SMALL, detachable=True) == b"x"


async def test_without_a_certificate_files_stay_as_they_are(observer: RecordingObserver) -> None:
    marking = Marking(observer=observer)
    assert await marking.mark(b"x", WAV, REQUEST, SMALL) == b"x"
    assert await marking.detached(b"x", OPUS, REQUEST, SMALL) is None
    assert observer.marks == [("wav", "tags")]


async def test_a_file_without_room_is_counted_as_unmarked(observer: RecordingObserver) -> None:
    await Marking(observer=observer).mark(b"x", PCM, REQUEST, SMALL)
    assert observer.marks == [("pcm", "none")]


def test_a_required_certificate_that_is_missing(observer: RecordingObserver) -> None:
    with pytest.raises(ConfigError, match=r"provenance\.required"):
        Marking.of(ProvenanceConfig(required=True), observer, {})


def test_files_that_have_not_changed_are_not_read_again(
    tmp_path: Path, observer: RecordingObserver
) -> None:
    marking = Marking.of(stored(tmp_path), observer, {})
    assert not marking.renew()
    (tmp_path / "private_key.pem").unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        marking.renew()
    assert not marking.renew(), "reported once"
    assert marking.signer is not None


def test_emptied_files_leave_the_last_pair_in_force(
    tmp_path: Path, observer: RecordingObserver
) -> None:
    marking = Marking.of(stored(tmp_path), observer, {})
    last = marking.signer
    (tmp_path / "certificate.pem").write_bytes(b"")
    (tmp_path / "private_key.pem").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"certificate_file is empty"):
        marking.renew()
    assert marking.signer is last is not None
