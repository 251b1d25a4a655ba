"""Origins of web pages that may call the API; tests/api/test_app.py covers their headers."""

import pytest

from serve_app.api.allowed_origins import AllowedOrigins
from serve_app.config.api import LOCAL_ORIGINS


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        (LOCAL_ORIGINS, "http://localhost", True),
        (LOCAL_ORIGINS, "http://localhost:5173", True),
        (LOCAL_ORIGINS, "https://localhost:5173", False),
        (LOCAL_ORIGINS, "http://localhost:5173.evil.example", False),
        (LOCAL_ORIGINS, "http://127x0.0.1:80", False),
        (LOCAL_ORIGINS, "null", False),
        (("https://a.example",), "https://a.example", True),
        (("https://a.example",), "https://a.example:444", False),
        (("*",), "null", True),
        ((), "http://localhost", False),
    ],
)
def test_origins(origins: tuple[str, ...], origin: str, allowed: bool) -> None:
    assert AllowedOrigins(origins).allows(origin) is allowed
