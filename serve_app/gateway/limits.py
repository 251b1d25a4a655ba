"""Limits of one caller: concurrent requests, and seconds of music per minute."""

import contextlib
import math
from collections.abc import AsyncGenerator

from serve_app.config.api import AccessConfig
from serve_app.errors import InvalidRequest, RateLimited
from serve_app.gateway.compute import charged_s
from serve_app.gateway.generator import Generator
from serve_app.gateway.permits.allowance import Allowance, Shortage, Want
from serve_app.gateway.permits.permits import Permits
from serve_app.types import AudioChunk, GenerationRequest, StreamItem

_PERIOD_S = 60.0


class Limits:
    """Limits of callers by their names, over all processes whose permits have one coordinator.

    The allowance of music is a token bucket that refills within a minute. Jobs leave one place of
    several to interactive requests. permits: None: limits of this process alone.
    """

    def __init__(self, config: AccessConfig, permits: Permits | None = None) -> None:
        self._max_running = config.max_concurrent_requests
        self._audio_s = config.max_audio_s_per_minute
        self._permits = permits or Permits()

    async def take(self, caller: str, duration_s: float, background: bool = False) -> None:
        """Charge one request. background: whether it is a job's.

        Raises RateLimited, with the time after which to retry, and InvalidRequest for a track that
        exceeds a whole minute's allowance.
        """
        self.check_size(duration_s)
        wants = [*self._places(caller, background), *self._music(caller, duration_s)]
        try:
            await self._permits.take(*wants)
        except Shortage as shortage:
            raise self._refusal(shortage) from shortage

    def give_back(self, caller: str, unused_s: float, background: bool = False) -> None:
        """End one request, and refund `unused_s` seconds of music."""
        self._permits.give_back(*self._places(caller, background))
        if unused_s:
            self._permits.give_back(*self._music(caller, unused_s))

    def charge(self, caller: str, duration_s: float) -> None:
        """Charge seconds of music that were not known when the request began.

        The allowance may fall below zero; the caller's next request waits until it is restored.
        """
        for want in self._music(caller, duration_s):
            self._permits.charge(want.allowance, want.amount)

    @property
    def longest_s(self) -> float:
        """The seconds of music that one request may use at most; infinite without a limit."""
        return math.inf if self._audio_s is None else self._audio_s

    def headers(self, caller: str) -> dict[str, str]:
        """Render the allowance as draft-ietf-httpapi-ratelimit-headers defines it.

        r: seconds of music left; t: seconds until the whole allowance is restored.
        """
        if self._audio_s is None:
            return {}
        [music] = self._music(caller, 0.0)
        left = self._permits.left(music.allowance) / 1000
        full_in_s = (self._audio_s - left) / self._audio_s * _PERIOD_S
        return {
            "ratelimit-policy": f'"audio-seconds";q={self._audio_s:.0f};w={_PERIOD_S:.0f}',
            "ratelimit": f'"audio-seconds";r={max(0.0, left):.0f};t={full_in_s:.0f}',
        }

    def check_size(self, duration_s: float) -> None:
        """Raise InvalidRequest for a track that exceeds a whole minute's allowance."""
        if self._audio_s is not None and duration_s > self._audio_s:
            raise InvalidRequest(
                f"This API key is limited to {self._audio_s:g} seconds of music a minute: "
                "ask for a shorter track, or a longer extend_stride_s (this one counts as "
                f"{duration_s:g} seconds)"
            )

    def _places(self, caller: str, background: bool) -> list[Want]:
        """List the places that a request takes."""
        if self._max_running is None:
            return []
        places = [Want(Allowance(f"running:{caller}", self._max_running), 1)]
        if background:
            places.append(Want(Allowance(f"jobs:{caller}", max(1, self._max_running - 1)), 1))
        return places

    def _music(self, caller: str, duration_s: float) -> list[Want]:
        """List the milliseconds of music that a request takes."""
        if self._audio_s is None:
            return []
        limit_ms = round(1000 * self._audio_s)
        return [
            Want(
                Allowance(f"audio:{caller}", limit_ms, limit_ms / _PERIOD_S),
                round(1000 * duration_s),
            )
        ]

    def _refusal(self, shortage: Shortage) -> RateLimited:
        """Explain which of the limits a request has met."""
        allowance = shortage.want.allowance
        taken = allowance.limit - shortage.available
        if allowance.is_spent:
            missing_ms = shortage.want.amount - shortage.available
            return RateLimited(
                f"This API key has used its {self._audio_s:g} seconds of music a minute. "
                "Send the request again later.",
                missing_ms / allowance.refill_per_s,
            )
        if allowance.name.startswith("running:"):
            return RateLimited(
                f"This API key has {taken} running requests, its maximum. "
                "Wait until one has finished."
            )
        return RateLimited(
            f"Jobs of this API key have {taken} of its {self._max_running} running "
            "requests, and leave one to interactive requests."
        )


class LimitedGenerator:
    """Holds each caller to its limits. A track whose audio never began is refunded."""

    def __init__(self, generator: Generator, limits: Limits) -> None:
        self._generator = generator
        self._limits = limits

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[StreamItem, None]:
        """Pass the items on. Raises RateLimited and InvalidRequest."""
        unused_s = charged_s(request)
        await self._limits.take(request.caller, unused_s, request.background)
        try:
            async with contextlib.aclosing(self._generator.generate(request)) as items:
                async for item in items:
                    if isinstance(item, AudioChunk):
                        unused_s = 0.0
                    yield item
        finally:
            self._limits.give_back(request.caller, unused_s, request.background)
