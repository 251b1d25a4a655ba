"""The outbox of webhooks: leases, retries, addresses that are gone, and redelivery."""

import pytest

from serve_app.jobs.database_store import DatabaseStore
from serve_app.jobs.job import Delivery, Webhook
from serve_app.jobs.store import NewDelivery, Progressed, Settlement
from tests.jobs.stores import HOOK, LEASE_S, MOST, claimed, message, pass_time, rows_of, success

SENT = Settlement(delivered=True, status=204)


async def sent(store: DatabaseStore, *events: str, owner: str = "me") -> list[Delivery]:
    """The leased messages of a job, one for each event."""
    claim = await claimed(store, owner=owner, webhook=HOOK)
    for event in events:
        await store.heartbeat(claim, Progressed(0.1, 1.0), LEASE_S, (message(event),))
    await store.finish(claim, success(claim), (message("completed", '{"status":"succeeded"}'),))
    return await store.claim_deliveries(MOST, LEASE_S)


async def test_messages_are_claimed_once_in_their_order(store: DatabaseStore) -> None:
    started, completed = await sent(store, "started")
    assert (started.event, completed.event) == ("started", "completed")
    assert (completed.url, completed.body) == (HOOK.url, '{"status":"succeeded"}')
    assert (completed.owner, completed.attempt) == ("me", 1)
    assert await store.claim_deliveries(MOST, LEASE_S) == []
    assert (await store.stats()).deliveries_waiting == 2
    await store.settle(completed, SENT)
    await store.settle(started, SENT)
    assert (await store.stats()).deliveries_waiting == 0
    await pass_time(store, 1000)
    assert await store.claim_deliveries(MOST, LEASE_S) == []


async def test_claims_are_limited(store: DatabaseStore) -> None:
    claim = await claimed(store)
    await store.finish(claim, success(claim), tuple(message() for _ in range(3)))
    assert len(await store.claim_deliveries(2, LEASE_S)) == 2
    assert len(await store.claim_deliveries(2, LEASE_S)) == 1


async def test_a_failed_message_is_sent_again_with_its_id(store: DatabaseStore) -> None:
    [first] = await sent(store)
    await store.settle(first, Settlement(False, 503, "busy\0\ud800", retry_in_s=600))
    assert await store.claim_deliveries(MOST, LEASE_S) == []
    await pass_time(store, 601)
    [second] = await store.claim_deliveries(MOST, LEASE_S)
    assert (second.id, second.attempt) == (first.id, 2)
    [row] = await rows_of(store, "deliveries")
    assert (row["last_status"], row["last_error"]) == (503, "busy ?")
    await store.settle(second, Settlement(False, None, "refused"))
    await pass_time(store, 1_000_000)
    assert await store.claim_deliveries(MOST, LEASE_S) == [], "there was no further attempt"


async def test_the_message_of_a_lost_sender_is_claimed_again(store: DatabaseStore) -> None:
    [late] = await sent(store)
    await pass_time(store, LEASE_S + 1)
    [again] = await store.claim_deliveries(MOST, LEASE_S)
    assert (again.id, again.attempt) == (late.id, 2)
    await store.settle(late, SENT)
    assert (await store.stats()).deliveries_waiting == 1, "its lease was lost"
    await store.settle(again, SENT)
    assert (await store.stats()).deliveries_waiting == 0


async def test_progress_replaces_progress_that_was_not_sent(store: DatabaseStore) -> None:
    claim = await claimed(store, webhook=HOOK)
    await store.heartbeat(claim, Progressed(0.1, 1.0), LEASE_S, (message("started"),))
    for body in ("1", "2"):
        await store.heartbeat(claim, Progressed(0.1, 1.0), LEASE_S, (message("progress", body),))
    claims = await store.claim_deliveries(MOST, LEASE_S)
    assert [(one.event, one.body) for one in claims] == [("started", "{}"), ("progress", "2")]
    await store.heartbeat(claim, Progressed(0.2, 2.0), LEASE_S, (message("progress", "3"),))
    assert len(await rows_of(store, "deliveries")) == 3, "one under way is not replaced"
    await store.finish(claim, success(claim), (message(),))
    [completed] = await store.claim_deliveries(MOST, LEASE_S)
    assert completed.event == "completed"


