"""Connections that nobody uses for a while, at the edge and at Serve's proxy."""

import asyncio

import pytest

from tests.service.conftest import Unused

UNUSED_S = 65.0  # more than the 60 s after which load balancers close them


@pytest.mark.long
async def test_an_idle_connection_outlives_those_of_load_balancers(unused: list[Unused]) -> None:
    assert len(unused) == 2
    for one in unused:
        await asyncio.sleep(UNUSED_S - one.elapsed_s)
        assert one.is_open()
        assert one.get_health() == 200
