"""Errors of the service and of the network are one line and status 1."""

import socket

import httpx
import pytest

from serve_app.client import calls
from serve_app.errors import QueueFull
from tests.cli.conftest import Run
from tests.fakes import FakeGenerator
from tests.raw_server import answer, raw_server


def test_an_unreachable_service_is_named(run: Run) -> None:
    result = run("models", "--url", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert "The service cannot be reached at http://127.0.0.1:1" in result.stderr
    assert "`musicgen serve`" in result.stderr


@pytest.mark.parametrize(
    "url",
    ["nowhere", "127.0.0.1:8000", "ftp://127.0.0.1", "http://a:b", "http://", "http://\ud800", ""],
)
def test_a_url_that_is_none_of_http_is_named_with_the_cure(run: Run, url: str) -> None:
    result = run("models", "--url", url)
    assert result.exit_code == 1
    assert f"The URL {url!r} is not one of HTTP: begin it with http:// or https://" in result.stderr
    assert "Correct --url, or the variable MUSICGEN_URL." in result.stderr


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
    message = " ".join(result.stderr.split())
    assert "--key KEY, or the variable MUSICGEN_API_KEY. (unauthorized)" in message


def test_a_key_that_no_header_can_hold_is_named(run: Run) -> None:
    result = run("models", "--key", "schl\u00fcssel")
    assert result.exit_code == 1
    assert "The API key has a space or a character outside ASCII" in " ".join(result.stderr.split())


def test_another_server_is_named(run: Run) -> None:
    page = answer("200 OK", b"<html>", "content-type: text/html")
    with raw_server(page) as server:
        result = run("generate", "a", "--url", server.url)
    assert result.exit_code == 1
    assert "is the URL that of a musicgen-serve? (bad_answer)" in " ".join(result.stderr.split())


def test_a_service_without_an_answer_in_time_is_named(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "_TIMEOUT", httpx.Timeout(0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        result = run("models", "--url", url)
    assert result.exit_code == 1
    assert f"The request to {url} failed: timed out" in " ".join(result.stderr.split())
