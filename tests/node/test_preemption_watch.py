"""A notice drains the node once; failures are logged once and tried again."""

import logging
from dataclasses import dataclass, field

import pytest

from serve_app.node.cloud_notices import MetadataError, Notice
from serve_app.node.preemption_watch import PreemptionWatch
from serve_app.node.ray_node import NodeError, RayNode

SOON = Notice("AWS will terminate this spot instance", 120)
LATER = Notice("AWS recommends to leave this spot instance", 780)


@dataclass
class Notices:
    """Notices that a test sets."""

    now: Notice | MetadataError | None = None

    def read(self) -> Notice | None:
        if isinstance(self.now, MetadataError):
            raise self.now
        return self.now


@dataclass
class Node:
    """A node that notes its drains."""

    drained: list[Notice] = field(default_factory=list)
    fault: NodeError | None = None

    def __call__(self) -> RayNode:
        if self.fault is not None:
            raise self.fault
        return self  # type: ignore[return-value]

    def drain(self, notice: Notice) -> None:
        self.drained.append(notice)


def test_a_notice_drains_once_and_again_when_it_is_more_urgent() -> None:
    notices = Notices()
    node = Node()
    watch = PreemptionWatch(notices, node)
    assert watch.check() is None
    notices.now = LATER
    assert (watch.check(), watch.check()) == (LATER, None)
    notices.now = SOON
    assert (watch.check(), watch.check()) == (SOON, None)
    assert node.drained == [LATER, SOON]


@pytest.mark.parametrize("fault", ["metadata", "node"])
def test_a_failure_is_logged_once_and_tried_again(
    fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    notices = Notices(MetadataError("/latest: no answer") if fault == "metadata" else SOON)
    node = Node(fault=NodeError("No raylet runs on this machine.") if fault == "node" else None)
    watch = PreemptionWatch(notices, node)
    assert (watch.check(), watch.check()) == (None, None)
    assert len(caplog.records) == 1
    notices.now = SOON
    node.fault = None
    assert watch.check() == SOON
    assert "AWS will terminate this spot instance in 120 s" in caplog.records[-1].getMessage()
