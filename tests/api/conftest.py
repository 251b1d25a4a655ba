"""The API over the fake generator; the real one is tested in tests/service."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from serve_app.api.app import create_api
from serve_app.config.api import ApiConfig
from tests.api.jobs_api import CURRENT, jobs_api
from tests.fakes import LARGE, SMALL, FakeGenerator
from tests.jobs.rooms import JobRoom, client_of, job_room


@pytest.fixture
def generator() -> FakeGenerator:
    return FakeGenerator()


@pytest.fixture
def config() -> ApiConfig:
    return ApiConfig(
        max_prompt_chars=100,
        max_body_bytes=2000,
        max_upload_bytes=100_000,
        max_audio_prompt_s=1.0,
        model_wait_s=0.05,
    )


@pytest.fixture
async def client(generator: FakeGenerator, config: ApiConfig) -> AsyncIterator[httpx.AsyncClient]:
    app = create_api(generator, generator, [SMALL, LARGE], "small", config)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://test", follow_redirects=True
    ) as client:
        yield client


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[JobRoom]:
    """Jobs whose webhooks may go to this machine."""
    async with job_room(tmp_path, webhooks={"allow_private_addresses": True}) as room:
        CURRENT.service = room.service
        yield room


@pytest.fixture
async def jobs_client(room: JobRoom) -> AsyncIterator[httpx.AsyncClient]:
    """The API of jobs over stores of the test's own."""
    assert CURRENT.service is room.service
    async with client_of(jobs_api()) as client:
        yield client
