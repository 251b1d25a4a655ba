"""Claims: requests that wait for units."""

import asyncio
from collections.abc import Sequence

from serve_app.gateway.permits.allowance import Shortage, Want

_PATIENCE_S = 1.5  # for which a request waits for idle units of others


class Claim:
    """A request that waits for units. is_patient: without a bound, until it has them."""

    def __init__(self, wants: Sequence[Want], now: float, *, is_patient: bool) -> None:
        self.wants = wants
        self.is_patient = is_patient
        self.gives_up_at = now + _PATIENCE_S
        self.is_asked = False
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(self, shortage: Shortage | None) -> None:
        """Tell the request the decision. shortage: None: it has its units."""
        if self.granted.done():
            return
        if shortage is None:
            self.granted.set_result(None)
        else:
            self.granted.set_exception(shortage)
