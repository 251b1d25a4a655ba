"""Bodies of webhooks: small, and in the form of their dialect."""

import json
from dataclasses import replace

import pytest

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


async def test_a_prediction_links_its_file(room: JobRoom) -> None:
    hook = HOOK.model_copy(update={"dialect": "replicate"})
    details = {"base_url": "http://here"}
    job, _ = await room.service.submit(submission(webhook=hook, details=details))
    done = await room.succeed(await room.claim())
    [delivery] = room.announcer.deliveries(done, "completed")
    output = json.loads(delivery.body)["output"]
    assert output.startswith(f"http://here/v1/jobs/{job.id}/audio/0?token=")
