"""Watch for a cloud's notices, which drains the Ray node of this machine."""

import logging
import math
from collections.abc import Callable
from time import monotonic

from serve_app.node.cloud_notices import CloudNotices, MetadataError, Notice
from serve_app.node.ray_node import NodeError, RayNode

logger = logging.getLogger(__name__)

_EARLIER_S = 5.0  # a new deadline that is so much earlier replaces the one that Ray knows


class PreemptionWatch:
    """Drains the node once for each notice whose deadline is earlier than all before it."""

    def __init__(self, notices: CloudNotices, node: Callable[[], RayNode]) -> None:
        """node: finds the node, which may start later than the watch; raises NodeError."""
        self._notices = notices
        self._node = node
        self._deadline = math.inf
        self._last_fault = ""

    def check(self) -> Notice | None:
        """Look for a notice and drain the node; return the notice if the node now drains for it.

        Failures are logged, each once, and the next call tries again.
        """
        try:
            notice = self._notices.read()
            if notice is None or monotonic() + notice.deadline_s > self._deadline - _EARLIER_S:
                self._last_fault = ""
                return None
            self._node().drain(notice)
        except (MetadataError, NodeError) as error:
            self._report(str(error))
            return None
        self._deadline = monotonic() + notice.deadline_s
        self._last_fault = ""
        logger.warning("%s in %.0f s: its Ray node drains.", notice.reason, notice.deadline_s)
        return notice

    def _report(self, fault: str) -> None:
        if fault != self._last_fault:
            logger.error("%s", fault)
        self._last_fault = fault
