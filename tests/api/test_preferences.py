"""`Prefer` as RFC 7240 writes it, and as clients send it."""

import pytest
from starlette.datastructures import Headers

from serve_app.api.preferences import Preferences, preferences


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", Preferences()),
        ("respond-async", Preferences(respond_async=True)),
        ("Respond-Async, WAIT=10", Preferences(True, 10.0)),
        ("wait", Preferences(wait_s=60.0)),
        ("wait=0", Preferences(wait_s=0.0)),
        ('wait="7"', Preferences(wait_s=7.0, deadline_s=7.0)),
        ("wait=100000", Preferences(wait_s=60.0, deadline_s=100_000.0)),
        ("wait=5; foo=bar, wait=9", Preferences(wait_s=5.0, deadline_s=5.0)),
        ("wait=-1", Preferences()),
        ("wait=soon, return=minimal", Preferences()),
        ("wait=\u00b2", Preferences()),
    ],
)
def test_preferences_are_read(header: str, expected: Preferences) -> None:
    assert preferences(Headers({"prefer": header})) == expected


def test_several_headers_are_one_list() -> None:
    raw = [(b"prefer", b"respond-async"), (b"prefer", b"wait=3")]
    assert preferences(Headers(raw=raw)) == Preferences(True, 3.0)


def test_applied_preferences_are_named() -> None:
    assert Preferences().applied == {}
    assert Preferences(True, 60.0).applied == {"preference-applied": "respond-async, wait=60"}
