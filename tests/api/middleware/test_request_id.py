"""Request ids."""

import httpx

from tests.fakes import FakeGenerator


async def test_well_formed_ids_are_kept_and_others_replaced(
    client: httpx.AsyncClient, generator: FakeGenerator
) -> None:
    for given in ("abc-1", "bad id\x7f", "x" * 200):
        body = {"prompt": "a", "duration_s": 1}
        await client.post("/v1/audio/generations", json=body, headers={"x-request-id": given})
    ids = [request.request_id for request in generator.requests]
    assert ids[0] == "abc-1"
    assert len({*ids}) == 3
    assert all(len(request_id) <= 128 for request_id in ids)
