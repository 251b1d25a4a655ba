"""Models that no node can run: said once, not of a node that was lost, nor of one that may be added."""

import asyncio
import json
import logging

import pytest

from serve_app.deployments import node_watch
from serve_app.deployments.node_watch import Cluster, NodeWatch, adds_nodes
from serve_app.errors import ModelUnplaceable
from serve_app.placement import Demand, Resources

PATIENCE_S = 60.0  # a busy machine is slow; only a failing test waits as long
CPU: Resources = {"CPU": 2.0}
GPU: Resources = {"CPU": 2.0, "GPU": 1.0}
DEMANDS = {
    "nano": Demand("model 'nano'", {"CPU": 1.0}),
    "small": Demand("model 'small'", {"CPU": 1.0, "GPU": 1.0}),
}
REASON = "No node can run a replica of model 'small': it needs 1 GPU and 1 CPU."


@pytest.fixture
def watch() -> NodeWatch:
    return NodeWatch(DEMANDS)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno == logging.WARNING]


def test_a_model_without_a_node_is_told_to_callers_and_logged_once(
    watch: NodeWatch, caplog: pytest.LogCaptureFixture
) -> None:
    for elapsed_s in (8.0, 12.0, 16.0):
        watch.update(Cluster([CPU]), elapsed_s)
    reason = watch.obstacle("small")
    assert reason is not None
    assert reason.startswith(REASON)
    assert watch.obstacle("nano") is None
    assert warnings(caplog) == [reason]


def test_nodes_get_time_to_join(watch: NodeWatch) -> None:
    watch.update(Cluster([CPU]), 4.0)
    assert watch.obstacle("small") is None
    watch.update(Cluster([CPU, GPU]), 8.0)
    assert watch.obstacle("small") is None


def test_a_node_that_joins_later_ends_it(watch: NodeWatch) -> None:
    watch.update(Cluster([CPU]), 8.0)
    watch.update(Cluster([CPU, GPU]), 12.0)
    assert watch.obstacle("small") is None


def test_a_lost_node_is_waited_for(watch: NodeWatch, caplog: pytest.LogCaptureFixture) -> None:
    watch.update(Cluster([CPU, GPU]), 8.0)
    watch.update(Cluster([CPU]), 12.0)
    assert watch.obstacle("small") is None
    assert len(warnings(caplog)) == 1


def test_an_autoscaler_may_add_a_node(watch: NodeWatch, caplog: pytest.LogCaptureFixture) -> None:
    watch.update(Cluster([CPU], scales=True), 8.0)
    assert watch.obstacle("small") is None
    [warning] = warnings(caplog)
    assert warning.startswith(REASON)
    assert warning.endswith(" The autoscaler may add one.")
    assert watch.notice("small") == warning


@pytest.mark.parametrize(
    ("infeasible", "end"),
    [
        (
            {"CPU": 1.0, "GPU": 1.00001},
            "cannot add one: none of its types of nodes fits, or it is at max_workers.",
        ),
        ({"CPU": 2.0, "GPU": 1.0}, "may add one."),
        ({"CPU": 1.0, "GPU": 1.0, "accelerator_type:T4": 0.001}, "may add one."),
    ],
)
def test_an_autoscaler_that_has_no_node_type_is_told(
    watch: NodeWatch, infeasible: Resources, end: str
) -> None:
    """Requests wait all the same: at max_workers another model's node may be removed."""
    watch.update(Cluster([CPU], scales=True, infeasible=[infeasible], growing=True), 8.0)
    assert watch.obstacle("small") is None
    notice = watch.notice("small")
    assert notice is not None
    assert notice.endswith(f" The autoscaler {end}")
    assert watch.notice("nano") is None
    watch.update(Cluster([CPU, GPU], scales=True), 12.0)
    assert watch.notice("small") is None


def test_an_autoscaler_that_has_only_the_head_can_never_add_a_node(watch: NodeWatch) -> None:
    """It is not at max_workers: a request that it reports as infeasible fits none of its types."""
    infeasible: Resources = {"CPU": 1.0, "GPU": 1.0}
    watch.update(Cluster([CPU], scales=True, infeasible=[infeasible]), 8.0)
    reason = watch.obstacle("small")
    assert reason is not None
    assert reason.startswith(REASON)
    assert reason.endswith(" The autoscaler cannot add one: none of its types of nodes fits.")
    assert watch.notice("small") == reason
    watch.update(Cluster([CPU], scales=True), 12.0)
    assert watch.obstacle("small") is None


async def test_an_early_request_waits_for_the_judgement(
    watch: NodeWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_watch, "_PERIOD_S", PATIENCE_S)
    watch.update(Cluster([CPU]), 0.1)
    early = asyncio.create_task(watch.check("small"))
    await watch.check("nano")
    await asyncio.sleep(0)
    assert not early.done()
    watch.update(Cluster([CPU]), 8.0)
    with pytest.raises(ModelUnplaceable, match=REASON):
        await early


async def test_without_a_judgement_a_request_goes_on(
    watch: NodeWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_watch, "_PATIENCE_S", 0.05)
    monkeypatch.setattr(node_watch, "_PERIOD_S", 0.0)
    await watch.check("small")
    assert watch.obstacle("small") is None


async def test_the_cluster_is_read_again_and_again(
    watch: NodeWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read that fails is repeated."""
    answers = [None, [CPU], [CPU, GPU]]
    ended = asyncio.Event()

    def read() -> Cluster:
        if not answers:
            loop.call_soon_threadsafe(ended.set)
            return Cluster([CPU])
        nodes = answers.pop(0)
        if nodes is None:
            raise ConnectionError
        return Cluster(nodes)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(node_watch, "_read_cluster", read)
    monkeypatch.setattr(node_watch, "_PERIOD_S", 0.0)
    monkeypatch.setattr(node_watch, "_PATIENCE_S", 0.0)
    running = asyncio.create_task(watch.run())
    await asyncio.wait_for(ended.wait(), PATIENCE_S)
    running.cancel()
    assert watch.obstacle("small") is None, "a node that was there is waited for"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (None, False),
        (b"", False),
        ({"autoscaler_report": None}, False),
        ({"load_metrics_report": {}}, False),
        ({"autoscaler_report": {"node_type_mapping": {"7691": "node_7691"}}}, False),
        ({"autoscaler_report": {"node_type_mapping": {"10.0.0.1": "head"}}}, True),
    ],
)
def test_an_autoscaler_is_known_by_its_types_of_nodes(
    status: bytes | dict[str, object] | None, expected: bool
) -> None:
    encoded = json.dumps(status).encode() if isinstance(status, dict) else status
    assert adds_nodes(encoded) is expected
