"""Limits of one caller: concurrent requests, and seconds of music per minute."""

import contextlib
import math
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from time import monotonic

from serve_app.config.api import AccessConfig
from serve_app.errors import InvalidRequest, RateLimited
from serve_app.gateway.compute import charged_s
from serve_app.gateway.generator import Generator
from serve_app.types import AudioChunk, GenerationRequest, StreamItem

_PERIOD_S = 60.0


@dataclass
class _Account:
    """One caller's use.

    running: requests; background: those among them of jobs; audio_s: seconds of music left at the
    time `at`.
    """

    running: int
    audio_s: float
    at: float
    background: int = 0


class Limits:
    """Accounts by callers' names.

    The allowance of music is a token bucket that refills within a minute. Jobs leave one place of
    several to interactive requests.
    """

    def __init__(self, config: AccessConfig) -> None:
        self._max_running = config.max_concurrent_requests
        self._audio_s = config.max_audio_s_per_minute
        self._accounts: dict[str, _Account] = {}

    def take(self, caller: str, duration_s: float, background: bool = False) -> None:
        """Charge one request. background: whether it is a job's.

        Raises RateLimited, with the time after which to retry, and InvalidRequest for a track that
        exceeds a whole minute's allowance.
        """
        self.check_size(duration_s)
        account = self._account(caller)
        self._check_places(account, background)
        self._take_audio(account, duration_s)
        account.running += 1
        account.background += background

    def give_back(self, caller: str, unused_s: float, background: bool = False) -> None:
        """End one request, and refund `unused_s` seconds of music."""
        account = self._account(caller)
        account.running -= 1
        account.background -= background
        account.audio_s += unused_s

    def charge(self, caller: str, duration_s: float) -> None:
        """Charge seconds of music that were not known when the request began.

        The allowance may fall below zero; the caller's next request waits until it is restored.
        """
        self._account(caller).audio_s -= duration_s

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
        left = self._account(caller).audio_s
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

    def _check_places(self, account: _Account, background: bool) -> None:
        """Raise RateLimited if the caller has no place for one more request."""
        if self._max_running is None:
            return
        if account.running >= self._max_running:
            raise RateLimited(
                f"This API key has {account.running} running requests, its maximum. "
                "Wait until one has finished."
            )
        if background and account.background >= max(1, self._max_running - 1):
            raise RateLimited(
                f"Jobs of this API key have {account.background} of its {self._max_running} running "
                "requests, and leave one to interactive requests."
            )

    def _take_audio(self, account: _Account, duration_s: float) -> None:
        if self._audio_s is None:
            return
        missing_s = duration_s - account.audio_s
        if missing_s > 0:
            raise RateLimited(
                f"This API key has used its {self._audio_s:g} seconds of music a minute. "
                "Send the request again later.",
                missing_s / self._audio_s * _PERIOD_S,
            )
        account.audio_s -= duration_s

    def _account(self, caller: str) -> _Account:
        now = monotonic()
        full = self._audio_s or 0.0
        account = self._accounts.setdefault(caller, _Account(0, full, now))
        account.audio_s = min(full, account.audio_s + (now - account.at) / _PERIOD_S * full)
        account.at = now
        return account


class LimitedGenerator:
    """Holds each caller to its limits. A track whose audio never began is refunded."""

    def __init__(self, generator: Generator, limits: Limits) -> None:
        self._generator = generator
        self._limits = limits

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[StreamItem, None]:
        """Pass the items on. Raises RateLimited and InvalidRequest."""
        unused_s = charged_s(request)
        self._limits.take(request.caller, unused_s, request.background)
        try:
            async with contextlib.aclosing(self._generator.generate(request)) as items:
                async for item in items:
                    if isinstance(item, AudioChunk):
                        unused_s = 0.0
                    yield item
        finally:
            self._limits.give_back(request.caller, unused_s, request.background)
