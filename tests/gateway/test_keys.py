"""API keys: from the environment, and from a file that may change."""

import os
from pathlib import Path

import pytest

from serve_app.config.api import AccessConfig
from serve_app.errors import ConfigError
from serve_app.gateway import keys
from serve_app.gateway.keys import KeyRing
from tests.fakes import Clock

WEB = "web-key-0123456789"
BATCH = "batch-key-0123456789"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSICGEN_API_KEYS", f"web:{WEB}, batch:{BATCH}")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(keys, "monotonic", clock)
    return clock


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    file = tmp_path / "keys"
    file.write_text(f"# people\n\nann: {'a' * 20}\n")
    return file


def fail() -> None:
    pytest.fail("the keys file is sound")


def change(file: Path, text: str) -> None:
    file.write_text(text)
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 10**9))


def test_required_keys_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUSICGEN_API_KEYS")
    with pytest.raises(ConfigError, match="API keys are required, and there are none"):
        KeyRing(AccessConfig(require_keys=True), fail)


def test_a_file_is_read_again_when_it_changes(keys_file: Path, clock: Clock) -> None:
    ring = KeyRing(AccessConfig(keys_file=str(keys_file)), fail)
    assert [ring.name_of(key) for key in ("a" * 20, "b" * 20, WEB)] == ["ann", None, "web"]
    change(keys_file, f"bob: {'b' * 20}")
    clock.now += 1
    assert [ring.name_of(key) for key in ("a" * 20, "b" * 20, WEB)] == [None, "bob", "web"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ann: short", "Entry 1 of MUSICGEN_API_KEYS is not `name:key`"),
        ("0123456789abcdefgh", "Entry 1 of"),
        (f"a b:{WEB}", "Entry 1 of"),
        (
            f"web:{WEB},web:{BATCH}",
            "Entry 2 of MUSICGEN_API_KEYS repeats the name 'web': give each key its own name",
        ),
    ],
)
def test_bad_keys_are_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.setenv("MUSICGEN_API_KEYS", text)
    with pytest.raises(ConfigError, match=message) as error:
        KeyRing(AccessConfig(), fail)
    assert WEB not in str(error.value)
    assert "short" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="The API keys in gone cannot be read"):
        KeyRing(AccessConfig(keys_file=str(tmp_path / "gone")), fail)
