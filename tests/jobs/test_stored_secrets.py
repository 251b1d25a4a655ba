"""Secrets of webhooks, with rotation, and the signing key."""

import asyncio
import base64

from serve_app.jobs.database_store import DatabaseStore
from serve_app.jobs.stores import StoreAddress, store_at
from tests.jobs.stores import pass_time, rows_of


async def test_the_first_secret_is_drawn_once(store: DatabaseStore) -> None:
    answers = await asyncio.gather(*(store.webhook_secrets("me") for _ in range(10)))
    assert len({tuple(secrets) for secrets in answers}) == 1
    [secret] = answers[0]
    assert secret.startswith("whsec_")
    assert 24 <= len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) <= 64
    assert await store.webhook_secrets("you") != [secret]


async def test_earlier_secrets_stay_in_force_for_the_overlap(store: DatabaseStore) -> None:
    [first] = await store.webhook_secrets("me")
    second = await store.rotate_webhook_secret("me", overlap_s=100)
    await pass_time(store, 50)
    third = await store.rotate_webhook_secret("me", overlap_s=100)
    assert await store.webhook_secrets("me") == [third, second, first]
    await pass_time(store, 51)
    assert await store.webhook_secrets("me") == [third, second]
    await store.sweep(1.0)
    assert len(await rows_of(store, "webhook_secrets")) == 2
    await pass_time(store, 1000)
    assert await store.webhook_secrets("me") == [third]


async def test_rotation_without_overlap_ends_the_earlier_secret(store: DatabaseStore) -> None:
    await store.webhook_secrets("me")
    secret = await store.rotate_webhook_secret("me", overlap_s=0)
    assert await store.webhook_secrets("me") == [secret]


async def test_rotations_at_once_leave_one_current_secret(store: DatabaseStore) -> None:
    drawn = await asyncio.gather(*(store.rotate_webhook_secret("me", 100) for _ in range(5)))
    secrets = await store.webhook_secrets("me")
    assert set(secrets) < set(drawn)
    rows = await rows_of(store, "webhook_secrets")
    assert [row["secret"] for row in rows if row["expires_at"] is None] == secrets[:1]


async def test_three_secrets_at_most_stay_in_force(store: DatabaseStore) -> None:
    """The oldest one ends at once: each secret makes the headers of messages longer."""
    drawn = await store.webhook_secrets("me")
    others = await store.webhook_secrets("you")
    for _ in range(4):
        await pass_time(store, 1)
        drawn.append(await store.rotate_webhook_secret("me", overlap_s=1000))
    assert await store.webhook_secrets("me") == [drawn[4], drawn[3], drawn[2]]
    assert len(await rows_of(store, "webhook_secrets")) == 4
    assert await store.webhook_secrets("you") == others


async def test_the_signing_key_is_the_stores(store: DatabaseStore, store_url: str) -> None:
    key = await store.signing_key()
    other = store_at(StoreAddress(store_url, named=True))
    await other.open()
    assert await other.signing_key() == key == await store.signing_key()
    await other.close()
    assert len(key) == 32
