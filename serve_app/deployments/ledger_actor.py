"""The ledger of permits as a Ray actor, for all ingress replicas of an application."""

import asyncio
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError

from serve_app.config.deployment import DeploymentConfig
from serve_app.gateway.permits.coordinator import Unreachable
from serve_app.gateway.permits.ledger_host import LedgerHost
from serve_app.gateway.permits.messages import Reply, Report

NAMESPACE = "musicgen"
_PROTOCOL = 2  # of the messages: another version talks to another actor
_UNUSED_S = 60.0  # after which the actor ends
_LOOK_S = 5.0


class LedgerActor(LedgerHost):
    """Hosts the ledger, and ends once no session has been open for _UNUSED_S.

    The actor is a detached one, and none of Serve's `deployment_actors`: Ray restarts it in about
    2 s, Serve's controller in 7 to 10 s, and shows the application as UNHEALTHY until then; and
    Serve starts one for each version of the code, so that limits would double in a rolling update.
    """

    def __init__(self) -> None:
        super().__init__(is_restarted=_is_restarted())
        self._ending: asyncio.Task[None] | None = None

    async def exchange(self, report: Report) -> Reply:
        """Take in a report, as LedgerHost does."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._end_unused())
        return await super().exchange(report)

    async def _end_unused(self) -> None:
        unused_s = 0.0
        while unused_s < _UNUSED_S:
            await asyncio.sleep(_LOOK_S)
            unused_s = 0.0 if self.has_sessions else unused_s + _LOOK_S
        itself = ray.get_runtime_context().current_actor
        await asyncio.to_thread(ray.kill, itself, no_restart=True)


def _is_restarted() -> bool:
    """Whether Ray runs this actor anew, because its process or node was lost."""
    if not ray.is_initialized():
        return False
    context = ray.get_runtime_context()
    return bool(context.get_actor_id() and context.was_current_actor_reconstructed)


class ActorCoordinator:
    """The Coordinator that reaches the application's actor, and starts it where there is none.

    ingress: the actor runs where ingress replicas may run: it takes their custom resources (a
    thousandth) and labels.
    """

    def __init__(self, app_name: str, ingress: DeploymentConfig) -> None:
        self._name = actor_name(app_name)
        self._placement = _placement(ingress)
        self._actor: ActorHandle[Any] | None = None

    async def exchange(self, report: Report) -> Reply:
        """Take in a session's report, and reply. Raises Unreachable."""
        reply: Reply = await self._call("exchange", report)
        return reply

    async def woken(self, session: str) -> None:
        """Wait until the session should report. Raises Unreachable."""
        await self._call("woken", session)

    async def close(self) -> None:
        """Do nothing: the actor is that of all replicas."""

    async def _call(self, method: str, argument: object) -> Any:
        try:
            actor = await self._found()
            return await getattr(actor, method).remote(argument)
        except (RayError, ValueError) as error:
            self._actor = None
            raise Unreachable(str(error)) from error

    async def _found(self) -> "ActorHandle[Any]":
        if self._actor is None:
            self._actor = await asyncio.to_thread(self._start)
        return self._actor

    def _start(self) -> "ActorHandle[Any]":
        """Return the actor of that name, which Ray starts if there is none."""
        actor_class = ray.remote(LedgerActor)
        return actor_class.options(
            name=self._name,
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            max_restarts=-1,
            max_concurrency=10_000,
            num_cpus=0,
            **self._placement,
        ).remote()


def actor_name(app_name: str) -> str:
    """Return the name of an application's actor."""
    return f"ledger-{_PROTOCOL}:{app_name}"


def _placement(ingress: DeploymentConfig) -> dict[str, Any]:
    options = ingress.ray_actor_options or {}
    placement = {name: options[name] for name in ("label_selector",) if options.get(name)}
    if resources := options.get("resources"):
        placement["resources"] = {name: min(0.001, amount) for name, amount in resources.items()}
    return placement
