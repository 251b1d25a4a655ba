"""Selection of a model by name, and by the time that a track would take."""

import pytest

from serve_app.errors import ModelLoading, ModelNotFound, ModelUnplaceable, QueueFull
from serve_app.gateway.readiness import Readiness
from serve_app.gateway.routing import ModelRouter
from serve_app.gateway.selection import ModelSelector
from tests.fakes import LARGE, SMALL, FakeGenerator


@pytest.fixture
def fleet() -> FakeGenerator:
    return FakeGenerator(step_s={"small": 0.01, "large": 0.02})


@pytest.fixture
def selector(fleet: FakeGenerator) -> ModelSelector:
    return ModelSelector(ModelRouter([SMALL, LARGE], "small"), Readiness(fleet))


@pytest.mark.parametrize(
    ("max_wait_s", "chosen"),
    [(None, "large"), (60, "large"), (20, "large"), (19, "small"), (1, "small")],
)
async def test_auto_is_the_largest_that_is_quick_enough(
    selector: ModelSelector, max_wait_s: float | None, chosen: str
) -> None:
    assert (await selector.select("auto", 20.0, max_wait_s)).model_id == chosen


async def test_auto_wakes_the_default_model_when_none_is_ready(
    selector: ModelSelector, fleet: FakeGenerator
) -> None:
    fleet.loaded = False
    with pytest.raises(ModelLoading, match="No model that makes a track of this length") as error:
        await selector.select("auto", 20.0, None)
    assert error.value.retry_after_s == 20.0
    assert fleet.woken == ["small"]


async def test_a_named_model_may_be_too_slow(selector: ModelSelector) -> None:
    with pytest.raises(QueueFull, match=r"about 20 s, longer than max_wait_s") as error:
        await selector.select("large", 20.0, 15.0)
    assert error.value.retry_after_s == pytest.approx(5.0)
    assert await selector.select("large", 20.0, 20.0) is LARGE


async def test_a_named_model_may_be_loading(selector: ModelSelector, fleet: FakeGenerator) -> None:
    del fleet.step_s["large"]
    with pytest.raises(ModelLoading, match="Model 'large' is loading"):
        await selector.select("large", 20.0, 60.0)
    assert fleet.woken == ["large"]


@pytest.mark.parametrize("name", ["auto", "small"])
async def test_a_model_that_no_node_can_run_is_not_waited_for(
    selector: ModelSelector, fleet: FakeGenerator, name: str
) -> None:
    fleet.loaded = False
    fleet.obstacles["small"] = "No node has 1 GPU."
    with pytest.raises(ModelUnplaceable, match="No node has 1 GPU"):
        await selector.select(name, 20.0, 60.0)


async def test_without_max_wait_s_a_request_waits(
    selector: ModelSelector, fleet: FakeGenerator
) -> None:
    fleet.loaded = False
    assert await selector.select("tiny", 20.0, None) is SMALL
    assert fleet.woken == []
    with pytest.raises(ModelNotFound):
        await selector.select("huge", 20.0, None)
