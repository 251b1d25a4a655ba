"""Estimates of the time until a model without a replica has one."""

import math
from time import monotonic

_TYPICAL_S = 20.0  # before a start has been seen


class ColdStarts:
    """Estimates a model's start by its last start that this process has seen.

    A start counts from the first request for the model to the first answer of a replica.
    """

    def __init__(self) -> None:
        self._began: dict[str, float] = {}
        self._took_s: dict[str, float] = {}

    def remaining_s(self, model_id: str) -> float:
        """Estimate the seconds until a replica is ready, in whole seconds, at least 1.

        The first call marks the beginning of the start.
        """
        began = self._began.setdefault(model_id, monotonic())
        left_s = self._took_s.get(model_id, _TYPICAL_S) - (monotonic() - began)
        return max(1.0, float(math.ceil(left_s)))

    def record_ready(self, model_id: str) -> None:
        """Record that a replica has answered."""
        began = self._began.pop(model_id, None)
        if began is not None:
            self._took_s[model_id] = monotonic() - began
