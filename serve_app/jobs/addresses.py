"""Requests to addresses that callers name: webhooks and uploads, guarded against SSRF.

A host's name is resolved once; the connection goes to an address of that answer, so that a second
answer of the name server cannot lead elsewhere. Redirects are not followed, and proxies of the
environment are not used. Names are resolved on threads of their own: a name server that hangs would
else keep back the files and the audio of all callers.
"""

import asyncio
import contextlib
import email.utils
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from time import time
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httpcore

from serve_app.jobs.errors import AddressRefused
from serve_app.jobs.public_addresses import is_public

MAX_URL_CHARS = 2048
_MAX_ANSWER_BYTES = 65_536
_RESOLVING = 16  # names at a time; webhooks of one key are sent to fewer hosts
_RESOLVE_S = 5.0  # for which an address that is to be stored waits for its name
# A name of labels (RFC 1035, section 2.3.4), also with the `_` of names inside clusters.
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?", re.ASCII)
_SocketOptions = Iterable[Any] | None


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer of a receiver. headers: names in lower case; content: its first bytes."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def succeeded(self) -> bool:
        return 200 <= self.status < 300

    @property
    def retry_after_s(self) -> float | None:
        """Seconds that `Retry-After` asks for, at least 0; None without a readable one."""
        value = self.headers.get("retry-after", "").strip()
        if value.isascii() and value.isdigit():
            return float(value)
        try:
            return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time())
        except (ValueError, TypeError, OverflowError):
            return None


class NotAnswered(Exception):
    """No answer came: the address was refused or unreachable, or took too long."""


class Addresses:
    """Sends requests to callers' addresses.

    allow_private: whether to connect to private, loopback and link-local addresses, too;
    timeout_s: of a whole exchange.
    """

    def __init__(self, allow_private: bool, timeout_s: float) -> None:
        self._allow_private = allow_private
        self._timeout_s = timeout_s
        self._tls = ssl.create_default_context()
        self._threads = ThreadPoolExecutor(_RESOLVING, "names")

    async def check(self, url: str) -> None:
        """Refuse an address before it is stored. A name that cannot be resolved soon is accepted.

        Raises AddressRefused.
        """
        parts = split(url)
        if self._allow_private:
            return
        with contextlib.suppress(OSError):
            async with asyncio.timeout(_RESOLVE_S):
                await public_addresses(parts.hostname or "", _port(parts), self._threads)

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: bytes,
        most_bytes: int = _MAX_ANSWER_BYTES,
    ) -> Answer:
        """Send a request; keep `most_bytes` of the answer. Raises AddressRefused, and NotAnswered."""
        split(url)
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                httpcore.AsyncConnectionPool(self._tls, network_backend=self._network()) as pool,
                pool.stream(method, url, headers=_pairs(headers), content=content) as response,
            ):
                received = await _first_bytes(response, most_bytes)
                return Answer(response.status, _names(response.headers), received)
        except TimeoutError as error:
            raise NotAnswered(f"no answer came within {self._timeout_s:g} s") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
            raise NotAnswered(f"the connection failed ({type(error).__name__})") from error

    def _network(self) -> httpcore.AsyncNetworkBackend:
        resolve = resolved_addresses if self._allow_private else public_addresses
        return _ResolvedNetwork(partial(resolve, threads=self._threads))


class _ResolvedNetwork(httpcore.AsyncNetworkBackend):
    """Connections to the addresses that `resolve` finds. TLS still verifies the host's name."""

    def __init__(self, resolve: Callable[[str, int], Awaitable[list[str]]]) -> None:
        self._network = httpcore.AnyIOBackend()
        self._resolve = resolve

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 (of the interface)
        local_address: str | None = None,
        socket_options: _SocketOptions = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of `host` that answers. Raises AddressRefused."""
        try:
            addresses = await self._resolve(host, port)
        except OSError as error:
            raise httpcore.ConnectError("the name cannot be resolved") from error
        *others, last = addresses
        for address in others:
            try:
                return await self._network.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except httpcore.ConnectError:
                continue
        return await self._network.connect_tcp(last, port, timeout, local_address, socket_options)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def split(url: str) -> SplitResult:
    """Split an address of http or https. Raises AddressRefused for any other, and for credentials."""
    if len(url) > MAX_URL_CHARS:
        raise AddressRefused(f"An address must have at most {MAX_URL_CHARS} characters")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise AddressRefused("An address must be printable ASCII: percent-encode other characters")
    try:
        parts = urlsplit(url)
        _port(parts)
    except ValueError as error:
        raise AddressRefused(f"The address is not valid: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise AddressRefused("An address must begin with https:// or http:// and name a host")
    if "[" not in parts.netloc and not _HOST.fullmatch(parts.hostname):
        raise AddressRefused(f"'{parts.hostname[:100]}' is not the name of a host")
    if parts.username is not None or parts.password is not None:
        raise AddressRefused("An address must not hold a user's name or a password")
    return parts


async def public_addresses(host: str, port: int, threads: Executor) -> list[str]:
    """Resolve a name, once. Raises AddressRefused if one of its addresses is not public, and OSError."""
    addresses = await resolved_addresses(host, port, threads)
    if not addresses or not all(is_public(address) for address in addresses):
        raise AddressRefused(
            f"'{host}' is not on the public internet. The operator of the service can allow it with "
            "jobs.webhooks.allow_private_addresses."
        )
    return addresses


async def resolved_addresses(host: str, port: int, threads: Executor) -> list[str]:
    """Resolve a name, once, on one of the threads. Raises OSError."""
    resolve = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(threads, resolve)
    return [*dict.fromkeys(str(entry[4][0]) for entry in found)]


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _pairs(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


def _names(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}


async def _first_bytes(response: httpcore.Response, most_bytes: int) -> bytes:
    content = bytearray()
    async for block in response.aiter_stream():
        content += block
        if len(content) >= most_bytes:
            break
    return bytes(content[:most_bytes])