async def test_an_address_that_is_gone_gets_no_more(store: DatabaseStore) -> None:
    first, *_ = await sent(store, "started")
    await store.settle(first, Settlement(False, 410, disables=True))
    assert (await store.stats()).deliveries_waiting == 0
    assert await sent(store) == []
    assert len(await sent(store, owner="you")) == 1, "another owner's messages go on"


async def test_a_lost_lease_disables_nothing(store: DatabaseStore) -> None:
    [late] = await sent(store)
    await pass_time(store, LEASE_S + 1)
    await store.claim_deliveries(MOST, LEASE_S)
    await store.settle(late, Settlement(False, 410, disables=True))
    assert await rows_of(store, "webhooks_disabled") == []


async def test_redelivery_sends_the_latest_of_each_event_again(store: DatabaseStore) -> None:
    claim = await claimed(store, webhook=HOOK)
    first: list[Delivery] = []
    for event, body in (("started", "0"), ("progress", "1"), ("progress", "2")):
        await store.heartbeat(claim, Progressed(0.1, 1.0), LEASE_S, (message(event, body),))
        first += await store.claim_deliveries(MOST, LEASE_S)
    await store.finish(claim, success(claim), (message(),))
    first += await store.claim_deliveries(MOST, LEASE_S)
    for delivery in first:
        await store.settle(delivery, SENT)
    assert await store.redeliver("you", claim.job.id) == 0
    assert await store.redeliver("me", claim.job.id) == 3
    again = await store.claim_deliveries(MOST, LEASE_S)
    assert {(one.id, one.body) for one in again} == {
        (one.id, one.body) for one in first if one.body != "1"
    }
    assert {one.attempt for one in again} == {1}


async def test_no_more_is_claimed_of_an_owner_than_its_bound(store: DatabaseStore) -> None:
    for owner in ("me", "me", "you"):
        claim = await claimed(store, webhook=HOOK, owner=owner)
        await store.finish(claim, success(claim), (message(),))
    claims = await store.claim_deliveries(MOST, LEASE_S, {"me": 1, "them": 0})
    assert sorted(one.owner for one in claims) == ["me", "you"]
    assert await store.claim_deliveries(MOST, LEASE_S, {"me": 0}) == []
    assert len(await store.claim_deliveries(1, LEASE_S, {"me": 7})) == 1


async def test_no_more_is_claimed_to_a_host_than_its_bound(store: DatabaseStore) -> None:
    """The messages of an owner to a host that is full keep back none of its others."""
    for url in (
        "https://hangs.example/a",
        "https://Hangs.example/b",
        "https://a@quick.example:81/",
    ):
        claim = await claimed(store, webhook=Webhook(url=url))
        await store.finish(claim, success(claim), (NewDelivery(url, "completed", "{}"),))
    full = {"hangs.example": 0}
    [claimed_one] = await store.claim_deliveries(MOST, LEASE_S, {"me": 1}, full)
    assert claimed_one.url == "https://a@quick.example:81/"
    assert len(await store.claim_deliveries(MOST, LEASE_S, {}, {"hangs.example": 1})) == 1
    assert await store.claim_deliveries(MOST, LEASE_S, {}, full) == []
    hosts = [row["host"] for row in await rows_of(store, "deliveries")]
    assert sorted(hosts) == ["hangs.example", "hangs.example", "quick.example:81"]


@pytest.mark.parametrize("events", [(), ("started",)])
async def test_redelivery_enables_the_address(store: DatabaseStore, events: tuple[str]) -> None:
    first, *_ = await sent(store, *events)
    await store.settle(first, Settlement(False, 410, disables=True))
    assert await store.redeliver("me", first.job_id) == len(events) + 1
    assert len(await store.claim_deliveries(MOST, LEASE_S)) == len(events) + 1
    assert len(await sent(store)) == 1
