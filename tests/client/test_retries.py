"""Pauses between attempts: exponential, with jitter, never shorter than the service asks for."""

import httpx
import pytest

from serve_app.client import NO_RETRIES, ApiError, Retries

BUSY = ApiError(503, "model_loading", "It loads.")
RETRIES = Retries(attempts=9, first_delay_s=1.0, max_delay_s=10.0)


def test_pauses_double_up_to_the_longest() -> None:
    for failures, mean in enumerate((1.0, 2.0, 4.0, 8.0, 10.0, 10.0), start=1):
        delays = [RETRIES.delay_s(failures, BUSY, False) for _ in range(200)]
        assert all(delay is not None and mean / 2 <= delay <= mean * 1.5 for delay in delays)
        assert len(set(delays)) > 100, "with jitter"


def test_a_pause_is_never_shorter_than_the_service_asks() -> None:
    busy = ApiError(429, "queue_full", "It is full.", retry_after_s=3.0)
    delays = [RETRIES.delay_s(1, busy, False) for _ in range(200)]
    assert all(delay is not None and 3.0 <= delay <= 4.0 for delay in delays)
    assert len(set(delays)) > 100


def test_a_pause_that_is_too_long_is_the_callers() -> None:
    busy = ApiError(429, "rate_limited", "Wait.", retry_after_s=10.1)
    assert RETRIES.delay_s(1, busy, True) is None


def test_attempts_are_bounded() -> None:
    assert RETRIES.delay_s(8, BUSY, True) is not None
    assert RETRIES.delay_s(9, BUSY, True) is None
    assert NO_RETRIES.delay_s(1, BUSY, True) is None


@pytest.mark.parametrize(
    ("error", "unserved", "repeatable"),
    [
        (ApiError(429, "queue_full", ""), True, True),
        (ApiError(503, "unknown", ""), True, True),
        (httpx.ConnectError(""), True, True),
        (httpx.ConnectTimeout(""), True, True),
        (ApiError(502, "cut_off", ""), False, True),
        (ApiError(502, "bad_answer", ""), False, False),
        (ApiError(400, "invalid_request", ""), False, False),
        (ApiError(504, "deadline_exceeded", ""), False, False),
        (httpx.ReadTimeout(""), False, False),
        (httpx.UnsupportedProtocol(""), False, False),
    ],
)
def test_only_passing_errors_are_tried_again(
    error: Exception, unserved: bool, repeatable: bool
) -> None:
    assert (RETRIES.delay_s(1, error, False) is not None) is unserved
    assert (RETRIES.delay_s(1, error, True) is not None) is repeatable


@pytest.mark.parametrize(
    "options", [{"attempts": 0}, {"first_delay_s": -1.0}, {"max_delay_s": -1.0}]
)
def test_impossible_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        Retries(**options)  # type: ignore[arg-type]
