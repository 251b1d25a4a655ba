"""A whole service that sends signed and watermarked files only: each route and format, through Serve."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from serve_app.config.watermark import WatermarkConfig
from serve_app.launch.progress import ProgressLine
from serve_app.launcher import Service
from serve_app.machine import free_port
from tests.audioseal import MESSAGE, write_detector, write_generator
from tests.conftest import CONFIGS
from tests.credentials import SOUND, actions, faults, flipped, pair, read, state, stored
from tests.service.conftest import GENERATIONS, PATIENCE_S

pytestmark = pytest.mark.long

BODY: dict[str, Any] = {"prompt": "lofi beat", "duration_s": 1, "seed": 7}
MEDIA_TYPES = {"wav": "audio/wav", "flac": "audio/flac", "mp3": "audio/mpeg"}


@pytest.fixture(scope="module")
def signing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("signing")
    watermark = WatermarkConfig(
        generator_file=str(write_generator(folder / "generator.safetensors", causal=True)),
        detector_file=str(write_detector(folder / "detector.safetensors")),
        message=MESSAGE,
    )
    options = stored(folder, required=True, unsigned_formats="refuse", watermark=watermark)
    config = yaml.safe_load((CONFIGS / "nano.yaml").read_text())
    config["applications"][0]["args"]["provenance"] = options.model_dump(exclude_defaults=True)
    file = folder / "signing.yaml"
    file.write_text(yaml.safe_dump(config))
    with Service(file, free_port(), ProgressLine()) as service:
        yield service


@pytest.fixture
def client(signing: Service) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=signing.url, timeout=2 * PATIENCE_S, follow_redirects=True
    ) as client:
        yield client


def made(client: httpx.Client, **fields: Any) -> httpx.Response:
    response = client.post(GENERATIONS, json=BODY | fields)
    assert response.status_code == 200, response.text
    return response


def assert_generated(content: bytes, media_type: str) -> None:
    store = read(content, media_type)
    assert store["validation_state"] in SOUND
    assert [action["action"] for action in actions(store)] == ["c2pa.created"]
    assert faults(read(flipped(content), media_type)) == {"assertion.dataHash.mismatch"}


@pytest.mark.parametrize("name", MEDIA_TYPES)
def test_generations(client: httpx.Client, name: str) -> None:
    content = made(client, response_format=name).content
    assert_generated(content, MEDIA_TYPES[name])
    for wanted, media_type in MEDIA_TYPES.items():
        fields = {"response_format": wanted}
        files = {"audio": ("a", content)}
        converted = client.post("/v1/audio/conversions", data=fields, files=files).content
        store = read(converted, media_type)
        assert store["validation_state"] in SOUND
        assert len(store["manifests"]) == 2


def test_a_check_finds_every_layer(client: httpx.Client) -> None:
    content = made(client).content
    report = client.post("/v1/audio/provenance", files={"audio": ("a", content)}).json()
    assert report["tags"]["seed"] == "7"
    assert report["manifest"]["generated"]
    assert report["watermark"]["message"] == MESSAGE


def test_json(client: httpx.Client) -> None:
    answer = made(client, response_format="json", n=2, audio_format="opus").json()
    for variation in answer["data"]:
        content = base64.b64decode(variation["audio"])
        manifest = base64.b64decode(variation["manifest"])
        assert state(content, "audio/ogg", manifest) in SOUND


@pytest.mark.parametrize("path", ["/", "/generate"])
def test_older_contracts(client: httpx.Client, path: str) -> None:
    answer = client.post(path, json={"prompt": "lofi", "duration": 1}).json()
    assert_generated(base64.b64decode(answer["audio_base64"]), "audio/wav")


@pytest.mark.parametrize("media_type", ["audio/wav", "audio/flac"])
def test_hugging_face(client: httpx.Client, media_type: str) -> None:
    repository = client.get("/v1/models").json()["data"][0]
    body = {"inputs": "lofi", "parameters": {"duration": 1}}
    headers = {"accept": media_type}
    path = f"/models/musicgen/{repository['id']}"
    response = client.post(path, json=body, headers=headers)
    assert response.status_code == 200, response.text
    assert_generated(response.content, media_type)


@pytest.mark.parametrize("fields", [{"stream": True}, {"response_format": "opus"}])
def test_unsigned_files_are_refused(client: httpx.Client, fields: dict[str, Any]) -> None:
    response = client.post(GENERATIONS, json=BODY | fields)
    assert (response.status_code, response.json()["code"]) == (400, "format_not_signed")
    response = client.get("/v1/audio/stream", params=BODY)
    assert response.json()["code"] == "format_not_signed"


def test_no_process_and_no_log_shows_the_key(signing: Service, client: httpx.Client) -> None:
    made(client)
    body = pair().private_key.decode().splitlines()[1]
    sessions: set[str] = set()
    for process in signing.processes():
        root = Path(f"/proc/{process.pid}")
        try:
            command = (root / "cmdline").read_bytes()
            environment = (root / "environ").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
        assert body.encode() not in command
        assert body.encode() not in environment
        sessions |= set(re.findall(r"/[\w/.-]+/session_\d[\w-]+", command.decode()))
    [session] = sessions
    logs = [file for file in Path(session).glob("logs/**/*") if file.is_file()]
    assert len(logs) > 5
    assert all(body.encode() not in file.read_bytes() for file in logs)
