"""The file of API keys: it is read again when it changes, and no state of it opens the service."""

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from serve_app.api.app import create_api
from serve_app.config.api import AccessConfig, ApiConfig
from serve_app.errors import ConfigError
from serve_app.gateway import keys
from serve_app.gateway.keys import KeyRing
from serve_app.gateway.observer import LogObserver
from tests.fakes import SMALL, FakeGenerator

ANN = "a" * 20
BOB = "b" * 20
MODELS = "/v1/models"
CALLS = 200
REWRITES = 20


class CountingMeter(LogObserver):
    def __init__(self) -> None:
        self.rejected_keys = 0

    def keys_rejected(self) -> None:
        self.rejected_keys += 1


@pytest.fixture(autouse=True)
def _checked_at_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "_CHECK_EVERY_S", 0.0)
    monkeypatch.delenv("MUSICGEN_API_KEYS", raising=False)


@pytest.fixture
def generator() -> FakeGenerator:
    return FakeGenerator()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "keys"
    file.write_text(f"# people\n\nann: {ANN}\n")
    return file


@pytest.fixture
def observer() -> CountingMeter:
    return CountingMeter()


@pytest.fixture(params=[True, False], ids=["required", "not required"])
def client(
    generator: FakeGenerator, file: Path, observer: CountingMeter, request: pytest.FixtureRequest
) -> httpx.AsyncClient:
    access = AccessConfig(keys_file=str(file), require_keys=request.param)
    api = create_api(generator, generator, [SMALL], None, ApiConfig(access=access), observer)
    return httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://test")


async def status(client: httpx.AsyncClient, key: str | None = None) -> int:
    headers = {"authorization": f"Bearer {key}"} if key is not None else {}
    return (await client.get(MODELS, headers=headers)).status_code


def write(file: Path, text: str) -> None:
    file.write_text(text)


def empty(file: Path) -> None:
    write(file, "")


def comments_alone(file: Path) -> None:
    file.write_text("# nobody\n \n")


def delete(file: Path) -> None:
    file.unlink()


def malformed(file: Path) -> None:
    file.write_text("bob: secret")


def not_text(file: Path) -> None:
    file.write_bytes(b"bob: \xff\xfe" + b"b" * 20)


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def a_link_to_itself(file: Path) -> None:
    file.unlink()
    file.symlink_to(file)


BREAK = [empty, comments_alone, delete, malformed, not_text, a_folder, a_link_to_itself]


