"""Wrong arguments are found before a request is sent."""

from typing import Any

import pytest

from serve_app.client import AsyncMusicGenClient, MusicGenClient
from serve_app.client.audio_input import Uploads
from serve_app.client.calls import conversion_call, generation_call
from serve_app.client.problems import UnusableUrl


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"n": 2}, TypeError, r"unknown field n \(use variations\(\)\)"),
        ({"tempo": 80, "mood": 1}, TypeError, "unknown field mood, tempo; see .*GenerationFields"),
        ({"stream": True}, TypeError, "unknown field stream"),
        ({"response_format": "json"}, ValueError, "use variations"),
        ({"duration_s": float("nan")}, ValueError, "duration_s must be a finite number, not nan"),
    ],
)
def test_fields_are_checked(fields: Any, error: type[Exception], message: str) -> None:
    with MusicGenClient("http://127.0.0.1:1") as client, pytest.raises(error, match=message):
        client.generate("a", **fields)


@pytest.mark.parametrize("url", ["music.example", "localhost:8000", "ftp://a", "http:///a", ""])
def test_a_url_without_its_scheme_or_host_is_found_at_once(url: str) -> None:
    for client in (MusicGenClient, AsyncMusicGenClient):
        with pytest.raises(UnusableUrl, match=f"{url}' is not one of HTTP: begin it with http://"):
            client(url)


def test_an_empty_prompt_needs_an_audio_prompt() -> None:
    with MusicGenClient("http://127.0.0.1:1") as client:
        with pytest.raises(ValueError, match=r"The prompt is empty: .* audio_prompt"):
            client.generate("")
        with pytest.raises(ValueError, match="The prompt is empty"):
            client.variations(n=2)
        with pytest.raises(ValueError, match="The prompt is empty"):
            next(iter(client.stream()))
    for field in ("audio_prompt", "melody"):
        body = generation_call("", Uploads(**{field: b"RIFF"}), {}).content["json"]
        assert body == {"prompt": "", field: "UklGRg=="}


def test_text_that_utf_8_cannot_have_is_named() -> None:
    with pytest.raises(ValueError, match=r"^prompt is not valid text: character 3 is U\+D800"):
        generation_call("a \ud800", Uploads(), {})
    with pytest.raises(ValueError, match=r"^model is not valid text: character 1 is U\+DCFF"):
        generation_call("a", Uploads(), {"model": "\udcff"})
    assert generation_call("\U0001f3b9 caf\u00e9", Uploads(), {}).content["json"]


def test_none_counts_as_absent() -> None:
    call = generation_call("a", Uploads(), {"seed": None, "model": None, "max_wait_s": 3})
    assert call.content == {"json": {"prompt": "a", "max_wait_s": 3}}
    assert not call.is_repeatable


def test_a_seed_makes_a_request_repeatable() -> None:
    assert generation_call("a", Uploads(), {"seed": 0}).is_repeatable
    assert conversion_call(b"RIFF", {}).is_repeatable


def test_a_type_checker_knows_the_fields() -> None:
    """`make check` fails where one of these lines is no type error."""
    with MusicGenClient("http://127.0.0.1:1") as client:
        with pytest.raises(TypeError, match="unknown field tempo"):
            client.generate("a", tempo=80)  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="unknown field seed"):
            client.convert(b"RIFF", seed=7)  # type: ignore[call-arg]
    assert generation_call("a", Uploads(), {"duration_s": "8"})  # type: ignore[typeddict-item]
    assert generation_call("a", Uploads(), {"normalization": "loud"})  # type: ignore[typeddict-item]
