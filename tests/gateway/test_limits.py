"""Limits of a caller: concurrent requests, and seconds of music a minute."""

import contextlib

import pytest

from serve_app.config.api import AccessConfig
from serve_app.errors import GenerationFailed, InvalidRequest, RateLimited
from serve_app.gateway.limits import LimitedGenerator, Limits
from serve_app.gateway.permits import permits
from serve_app.types import GenerationRequest, Progress
from tests.fakes import Clock, FakeGenerator


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(permits, "monotonic", clock)
    return clock


def request(duration_s: float = 8.0) -> GenerationRequest:
    return GenerationRequest(
        request_id="a",
        model="small",
        prompt="a",
        duration_s=duration_s,
        progress=True,
        caller="web",
    )


def left_s(allowance: Limits) -> str:
    return allowance.headers("web")["ratelimit"].split(";")[1]


async def test_the_allowance_refills_with_time(clock: Clock) -> None:
    allowance = Limits(AccessConfig(max_audio_s_per_minute=60))
    await allowance.take("web", 50)
    with pytest.raises(RateLimited, match="has used its 60 seconds of music") as error:
        await allowance.take("web", 20)
    assert error.value.retry_after_s == pytest.approx(10)
    await allowance.take("batch", 60)
    clock.now += 10
    assert allowance.headers("web") == {
        "ratelimit-policy": '"audio-seconds";q=60;w=60',
        "ratelimit": '"audio-seconds";r=20;t=40',
    }
    await allowance.take("web", 20)
    allowance.give_back("web", 20)
    await allowance.take("web", 20)


async def test_a_track_beyond_the_whole_allowance_is_refused() -> None:
    allowance = Limits(AccessConfig(max_audio_s_per_minute=60))
    with pytest.raises(InvalidRequest, match="limited to 60 seconds of music a minute"):
        await allowance.take("web", 61)
    assert left_s(allowance) == "r=60"


async def test_concurrent_requests_are_limited() -> None:
    allowance = Limits(AccessConfig(max_concurrent_requests=1))
    await allowance.take("web", 10)
    with pytest.raises(RateLimited, match="1 running requests"):
        await allowance.take("web", 10)
    await allowance.take("batch", 10)
    allowance.give_back("web", 0)
    await allowance.take("web", 10)
    assert allowance.headers("web") == {}


@pytest.mark.parametrize("late", [False, True])
async def test_a_track_without_audio_is_refunded(late: bool) -> None:
    allowance = Limits(AccessConfig(max_audio_s_per_minute=10, max_concurrent_requests=1))
    error = GenerationFailed("no luck")
    generator = FakeGenerator(late_error=error) if late else FakeGenerator(error=error)
    with pytest.raises(GenerationFailed):
        async for _ in LimitedGenerator(generator, allowance).generate(request()):
            pass
    assert left_s(allowance) == ("r=2" if late else "r=10")
    with contextlib.suppress(RateLimited):
        await allowance.take("web", 1.0)
    assert left_s(allowance) == ("r=1" if late else "r=9"), "the request runs no more"


async def test_progress_is_no_audio() -> None:
    allowance = Limits(AccessConfig(max_audio_s_per_minute=10))
    stream = LimitedGenerator(FakeGenerator(), allowance).generate(request())
    assert isinstance(await anext(stream), Progress)
    assert left_s(allowance) == "r=2"
    await stream.aclose()
    assert left_s(allowance) == "r=10"


async def test_music_that_was_charged_afterwards_delays_the_next_request(clock: Clock) -> None:
    allowance = Limits(AccessConfig(max_audio_s_per_minute=60))
    assert allowance.longest_s == 60
    await allowance.take("web", 30)
    allowance.charge("web", 40)
    assert left_s(allowance) == "r=0"
    with pytest.raises(RateLimited) as error:
        await allowance.take("web", 0)
    assert error.value.retry_after_s == pytest.approx(10)
    clock.now += 10
    await allowance.take("web", 0)


async def test_a_caller_without_limits_is_charged_nothing() -> None:
    allowance = Limits(AccessConfig())
    assert allowance.longest_s == float("inf")
    allowance.charge("web", 1000)
    await allowance.take("web", 1000)
    assert allowance.headers("web") == {}


async def test_a_short_stride_is_charged_for_its_compute() -> None:
    allowance = Limits(AccessConfig(max_audio_s_per_minute=200))
    generator = LimitedGenerator(FakeGenerator(), allowance)
    stream = generator.generate(request(120.0).model_copy(update={"extend_stride_s": 2.0}))
    assert isinstance(await anext(stream), Progress)
    assert left_s(allowance) == "r=32"
    await stream.aclose()
    shortest = request(120.0).model_copy(update={"extend_stride_s": 1.0})
    with pytest.raises(InvalidRequest, match="this one counts as 222 seconds"):
        await anext(generator.generate(shortest))


@pytest.mark.parametrize(("most", "of_jobs"), [(1, 1), (2, 1), (4, 3)])
async def test_jobs_leave_one_of_several_places_to_interactive_requests(
    most: int, of_jobs: int
) -> None:
    allowance = Limits(AccessConfig(max_concurrent_requests=most))
    for _ in range(of_jobs):
        await allowance.take("web", 1, background=True)
    with pytest.raises(RateLimited):
        await allowance.take("web", 1, background=True)
    for _ in range(most - of_jobs):
        await allowance.take("web", 1)
    with pytest.raises(RateLimited, match="its maximum"):
        await allowance.take("web", 1)
    allowance.give_back("web", 0, background=True)
    await allowance.take("web", 1, background=True)
