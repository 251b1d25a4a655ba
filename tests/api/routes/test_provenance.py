"""`POST /v1/audio/provenance`: the marks of the service's own files, of others, and refusals."""

import asyncio
from base64 import b64decode
from pathlib import Path

import httpx
import pytest

from serve_app.api.app import create_api
from serve_app.config.api import ApiConfig
from serve_app.config.provenance import ProvenanceConfig
from serve_app.config.watermark import WatermarkConfig
from serve_app.errors import ConfigError
from serve_app.provenance_report import WatermarkReport
from serve_app.watermark.detection import Samples
from serve_app.watermark.detector_process import DetectorProcess
from tests.audio.files import file_of
from tests.audioseal import MESSAGE, write_detector
from tests.credentials import pair, stored
from tests.fakes import SMALL, FakeGenerator

PATH = "/v1/audio/provenance"
GENERATIONS = "/v1/audio/generations"


async def check(
    client: httpx.AsyncClient, content: bytes, manifest: bytes | None = None
) -> httpx.Response:
    files = {"audio": ("a", content)}
    if manifest is not None:
        files["manifest"] = ("m", manifest)
    return await client.post(PATH, files=files)


def client_of(generator: FakeGenerator, provenance: ProvenanceConfig) -> httpx.AsyncClient:
    app = create_api(generator, generator, [SMALL], None, ApiConfig(), provenance=provenance)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


async def test_a_track_of_the_service_says_so_in_each_layer(
    generator: FakeGenerator, tmp_path: Path
) -> None:
    detector = write_detector(tmp_path / "d.safetensors")
    watermark = WatermarkConfig(detector_file=str(detector))
    provenance = stored(tmp_path).model_copy(update={"watermark": watermark})
    async with client_of(generator, provenance) as client:
        track = await client.post(GENERATIONS, json={"prompt": "piano", "seed": 7, "duration_s": 1})
        response = await check(client, track.content)
    assert response.status_code == 200, response.text
    report = response.json()
    assert report["generated"]
    assert report["tags"]["seed"] == "7"
    assert (report["manifest"]["state"], report["manifest"]["generated"]) == ("valid", True)
    assert report["watermark"]["message"] == MESSAGE


@pytest.mark.parametrize("name", ["opus", "pcm"])
async def test_a_detached_manifest_is_checked_with_its_file(
    generator: FakeGenerator, tmp_path: Path, name: str
) -> None:
    body = {"prompt": "piano", "duration_s": 1, "response_format": "json", "audio_format": name}
    async with client_of(generator, stored(tmp_path)) as client:
        track = (await client.post(GENERATIONS, json=body)).json()["data"][0]
        content = b64decode(track["audio"])
        manifest = b64decode(track["manifest"])
        report = (await check(client, content, manifest)).json()
        other = (await check(client, content + b"\0", manifest)).json()
    assert (report["manifest"]["state"], report["generated"]) == ("valid", True)
    assert (report["channels"], bool(report["tags"])) == (
        (1, True) if name == "opus" else (0, False)
    )
    assert other["manifest"]["state"] == "invalid"


@pytest.mark.parametrize(("size", "status"), [(2**20 + 1, 413), (0, 200), (1000, 200)])
async def test_a_detached_manifest_is_bounded(
    generator: FakeGenerator, size: int, status: int
) -> None:
    async with client_of(generator, ProvenanceConfig()) as client:
        response = await check(client, file_of("opus"), bytes(size))
    assert response.status_code == status, response.text
    assert status != 413 or "The manifest has 1048577 bytes" in response.json()["detail"]
    assert status == 413 or response.json()["manifest"]["state"] == "unreadable"


async def test_other_audio_says_nothing(client: httpx.AsyncClient) -> None:
    report = (await check(client, file_of("m4a"))).json()
    assert (report["generated"], report["tags"]) == (False, {})
    assert (report["manifest"]["state"], report["watermark"]) == ("none", None)


