"""Replicas that stand still instead of ending: they end themselves, and their tracks go on in another one."""

import asyncio
import logging

import httpx
import pytest

from serve_app import app
from serve_app.app import build_app
from serve_app.config.deployment import DeploymentConfig
from serve_app.deployments import hang_guard
from serve_app.engine import engine
from tests.cluster.conftest import START_S, Fleet, model, settings
from tests.cluster.fragile import ENGINE_HANG, HANG, Fragile
from tests.cluster.test_splices import Answer
from tools.recovery_bounds import ended_replica_s

DEPLOYMENT = "MusicGen:nano"
LIMIT_S = 5.0
PAUSE_S = 2 * LIMIT_S + ended_replica_s(DeploymentConfig()) + START_S
BODY = {"duration_s": 12.0, "seed": 7, "stream": True, "response_format": "pcm"}

logger = logging.getLogger(__name__)  # --log-cli-level=INFO shows the times
pytestmark = pytest.mark.long


class Impatient(Fragile):
    """A fragile replica that has less patience with itself than one that is shipped."""

    def __init__(self, *args: object) -> None:
        hang_guard.LIMIT_S = LIMIT_S
        engine.LONGEST_STEP_S = LIMIT_S
        super().__init__(*args)


@pytest.fixture(scope="module")
def one(fleet: Fleet) -> Fleet:
    """One replica of the model, one ingress replica."""
    if not fleet.nodes:
        fleet.add_node()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "MusicGenReplica", Impatient)
        fleet.deploy(build_app(settings(model())))
    return fleet


@pytest.mark.parametrize("prompt", [HANG, ENGINE_HANG])
async def test_a_stream_outlives_a_replica_that_hangs(
    one: Fleet, client: httpx.AsyncClient, prompt: str
) -> None:
    """With the same bits, whether the whole process hangs or the engine alone."""
    body = BODY | {"prompt": prompt}
    undisturbed = await Answer("undisturbed").receive(client, body)
    [hung] = one.replicas(DEPLOYMENT)
    Fragile.arm()
    answer = Answer(f"interrupted-{prompt.replace(' ', '-')}")
    assert await asyncio.create_task(answer.receive(client, body)) == undisturbed
    logger.info("%s: the stream went on after %.1f s", prompt, answer.longest_s)
    assert LIMIT_S / 2 < answer.longest_s < PAUSE_S
    await one.until(lambda: len(one.replicas(DEPLOYMENT)) == 1)
    [replacement] = one.replicas(DEPLOYMENT)
    assert replacement["pid"] != hung["pid"]
