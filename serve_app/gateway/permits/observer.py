"""Observation of permits: their sources, and whether the coordinator is reached."""

import logging
from typing import Literal, Protocol

logger = logging.getLogger(__name__)

Source = Literal["lease", "coordinator", "local"]


class PermitObserver(Protocol):
    """Receiver of events. Its methods neither block nor raise."""

    def decided(self, source: Source) -> None:
        """Count a decision: by the lease at hand, by the coordinator, or by local limits."""

    def reached(self, *, is_reached: bool, reason: str = "") -> None:
        """Hear with each report whether the coordinator took it in, or why not."""


class LogPermitObserver:
    """Logs the loss of the coordinator, and its return."""

    def __init__(self) -> None:
        self._is_reached = True

    def decided(self, source: Source) -> None:
        """Do nothing: metrics count decisions."""

    def reached(self, *, is_reached: bool, reason: str = "") -> None:
        if is_reached == self._is_reached:
            return
        self._is_reached = is_reached
        if is_reached:
            logger.info("The coordinator of limits is reached again")
        else:
            logger.warning(
                "The coordinator of limits cannot be reached: until it is, each ingress replica "
                "counts its own requests only, and limits hold for each of them (%s)",
                reason,
            )
