"""What one caller may take: requests at a time, and seconds of music a minute."""

import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from time import monotonic

from serve_app.config import AccessConfig
from serve_app.errors import InvalidRequest, RateLimited
from serve_app.gateway.generator import Generator
from serve_app.types import AudioChunk, GenerationRequest, ReplicaStatus

_WINDOW_S = 60.0


@dataclass
class _Account:
    """running: requests; audio_s: seconds of music that are left, as of `at`."""

    running: int
    audio_s: float
    at: float


class Limits:
    """Accounts by callers' names. The music allowance fills up steadily, a minute's in a minute."""

    def __init__(self, config: AccessConfig) -> None:
        self._max_running, self._audio_s = (
            config.max_concurrent_requests,
            config.max_audio_s_per_minute,
        )
        self._accounts: dict[str, _Account] = {}

    def take(self, caller: str, duration_s: float) -> None:
        """Raises RateLimited, with when to come back, and InvalidRequest for what no wait would allow."""
        account = self._account(caller)
        if self._audio_s is not None and duration_s > self._audio_s:
            raise InvalidRequest(
                f"This key may make {self._audio_s:g} seconds of music a minute; ask for less at once"
            )
        if self._max_running is not None and account.running >= self._max_running:
            raise RateLimited(
                f"This key has {account.running} requests running, as many as it may."
            )
        if self._audio_s is not None:
            if (missing := duration_s - account.audio_s) > 0:
                wait_s = missing / self._audio_s * _WINDOW_S
                raise RateLimited(
                    f"This key has made its {self._audio_s:g} seconds of music a minute.", wait_s
                )
            account.audio_s -= duration_s
        account.running += 1

    def give_back(self, caller: str, unused_s: float) -> None:
        account = self._account(caller)
        account.running -= 1
        account.audio_s += unused_s

    def headers(self, caller: str) -> dict[str, str]:
        """What is left, as draft-ietf-httpapi-ratelimit-headers says it; t: seconds until all of it is there again."""
        if self._audio_s is None:
            return {}
        left = self._account(caller).audio_s
        full_in_s = (self._audio_s - left) / self._audio_s * _WINDOW_S
        return {
            "ratelimit-policy": f'"audio-seconds";q={self._audio_s:.0f};w={_WINDOW_S:.0f}',
            "ratelimit": f'"audio-seconds";r={max(0.0, left):.0f};t={full_in_s:.0f}',
        }

    def _account(self, caller: str) -> _Account:
        now, full = monotonic(), self._audio_s or 0.0
        account = self._accounts.setdefault(caller, _Account(0, full, now))
        account.audio_s = min(full, account.audio_s + (now - account.at) / _WINDOW_S * full)
        account.at = now
        return account


class LimitedGenerator:
    """A generator whose callers have limits. Music that was never begun is not counted."""

    def __init__(self, generator: Generator, limits: Limits) -> None:
        self._generator, self._limits = generator, limits

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[AudioChunk, None]:
        self._limits.take(request.caller, request.duration_s)
        unused_s = request.duration_s
        try:
            async with contextlib.aclosing(self._generator.generate(request)) as chunks:
                async for chunk in chunks:
                    unused_s = 0.0 if chunk.samples.size else unused_s
                    yield chunk
        finally:
            self._limits.give_back(request.caller, unused_s)

    async def replicas(self, model_id: str) -> list[ReplicaStatus]:
        return await self._generator.replicas(model_id)

    def wake(self, model_id: str) -> None:
        self._generator.wake(model_id)
