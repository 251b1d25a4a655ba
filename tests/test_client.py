"""The Python client and the command, over the real API in a real HTTP server, without a model."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import uvicorn
from typer.testing import CliRunner

from serve_app.api.app import create_api
from serve_app.cli.app import app
from serve_app.client import ApiError, AsyncMusicGenClient, Audio, MusicGenClient, Progress, Track
from serve_app.config import ApiConfig
from serve_app.errors import QueueFull, ReplicaFailed
from serve_app.machine import free_port
from tests.architectures import put_in_cache
from tests.fakes import LARGE, SMALL, FakeGenerator

KEY = "client-key-0123456789"
run = CliRunner()


@pytest.fixture
def backend() -> FakeGenerator:
    return FakeGenerator()


@pytest.fixture
def url(backend: FakeGenerator, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("MUSICGEN_API_KEYS", f"client:{KEY}")
    monkeypatch.setenv("MUSICGEN_API_KEY", KEY)
    port = free_port()
    api = create_api(backend, backend, [SMALL, LARGE], "small", ApiConfig())
    server = uvicorn.Server(uvicorn.Config(api, port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


def test_a_track(url: str, tmp_path: Path) -> None:
    with MusicGenClient(url) as client:
        track = client.generate("lofi beat", duration_s=1, seed=7, response_format="flac")
    assert (track.model, track.seed, track.license, track.duration_s) == (
        "small",
        7,
        "CC-BY-NC-4.0",
        1.0,
    )
    assert (track.queue_s, track.generation_s, round(track.real_time_factor, 2)) == (
        0.25,
        2.004,
        0.5,
    )
    track.save(tmp_path / "track.flac")
    assert soundfile.info(tmp_path / "track.flac").duration == 1.0


def test_a_stream(url: str) -> None:
    with MusicGenClient(url) as client:
        events = list(client.stream("lofi beat", duration_s=1, seed=7, response_format="pcm"))
        whole = client.generate("lofi beat", duration_s=1, seed=7, response_format="pcm")
    assert [type(event) for event in events] == [Progress, Progress, Audio, Audio, Track]
    assert events[0] == Progress(0.0, 1, 0.0, None)
    assert isinstance(events[-1], Track)
    assert events[-1] == whole
    assert b"".join(event.content for event in events if isinstance(event, Audio)) == whole.content


async def test_the_async_client_does_the_same(url: str) -> None:
    async with AsyncMusicGenClient(url) as client:
        track = await client.generate("lofi beat", duration_s=1, seed=7)
        events = [event async for event in client.stream("lofi beat", duration_s=1, seed=7)]
        served = await client.models()
        with pytest.raises(ApiError, match="is not served here"):
            await client.generate("a", model="huge")
        with pytest.raises(ApiError, match="is not served here"):
            await anext(client.stream("a", model="huge"))
    assert isinstance(events[-1], Track)
    assert np.array_equal(
        np.frombuffer(events[-1].content[44:], np.int16),
        np.frombuffer(track.content[44:], np.int16),
    )
    assert [one["id"] for one in served] == ["small", "large"]


def test_errors_say_what_the_service_said(url: str, backend: FakeGenerator) -> None:
    backend.error = QueueFull("Too many wait.", retry_after_s=12)
    with MusicGenClient(url) as client, pytest.raises(ApiError) as error:
        client.generate("a", duration_s=1)
    assert (error.value.status, error.value.code, error.value.retry_after_s) == (
        429,
        "queue_full",
        12,
    )
    backend.error, backend.late_error = None, ReplicaFailed("The replica died.")
    with MusicGenClient(url) as client, pytest.raises(ApiError, match="The replica died"):
        list(client.stream("a", duration_s=1))
    with MusicGenClient(url, key="wrong") as client, pytest.raises(ApiError) as error:
        client.models()
    assert (error.value.status, error.value.code) == (401, "unauthorized")


@pytest.mark.parametrize("name", ["track.wav", "track.mp3", "track.ogg"])
def test_the_command_writes_a_file(url: str, tmp_path: Path, name: str) -> None:
    result = run.invoke(
        app,
        [
            "generate",
            "lofi beat",
            "-o",
            str(tmp_path / name),
            "--duration",
            "1",
            "--seed",
            "99",
            "--url",
            url,
        ],
    )
    assert result.exit_code == 0, result.output
    assert (tmp_path / name).stat().st_size > 1000
    assert f"{name}: 1 s by small, seed 99, in 2.0 s" in result.output


def test_the_command_for_programs(url: str, tmp_path: Path) -> None:
    file = tmp_path / "track.wav"
    command = [
        "generate",
        "a",
        "-o",
        str(file),
        "--duration",
        "1",
        "--seed",
        "5",
        "--url",
        url,
        "--json",
    ]
    told = json.loads(run.invoke(app, command).stdout)
    assert (told["file"], told["bytes"], told["seed"]) == (str(file), file.stat().st_size, 5)
    served = json.loads(run.invoke(app, ["models", "--url", url, "--json"]).stdout)
    assert [one["id"] for one in served] == ["small", "large"]


def test_the_command_goes_on_from_a_file(url: str, backend: FakeGenerator, tmp_path: Path) -> None:
    beginning, whole = tmp_path / "beginning.wav", tmp_path / "whole.wav"
    assert (
        run.invoke(
            app, ["generate", "a", "-o", str(beginning), "--duration", "0.5", "--url", url]
        ).exit_code
        == 0
    )
    command = [
        "generate",
        "-o",
        str(whole),
        "--duration",
        "1",
        "--begin",
        str(beginning),
        "--url",
        url,
    ]
    result = run.invoke(app, command)
    assert result.exit_code == 0, result.output
    audio_prompt = backend.requests[-1].audio_prompt
    assert audio_prompt is not None
    assert audio_prompt.duration_s == 0.5


def test_the_command_lists_models(url: str) -> None:
    result = run.invoke(app, ["models", "--url", url])
    assert result.exit_code == 0
    assert "facebook/musicgen-small" in result.output


def test_the_command_fetches_models(hub_cache: Path) -> None:
    """This process is kept offline: what is in the cache is found, what is not cannot be had."""

    def write(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"weights")

    put_in_cache(hub_cache, "facebook/musicgen-tiny", write)
    result = run.invoke(app, ["fetch", "tiny", "embedded:musicgen-nano"])
    assert result.exit_code == 0
    assert "tiny: " in result.output
    assert "musicgen-nano (0.0" in result.output
    result = run.invoke(app, ["fetch", "huge"])
    assert result.exit_code == 1
    assert "Hub repository 'facebook/musicgen-huge' could not be fetched" in " ".join(
        result.output.split()
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-o", "track.txt"], 2, "the name must end in one of .wav, .flac"),
        (
            ["--model", "huge"],
            1,
            "Model 'huge' is not served here. Served models: small, tiny, large. (model_not_found)",
        ),
        (["--duration", "0"], 1, "duration_s: Input should be greater than 0 (invalid_request)"),
        (["-o", "/nowhere/track.wav"], 2, "/nowhere is not a folder"),
        (["--begin", "/nowhere/a.wav"], 2, "/nowhere/a.wav cannot be read: No such file"),
        (["-o", "/proc/track.wav", "--duration", "1"], 1, "/proc/track.wav cannot be written: "),
        (["--url", "http://127.0.0.1:1"], 1, "The service cannot be reached. Is it running"),
    ],
)
def test_the_commands_errors_are_one_line(
    url: str, arguments: list[str], code: int, message: str
) -> None:
    result = run.invoke(app, ["generate", "a", "--url", url, *arguments])
    assert result.exit_code == code
    assert f"error {message}" in result.stderr or message in result.stderr
    assert "Traceback" not in result.output


def test_the_doctor_says_what_to_do() -> None:
    result = run.invoke(app, ["doctor", "--port", str(free_port()), "--json"])
    findings = {finding["subject"]: finding for finding in json.loads(result.stdout)}
    assert set(findings) == {
        "Python",
        "packages",
        "memory",
        "disk",
        "GPU",
        "port",
        "audio",
        "models",
    }
    assert all(finding["good"] or finding["advice"] for finding in findings.values())
    assert findings["audio"]["good"]
    assert findings["packages"]["good"]
    assert result.exit_code == (0 if all(finding["good"] for finding in findings.values()) else 1)


def test_the_doctor_finds_a_taken_port(url: str) -> None:
    result = run.invoke(app, ["doctor", "--port", url.rpartition(":")[2]])
    assert result.exit_code == 1
    assert "is taken" in result.output
    assert "serve with --port" in result.output


def test_serve_refuses_what_is_no_configuration(tmp_path: Path) -> None:
    result = run.invoke(app, ["serve", str(tmp_path / "none.yaml")])
    assert result.exit_code == 1
    assert "is not a readable YAML file" in result.stderr
