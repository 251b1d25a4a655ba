"""The coordinator of several clusters: a ledger in Redis."""

import contextlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serve_app.errors import ConfigError
from serve_app.gateway.permits.coordinator import Unreachable
from serve_app.gateway.permits.messages import (
    ADVANCE,
    LEASE_S,
    RECOVERY_S,
    REPLY_S,
    Answer,
    LineAnswer,
    Reply,
    Report,
)

if TYPE_CHECKING:
    from redis.asyncio.client import PubSub

_SCRIPT = Path(__file__).with_name("ledger.lua")


class RedisCoordinator:
    """Runs `ledger.lua` on the server, once for each report, and hears of wakes by its channel.

    One script is one transaction of Redis. A session expires by the server's clock. Connections are
    kept, and opened again after an error. name: of the ledger, the same in all clusters.
    """

    def __init__(self, url: str, name: str) -> None:
        try:
            from redis.asyncio import Redis
        except ImportError as error:
            raise ConfigError(
                "coordination.backend is redis, but the package redis is missing: "
                "install musicgen-serve[redis]"
            ) from error
        try:
            self._redis = Redis.from_url(
                url, socket_timeout=REPLY_S, socket_connect_timeout=REPLY_S
            )
            self._listener = Redis.from_url(
                url, socket_connect_timeout=REPLY_S, socket_keepalive=True
            )
        except ValueError as error:
            raise ConfigError(
                "The address of Redis for coordination is not a URL such as "
                "rediss://:PASSWORD@HOST:6379/0"
            ) from error
        self._prefix = f"{{musicgen:{name}}}"
        self._run = self._redis.register_script(_SCRIPT.read_text("utf-8"))
        self._wakes: PubSub | None = None

    async def exchange(self, report: Report) -> Reply:
        """Take in a session's report, and reply. Raises Unreachable."""
        text = json.dumps(asdict(report), separators=(",", ":"))
        with _as_unreachable():
            found = await self._run(keys=[self._prefix], args=[text, LEASE_S, RECOVERY_S, ADVANCE])
        return _reply(json.loads(found))

    async def woken(self, session: str) -> None:
        """Wait until the session should report. Raises Unreachable."""
        try:
            with _as_unreachable():
                wakes = await self._subscribed()
                while not _is_wake(await wakes.get_message(timeout=None), session):
                    pass
        except Unreachable:
            await self._unsubscribe()
            raise

    async def close(self) -> None:
        """Close the connections."""
        await self._unsubscribe()
        await self._redis.aclose()
        await self._listener.aclose()

    async def _subscribed(self) -> "PubSub":
        if self._wakes is None:
            wakes = self._listener.pubsub(ignore_subscribe_messages=True)
            await wakes.subscribe(f"{self._prefix}:wake")
            self._wakes = wakes
        return self._wakes

    async def _unsubscribe(self) -> None:
        wakes = self._wakes
        self._wakes = None
        if wakes is not None:
            with contextlib.suppress(Exception):  # the connection may be lost
                await wakes.aclose()  # type: ignore[no-untyped-call]


def _is_wake(message: dict[str, Any] | None, session: str) -> bool:
    return message is not None and message["data"] == session.encode()


@contextlib.contextmanager
def _as_unreachable() -> Any:
    """Raise Unreachable for errors of the connection and of the server."""
    from redis.exceptions import RedisError

    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise Unreachable(str(error)) from error


def _reply(found: dict[str, Any]) -> Reply:
    """Build the reply from the script's arrays; an empty one arrives as an object."""
    return Reply(
        is_known=found["is_known"],
        is_open=found.get("is_open", True),
        answers=tuple(Answer(*answer) for answer in found.get("answers", ())),
        lines=tuple(
            LineAnswer(model, tuple(map(tuple, places)), count, total_ms, rate)
            for model, places, count, total_ms, rate in found.get("lines", ())
        ),
        recalled=tuple(found.get("recalled", ())),
    )
