"""A tab of a browser that all tests share, and the API over a generator without a model.

All tests of the page are long ones.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page

from serve_app.config.jobs import JobsConfig
from tests.browser import launched_browser, open_tab, require_chromium
from tests.fakes import FakeGenerator
from tests.page.actions import keep_notices
from tests.page.slow_generator import SlowGenerator
from tests.served_api import served_api

FOLDER = Path(__file__).parent
KEY = "page-key-0123456789"
FAILED_REQUEST = "Failed to load resource"  # Chromium's report of an error status, or of no answer


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests in the event loop of the browser."""
    for item in items:
        if item.path.is_relative_to(FOLDER):
            item.add_marker(pytest.mark.long)
            if pytest_asyncio.is_async_test(item):
                item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    require_chromium()
    async with launched_browser() as browser:
        yield browser


@pytest.fixture
def complaints() -> list[str]:
    """Errors of the console, among them violations of the policy. A test that provokes some clears them."""
    return []


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser, complaints: list[str]) -> AsyncIterator[Page]:
    """An empty tab without a service worker, which would load every file of the page a second time."""
    async with open_tab(browser, service_workers="block") as page, watched(page, complaints):
        await keep_notices(page)
        yield page


def is_error(message: ConsoleMessage) -> bool:
    """Whether a message is an error of the page itself, and not the browser's word of a failed request."""
    return message.type == "error" and not message.text.startswith(FAILED_REQUEST)


@asynccontextmanager
async def watched(
    page: Page, complaints: list[str], counts: Callable[[ConsoleMessage], bool] = is_error
) -> AsyncIterator[None]:
    """Fail at the end for a message of the console that counts."""

    def collect(message: ConsoleMessage) -> None:
        if counts(message):
            complaints.append(message.text)

    page.on("console", collect)
    yield
    assert complaints == []


@pytest.fixture
def backend() -> FakeGenerator:
    return FakeGenerator()


@pytest.fixture
def url(backend: FakeGenerator, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of the page of a service without keys."""
    monkeypatch.delenv("MUSICGEN_API_KEYS", raising=False)
    with served_api(backend) as url:
        yield url


@pytest.fixture
def slow() -> SlowGenerator:
    return SlowGenerator()


@pytest.fixture
def slow_url(slow: SlowGenerator, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of the page of a service whose music goes on as far as a test lets it."""
    monkeypatch.delenv("MUSICGEN_API_KEYS", raising=False)
    with served_api(slow) as url:
        yield url


@pytest.fixture
def guarded_url(backend: FakeGenerator, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of the page of a service behind a key."""
    monkeypatch.setenv("MUSICGEN_API_KEYS", f"page:{KEY}")
    with served_api(backend) as url:
        yield url


@pytest.fixture
def kept_url(
    backend: FakeGenerator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[str]:
    """Address of the page of a service with jobs and without keys."""
    monkeypatch.delenv("MUSICGEN_API_KEYS", raising=False)
    backend.longest_s = 120.0
    config = JobsConfig(store=f"sqlite:///{tmp_path / 'jobs.db'}")
    with served_api(backend, jobs=config) as url:
        yield url
