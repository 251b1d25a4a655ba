"""The API of jobs over stores of the test's own."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.api.jobs_api import CURRENT, jobs_api
from tests.jobs.rooms import JobRoom, client_of, job_room


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[JobRoom]:
    """Jobs whose webhooks may go to this machine."""
    async with job_room(tmp_path, webhooks={"allow_private_addresses": True}) as room:
        CURRENT.service = room.service
        yield room


@pytest.fixture
async def jobs_client(room: JobRoom) -> AsyncIterator[httpx.AsyncClient]:
    assert CURRENT.service is room.service
    async with client_of(jobs_api()) as client:
        yield client