@pytest.mark.parametrize(
    ("fields", "files", "detail"),
    [
        ({}, {"audio": ("a", b"a")}, "The audio is not a wav"),
        ({}, {"audio": ("a", b"")}, "The audio is empty"),
        ({"more": "1"}, {"audio": ("a", b"a")}, "more: Extra inputs are not permitted"),
        ({"audio": "a"}, {}, "must be a form"),
        ({"manifest": "m"}, {"audio": ("a", b"a")}, "manifest: A file is required"),
        ({}, {"audio": ("a", b"a"), "more": ("b", b"b")}, "more cannot be a file"),
    ],
)
async def test_other_requests_are_refused(
    client: httpx.AsyncClient,
    fields: dict[str, str],
    files: dict[str, tuple[str, bytes]],
    detail: str,
) -> None:
    response = await client.post(PATH, data=fields, files=files or None)
    assert response.status_code == 400, response.text
    assert detail in response.json()["detail"]


async def test_a_file_beyond_the_limit_is_refused(client: httpx.AsyncClient) -> None:
    response = await check(client, bytes(100_001))
    assert response.status_code == 413


class HeldDetector:
    """A detector that answers when it is released; `settled` gets an entry for each file it has."""

    def __init__(self) -> None:
        self.settled: asyncio.Queue[object] = asyncio.Queue()
        self.released = asyncio.Event()

    async def detect(self, samples: Samples, duration_s: float) -> WatermarkReport:
        assert samples.path.stat().st_size == 4 * round(duration_s * 16_000)
        self.settled.put_nowait(samples)
        await self.released.wait()
        return WatermarkReport(detected=False, score=0.0, message=None, examined_s=duration_s)


async def test_sixteen_checks_leave_room_for_conversions(
    generator: FakeGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = HeldDetector()
    monkeypatch.setattr(DetectorProcess, "of", lambda _: held)
    async with client_of(generator, ProvenanceConfig()) as client:
        checks = [asyncio.create_task(check(client, file_of("wav"))) for _ in range(16)]
        for one in checks:
            one.add_done_callback(held.settled.put_nowait)
        for _ in checks:
            await held.settled.get()
        converted = await client.post(
            "/v1/audio/conversions",
            data={"response_format": "flac"},
            files={"audio": ("a", file_of("wav"))},
        )
        held.released.set()
        responses = await asyncio.gather(*checks)
    assert converted.status_code == 200, converted.text
    refused = [one.json() for one in responses if one.status_code == 429]
    assert len(refused) == 8
    assert refused[0]["detail"].startswith("8 files are being checked")
    assert "model" not in refused[0]["title"]


async def test_keys_are_asked_for(
    generator: FakeGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSICGEN_API_KEYS", "web:web-key-0123456789")
    async with client_of(generator, ProvenanceConfig()) as client:
        assert (await check(client, b"a")).status_code == 401


@pytest.mark.parametrize("trusted", [True, False])
async def test_the_signer_of_a_configured_list_is_trusted(
    generator: FakeGenerator, tmp_path: Path, trusted: bool
) -> None:
    (tmp_path / "root.pem").write_bytes(pair("es256" if trusted else "es384").root)
    config = stored(tmp_path, trust_anchors_file=str(tmp_path / "root.pem"))
    async with client_of(generator, config) as client:
        track = await client.post(GENERATIONS, json={"prompt": "piano", "duration_s": 1})
        report = (await check(client, track.content)).json()
    assert (report["manifest"]["state"] == "trusted") is trusted, report["manifest"]
    assert report["generated"] is True


def test_a_trust_list_without_certificates_ends_the_start(
    generator: FakeGenerator, tmp_path: Path
) -> None:
    (tmp_path / "root.pem").write_text("garbage")
    config = ProvenanceConfig(trust_anchors_file=str(tmp_path / "root.pem"))
    with pytest.raises(ConfigError, match=r"trust_anchors_file: .*root\.pem has no certificate"):
        client_of(generator, config)


def test_a_detector_that_is_not_there_ends_the_start(generator: FakeGenerator) -> None:
    watermark = WatermarkConfig(detector_file="no-such-file")
    with pytest.raises(ConfigError, match="there is no such file"):
        client_of(generator, ProvenanceConfig(watermark=watermark))
