"""Replicas that stand still instead of ending: they end themselves, and their tracks go on in another one."""

import asyncio
import logging
from pathlib import Path
from time import monotonic

import httpx
import pytest

from serve_app import app
from serve_app.app import build_app
from serve_app.config.deployment import DeploymentConfig
from tests.cluster.conftest import START_S, Fleet, model, settings
from tests.cluster.fragile import ENGINE_HANG, HANG, Fragile
from tests.cluster.impatient import LIMIT_S, Impatient
from tests.cluster.test_splices import Answer
from tools.recovery_bounds import ended_replica_s

DEPLOYMENT = "MusicGen:nano"
PAUSE_S = 2 * LIMIT_S + ended_replica_s(DeploymentConfig()) + START_S
BODY = {"duration_s": 40.0, "seed": 7, "stream": True, "response_format": "pcm"}

logger = logging.getLogger(__name__)  # --log-cli-level=INFO shows the times
pytestmark = pytest.mark.long


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
    [before] = one.replicas(DEPLOYMENT)
    undisturbed = await Answer("undisturbed").receive(client, body)
    [hung] = one.replicas(DEPLOYMENT)
    assert hung["pid"] == before["pid"], "a healthy one goes on"
    Fragile.arm()
    answer = Answer(f"interrupted-{prompt.replace(' ', '-')}")
    begun_at = monotonic()
    call = asyncio.create_task(answer.receive(client, body))
    await one.until(lambda: hung["pid"] not in {it["pid"] for it in one.replicas(DEPLOYMENT)})
    lived_s = monotonic() - begun_at
    assert await call == undisturbed
    logger.info("%s: the replica ended after %.1f s", prompt, lived_s)
    assert lived_s > LIMIT_S / 2, "it stood still, and did not fail"
    assert max(lived_s, answer.longest_s) < PAUSE_S
    assert "Timeout (" in said_by(one, hung["pid"])
    await one.until(lambda: len(one.replicas(DEPLOYMENT)) == 1)


def said_by(fleet: Fleet, pid: int) -> str:
    """What a process of Ray's has written to stderr."""
    folder = Path(fleet.cluster.head_node.get_session_dir_path()) / "logs"
    return "".join(file.read_text() for file in folder.glob(f"worker-*-{pid}.err"))
