"""The ingress: the HTTP API over handles to the models' deployments."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping

from fastapi import FastAPI
from ray import serve
from ray.exceptions import ActorDiedError, RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from serve_app.api.app import create_api
from serve_app.config import AppConfig, ModelConfig
from serve_app.deployments.logs import log_with_serve
from serve_app.deployments.metrics import RayObserver
from serve_app.errors import (
    ModelLoading,
    QueueFull,
    ReplicaFailed,
    ReplicaUnreachable,
    ServeAppError,
)
from serve_app.types import AudioChunk, GenerationRequest, ModelCard, ReplicaStatus

logger = logging.getLogger(__name__)

_STATUS_TIMEOUT_S = 2.0
_NODE_DEATH = "its node has died"  # in Ray's words; at first such an actor is just unavailable


@serve.ingress()
class Ingress:
    """Serves `create_api` over the deployments' handles, by model id."""

    def __init__(self, config: AppConfig, handles: dict[str, DeploymentHandle]) -> None:
        log_with_serve()
        self._config, self._backend = config, RayGenerator(handles)

    def __serve_build_asgi_app__(self) -> FastAPI:
        config = self._config
        return create_api(
            self._backend,
            map(_card, config.models),
            config.default_model,
            config.api,
            RayObserver(),
        )


class RayGenerator:
    """The API's backend: every model is a deployment."""

    def __init__(self, handles: Mapping[str, DeploymentHandle]) -> None:
        self._handles = handles

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[AudioChunk, None]:
        """Raises the replica's own ServeAppErrors, QueueFull, ModelLoading when there can be no replica, and
        ReplicaFailed when it died."""
        stream = self._handles[request.model].options(stream=True).generate.remote(request)
        try:
            async for chunk in stream:
                yield chunk
        except Exception as error:
            raise known_error(error) from error
        except (asyncio.CancelledError, GeneratorExit):
            stream.cancel()  # leaving the loop alone does not stop the replica
            raise

    async def replicas(self, model_id: str) -> list[ReplicaStatus]:
        """Asks every replica; one that does not answer in time is left out."""
        response = self._handles[model_id].broadcast("status")
        try:
            answers = await response.results_async(
                timeout_s=_STATUS_TIMEOUT_S, return_exceptions=True
            )
        except (DeploymentUnavailableError, TimeoutError):
            return []
        return [answer for answer in answers if isinstance(answer, ReplicaStatus)]

    def wake(self, model_id: str) -> None:
        self._handles[model_id].status.remote()


def known_error(error: Exception) -> ServeAppError:
    """The error as this package's own. A replica's exception is inside a RayTaskError, whose text is a traceback."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    if isinstance(cause, ServeAppError):
        return cause
    if isinstance(cause, BackPressureError):
        return QueueFull("Too many requests are waiting for this model. Send it again later.")
    if isinstance(cause, RayActorError):
        if not isinstance(cause, ActorDiedError) or _NODE_DEATH in str(cause):
            return ReplicaUnreachable(
                "The replica that made this piece went away. The same request may be sent again."
            )
        return ReplicaFailed(
            "The replica died while it made this piece. The same request may be sent again."
        )
    if isinstance(cause, DeploymentUnavailableError):
        return ModelLoading("No replica of this model could be started. Send it again later.")
    logger.error("Unexpected error from a replica", exc_info=error)
    return ServeAppError("The model's replica met an unexpected error. It has been logged.")


def _card(model: ModelConfig) -> ModelCard:
    return ModelCard(
        model_id=model.model_id,
        source=model.public_source,
        aliases=model.aliases,
        license=model.weights_license,
        fallbacks=model.fallbacks,
        price_per_hour=model.price_per_hour,
        max_queued_audio_s=model.max_queued_audio_s,
    )
