"""Melodies go to models that take one; others refuse by name."""

from dataclasses import replace

import numpy as np
import pytest

from serve_app.config.api import ApiConfig
from serve_app.errors import MelodyNotSupported, ModelLoading, QueueFull
from serve_app.gateway.readiness import Readiness
from serve_app.gateway.routing import ModelRouter
from serve_app.gateway.selection import ModelSelector
from serve_app.gateway.service import GenerationService
from serve_app.model_status import ModelCard
from serve_app.types import Audio, GenerationRequest
from tests.fakes import LARGE, SMALL, FakeGenerator, RecordingObserver

SUNG = ModelCard("sung", "facebook/musicgen-melody", (), "CC-BY-NC-4.0", fallbacks=("small", "hum"))
HUM = ModelCard("hum", "hum", (), "mit")
BOTH = {"small": 0.01, "large": 0.02, "sung": 0.01, "hum": 0.02}
MELODY = Audio(np.zeros((1, 320), np.float32), 32_000)


@pytest.fixture
def fleet() -> FakeGenerator:
    return FakeGenerator(step_s=dict(BOTH), melody=("sung", "hum"))


def selector(fleet: FakeGenerator, default: str = "small") -> ModelSelector:
    return ModelSelector(ModelRouter([SMALL, LARGE, SUNG, HUM], default), Readiness(fleet))


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("large", "Model 'large' takes no melody."),
        ("tiny", "Model 'small' (which answers to 'tiny' here) takes no melody."),
        (None, "Model 'small' takes no melody."),
    ],
)
async def test_a_model_without_a_melody_is_refused_by_name(
    fleet: FakeGenerator, name: str | None, named: str
) -> None:
    with pytest.raises(MelodyNotSupported) as error:
        await selector(fleet).select(name, 10.0, None, with_melody=True)
    assert error.value.message == (
        f"{named} Leave it out, or name a model that takes one: sung, hum."
    )
    assert (error.value.status, error.value.field) == (422, "melody")


async def test_a_model_with_a_melody_is_chosen(fleet: FakeGenerator) -> None:
    ours = selector(fleet)
    assert await ours.select("sung", 10.0, None, with_melody=True) is SUNG
    assert await ours.select("large", 10.0, None) is LARGE


async def test_a_model_that_has_told_nothing_is_not_refused(fleet: FakeGenerator) -> None:
    fleet.loaded = False
    assert await selector(fleet).select("large", 10.0, None, with_melody=True) is LARGE


async def test_capabilities_are_remembered(fleet: FakeGenerator) -> None:
    """A model that has scaled to zero refuses without a replica that could."""
    ours = selector(fleet)
    await ours.melody_models.takes(SMALL)
    await ours.melody_models.takes(SUNG)
    fleet.loaded = False
    with pytest.raises(MelodyNotSupported, match="takes one: sung"):
        await ours.select("small", 10.0, None, with_melody=True)


async def test_auto_chooses_among_those_that_take_one(fleet: FakeGenerator) -> None:
    ours = selector(fleet)
    assert await ours.select("auto", 10.0, None) is LARGE
    assert await ours.select("auto", 10.0, None, with_melody=True) is SUNG


async def test_auto_wakes_one_that_may_take_one(fleet: FakeGenerator) -> None:
    readiness = Readiness(fleet)
    ours = ModelSelector(ModelRouter([SMALL, LARGE, SUNG, HUM], "small"), readiness)
    for card in (SMALL, LARGE, HUM):
        await ours.melody_models.takes(card)
        readiness.forget(card.model_id)
    fleet.step_s.clear()
    with pytest.raises(ModelLoading):
        await ours.select("auto", 10.0, None, with_melody=True)
    assert fleet.woken == ["sung"]
    assert await ours.awaited(with_melody=True) is SUNG
    assert await ours.awaited() is SMALL


async def test_auto_without_any_refuses(fleet: FakeGenerator) -> None:
    fleet.melody = ()
    with pytest.raises(MelodyNotSupported, match="No model takes a melody here"):
        await selector(fleet).select("auto", 10.0, None, with_melody=True)


def service(fleet: FakeGenerator) -> GenerationService:
    router = ModelRouter([SMALL, LARGE, SUNG, HUM], "small")
    return GenerationService(fleet, router, Readiness(fleet), ApiConfig(), RecordingObserver())


def request(melody: Audio | None = MELODY) -> GenerationRequest:
    return GenerationRequest(request_id="a", model="", prompt="a", duration_s=0.1, melody=melody)


async def test_fallbacks_are_those_that_take_one(fleet: FakeGenerator) -> None:
    fleet.full = ("sung",)
    ours = service(fleet)
    assert (await ours.make_track(request(), SUNG)).model is HUM
    assert (await ours.make_track(request(None), SUNG)).model is SMALL


async def test_a_full_queue_without_such_a_fallback_is_told(fleet: FakeGenerator) -> None:
    fleet.full = ("sung",)
    fleet.melody = ("sung",)
    with pytest.raises(QueueFull):
        await service(fleet).make_track(request(), SUNG)


async def test_the_engines_refusal_names_the_models_that_take_one(fleet: FakeGenerator) -> None:
    """It comes from a model whose replica had told nothing before."""
    with pytest.raises(MelodyNotSupported, match=r"Model 'small' takes no melody.*: sung, hum"):
        await service(fleet).make_track(request(), SMALL)
    fleet.melody = ()
    with pytest.raises(MelodyNotSupported, match="no served model is known to take one"):
        await service(fleet).make_track(request(), replace(SMALL, fallbacks=()))
