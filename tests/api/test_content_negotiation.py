"""The choice between a page and an answer for programs."""

import pytest

from serve_app.api.content_negotiation import wants_page


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("text/html,application/xhtml+xml,*/*;q=0.8", True),
        ("application/json", False),
        ("*/*", False),
        (None, False),
    ],
)
def test_a_browser_wants_a_page(accept: str | None, expected: bool) -> None:
    headers = [] if accept is None else [(b"accept", accept.encode())]
    assert wants_page({"type": "http", "headers": headers}) is expected
