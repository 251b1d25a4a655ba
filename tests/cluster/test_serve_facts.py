"""Facts of the real Serve, as an ingress replica learns them."""

import asyncio

import pytest

from serve_app.deployments.serve_facts import ServeFacts
from tests.cluster.conftest import PATIENCE_S, REQUEST_TIMEOUT_S

pytestmark = pytest.mark.long


@pytest.mark.usefixtures("fleet")
async def test_serves_time_limit_is_known() -> None:
    """By it, a track that would be late even on an idle replica is refused."""
    facts = ServeFacts()
    async with asyncio.timeout(PATIENCE_S):
        while facts.limit_s() is None:  # noqa: ASYNC110 - the controller is asked
            await asyncio.sleep(0.01)
    assert facts.limit_s() == REQUEST_TIMEOUT_S
