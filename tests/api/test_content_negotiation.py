"""The choices among media types: a page or an answer for programs, and one format or another."""

import pytest
from starlette.datastructures import Headers

from serve_app.api.content_negotiation import prefers, wants_page


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("text/html,application/xhtml+xml,*/*;q=0.8", True),
        ("TEXT/HTML; charset=utf-8", True),
        ("text/html;q=0, application/json", False),
        ("application/text/html", False),
        ("application/json", False),
        ("*/*", False),
        (None, False),
    ],
)
def test_a_browser_wants_a_page(accept: str | None, expected: bool) -> None:
    headers = [] if accept is None else [(b"accept", accept.encode())]
    assert wants_page({"type": "http", "headers": headers}) is expected


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (["audio/flac"], True),
        (["Audio/FLAC;q=0.5"], True),
        (["audio/flac, */*"], True),
        (["audio/flac, audio/*;q=0.9"], True),
        (["audio/wav;q=0.5", "audio/flac"], True),
        (["audio/wav;q=0, audio/*"], True),
        (['text/plain;x="a,audio/wav", audio/flac;q=0.001'], True),
        (["audio/flac;q=0, audio/wav"], False),
        (["audio/flac;q=0"], False),
        (["audio/flac;q=0.000, */*;q=0"], False),
        (["audio/flac;q=0.2, audio/wav;q=0.3"], False),
        (["audio/flac;q=0.9, */*"], False),
        (["audio/flac, audio/wav"], False),
        (["audio/flac;q=nan"], False),
        (["audio/flac;q=2"], False),
        (["audio/flac-like"], False),
        (["audio/*"], False),
        (["*/*"], False),
        (["text/html"], False),
        ([""], False),
        ([], False),
    ],
)
def test_flac_only_if_it_is_preferred_to_wav(accept: list[str], expected: bool) -> None:
    headers = Headers(raw=[(b"accept", value.encode()) for value in accept])
    assert prefers(headers, "audio/flac", "audio/wav") is expected
