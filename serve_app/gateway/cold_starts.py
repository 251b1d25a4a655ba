"""How long a model that has no replica takes to have one."""

import math
from time import monotonic

_TYPICAL_S = 20.0  # until one has been seen


class ColdStarts:
    """Goes by what this process has seen: the last start of each model, from the first that asked for it."""

    def __init__(self) -> None:
        self._began: dict[str, float] = {}
        self._took_s: dict[str, float] = {}

    def remaining_s(self, model_id: str) -> float:
        """An estimate, in whole seconds, for a model that has no replica; its start began when this was first asked."""
        began = self._began.setdefault(model_id, monotonic())
        left_s = self._took_s.get(model_id, _TYPICAL_S) - (monotonic() - began)
        return max(1.0, float(math.ceil(left_s)))

    def is_ready(self, model_id: str) -> None:
        """A replica has answered."""
        if (began := self._began.pop(model_id, None)) is not None:
            self._took_s[model_id] = monotonic() - began
