"""The path of a request below `route_prefix`."""

import pytest

from serve_app.api.paths import route_path


@pytest.mark.parametrize(
    ("path", "root_path", "expected"),
    [
        ("/health", "", "/health"),
        ("/music/health", "/music", "/health"),
        ("/music", "/music", "/"),
        ("/music/", "/music/", "/"),
        ("/musical", "/music", "/musical"),
        ("/health", "/music", "/health"),
    ],
)
def test_the_prefix_is_left_out(path: str, root_path: str, expected: str) -> None:
    assert route_path({"path": path, "root_path": root_path}) == expected
