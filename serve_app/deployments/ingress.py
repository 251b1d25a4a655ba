"""The ingress deployment: the HTTP API over handles to the models' deployments."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping

import ray
from fastapi import FastAPI
from ray import serve
from ray.exceptions import ActorDiedError, RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from serve_app.api.app import create_api
from serve_app.config.app import AppConfig, ModelConfig
from serve_app.config.jobs import JobsConfig
from serve_app.deployments.actor_options import demand, ingress_demand
from serve_app.deployments.departed_clients import DepartedClients
from serve_app.deployments.job_metrics import RayJobObserver
from serve_app.deployments.logs import log_with_serve
from serve_app.deployments.metrics import RayObserver
from serve_app.deployments.node_watch import NodeWatch
from serve_app.deployments.peer_streams import PeerStreams
from serve_app.deployments.replica_status import connect, running_actors, running_replicas
from serve_app.errors import (
    InvalidRequest,
    ModelLoading,
    QueueFull,
    ReplicaFailed,
    ReplicaUnreachable,
    ServeAppError,
)
from serve_app.gateway.limits import Limits
from serve_app.gateway.service import GenerationService
from serve_app.gateway.stream_store import StreamStore
from serve_app.gateway.streams import StreamPart, StreamState
from serve_app.jobs.observer import LogJobObserver
from serve_app.jobs.runtime import JobRuntime
from serve_app.jobs.service import JobService
from serve_app.model_status import ModelCard, ReplicaStatus
from serve_app.placement import obstacle
from serve_app.types import GenerationRequest, StreamItem

logger = logging.getLogger(__name__)

_MAX_REQUESTS = 1000
_NOTE_S = 2.0
_CHECK_S = 1.0
# Ray's text for an actor lost with its node. Until Ray notices, it is an ActorUnavailableError.
_NODE_DEATH = "its node has died"


@serve.ingress()
class Ingress:
    """The ingress deployment: the app of `create_api` over the models' handles, by model id."""

    def __init__(self, config: AppConfig, handles: dict[str, DeploymentHandle]) -> None:
        log_with_serve()
        self._config = config
        self._handles = handles
        self._nodes = NodeWatch({model.model_id: demand(model) for model in config.models})
        self._watching = asyncio.ensure_future(self._nodes.run())  # Serve constructs it in its loop
        self._streams = StreamStore.of(config.api)
        observer = RayJobObserver(config.jobs.log_prompts)
        self._jobs = JobRuntime.of(config.jobs, observer, node_count=ingress_nodes(config))

    def __serve_build_asgi_app__(self) -> FastAPI:
        config = self._config
        app = create_api(
            RayGenerator(self._handles, self._nodes),
            RayFleet(self._handles, self._nodes),
            map(card_of, config.models),
            config.default_model,
            config.api,
            RayObserver(),
            PeerStreams(self._streams),
            max_requests(config),
            config.provenance,
            self._job_service,
            None if isinstance(self._jobs, str) else self._jobs.running(),
        )
        app.add_middleware(DepartedClients)
        return app

    def _job_service(self, generation: GenerationService, limits: Limits) -> JobService | str:
        """Build the service of jobs, or say why there is none."""
        return self._jobs if isinstance(self._jobs, str) else self._jobs.service(generation, limits)

    async def describe_stream(self, stream_id: str) -> StreamState | None:
        """Describe a stream for another ingress replica; None: this one does not have it."""
        return await self._streams.describe(stream_id) if self._streams.has(stream_id) else None

    async def advance_stream(
        self, stream_id: str, start: int, limit: int, version: int | None
    ) -> StreamPart | None:
        """Return the next bytes of a stream likewise."""
        if not self._streams.has(stream_id):
            return None
        return await self._streams.advance(stream_id, start, limit, version)


class RayGenerator:
    """The gateway's Generator over Serve's handles, by model id."""

    def __init__(self, handles: Mapping[str, DeploymentHandle], nodes: NodeWatch) -> None:
        self._handles = handles
        self._nodes = nodes

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[StreamItem, None]:
        """Stream the items from a replica.

        Raises the replica's own ServeAppErrors, QueueFull, ModelUnplaceable when no node can run a
        replica, ModelLoading when none could be started, ReplicaFailed when the replica crashed,
        and ReplicaUnreachable when it was lost with its node.
        """
        await self._nodes.check(request.model)
        stream = self._handles[request.model].options(stream=True).generate.remote(request)
        try:
            async for item in stream:
                yield item
        except Exception as error:
            raise as_serve_app_error(error) from error
        except (asyncio.CancelledError, GeneratorExit):
            stream.cancel()  # leaving the loop does not stop the replica
            raise


