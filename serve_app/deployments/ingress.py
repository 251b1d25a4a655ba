"""The ingress deployment: the HTTP API over handles to the models' deployments."""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import ray
from fastapi import FastAPI
from ray import serve
from ray._raylet import node_labels_match_selector  # type: ignore[attr-defined]
from ray.serve.handle import DeploymentHandle

from serve_app.api.app import create_api
from serve_app.config.app import AppConfig, ModelConfig
from serve_app.config.jobs import JobsConfig
from serve_app.deployments.actor_options import demand, ingress_demand
from serve_app.deployments.autoscaling.context import CPU_SHARE
from serve_app.deployments.coordination import coordinator_of
from serve_app.deployments.cpu_share import CpuShare
from serve_app.deployments.departed_clients import DepartedClients
from serve_app.deployments.fleet import RayFleet
from serve_app.deployments.hang_guard import guard_replica
from serve_app.deployments.http_span import HttpSpan
from serve_app.deployments.job_metrics import RayJobObserver
from serve_app.deployments.logs import log_with_serve, warn_of_user_config
from serve_app.deployments.metrics import RayObserver
from serve_app.deployments.node_watch import NodeWatch
from serve_app.deployments.peer_streams import PeerStreams
from serve_app.deployments.permit_metrics import RayPermitObserver
from serve_app.deployments.replica_errors import as_serve_app_error
from serve_app.deployments.replica_loss import explained
from serve_app.deployments.replica_watch import ReplicaWatch
from serve_app.deployments.serve_facts import ServeFacts
from serve_app.deployments.transport import unpack
from serve_app.gateway.limits import Limits
from serve_app.gateway.permits.permits import Permits
from serve_app.gateway.service import GenerationService
from serve_app.gateway.stream_store import StreamStore
from serve_app.gateway.streams import StreamPart, StreamState
from serve_app.jobs.observer import LogJobObserver
from serve_app.jobs.runtime import JobRuntime
from serve_app.jobs.service import JobService
from serve_app.model_status import ModelCard
from serve_app.placement import obstacle
from serve_app.types import GenerationRequest, StreamItem

_MAX_REQUESTS = 1000


@serve.ingress()
class Ingress:
    """The ingress deployment: the app of `create_api` over the models' handles, by model id."""

    def __init__(self, config: AppConfig, handles: dict[str, DeploymentHandle]) -> None:
        log_with_serve()
        self._config = config
        cores = ingress_demand(config.ingress_deployment_config).resources.get("CPU", 1)
        self._cpu = CpuShare(cores)
        self._guarding = guard_replica()
        self._handles = handles
        self._nodes = NodeWatch({model.model_id: demand(model) for model in config.served})
        self._watching = asyncio.ensure_future(self._nodes.run())  # Serve constructs it in its loop
        app_name = serve.get_replica_context().app_name
        self._replicas = ReplicaWatch(app_name, CpuShare(max(1.0, cores)))
        self._reporting = asyncio.ensure_future(self._replicas.run())
        self._facts = ServeFacts()
        self._streams = StreamStore.of(config.api)
        observer = RayJobObserver(config.jobs.log_prompts)
        self._permits = Permits(coordinator_of(config, app_name, os.environ), RayPermitObserver())
        self._jobs = JobRuntime.of(config.jobs, observer, node_count=ingress_nodes(config))

    def __serve_build_asgi_app__(self) -> FastAPI:
        config = self._config
        app = create_api(
            RayGenerator(self._handles, self._nodes, fine_tunes(config)),
            RayFleet(self._handles, self._nodes),
            map(card_of, config.served),
            config.default_model,
            config.api,
            RayObserver(),
            PeerStreams(self._streams),
            max_requests(config),
            config.provenance,
            self._job_service,
            self._running(),
            self._permits,
            self._facts,
        )
        app.add_middleware(DepartedClients)
        app.add_middleware(HttpSpan)
        return app

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        """Keep permits, and work on jobs, as long as the app runs."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._permits.running())
            if not isinstance(self._jobs, str):
                await stack.enter_async_context(self._jobs.running())
            yield

    def _job_service(self, generation: GenerationService, limits: Limits) -> JobService | str:
        """Build the service of jobs, or say why there is none."""
        return self._jobs if isinstance(self._jobs, str) else self._jobs.service(generation, limits)

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Tell that a `user_config` has no effect. Serve starts no replica without this method."""
        warn_of_user_config(user_config)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Report CpuPolicy's input. Serve calls this method beside the requests."""
        return {CPU_SHARE: await self._cpu.read()}

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
    """The gateway's Generator over Serve's handles, by model id.

    fine_tunes: ids whose requests go to a replica that has the fine-tune in memory, if one has.
    """

    def __init__(
        self,
        handles: Mapping[str, DeploymentHandle],
        nodes: NodeWatch,
        fine_tunes: Collection[str] = (),
    ) -> None:
        self._handles = {
            name: handle.options(stream=True, multiplexed_model_id=name)
            if name in fine_tunes
            else handle.options(stream=True)
            for name, handle in handles.items()
        }
        self._nodes = nodes

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[StreamItem, None]:
        """Stream the items from a replica.

        Raises the replica's own ServeAppErrors, QueueFull, ModelUnplaceable when no node can run a
        replica, ModelLoading when none could be started, ReplicaFailed when the replica crashed,
        and ReplicaUnreachable when it was lost with its node.
        """
        await self._nodes.check(request.model)
        stream = self._handles[request.model].generate.remote(request)
        try:
            async for item in stream:
                yield unpack(item)
        except Exception as error:
            raise as_serve_app_error(await explained(error)) from error
        except (asyncio.CancelledError, GeneratorExit):
            stream.cancel()  # leaving the loop does not stop the replica
            raise


def check_jobs(config: JobsConfig, environment: Mapping[str, str]) -> None:
    """Raise ConfigError for stores of jobs that cannot be chosen. Nothing is opened."""
    JobRuntime.of(config, LogJobObserver(), environment)


def ingress_nodes(config: AppConfig) -> int:
    """Count the living nodes on which an ingress replica may run: jobs of several need shared stores."""
    deployment = config.ingress_deployment_config
    needed = ingress_demand(deployment)
    selector = (deployment.ray_actor_options or {}).get("label_selector") or {}
    alive = [node for node in ray.nodes() if node["Alive"]]
    selected = [node for node in alive if node_labels_match_selector(node["Labels"], selector)]
    return sum(obstacle(needed, [node["Resources"]]) is None for node in selected)


def fine_tunes(config: AppConfig) -> set[str]:
    """Return the ids of all models' fine-tunes."""
    return {one.model_id for one in config.served} - {one.model_id for one in config.models}


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
        pins_batch_shape=model.engine_kwargs.pin_batch_shape,
    )
