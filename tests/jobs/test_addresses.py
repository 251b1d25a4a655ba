"""Requests to callers' addresses: public ones alone, resolved once."""

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from serve_app.jobs.addresses import Addresses, Answer, NotAnswered
from serve_app.jobs.errors import AddressRefused
from tests.jobs.patience import PATIENCE_S
from tests.raw_server import answer, raw_server, refusing_port

NO_NAMES = ["a..b", ".example.com", f"{70 * 'a'}.com", 300 * "1", "..", "example.com.."]


class _Resolver:
    """A name server in place of getaddrinfo, with an answer for each call."""

    def __init__(self, *answers: str) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, **_: Any) -> list[Any]:
        self.asked.append(host)
        address = self._answers.pop(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]


def _resolve(monkeypatch: pytest.MonkeyPatch, *answers: str) -> _Resolver:
    resolver = _Resolver(*answers)
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    return resolver


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/", "https:///path", "example.com/hook", "https://user:secret@example.com/",
        "https://example.com:99999/", "https://exämple.com/", "https://example.com/a b",
        "https://example.com/\n", "https://[::1", "https://example.com/" + 2048 * "a",
        "https://exa<mple.com/", "https://a..b/", "https://.a/", "https://a%2fb/", "https://a\\b/",
        "https://" + 64 * "a" + ".com/", "https://" + 130 * "a." + "com/",
        *(f"http://{host}/" for host in NO_NAMES),
    ],
)  # fmt: skip
@pytest.mark.parametrize("allow_private", [True, False])
async def test_what_is_no_address_is_refused(url: str, allow_private: bool) -> None:
    addresses = Addresses(allow_private, timeout_s=PATIENCE_S)
    with pytest.raises(AddressRefused):
        await addresses.check(url)
    with pytest.raises(AddressRefused):
        await addresses.send("GET", url, {}, b"")


@pytest.mark.parametrize(
    "url",
    ["http://my_service:8080/", "http://a-1.b.example./x", "http://[::1]:9/", "http://10.0.0.1"],
)
async def test_names_inside_clusters_are_addresses(url: str) -> None:
    await Addresses(allow_private=True, timeout_s=PATIENCE_S).check(url)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/", "http://[::1]:80/", "http://localhost/", "http://2130706433/"]
)
async def test_private_addresses_are_refused_before_they_are_stored(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setattr("serve_app.jobs.addresses._RESOLVE_S", PATIENCE_S)
    with pytest.raises(AddressRefused, match="not on the public internet"):
        await Addresses(allow_private=False, timeout_s=PATIENCE_S).check(url)


async def test_a_name_that_cannot_be_resolved_is_accepted_for_later() -> None:
    await Addresses(allow_private=False, timeout_s=PATIENCE_S).check(
        "https://no-such-name.invalid/"
    )


@pytest.mark.parametrize("allow_private", [True, False])
async def test_a_name_server_that_hangs_keeps_back_nothing_else(
    monkeypatch: pytest.MonkeyPatch, allow_private: bool
) -> None:
    """Files are read and audio is decoded on the loop's threads, of which there are few."""
    monkeypatch.setattr("serve_app.jobs.addresses._RESOLVE_S", 0.05)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    answers = threading.Event()

    def hang(*_: Any, **__: Any) -> list[Any]:
        answers.wait(2 * PATIENCE_S)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    addresses = Addresses(allow_private, timeout_s=0.05)
    try:
        async with asyncio.timeout(PATIENCE_S):
            await addresses.check("https://hooks.example.com/")
            with pytest.raises(NotAnswered, match="no answer came"):
                await addresses.send("POST", "https://hooks.example.com/", {}, b"{}")
            assert await asyncio.to_thread(lambda: "read") == "read"
    finally:
        answers.set()


async def test_a_private_address_is_refused_at_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The name was public when the job was accepted; no byte reaches the private server."""
    addresses = Addresses(allow_private=False, timeout_s=PATIENCE_S)
    _resolve(monkeypatch, "93.184.216.34", "127.0.0.1")
    with raw_server(answer("200 OK")) as server:
        await addresses.check(f"http://hooks.example.com:{server.port}/")
        with pytest.raises(AddressRefused):
            await addresses.send("POST", f"http://hooks.example.com:{server.port}/", {}, b"{}")
        assert server.requests == []


async def test_a_name_is_resolved_once_and_its_checked_address_is_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("serve_app.jobs.addresses.is_public", lambda _: True)
    with raw_server(answer("204 No Content")) as server:
        resolver = _resolve(monkeypatch, "127.0.0.1", "127.0.0.2")
        addresses = Addresses(allow_private=False, timeout_s=PATIENCE_S)
        host = f"hooks.example.com:{server.port}"
        got = await addresses.send("POST", f"http://{host}/a", {}, b"{}")
    assert got.succeeded
    assert resolver.asked == ["hooks.example.com"]
    assert f"host: {host}".encode() in server.requests[0].lower()


async def test_a_request_carries_its_headers_and_content() -> None:
    with raw_server(answer("201 Created", b"ok", "Retry-After: 7")) as server:
        addresses = Addresses(allow_private=True, timeout_s=PATIENCE_S)
        got = await addresses.send("PUT", f"{server.url}/x?token=1", {"x-a": "b"}, b"music")
    assert got.status == 201
    assert got.content == b"ok"
    assert got.retry_after_s == 7.0
    assert server.requests[0].startswith(b"PUT /x?token=1 HTTP/1.1\r\n")
    assert b"x-a: b" in server.requests[0]
    assert server.requests[0].endswith(b"\r\n\r\nmusic")


async def test_a_redirect_is_an_answer_and_not_followed() -> None:
    with raw_server(answer("302 Found", b"", "Location: http://127.0.0.1:1/")) as server:
        got = await Addresses(True, PATIENCE_S).send("POST", server.url, {}, b"")
    assert (got.status, got.succeeded) == (302, False)
    assert len(server.requests) == 1


async def test_a_long_answer_is_read_in_part() -> None:
    with raw_server(answer("200 OK", 100_000 * b"x")) as server:
        got = await Addresses(True, PATIENCE_S).send("POST", server.url, {}, b"")
    assert len(got.content) == 65_536


async def test_a_closed_connection_and_a_closed_port_are_no_answer() -> None:
    with raw_server(None) as server, pytest.raises(NotAnswered, match="the connection failed"):
        await Addresses(True, PATIENCE_S).send("POST", server.url, {}, b"")
    with refusing_port() as port, pytest.raises(NotAnswered):
        await Addresses(True, PATIENCE_S).send("POST", f"http://127.0.0.1:{port}/", {}, b"")


async def test_a_slow_receiver_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with pytest.raises(NotAnswered, match=r"within 0.05 s"):
            await Addresses(True, 0.05).send("POST", url, {}, b"")


@pytest.mark.parametrize("value", ["", "soon", "-1", "Wed, 99 Oct 2030 07:28:00 GMT"])
def test_an_unreadable_retry_after_is_none(value: str) -> None:
    assert Answer(503, {"retry-after": value}, b"").retry_after_s is None


def test_a_date_in_retry_after_is_seconds() -> None:
    past = Answer(503, {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, b"")
    future = Answer(503, {"retry-after": "Wed, 21 Oct 2065 07:28:00 GMT"}, b"")
    assert past.retry_after_s == 0.0
    assert future.retry_after_s is not None
    assert future.retry_after_s > 1e6
