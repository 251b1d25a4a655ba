"""The models' replicas behind Serve's handles."""

import asyncio
import logging
from collections.abc import Mapping

from ray.serve.handle import DeploymentHandle

from serve_app.deployments.node_watch import NodeWatch
from serve_app.deployments.replica_errors import as_serve_app_error
from serve_app.deployments.replica_status import connect, running_actors, running_replicas
from serve_app.errors import InvalidRequest
from serve_app.model_status import ReplicaStatus

logger = logging.getLogger(__name__)

_NOTE_S = 2.0
_CHECK_S = 1.0


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
            self._noting[model_id] = asyncio.create_task(_note_jobs(handle, model_id, audio_s))

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


async def _note_jobs(handle: DeploymentHandle, model_id: str, audio_s: float) -> None:
    """Tell a running replica; where there is none, a job in Serve's queue starts one."""
    if not running_actors(handle):
        return
    call = handle.note_jobs.remote(audio_s, model_id)
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
