"""Observation: the outcome of each request."""

import logging
from collections.abc import AsyncGenerator

import pytest

from serve_app.errors import DeadlineExceeded, InvalidRequest, QueueFull
from serve_app.gateway.observer import LogObserver, logger, observed
from serve_app.gateway.punctuality import DeadlineUnattainable, QueueLate
from serve_app.types import GenerationRequest, Progress, StreamItem
from tests.fakes import SAMPLE_RATE, SMALL, TIMINGS, FakeGenerator, RecordingObserver


def request(duration_s: float = 2.0, *, progress: bool = False) -> GenerationRequest:
    return GenerationRequest(
        request_id="this-one", model="small", prompt="a", duration_s=duration_s, progress=progress
    )


def watched(
    generator: FakeGenerator, observer: RecordingObserver, request: GenerationRequest
) -> AsyncGenerator[StreamItem, None]:
    return observed(generator.generate(request), request, SMALL, observer)


async def test_a_finished_track() -> None:
    observer = RecordingObserver()
    items = [item async for item in watched(FakeGenerator(), observer, request())]
    assert len(items) == 2
    [outcome] = observer.outcomes
    assert (outcome.request_id, outcome.model, outcome.code) == ("this-one", "small", "ok")
    assert outcome.audio_s == 2.0
    assert outcome.first_audio_s is not None
    assert 0 < outcome.first_audio_s <= outcome.total_s
    assert outcome.timings == TIMINGS
    assert outcome.cost_usd == pytest.approx(1.2 * 1.5 / 3600, rel=1e-4)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidRequest("No."), "invalid_request"),
        (DeadlineExceeded("Late."), "deadline_exceeded"),
        (DeadlineUnattainable("Never."), "deadline_unattainable"),
        (QueueFull("Full.", 1.0), "queue_full"),
        (QueueLate("Late.", 1.0), "queue_late"),
        (RuntimeError("Boom."), "internal_error"),
    ],
)
async def test_a_failure(error: Exception, code: str) -> None:
    observer = RecordingObserver()
    with pytest.raises(type(error)):
        await anext(watched(FakeGenerator(error=error), observer, request()))
    [outcome] = observer.outcomes
    assert (outcome.code, outcome.audio_s, outcome.first_audio_s) == (code, 0.0, None)
    assert (outcome.timings, outcome.cost_usd) == (None, None)


async def test_an_abandoned_track_counts_the_delivered_audio() -> None:
    observer = RecordingObserver()
    generator = FakeGenerator()
    items = watched(generator, observer, request(30.0))
    await anext(items)
    await items.aclose()
    [outcome] = observer.outcomes
    assert (outcome.code, outcome.audio_s) == ("request_aborted", 10 / SAMPLE_RATE)
    assert generator.closed == 1


async def test_progress_is_no_audio() -> None:
    observer = RecordingObserver()
    items = watched(FakeGenerator(), observer, request(progress=True))
    assert isinstance(await anext(items), Progress)
    await items.aclose()
    [outcome] = observer.outcomes
    assert (outcome.audio_s, outcome.first_audio_s) == (0.0, None)


async def test_outcomes_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        for caller in ("", "web"):
            asked = request().model_copy(update={"caller": caller})
            async for _ in observed(FakeGenerator().generate(asked), asked, SMALL, LogObserver()):
                pass
    assert "Request this-one: ok, 2.0 s of music by small in " in caplog.text
    assert "Request this-one of key 'web': ok, 2.0 s of music by small in " in caplog.text
    records = [record for record in caplog.records if record.name == logger.name]
    open_one, keyed = (vars(record) for record in records)
    assert (open_one["key"], keyed["key"]) == ("-", "web")
    assert (keyed["outcome"], keyed["model"], keyed["audio_s"]) == ("ok", "small", 2.0)
    assert 0 < keyed["first_audio_s"] <= keyed["total_s"]
    assert (keyed["queue_s"], keyed["generation_s"]) == (TIMINGS.queue_s, TIMINGS.generation_s)
    assert keyed["cost_usd"] == pytest.approx(1.2 * 1.5 / 3600, rel=1e-4)
    assert "trace_id" not in keyed, "the request is not traced"