@pytest.mark.parametrize("break_file", BREAK)
async def test_a_broken_file_keeps_the_last_keys(
    client: httpx.AsyncClient,
    file: Path,
    observer: CountingMeter,
    break_file: Callable[[Path], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert [await status(client), await status(client, ANN), await status(client, BOB)] == [
        401,
        200,
        401,
    ]
    break_file(file)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert [await status(client), await status(client, ANN), await status(client, BOB)] == [
                401,
                200,
                401,
            ]
    assert observer.rejected_keys == 1, "once for a change, not once for a check"
    assert caplog.text.count("The last API keys stay in force") == 1
    assert "secret" not in caplog.text
    replace(file, f"bob: {BOB}")
    assert [await status(client), await status(client, ANN), await status(client, BOB)] == [
        401,
        401,
        200,
    ]


def replace(file: Path, text: str) -> None:
    """Put a whole file in the place of whatever is there."""
    if file.is_dir():
        file.rmdir()
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """Files that cannot be read: permissions do not stop a test that runs as root."""
    refused: set[Path] = set()
    read_text = Path.read_text

    def read(path: Path) -> str:
        if path in refused:
            raise PermissionError(path)
        return read_text(path)

    monkeypatch.setattr(Path, "read_text", read)
    return refused


async def test_an_unreadable_file_is_read_once_it_can_be(
    client: httpx.AsyncClient, file: Path, observer: CountingMeter, unreadable: set[Path]
) -> None:
    replace(file, f"bob: {BOB}")
    unreadable.add(file)
    assert [await status(client), await status(client, ANN), await status(client, BOB)] == [
        401,
        200,
        401,
    ]
    assert observer.rejected_keys == 1
    unreadable.clear()
    assert [await status(client), await status(client, ANN), await status(client, BOB)] == [
        401,
        401,
        200,
    ]


async def test_each_change_to_a_broken_file_is_reported(
    client: httpx.AsyncClient, file: Path, observer: CountingMeter
) -> None:
    for change in (empty, malformed, delete):
        change(file)
        assert [await status(client), await status(client, ANN)] == [401, 200]
    assert observer.rejected_keys == 3


async def test_no_step_of_a_rewriting_in_place_lets_anyone_in(
    client: httpx.AsyncClient, file: Path
) -> None:
    text = f"bob: {BOB}\nann: {ANN}\n"
    for length in range(len(text) + 1):
        write(file, text[:length])
        assert await status(client) == 401, text[:length]
        assert await status(client, "") == 401, text[:length]
    assert [await status(client, ANN), await status(client, BOB)] == [200, 200]


async def test_anonymous_calls_while_the_file_is_rewritten(
    client: httpx.AsyncClient, file: Path
) -> None:
    """160 of 1,103 such calls were let in when an empty file still meant an open service."""
    done = threading.Event()
    rewritten: list[int] = []
    writer = threading.Thread(target=rewrite_in_place, args=(file, done, rewritten))
    writer.start()
    statuses: list[int] = []
    while len(statuses) < CALLS or len(rewritten) < REWRITES:
        assert writer.is_alive()
        statuses.append(await status(client))
    done.set()
    writer.join()
    assert set(statuses) == {401}
    assert await status(client, ANN) == 200


def rewrite_in_place(file: Path, done: threading.Event, rewritten: list[int]) -> None:
    while not done.is_set():
        with file.open("w") as keys_file:
            keys_file.flush()
            os.fsync(keys_file.fileno())
            keys_file.write(f"# {len(rewritten)}\nann: {ANN}\n")
        rewritten.append(len(rewritten))


def test_a_key_of_the_environment_is_kept_beside_the_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSICGEN_API_KEYS", f"web:{'w' * 20}")
    ring = KeyRing(AccessConfig(keys_file=str(file)), on_file_error=LogObserver().keys_rejected)
    assert [ring.name_of(key) for key in (ANN, BOB, "w" * 20)] == ["ann", None, "web"]
    replace(file, f"bob: {BOB}")
    assert [ring.name_of(key) for key in (ANN, BOB, "w" * 20)] == [None, "bob", "web"]


def test_the_file_is_looked_at_once_a_second(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(keys, "_CHECK_EVERY_S", 1.0)
    monkeypatch.setattr(keys, "monotonic", lambda: now)
    ring = KeyRing(AccessConfig(keys_file=str(file)), on_file_error=LogObserver().keys_rejected)
    replace(file, f"bob: {BOB}")
    now += 0.9
    assert ring.name_of(BOB) is None
    now += 0.1
    assert ring.name_of(BOB) == "bob"


@pytest.mark.parametrize(
    ("break_file", "message"),
    [
        (
            empty,
            "There are no API keys in keys. Put a `name:key` a line into it, or take api.access.keys_file out",
        ),
        (comments_alone, "There are no API keys in keys"),
        (delete, "The API keys in keys cannot be read .FileNotFoundError.*must name a text file"),
        (malformed, "Entry 1 of keys is not `name:key`"),
        (not_text, "cannot be read .UnicodeDecodeError"),
    ],
)
@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("environment", ["", f"web:{'w' * 20}"])
def test_a_named_file_without_keys_stops_the_start(
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    break_file: Callable[[Path], None],
    message: str,
    required: bool,
    environment: str,
) -> None:
    """A configuration that names a file wants keys, whatever else it says."""
    monkeypatch.setenv("MUSICGEN_API_KEYS", environment)
    break_file(file)
    with pytest.raises(ConfigError, match=message):
        KeyRing(
            AccessConfig(keys_file=str(file), require_keys=required),
            on_file_error=LogObserver().keys_rejected,
        )
