"""The path of a request below `route_prefix`."""

import pytest

from serve_app.api.paths import makes_track, route_path, takes_audio, takes_links


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


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/audio/generations", True),
        ("/v1/jobs", True),
        ("/v1/files", True),
        ("/v1/predictions", True),
        ("/v1/models/meta/musicgen/predictions", True),
        ("/v1/deployments/acme/nano/predictions", True),
        ("/v1/jobs/1", False),
        ("/v1/predictions/1", False),
        ("/v1/models/a/b/c/predictions", False),
        ("/v1/models", False),
        ("/", True),
        ("/generate", True),
        ("/v1/audio/speech", False),
    ],
)
def test_uploads_are_told_by_their_paths(path: str, expected: bool) -> None:
    assert takes_audio(path) is expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/jobs/1/audio", True),
        ("/v1/jobs/1/audio/0", True),
        ("/v1/predictions/1/stream", True),
        ("/v1/files/1/content", True),
        ("/v1/jobs/1", False),
        ("/v1/jobs/1/events", False),
        ("/v1/jobs/1/audio/0/more", False),
        ("/v1/predictions/1", False),
        ("/v1/files/1", False),
    ],
)
def test_signed_links_lead_to_files_and_streams_alone(path: str, expected: bool) -> None:
    assert takes_links(path) is expected


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/v1/audio/generations", True),
        ("POST", "/", True),
        ("GET", "/", False),
        ("GET", "/v1/audio/generations", False),
        ("GET", "/v1/audio/streams/a", True),
        ("HEAD", "/v1/audio/streams/a", False),
        ("GET", "/v1/audio/stream", False),
        ("POST", "/v1/jobs", False),
    ],
)
def test_a_request_that_is_answered_with_a_track(method: str, path: str, expected: bool) -> None:
    assert makes_track(method, path) == expected
