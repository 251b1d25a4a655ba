"""Bodies of webhooks: small, and in the form of their dialect."""

import json
from dataclasses import replace
from time import time

import pytest

from serve_app.errors import Unauthorized
from serve_app.jobs.job import EventName, Webhook
from serve_app.jobs.webhooks import MOST_BODY_BYTES
from tests.jobs.rooms import JobRoom, submission

HOOK = Webhook(url="http://127.0.0.1/hook", events=("started", "completed"))


async def test_only_events_that_are_asked_for_are_told(room: JobRoom) -> None:
    job, _ = await room.service.submit(submission(webhook=HOOK))
    told = {event: len(room.announcer.deliveries(job, event)) for event in EVENTS}
    assert told == {"started": 1, "progress": 0, "completed": 1}
    silent = replace(job, webhook=None)
    assert room.announcer.deliveries(silent, "completed") == ()


EVENTS: tuple[EventName, ...] = ("started", "progress", "completed")


async def test_a_body_is_typed_timed_and_holds_the_job(room: JobRoom) -> None:
    job, _ = await room.service.submit(submission(webhook=HOOK, metadata={"track": 7}))
    [delivery] = room.announcer.deliveries(job, "started")
    event = json.loads(delivery.body)
    assert list(event) == ["type", "timestamp", "data"]
    assert event["type"] == "job.started"
    assert event["data"]["metadata"] == {"track": 7}
    assert (delivery.url, delivery.event) == (HOOK.url, "started")


@pytest.mark.parametrize("dialect", ["native", "replicate"])
async def test_a_body_stays_below_the_limit(room: JobRoom, dialect: str) -> None:
    hook = HOOK.model_copy(update={"dialect": dialect})
    details = {"prediction": {"input": {"prompt": "é" * 9000}}}
    job, _ = await room.service.submit(submission(webhook=hook, details=details, n=8))
    done = await room.succeed(await room.claim())
    request = done.request.model_copy(update={"prompt": "é" * 9000})
    long = replace(done, request=request, metadata={"text": "é" * 1300})
    [delivery] = room.announcer.deliveries(long, "completed")
    assert len(delivery.body.encode()) <= MOST_BODY_BYTES
    body = json.loads(delivery.body)
    if dialect == "native":
        assert (body["data"]["request"], body["data"]["id"]) == (None, job.id)
        assert len(body["data"]["result"]) == 8
    else:
        assert (body["input"], body["status"]) == ({}, "succeeded")


@pytest.mark.parametrize("dialect", ["native", "replicate"])
async def test_links_outlast_the_attempts_to_deliver(
    room: JobRoom, dialect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver may be down for hours; the links of answers are valid for one."""
    hook = HOOK.model_copy(update={"dialect": dialect})
    job, _ = await room.service.submit(submission(webhook=hook))
    done = await room.succeed(await room.claim())
    [delivery] = room.announcer.deliveries(done, "completed")
    body = json.loads(delivery.body)
    late = body["output"] if dialect == "replicate" else body["data"]["result"][0]["url"]
    soon = room.service.links.audio(done, 0) or ""
    monkeypatch.setattr(room.service.links, "clock", lambda: time() + 10 * 3600)
    token = late.partition("?token=")[2]
    assert (await room.service.linked_file(job.id, 0, token)).size_bytes > 0
    with pytest.raises(Unauthorized, match="expired"):
        await room.service.linked_file(job.id, 0, soon.partition("?token=")[2])


async def test_a_prediction_links_its_file(room: JobRoom) -> None:
    hook = HOOK.model_copy(update={"dialect": "replicate"})
    details = {"base_url": "http://here"}
    job, _ = await room.service.submit(submission(webhook=hook, details=details))
    done = await room.succeed(await room.claim())
    [delivery] = room.announcer.deliveries(done, "completed")
    output = json.loads(delivery.body)["output"]
    assert output.startswith(f"http://here/v1/jobs/{job.id}/audio/0?token=")
