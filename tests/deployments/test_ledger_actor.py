"""The coordinator that reaches an actor: a lost one is found again; an unused one ends."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import ray
from ray.exceptions import ActorUnavailableError

from serve_app.config.deployment import DeploymentConfig
from serve_app.deployments import ledger_actor
from serve_app.deployments.ledger_actor import ActorCoordinator, LedgerActor
from serve_app.gateway.permits import ledger
from serve_app.gateway.permits.coordinator import Unreachable
from serve_app.gateway.permits.messages import Report

PATIENCE_S = 60.0  # a busy machine is slow; only a failing test waits as long
JOIN = Report("a", 1, True, False, False, (), ())
LEAVE = Report("a", 2, False, False, True, (), ())


class Handle:
    """A handle of an actor in this process, which may have died."""

    def __init__(self, actor: LedgerActor) -> None:
        self.actor = actor
        self.is_dead = False

    def __getattr__(self, method: str) -> Any:
        return Method(self, getattr(self.actor, method))


class Method:
    def __init__(self, handle: Handle, method: Callable[[Any], Awaitable[Any]]) -> None:
        self._handle = handle
        self._method = method

    async def remote(self, argument: Any) -> Any:
        if self._handle.is_dead:
            raise ActorUnavailableError("it restarts", b"0" * 16)
        return await self._method(argument)


async def test_a_lost_actor_is_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    handles: list[Handle] = []

    def start(_: ActorCoordinator) -> Handle:
        handles.append(Handle(LedgerActor()))
        return handles[-1]

    monkeypatch.setattr(ActorCoordinator, "_start", start)
    coordinator = ActorCoordinator("app", DeploymentConfig())
    assert (await coordinator.exchange(JOIN)).is_known
    handles[0].is_dead = True
    with pytest.raises(Unreachable, match="it restarts"):
        await coordinator.exchange(JOIN)
    reply = await coordinator.exchange(Report("a", 3, False, True, False, (), ()))
    assert len(handles) == 2
    assert not reply.is_known, "the new actor asks for all that the session holds"
    await coordinator.close()


@pytest.mark.parametrize("is_restarted", [False, True])
async def test_an_actor_that_ray_restarted_grants_nothing_at_first(
    monkeypatch: pytest.MonkeyPatch, *, is_restarted: bool
) -> None:
    class Context:
        was_current_actor_reconstructed = is_restarted

        def get_actor_id(self) -> str:
            return "a1b2"

    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "get_runtime_context", Context)
    assert (await LedgerActor().exchange(JOIN)).is_open is not is_restarted


class Looked(LedgerActor):
    """A LedgerActor that counts how often it looks for sessions."""

    looks = 0

    @property
    def has_sessions(self) -> bool:
        self.looks += 1
        return super().has_sessions


async def test_an_actor_without_sessions_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    killed = asyncio.Event()
    loop = asyncio.get_running_loop()

    class Context:
        current_actor = "itself"

    def kill(actor: str, *, no_restart: bool) -> None:
        assert (actor, no_restart) == ("itself", True)
        loop.call_soon_threadsafe(killed.set)

    monkeypatch.setattr(ledger_actor, "_LOOK_S", 0.02)
    monkeypatch.setattr(ledger_actor, "_UNUSED_S", 0.1)
    monkeypatch.setattr(ledger, "LEASE_S", 600.0)
    monkeypatch.setattr(ray, "get_runtime_context", Context)
    monkeypatch.setattr(ray, "kill", kill)
    actor = Looked()
    await actor.exchange(JOIN)
    async with asyncio.timeout(PATIENCE_S):
        while actor.looks < 15:  # noqa: ASYNC110 - a task of the actor counts
            await asyncio.sleep(0.02)
        assert not killed.is_set(), "a session is open"
        await actor.exchange(LEAVE)
        await killed.wait()
