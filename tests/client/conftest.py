"""The real API in a real HTTP server, without a model."""

from collections.abc import Iterator

import pytest

from tests.fakes import FakeGenerator
from tests.served_api import served_api

KEY = "client-key-0123456789"


@pytest.fixture
def backend() -> FakeGenerator:
    return FakeGenerator()


@pytest.fixture
def url(backend: FakeGenerator, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("MUSICGEN_API_KEYS", f"client:{KEY}")
    monkeypatch.setenv("MUSICGEN_API_KEY", KEY)
    with served_api(backend) as url:
        yield url
