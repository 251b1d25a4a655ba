"""Delivery of webhooks to a real receiver, verified by the `standardwebhooks` package."""

import asyncio
import json
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier

from serve_app.config.jobs import WebhookConfig
from serve_app.jobs.addresses import Addresses, Answer
from serve_app.jobs.delivery import DELAYS_S, DeliveryLoop, settlement_of
from serve_app.jobs.errors import JobStoreUnavailable
from serve_app.jobs.job import Delivery, EventName, Job, Webhook
from serve_app.jobs.store import Settlement
from tests.jobs.patience import PATIENCE_S
from tests.jobs.receiver import deliver_once, receiver
from tests.jobs.rooms import JobRoom, addresses_of, submission

ALL: tuple[EventName, ...] = ("started", "progress", "completed")


def loop_of(room: JobRoom, *, private: bool = True) -> DeliveryLoop:
    return DeliveryLoop(room.store, addresses_of(private, PATIENCE_S), PATIENCE_S)


async def finished(
    room: JobRoom, url: str, events: tuple[EventName, ...] = ("completed",), owner: str = ""
) -> Job:
    """A job with a webhook that has succeeded."""
    webhook = Webhook(url=url, events=events)
    await room.service.submit(submission(webhook=webhook, owner=owner))
    claim = await room.claim()
    await room.progress(claim, 0.5)
    return await room.succeed(claim)


async def test_a_receiver_gets_a_signed_message(room: JobRoom) -> None:
    with receiver() as hook:
        job = await finished(room, hook.url)
        assert await deliver_once(loop_of(room)) == 1
    [message] = hook.received
    [secret] = await room.store.webhook_secrets("")
    event = Verifier(secret).verify(message.body, message.headers)
    assert event == json.loads(message.body)
    assert event["type"] == "job.completed"
    assert (event["data"]["id"], event["data"]["status"]) == (job.id, "succeeded")
    assert event["data"]["result"][0]["sha256"] == job.results[0].sha256
    assert message.headers["content-type"] == "application/json"
    assert await deliver_once(loop_of(room)) == 0, "it is delivered once"


async def test_messages_of_a_rotation_are_verified_by_both_secrets(room: JobRoom) -> None:
    [first] = await room.store.webhook_secrets("")
    second = await room.store.rotate_webhook_secret("", 3600.0)
    with receiver() as hook:
        await finished(room, hook.url)
        await deliver_once(loop_of(room))
    [message] = hook.received
    for secret in (first, second):
        assert Verifier(secret).verify(message.body, message.headers)


async def test_the_latest_progress_and_the_end_are_told(room: JobRoom) -> None:
    with receiver() as hook:
        await finished(room, hook.url, ALL)
        await deliver_once(loop_of(room))
    types = sorted(json.loads(message.body)["type"] for message in hook.received)
    assert types in (["job.completed"], ["job.completed", "job.progress"])


async def test_a_repetition_has_the_same_id_and_another_signature(room: JobRoom) -> None:
    with receiver((500, {"retry-after": "3600"}), 204) as hook:
        job = await finished(room, hook.url)
        await deliver_once(loop_of(room))
        assert await deliver_once(loop_of(room)) == 0, "the second attempt is not due yet"
        assert await room.service.redeliver("", job.id) == 1
        await deliver_once(loop_of(room))
    first, second = hook.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


async def test_a_receiver_that_is_gone_gets_no_more(room: JobRoom) -> None:
    with receiver(410) as hook:
        await finished(room, hook.url)
        await deliver_once(loop_of(room))
        await finished(room, hook.url)
        assert await deliver_once(loop_of(room)) == 0
    assert len(hook.received) == 1


async def test_private_addresses_get_nothing(room: JobRoom) -> None:
    """Also where a name led to a public address when the job was accepted."""
    with receiver() as hook:
        await finished(room, hook.url)
        assert await deliver_once(loop_of(room, private=False)) == 1
    assert hook.received == []


async def test_a_receiver_that_does_not_answer_is_tried_again(room: JobRoom) -> None:
    await finished(room, "http://127.0.0.1:9/hook")
    settled = await _settled(room, loop_of(room))
    assert settled.error is not None
    assert settled.error.startswith("the connection failed")
    assert settled.retry_in_s is not None
    assert 5 <= settled.retry_in_s <= 5.5


@pytest.mark.parametrize("status", [200, 202, 204, 299])
def test_only_2xx_is_a_success(status: int) -> None:
    assert settlement_of(Answer(status, {}, b""), 1) == Settlement(True, status)


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 429, 500, 503])
def test_other_answers_and_redirects_are_tried_again(status: int) -> None:
    settled = settlement_of(Answer(status, {}, b""), 1)
    assert not settled.delivered
    assert not settled.disables
    assert settled.retry_in_s is not None


