"""The ingress: the HTTP API over handles to the models' deployments."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping

from fastapi import FastAPI
from ray import serve
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from serve_app.api.app import create_api
from serve_app.config import AppConfig, ModelConfig
from serve_app.errors import QueueFull, ReplicaFailed, ServeAppError
from serve_app.types import AudioChunk, GenerationRequest, ModelCard, ReplicaStatus

logger = logging.getLogger("ray.serve")

_STATUS_TIMEOUT_S = 2.0


@serve.ingress()
class Ingress:
    """Serves `create_api` over the deployments' handles, by model id."""

    def __init__(self, config: AppConfig, handles: dict[str, DeploymentHandle]) -> None:
        self._config, self._backend = config, RayBackend(handles)

    def __serve_build_asgi_app__(self) -> FastAPI:
        config = self._config
        return create_api(self._backend, map(_card, config.models), config.default_model, config.api)


class RayBackend:
    """The API's backend: every model is a deployment."""

    def __init__(self, handles: Mapping[str, DeploymentHandle]) -> None:
        self._handles = handles

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[AudioChunk, None]:
        """Raises the replica's own ServeAppErrors, QueueFull, and ReplicaFailed when the replica died."""
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
            answers = await response.results_async(timeout_s=_STATUS_TIMEOUT_S, return_exceptions=True)
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
    if isinstance(cause, (RayActorError, DeploymentUnavailableError)):
        return ReplicaFailed("The replica died while it made this piece. The same request may be sent again.")
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
