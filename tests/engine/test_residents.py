"""Fine-tunes are loaded when they are asked for, and the least recently used idle one leaves."""

import asyncio
import contextlib
from collections import defaultdict

import pytest

from serve_app.engine.errors import ModelLoadFailed
from serve_app.engine.residents import Residents
from serve_app.errors import CheckpointError, ModelLoading, QueueFull

PATIENCE_S = 60.0


class FakeSource:
    """Checkpoints of which `broken` ones cannot be found, and loads end once `open` is set."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.loads: defaultdict[str, int] = defaultdict(int)
        self.broken: set[str] = set()
        self.open = asyncio.Event()
        self.open.set()
        self.in_memory: set[str] = set()
        self.most = 0

    async def find(self, name: str) -> str:
        if name in self.broken:
            raise CheckpointError(f"/secret/{name}: is damaged")
        return name

    async def load(self, name: str, found: str) -> None:
        assert found == name
        self.loads[name] += 1
        self.in_memory.add(name)
        self.most = max(self.most, len(self.in_memory))
        await self.open.wait()
        if f"late {name}" in self.broken:
            self.in_memory.remove(name)
            raise RuntimeError("out of memory")

    async def unload(self, name: str) -> None:
        self.in_memory.remove(name)
        self.events.append(name)


@pytest.fixture
async def source() -> FakeSource:
    return FakeSource()


async def use(residents: Residents[str], *names: str) -> None:
    for name in names:
        async with residents.hold(name):
            pass


async def test_the_least_recently_used_leaves(source: FakeSource) -> None:
    residents = Residents(source, places=2, max_wait_s=PATIENCE_S)
    await use(residents, "a", "b", "a", "c")
    assert source.events == ["b"]
    assert residents.names == ["a", "c"]
    assert source.loads == {"a": 1, "b": 1, "c": 1}
    assert source.most == 2


async def test_one_in_use_stays(source: FakeSource) -> None:
    residents = Residents(source, places=2, max_wait_s=PATIENCE_S)
    async with residents.hold("a"):
        await use(residents, "b", "c", "d")
    assert source.events == ["b", "c"]


async def test_a_place_is_waited_for(source: FakeSource) -> None:
    residents = Residents(source, places=1, max_wait_s=PATIENCE_S)
    async with residents.hold("a"):
        waiting = [asyncio.create_task(use(residents, "b")) for _ in range(2)]
        await asyncio.sleep(0)
        assert residents.names == ["a"]
    await asyncio.gather(*waiting)
    assert (source.events, source.loads["b"], source.most) == (["a"], 1, 1)


async def test_the_wait_for_a_place_is_bounded(source: FakeSource) -> None:
    """The one that gave up takes no place afterwards."""
    residents = Residents(source, places=1, max_wait_s=0.01)
    async with residents.hold("a"):
        with pytest.raises(QueueFull, match="in use") as caught:
            await use(residents, "b")
        assert caught.value.retry_after_s
    await asyncio.sleep(0.02)
    assert residents.names == ["a"]


async def test_the_wait_for_a_load_is_bounded_and_the_load_goes_on(
    source: FakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    residents = Residents(source, places=1, max_wait_s=0.01)
    source.open.clear()
    with pytest.raises(ModelLoading, match="is loading"):
        await use(residents, "a")
    monkeypatch.setattr(residents, "_max_wait_s", PATIENCE_S)
    source.open.set()
    await use(residents, "a")
    assert source.loads == {"a": 1}


async def test_a_broken_checkpoint_evicts_nobody_and_is_not_tried_at_each_request(
    source: FakeSource,
) -> None:
    residents = Residents(source, places=1, max_wait_s=PATIENCE_S)
    source.broken |= {"b", "late c"}
    await use(residents, "a")
    for _ in range(2):
        with pytest.raises(ModelLoadFailed, match="Model 'b' could not be loaded") as caught:
            await use(residents, "b")
        assert "secret" not in caught.value.message
        assert caught.value.headers["retry-after"] == "30"
    assert (residents.names, source.events) == (["a"], [])
    for _ in range(2):
        with pytest.raises(ModelLoadFailed):
            await use(residents, "c")
    assert source.loads["c"] == 1
    await use(residents, "a")
    assert residents.names == ["a"]


async def test_a_broken_checkpoint_is_tried_again_later(
    source: FakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.engine.residents._BROKEN_S", 0.0)
    residents = Residents(source, places=1, max_wait_s=PATIENCE_S)
    source.broken.add("a")
    with pytest.raises(ModelLoadFailed):
        await use(residents, "a")
    source.broken.clear()
    await use(residents, "a")


async def test_a_cancelled_caller_holds_nothing(source: FakeSource) -> None:
    residents = Residents(source, places=1, max_wait_s=PATIENCE_S)
    source.open.clear()
    caller = asyncio.create_task(use(residents, "a"))
    await asyncio.sleep(0.01)
    caller.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await caller
    source.open.set()
    await use(residents, "b")
    assert source.events == ["a"]
