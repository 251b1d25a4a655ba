"""Errors of the service and of the network are one line and status 1."""

import pytest

from serve_app.errors import QueueFull
from tests.cli.conftest import Run
from tests.fakes import FakeGenerator


def test_an_unreachable_service_is_named(run: Run) -> None:
    result = run("models", "--url", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert "The service cannot be reached at http://127.0.0.1:1" in result.stderr
    assert "`musicgen serve`" in result.stderr


@pytest.mark.parametrize("url", ["nowhere", "ftp://127.0.0.1", "http://a:b"])
def test_a_bad_url_is_named(run: Run, url: str) -> None:
    result = run("models", "--url", url)
    assert result.exit_code == 1
    assert f"The request to {url} failed: " in result.stderr


@pytest.mark.usefixtures("url")
def test_a_busy_service_says_when_to_try_again(run: Run, generator: FakeGenerator) -> None:
    generator.error = QueueFull("Too many wait.", retry_after_s=12)
    result = run("generate", "a")
    assert result.exit_code == 1
    assert "error Too many wait. Try again in 12 s. (queue_full)" in result.stderr


@pytest.mark.usefixtures("url")
def test_a_wrong_key_is_refused(run: Run) -> None:
    result = run("models", "--key", "wrong")
    assert result.exit_code == 1
    assert "(unauthorized)" in result.stderr
