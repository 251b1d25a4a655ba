"""The service's address as callers see it."""

import pytest
from fastapi import Request

from serve_app.api.base_url import base_url


def request(headers: dict[str, str], root_path: str = "") -> Request:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request(
        {
            "type": "http", "method": "GET", "scheme": "http", "path": f"{root_path}/v1/jobs",
            "root_path": root_path, "query_string": b"", "headers": raw, "server": ("10.0.0.1", 80),
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"host": "music.example"}, "http://music.example"),
        (
            {"host": "music.example:8443", "x-forwarded-proto": "https"},
            "https://music.example:8443",
        ),
        ({"host": "music.example", "x-forwarded-proto": "HTTPS, http"}, "https://music.example"),
        ({"host": "music.example", "x-forwarded-proto": "javascript"}, "http://music.example"),
        ({}, "http://10.0.0.1"),
    ],
)
def test_scheme_and_host_are_the_callers(headers: dict[str, str], expected: str) -> None:
    assert base_url(request(headers)) == expected


def test_a_prefix_is_kept() -> None:
    assert base_url(request({"host": "h"}, "/music")) == "http://h/music"
