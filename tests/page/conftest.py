"""A tab, and the API over a generator without a model. All tests of the page are long ones."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Page

from tests.browser import open_tab, require_chromium
from tests.fakes import FakeGenerator
from tests.served_api import served_api

FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(FOLDER):
            item.add_marker(pytest.mark.long)


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    """An empty tab. An uncaught error of the page fails the test."""
    require_chromium()
    async with open_tab() as page:
        yield page


@pytest.fixture
def backend() -> FakeGenerator:
    return FakeGenerator()


@pytest.fixture
def url(backend: FakeGenerator, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of the page of a service without keys."""
    monkeypatch.delenv("MUSICGEN_API_KEYS", raising=False)
    with served_api(backend) as url:
        yield url