def test_the_schedule_is_the_specifications_with_jitter() -> None:
    assert DELAYS_S == (0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
    delays = {
        attempt: [settlement_of(Answer(500, {}, b""), attempt).retry_in_s for _ in range(20)]
        for attempt in range(1, 10)
    }
    for attempt, drawn in delays.items():
        given = [one for one in drawn if one is not None]
        assert len(set(given)) > 1, "receivers that failed together are not called together"
        assert DELAYS_S[attempt] <= min(given) <= max(given) <= 1.1 * DELAYS_S[attempt]
    assert settlement_of(Answer(500, {}, b""), 10).retry_in_s is None


@pytest.mark.parametrize(
    ("header", "least", "most"), [("60", 60, 60), ("1", 5, 5.5), ("9999999", 86_400, 86_400)]
)
def test_retry_after_is_honoured_within_a_day(header: str, least: float, most: float) -> None:
    settled = settlement_of(Answer(429, {"retry-after": header}, b""), 1)
    assert settled.retry_in_s is not None
    assert least <= settled.retry_in_s <= most


async def test_the_loop_delivers_until_it_is_cancelled(room: JobRoom) -> None:
    with receiver() as hook:
        running = asyncio.create_task(loop_of(room).run())
        await finished(room, hook.url)
        await asyncio.to_thread(hook.expect, 1)
        running.cancel()
        await asyncio.wait({running})
    assert running.cancelled()
    assert len(hook.received) == 1


async def test_an_error_of_the_store_does_not_end_the_loop(
    room: JobRoom, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = 0
    claim = room.store.claim_deliveries

    async def failing(*arguments: Any) -> list[Delivery]:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise OSError("disk")
        return await claim(*arguments)

    monkeypatch.setattr(room.store, "claim_deliveries", failing)
    monkeypatch.setattr("serve_app.jobs.delivery._POLL_S", 0.01)
    with receiver() as hook:
        await finished(room, hook.url)
        running = asyncio.create_task(loop_of(room).run())
        await asyncio.to_thread(hook.expect, 1)
        running.cancel()
        await asyncio.wait({running})
    assert len(hook.received) == 1
    assert "outbox" in caplog.text


async def test_a_slow_receiver_delays_no_other(
    room: JobRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.jobs.delivery._MOST_AT_ONCE", 2)
    with receiver() as slow, receiver() as quick:
        slow.may_answer.clear()
        await finished(room, slow.url)
        for _ in range(3):
            await finished(room, quick.url)
        running = asyncio.create_task(loop_of(room).run())
        await asyncio.to_thread(quick.expect, 3)
        assert len(quick.received) == 3
        slow.may_answer.set()
        await asyncio.to_thread(slow.expect, 1)
        running.cancel()
        await asyncio.wait({running})


async def test_slow_receivers_of_a_key_delay_no_other_key(
    room: JobRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its messages are older, and more than there are places."""
    monkeypatch.setattr("serve_app.jobs.delivery._MOST_AT_ONCE", 3)
    monkeypatch.setattr("serve_app.jobs.delivery._MOST_OF_OWNER", 2)
    with receiver() as slow, receiver() as quick:
        slow.may_answer.clear()
        for _ in range(5):
            await finished(room, slow.url, owner="slow")
        for _ in range(3):
            await finished(room, quick.url, owner="quick")
        running = asyncio.create_task(loop_of(room).run())
        await asyncio.to_thread(quick.expect, 3)
        assert len(quick.received) == 3
        assert len(slow.received) <= 2
        slow.may_answer.set()
        await asyncio.to_thread(slow.expect, 5)
        running.cancel()
        await asyncio.wait({running})


async def test_a_host_that_hangs_delays_no_other_host(
    room: JobRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many keys send to it, and one of them to another host, too."""
    monkeypatch.setattr("serve_app.jobs.delivery._MOST_AT_ONCE", 6)
    with receiver() as slow, receiver() as quick:
        slow.may_answer.clear()
        for number in range(8):
            await finished(room, slow.url, owner=f"key-{number}")
        for _ in range(3):
            await finished(room, quick.url, owner="key-0")
        running = asyncio.create_task(loop_of(room).run())
        await asyncio.to_thread(quick.expect, 3)
        assert len(slow.received) <= 4
        slow.may_answer.set()
        await asyncio.to_thread(slow.expect, 8)
        running.cancel()
        await asyncio.wait({running})


async def test_an_unexpected_error_counts_as_an_attempt(
    room: JobRoom, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Else its message would be sent again for ever."""

    async def failing(*_: object) -> Answer:
        raise UnicodeError("label too long")

    monkeypatch.setattr(Addresses, "send", failing)
    await finished(room, "http://127.0.0.1:9/hook")
    settled = await _settled(room, loop_of(room))
    assert (settled.delivered, settled.retry_in_s is None) == (False, False)
    assert "unexpected error" in caplog.text


async def test_what_cannot_be_recorded_is_sent_again(
    room: JobRoom, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def failing(*_: object) -> None:
        raise JobStoreUnavailable("The database is full")

    settle = room.store.settle
    monkeypatch.setattr(room.store, "settle", failing)
    with receiver() as hook:
        job = await finished(room, hook.url)
        assert await deliver_once(loop_of(room)) == 1
        assert "could not be recorded" in caplog.text
        monkeypatch.setattr(room.store, "settle", settle)
        await room.service.redeliver("", job.id)
        await deliver_once(loop_of(room))
    assert len({message.headers["webhook-id"] for message in hook.received}) == 1
    assert len(hook.received) == 2


async def _settled(room: JobRoom, loop: DeliveryLoop) -> Settlement:
    """How the loop judges its next delivery."""
    found: list[Settlement] = []
    settle = room.store.settle

    async def recording(delivery: Delivery, settlement: Settlement) -> None:
        found.append(settlement)
        await settle(delivery, settlement)

    store: Any = room.store
    store.settle = recording
    await deliver_once(loop)
    [settlement] = found
    return settlement


def test_the_lease_outlasts_an_exchange() -> None:
    assert WebhookConfig().timeout_s <= 30
