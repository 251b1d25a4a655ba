"""The switch of the dialects, and the headers that pages of other origins may read."""

import httpx
import pytest
from pydantic import ValidationError

from serve_app.api.app import create_api
from serve_app.config.api import ApiConfig, Dialect
from tests.fakes import SMALL, FakeGenerator

ROUTES: dict[Dialect, tuple[str, ...]] = {
    "openai": ("/v1/audio/speech",),
    "vllm": ("/v1/audio/generate",),
    "elevenlabs": ("/v1/music", "/v1/music/stream", "/v1/music/detailed", "/v1/sound-generation"),
    "huggingface": ("/models/{owner}/{name}",),
}


@pytest.mark.parametrize("dialect", ROUTES)
async def test_a_dialect_that_is_left_out_is_not_served(dialect: Dialect) -> None:
    generator = FakeGenerator()
    others = tuple(name for name in ROUTES if name != dialect)
    api = create_api(generator, generator, [SMALL], None, ApiConfig(dialects=others))
    paths = set(api.openapi()["paths"])
    assert not paths & set(ROUTES[dialect])
    assert paths >= {path for name in others for path in ROUTES[name]}
    assert paths >= {"/", "/v1/audio/generations", "/v1/models/{model_id}"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://t") as client:
        for path in ROUTES[dialect]:
            route = path.format(owner="facebook", name="musicgen-small")
            body = {"prompt": "a", "input": "a", "inputs": "a", "text": "a"}
            assert (await client.post(route, json=body)).status_code == 404
        root = await client.post("/", json={"inputs": "a"})
        assert root.status_code == (400 if dialect == "huggingface" else 200)


def test_unknown_dialects_are_refused() -> None:
    with pytest.raises(ValidationError, match="elevenlabs"):
        ApiConfig.model_validate({"dialects": ["suno"]})


async def test_pages_of_other_origins_read_the_headers_of_the_dialects(
    client: httpx.AsyncClient,
) -> None:
    body = {"input": "a", "voice": "x", "duration_s": 1}
    headers = {"origin": "http://localhost:3000", "sec-fetch-site": "cross-site"}
    response = await client.post("/v1/audio/speech", json=body, headers=headers)
    assert response.status_code == 200
    exposed = response.headers["access-control-expose-headers"].split(", ")
    assert {"x-musicgen-ignored", "song-id", "x-musicgen-seed"} <= set(exposed)
