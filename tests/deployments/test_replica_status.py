"""Statuses as plain values, and replicas that do not answer. tests/service asks real replicas."""

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError

from serve_app.deployments import replica_status
from serve_app.deployments.replica_status import from_plain, running_replicas, to_plain
from tests.fakes import FakeGenerator


class Replica:
    """A running replica as Serve's router lists it. Its actor answers, fails, or keeps silent."""

    def __init__(self, answer: Any) -> None:
        self._actor_handle = SimpleNamespace(record_routing_stats=self)
        self._answer = answer

    def remote(self) -> Any:
        call: Future[Any] = Future()
        if isinstance(self._answer, Exception):
            call.set_exception(self._answer)
        elif self._answer is not None:
            call.set_result(self._answer)
        return SimpleNamespace(future=lambda: call)


def handle(*replicas: Replica) -> Any:
    router = SimpleNamespace(curr_replicas=dict(enumerate(replicas)))
    return SimpleNamespace(
        is_initialized=True,
        _router=SimpleNamespace(_asyncio_router=SimpleNamespace(_request_router=router)),
    )


async def test_replicas_that_do_not_answer_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The silent one is asked alone: whoever answers late in a busy process is left out, too."""
    monkeypatch.setattr(replica_status, "TIMEOUT_S", 60.0)
    [status] = await FakeGenerator().replicas("small")
    values = to_plain(status)
    replicas = [Replica(values), Replica(ActorDiedError()), Replica(TimeoutError())]
    assert await running_replicas(handle(*replicas)) == [status]
    assert await running_replicas(handle()) == []
    monkeypatch.setattr(replica_status, "TIMEOUT_S", 0.01)
    assert await running_replicas(handle(Replica(None))) == []


async def test_plain_values_are_of_no_class_of_this_package() -> None:
    [status] = await FakeGenerator().replicas("small")
    values = to_plain(status)
    assert from_plain(values) == status
    found = {type(value) for part in values.values() for value in part.values()}
    assert found <= {bool, int, float, str}
