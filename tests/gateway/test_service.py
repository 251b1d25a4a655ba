"""The service: fallbacks, variations, and how its requests reach the generator."""

from collections.abc import AsyncIterator

import numpy as np
import pytest

from serve_app.config.api import ApiConfig
from serve_app.errors import GenerationFailed, InvalidRequest, QueueFull
from serve_app.gateway.readiness import Readiness
from serve_app.gateway.routing import ModelRouter
from serve_app.gateway.service import GenerationService
from serve_app.types import GenerationRequest, SamplingParams, StreamItem
from tests.fakes import LARGE, SAMPLE_RATE, SMALL, FakeGenerator, RecordingObserver


@pytest.fixture
def generator() -> FakeGenerator:
    return FakeGenerator()


@pytest.fixture
def observer() -> RecordingObserver:
    return RecordingObserver()


@pytest.fixture
def service(generator: FakeGenerator, observer: RecordingObserver) -> GenerationService:
    router = ModelRouter([SMALL, LARGE], "small")
    config = ApiConfig(max_prompt_chars=10)
    return GenerationService(generator, router, Readiness(generator), config, observer)


def request(model: str = "small", seed: int = 7) -> GenerationRequest:
    return GenerationRequest(
        request_id="a",
        model=model,
        prompt="lofi",
        duration_s=1.0,
        sampling=SamplingParams(seed=seed),
    )


async def test_a_track_is_whole(service: GenerationService) -> None:
    track = await service.make_track(request(), SMALL)
    assert track.samples.shape == (1, SAMPLE_RATE)
    assert np.abs(track.samples).max() > 0.9
    assert (track.model, track.request.sampling.seed) == (SMALL, 7)


async def test_a_started_track_is_played_while_it_is_made(
    service: GenerationService, generator: FakeGenerator
) -> None:
    """A whole one is not: the engine must know for whom to keep the music's pace."""
    await (await service.start_track(request(), SMALL)).finish()
    await service.make_track(request(), SMALL)
    assert [asked.streamed for asked in generator.requests] == [True, False]


async def test_a_full_models_fallback_makes_the_track(
    service: GenerationService, generator: FakeGenerator, observer: RecordingObserver
) -> None:
    generator.full = ("large",)
    track = await service.make_track(request("large"), LARGE)
    assert (track.model, track.request.model) == (SMALL, "small")
    assert [asked.model for asked in generator.requests] == ["large", "small"]
    told = [(outcome.model, outcome.code) for outcome in observer.outcomes]
    assert told == [("large", "queue_full"), ("small", "ok")]
    assert observer.fallbacks == [("large", "queue_full")]


async def test_the_last_fallbacks_full_queue_is_an_error(
    service: GenerationService, generator: FakeGenerator, observer: RecordingObserver
) -> None:
    generator.full = ("large", "small")
    with pytest.raises(QueueFull):
        await service.make_track(request("large"), LARGE)
    assert observer.fallbacks == []


async def test_variations_have_consecutive_seeds(
    service: GenerationService, generator: FakeGenerator
) -> None:
    tracks = await service.make_tracks(request(seed=40), SMALL, 3)
    assert [track.report().seed for track in tracks] == [40, 41, 42]
    assert sorted(asked.sampling.seed for asked in generator.requests) == [40, 41, 42]


async def test_a_failed_variation_aborts_the_others(
    service: GenerationService, generator: FakeGenerator
) -> None:
    generator.full = ("small",)
    with pytest.raises(QueueFull):
        await service.make_tracks(request(), SMALL, 4)
    assert generator.closed == len(generator.requests)


async def test_a_generator_without_items_is_a_failure(
    service: GenerationService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> AsyncIterator[StreamItem]:
        items: list[StreamItem] = []
        for item in items:
            yield item

    monkeypatch.setattr(FakeGenerator, "generate", nothing)
    with pytest.raises(GenerationFailed, match="ended too early"):
        await service.start_track(request(), SMALL)


def test_prompts_are_held_to_the_configuration(service: GenerationService) -> None:
    with pytest.raises(InvalidRequest, match="at most 10 characters"):
        service.check_prompt("x" * 11)
