"""Repetition of requests that failed for a passing reason."""

import random
from dataclasses import dataclass

import httpx

from serve_app.client.problems import CUT_OFF, ApiError

_BUSY = (429, 503)
_UNREACHED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True)
class Retries:
    """Exponential back-off with jitter, for answers 429 and 503 and for lost connections.

    attempts: requests in all, at least 1; first_delay_s: mean pause before the second one, which
    doubles each time; max_delay_s: longest mean. A pause is never shorter than `Retry-After`; where
    that is longer than `max_delay_s`, the error is raised at once. A request whose answer broke off is
    repeated only if it may be: if it names its seed, so that it makes the same track again.
    Raises ValueError.
    """

    attempts: int = 3
    first_delay_s: float = 0.5
    max_delay_s: float = 30.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts must be at least 1, not {self.attempts}")
        if self.first_delay_s < 0 or self.max_delay_s < 0:
            raise ValueError("first_delay_s and max_delay_s must not be negative")

    def delay_s(self, failures: int, error: Exception, repeatable: bool) -> float | None:
        """Return the pause before the next attempt, None where there must be none.

        failures: attempts so far; repeatable: whether a request that was served may be sent again.
        """
        if failures >= self.attempts or not _is_passing(error, repeatable):
            return None
        asked = error.retry_after_s if isinstance(error, ApiError) else None
        if asked is not None and asked > self.max_delay_s:
            return None
        mean = min(self.max_delay_s, self.first_delay_s * 2.0 ** (failures - 1))
        if asked is not None:
            return asked + random.uniform(0.0, mean)
        return mean * random.uniform(0.5, 1.5)


NO_RETRIES = Retries(attempts=1)


def _is_passing(error: Exception, repeatable: bool) -> bool:
    """Whether the same request may succeed later, without being served twice unless repeatable."""
    if isinstance(error, ApiError):
        return error.status in _BUSY or (repeatable and error.code == CUT_OFF)
    return isinstance(error, _UNREACHED)
