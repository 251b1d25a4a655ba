"""One run of a stream."""

from collections.abc import AsyncGenerator
from contextvars import ContextVar

import opentelemetry.context
import pytest

from serve_app.errors import GenerationFailed, QueueFull, ServeAppError
from serve_app.gateway import stream_run
from serve_app.gateway.stream_run import StreamRun
from serve_app.types import GenerationRequest, StreamItem
from tests.fakes import FakeGenerator
from tests.gateway.streams import PATIENCE_S, Held, LookedAtClock, looked_at, source_of, until

SECOND = 64_000  # bytes of pcm
GRACE_S = 0.1


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> LookedAtClock:
    """The clock of the runs: none is aborted because the machine stands still."""
    clock = LookedAtClock()
    monkeypatch.setattr(stream_run, "POLL_S", PATIENCE_S)
    monkeypatch.setattr(stream_run, "monotonic", clock)
    return clock


async def ended(run: StreamRun) -> None:
    await until(lambda: not run.running)


async def test_bytes_come_while_the_file_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = Held()
    run = StreamRun(source_of(generator), 3, GRACE_S, lambda _: None)
    part = await run.part(0, 1_000_000)
    assert (len(part.content), part.state.size, part.state.complete) == (20, 20, False)
    assert (part.state.total, part.state.version) == (SECOND, 3), "the length is known"
    assert part.state.facts["model"] == "small"
    with monkeypatch.context() as patch:
        patch.setattr(stream_run, "POLL_S", 0.05)
        assert (await run.part(20, 100)).content == b"", "nothing comes for a while"
    generator.go_on.set()
    rest = await run.part(20, 1_000_000)
    assert len(rest.content) == SECOND - 20
    await ended(run)
    assert run.state().complete
    assert (await run.part(SECOND, 100)).content == b""
    assert (await run.part(10, 4)).content == (part.content + rest.content)[10:14]
    assert len(generator.requests) == generator.closed == 1


@pytest.mark.parametrize("response_format", ["flac", "opus"])
async def test_a_length_that_depends_on_the_audio_is_known_in_the_end(
    response_format: str,
) -> None:
    reserved: list[int] = []
    generator = Held()
    run = StreamRun(source_of(generator, response_format), 1, GRACE_S, reserved.append)
    await until(lambda: bool(reserved))
    assert run.state().total is None
    generator.go_on.set()
    await ended(run)
    assert run.state().total == run.state().size == reserved[-1] < reserved[0]


async def test_a_run_without_listeners_is_aborted(clock: LookedAtClock) -> None:
    generator = Held()
    run = StreamRun(source_of(generator), 1, GRACE_S, lambda _: None)
    await run.part(0, 10)
    for _ in range(3):
        clock.now += 0.9 * GRACE_S
        await looked_at(clock)
        run.hear()
    assert run.running, "a listener is there"
    clock.now += 1.1 * GRACE_S
    await ended(run)
    assert run.failed
    assert generator.closed == 1
    assert not run.state().complete
    assert run.state().size == 0, "its memory is freed"


async def test_a_run_that_its_listeners_left_is_finished_within_the_grace(
    clock: LookedAtClock,
) -> None:
    """A probe, and a player that breaks off: the next fetch finds the same run."""
    generator = Held()
    run = StreamRun(source_of(generator), 1, GRACE_S, lambda _: None)
    await run.part(0, 2)
    clock.now += 0.9 * GRACE_S
    await looked_at(clock)
    assert run.running
    generator.go_on.set()
    await ended(run)
    assert run.state().complete
    assert len((await run.part(0, SECOND)).content) == SECOND
    assert len(generator.requests) == 1


@pytest.mark.parametrize("error", [QueueFull("Too many wait."), RuntimeError("boom")])
async def test_an_error_ends_it(error: Exception) -> None:
    reserved: list[int] = []
    for generator in (FakeGenerator(error=error), FakeGenerator(late_error=error)):
        run = StreamRun(source_of(generator), 1, GRACE_S, reserved.append)
        await ended(run)
        with pytest.raises(type(error)):
            await run.part(0, 10)
        assert generator.closed == 1
        assert reserved[-1] == 0


async def test_a_reservation_may_be_refused() -> None:
    def refuse(size: int) -> None:
        if size:
            raise QueueFull("No room.")

    generator = FakeGenerator()
    run = StreamRun(source_of(generator), 1, GRACE_S, refuse)
    with pytest.raises(QueueFull):
        await run.part(0, 10)
    assert generator.closed == 1


async def test_a_wrong_length_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_app.gateway.track.streamed_size", lambda *_: SECOND + 1)
    run = StreamRun(source_of(FakeGenerator()), 1, GRACE_S, lambda _: None)
    await ended(run)
    with pytest.raises(GenerationFailed, match="length"):
        await run.part(0, 10)


async def test_it_can_be_stopped() -> None:
    generator = Held()
    run = StreamRun(source_of(generator), 1, GRACE_S, lambda _: None)
    await run.part(0, 10)
    await run.stop()
    assert not run.running
    assert generator.closed == 1
    with pytest.raises(ServeAppError):
        await run.part(0, 10)


async def test_it_does_not_belong_to_the_request_of_its_first_listener() -> None:
    request: ContextVar[str] = ContextVar("request", default="")
    seen: list[tuple[str, object]] = []

    class Looking(FakeGenerator):
        async def generate(self, wanted: GenerationRequest) -> AsyncGenerator[StreamItem, None]:
            seen.append((request.get(), opentelemetry.context.get_value("span")))
            async for item in super().generate(wanted):
                yield item

    request.set("first")
    token = opentelemetry.context.attach(opentelemetry.context.set_value("span", "trace"))
    try:
        run = StreamRun(source_of(Looking()), 1, GRACE_S, lambda _: None)
        await run.part(0, 10)
    finally:
        opentelemetry.context.detach(token)
    assert seen == [("", "trace")]
