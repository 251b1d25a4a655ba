"""Keys as OpenAI's and ElevenLabs' own clients send them, to a real HTTP server."""

from collections.abc import Iterator

import httpx
import openai
import pytest
from elevenlabs import ElevenLabs
from elevenlabs.core.api_error import ApiError
from elevenlabs.types import Model

from serve_app.config.api import ApiConfig
from tests.fakes import FakeGenerator
from tests.served_api import served_api

KEY = "web-key-0123456789"
WRONG = "other-key-0123456789"


@pytest.fixture
def generator() -> FakeGenerator:
    return FakeGenerator()


@pytest.fixture
def url(generator: FakeGenerator, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("MUSICGEN_API_KEYS", f"web:{KEY}")
    with served_api(generator) as url:
        yield url


def test_openais_client(url: str, generator: FakeGenerator) -> None:
    def speak(key: str) -> bytes:
        with openai.OpenAI(api_key=key, base_url=f"{url}/v1", max_retries=0) as client:
            more = {"duration_s": 1}
            answer = client.audio.speech.create(
                model="small", input="a", voice="x", extra_body=more
            )
            return answer.read()

    assert speak(KEY)
    with pytest.raises(openai.AuthenticationError, match="not one of this service's") as raised:
        speak(WRONG)
    assert (raised.value.type, raised.value.code) == ("authentication_error", "unauthorized")
    assert [request.caller for request in generator.requests] == ["web"]


def test_elevenlabs_client(url: str, generator: FakeGenerator) -> None:
    with httpx.Client(timeout=60) as http:
        client = ElevenLabs(api_key=KEY, base_url=url, httpx_client=http)
        assert b"".join(client.music.compose(prompt="a", music_length_ms=3000))
        wrong = ElevenLabs(api_key=WRONG, base_url=url, httpx_client=http)
        with pytest.raises(ApiError) as raised:
            list(wrong.music.stream(prompt="a", music_length_ms=3000))
    assert raised.value.status_code == 401
    assert raised.value.body["detail"]["type"] == "authentication_error"
    assert [request.caller for request in generator.requests] == ["web"]


def test_elevenlabs_client_lists_the_models(url: str) -> None:
    """All fields of its type are typed as it has them: it parses what it can, and keeps the rest."""
    with httpx.Client(timeout=60) as http:
        small, large = ElevenLabs(api_key=KEY, base_url=url, httpx_client=http).models.list()
    assert (small.model_id, large.model_id) == ("small", "large")
    assert small.name == "facebook/musicgen-small"
    assert (small.can_do_text_to_speech, small.languages) == (False, [])
    assert small.maximum_text_length_per_request == ApiConfig().max_prompt_chars
    assert "CC-BY-NC-4.0" in (small.description or "")
    Model.model_validate(small.model_dump(), strict=True)
