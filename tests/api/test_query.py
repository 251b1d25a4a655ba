"""The dialects' routes refuse parameters of the query that they do not know, and repeated ones."""

import httpx
import pytest

from tests.fakes import FakeGenerator

FIELDS = {
    "/v1/audio/speech": "input",
    "/v1/audio/generate": "input",
    "/v1/music": "prompt",
    "/v1/music/stream": "prompt",
    "/v1/music/detailed": "prompt",
    "/v1/sound-generation": "text",
    "/models/facebook/musicgen-small": "inputs",
    "/": "inputs",
}
ELEVENLABS = ("/v1/music", "/v1/sound-generation")


async def _refusal(client: httpx.AsyncClient, path: str, query: str) -> tuple[str, str | None]:
    """Send a request; return the message and the field that the route's clients read."""
    response = await client.post(f"{path}?{query}", json={FIELDS[path]: "a"})
    assert response.status_code == 400
    body = response.json()
    error = body["detail"] if path.startswith(ELEVENLABS) else body["error"]
    if isinstance(error, str):
        return error, error.partition(":")[0]
    return error["message"], error["param"]


@pytest.mark.parametrize("path", FIELDS)
async def test_unknown_parameters_are_refused_by_name(
    client: httpx.AsyncClient, generator: FakeGenerator, path: str
) -> None:
    for query in ("output_fromat=mp3", "output_fromat=", "output_fromat=a&output_fromat=b"):
        message, field = await _refusal(client, path, query)
        assert field == "output_fromat"
        assert "'output_fromat' is no parameter" in message
    assert generator.requests == []


@pytest.mark.parametrize("path", [path for path in FIELDS if path.startswith(ELEVENLABS)])
async def test_repeated_parameters_are_refused_by_name(
    client: httpx.AsyncClient, generator: FakeGenerator, path: str
) -> None:
    for field in ("output_format", "enable_logging"):
        message, named = await _refusal(client, path, f"{field}=pcm_8000&{field}=pcm_8000")
        assert (named, message) == (field, f"{field} is repeated in the query: send it once")
    assert generator.requests == []
