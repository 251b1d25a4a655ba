"""Secrets of webhooks, and messages that are sent again."""

import httpx

from serve_app.jobs.delivery import DeliveryLoop
from tests.api.routes.test_jobs import submit
from tests.jobs.receiver import deliver_once, receiver
from tests.jobs.rooms import JobRoom, addresses_of


async def test_a_rotation_keeps_the_earlier_secret_for_a_time(
    jobs_client: httpx.AsyncClient,
) -> None:
    first = (await jobs_client.get("/v1/webhooks/secret")).json()
    assert first["secrets"] == [first["secret"]]
    assert first["secret"].startswith("whsec_")
    assert (await jobs_client.get("/v1/webhooks/secret")).json() == first
    second = (await jobs_client.post("/v1/webhooks/secret/rotate")).json()
    assert second["secrets"] == [second["secret"], first["secret"]]
    response = await jobs_client.post("/v1/webhooks/secret/rotate", params={"overlap_s": "0"})
    third = response.json()
    assert third["secrets"] == [third["secret"]], "nothing overlaps"
    assert response.headers["cache-control"] == "no-store"
    wrong = await jobs_client.post("/v1/webhooks/secret/rotate", params={"overlap_s": "-1"})
    assert wrong.status_code == 400


async def test_messages_are_sent_again_on_request(
    jobs_client: httpx.AsyncClient, room: JobRoom
) -> None:
    with receiver() as hook:
        job = await submit(jobs_client, webhook={"url": hook.url, "events": ["completed"]})
        await room.succeed(await room.claim())
        loop = DeliveryLoop(room.store, addresses_of(True, 60.0), 60.0)
        await deliver_once(loop)
        answer = await jobs_client.post(f"/v1/jobs/{job['id']}/webhook/redeliver")
        assert answer.json() == {"deliveries": 1}
        await deliver_once(loop)
    assert len({message.headers["webhook-id"] for message in hook.received}) == 1
    assert len(hook.received) == 2