class RayFleet:
    """The gateway's Fleet over Serve's handles, by model id."""

    def __init__(self, handles: Mapping[str, DeploymentHandle], nodes: NodeWatch) -> None:
        self._handles = handles
        self._nodes = nodes
        self._waking: dict[str, asyncio.Task[None]] = {}
        self._noting: dict[str, asyncio.Task[None]] = {}
        for handle in handles.values():
            connect(handle)

    async def replicas(self, model_id: str) -> list[ReplicaStatus]:
        """Ask every replica, however many requests it has."""
        return await running_replicas(self._handles[model_id])

    def wake(self, model_id: str) -> None:
        """Send a request, so that Serve scales the deployment up from zero; one at a time."""
        task = self._waking.get(model_id)
        if task is None or task.done():
            self._waking[model_id] = asyncio.create_task(_wake(self._handles[model_id]))

    def note_jobs(self, model_id: str, audio_s: float) -> None:
        """Call a replica, which tells the autoscaling policy; no new call while one waits."""
        task = self._noting.get(model_id)
        if task is None or task.done():
            handle = self._handles[model_id]
            self._noting[model_id] = asyncio.create_task(_note_jobs(handle, audio_s))

    async def check_prompt(self, model_id: str, prompt: str) -> None:
        """Call a running replica, for at most _CHECK_S seconds."""
        handle = self._handles[model_id]
        if running_actors(handle):
            await _check_prompt(handle, prompt)

    def obstacle(self, model_id: str) -> str | None:
        """Explain why no node can run the model."""
        return self._nodes.obstacle(model_id)

    def notice(self, model_id: str) -> str | None:
        """Explain why no node can run the model now."""
        return self._nodes.notice(model_id)


async def _check_prompt(handle: DeploymentHandle, prompt: str) -> None:
    """Raise the replica's PromptTooLong. Nothing is known where it does not answer."""
    call = handle.check_prompt.remote(prompt)
    try:
        await asyncio.wait_for(call, _CHECK_S)
    except TimeoutError:  # the replicas are full
        call.cancel()
    except Exception as error:
        failure = as_serve_app_error(error)
        if isinstance(failure, InvalidRequest):
            raise failure from error
        logger.warning("A replica did not check a prompt: %s", failure.message)


async def _note_jobs(handle: DeploymentHandle, audio_s: float) -> None:
    """Tell a running replica; where there is none, a job in Serve's queue starts one."""
    if not running_actors(handle):
        return
    call = handle.note_jobs.remote(audio_s)
    try:
        await asyncio.wait_for(call, _NOTE_S)
    except TimeoutError:  # the replicas are full
        call.cancel()
    except Exception as error:  # the next note is due soon
        logger.warning("A replica was not told of jobs: %s", as_serve_app_error(error).message)


async def _wake(handle: DeploymentHandle) -> None:
    try:
        await handle.wake.remote()
    except Exception as error:  # requests that need the model meet the same error
        logger.warning("A model could not be woken: %s", as_serve_app_error(error).message)


def as_serve_app_error(error: Exception) -> ServeAppError:
    """Translate an error to this package's own.

    The text of a RayTaskError is a traceback: only its cause is used.
    """
    cause = error.cause if isinstance(error, RayTaskError) else error
    if isinstance(cause, ServeAppError):
        return cause
    if isinstance(cause, BackPressureError):
        return QueueFull(
            "Too many requests are waiting for this model. Send the request again later."
        )
    if isinstance(cause, RayActorError):
        return _replica_error(cause)
    if isinstance(cause, DeploymentUnavailableError):
        return ModelLoading(
            "No replica of this model could be started. Send the request again later."
        )
    logger.error("Unexpected error from a replica", exc_info=error)
    return ServeAppError("The model's replica met an unexpected error, which is in the log.")


def _replica_error(error: RayActorError) -> ReplicaFailed:
    """Tell a crash of the replica's process from the loss of its node or of the connection."""
    if isinstance(error, ActorDiedError) and _NODE_DEATH not in str(error):
        return ReplicaFailed(
            "The replica crashed while it made this track. Send the same request again."
        )
    return ReplicaUnreachable(
        "The replica that made this track became unreachable. Send the same request again."
    )


def check_jobs(config: JobsConfig, environment: Mapping[str, str]) -> None:
    """Raise ConfigError for stores of jobs that cannot be chosen. Nothing is opened."""
    JobRuntime.of(config, LogJobObserver(), environment)


def ingress_nodes(config: AppConfig) -> int:
    """Count the living nodes on which an ingress replica may run: jobs of several need shared stores."""
    needed = ingress_demand(config.ingress_deployment_config)
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(obstacle(needed, [resources]) is None for resources in alive)


def max_requests(config: AppConfig) -> int:
    """Number of requests that one ingress replica works on at a time."""
    return config.ingress_deployment_config.max_ongoing_requests or _MAX_REQUESTS


def card_of(model: ModelConfig) -> ModelCard:
    scaling = model.deployment_config.autoscaling_config or {}
    return ModelCard(
        model_id=model.model_id,
        source=model.public_source,
        aliases=model.aliases,
        license=model.weights_license,
        fallbacks=model.fallbacks,
        price_per_hour=model.price_per_hour,
        max_queued_audio_s=model.max_queued_audio_s,
        max_prompt_tokens=model.engine_kwargs.max_prompt_tokens,
        scales_to_zero=0 in (scaling.get("min_replicas"), scaling.get("initial_replicas")),
        decoders=model.engine_kwargs.decoders,
    )
