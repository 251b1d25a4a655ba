"""The command over the real API in a real HTTP server, without a model."""

from collections.abc import Callable, Iterator

import pytest
from typer.testing import CliRunner, Result

from serve_app.cli.app import app
from tests.fakes import FakeGenerator
from tests.served_api import served_api

KEY = "command-key-0123456789"
Run = Callable[..., Result]


@pytest.fixture
def generator() -> FakeGenerator:
    return FakeGenerator()


@pytest.fixture
def url(generator: FakeGenerator, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("MUSICGEN_API_KEYS", f"command:{KEY}")
    monkeypatch.setenv("MUSICGEN_API_KEY", KEY)
    with served_api(generator) as url:
        monkeypatch.setenv("MUSICGEN_URL", url)
        yield url


@pytest.fixture
def run() -> Run:
    """Run `musicgen` with these arguments."""
    runner = CliRunner()
    return lambda *arguments: runner.invoke(app, [str(argument) for argument in arguments])
