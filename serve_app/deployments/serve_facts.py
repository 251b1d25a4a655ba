"""Ray Serve's own settings that bear on requests, as one ingress replica learns them."""

import asyncio
import logging

import ray
from ray import serve
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE

logger = logging.getLogger(__name__)

_AGAIN_S = 5.0


class ServeFacts:
    """The gateway's ServerFacts. Serve's controller is asked at the start, until it answers."""

    def __init__(self) -> None:
        self._limit_s: float | None = None
        self._asking = asyncio.ensure_future(self._ask())

    def limit_s(self) -> float | None:
        """Return `http_options.request_timeout_s`; None without one, and until it is known."""
        return self._limit_s

    def processes(self) -> int:
        """Return the number of ingress replicas."""
        return max(1, int(serve.get_replica_context().world_size))

    async def _ask(self) -> None:
        while True:
            try:
                controller = await asyncio.to_thread(
                    ray.get_actor, SERVE_CONTROLLER_NAME, SERVE_NAMESPACE
                )
                self._limit_s = (await controller.get_http_config.remote()).request_timeout_s
                return
            except Exception as error:  # such as of a controller that starts again
                logger.warning(
                    "Serve's request_timeout_s is unknown (%r), so that late tracks are not refused: "
                    "asking again in %g s",
                    error,
                    _AGAIN_S,
                )
            await asyncio.sleep(_AGAIN_S)
