"""Paths of routes that middleware treats apart, and the path of a request below `route_prefix`."""

import re

from starlette.types import Scope

GENERATIONS = "/v1/audio/generations"
CONVERSIONS = "/v1/audio/conversions"
PROVENANCE = "/v1/audio/provenance"
STREAM = "/v1/audio/stream"
STREAMS = "/v1/audio/streams/"
SPEECH = "/v1/audio/speech"
AUDIO_GENERATE = "/v1/audio/generate"
MUSIC = "/v1/music"
SOUND = "/v1/sound-generation"
HUGGING_FACE = "/models/"
ROOT = "/"
GENERATE = "/generate"
JOBS = "/v1/jobs"
PREDICTIONS = "/v1/predictions"
FILES = "/v1/files"
HEALTH = "/health"
LIVE = "/health/live"
SERVICE_WORKER = "/service-worker.js"  # of the page
HEALTH_PATHS = (HEALTH, LIVE)  # without a key, and answered while the service is overloaded

# Files and events whose links are signed: `?token=` instead of a key.
_SIGNED = re.compile(
    rf"{JOBS}/[^/]+/audio(/[^/]+)?|{PREDICTIONS}/[^/]+/stream|{FILES}/[^/]+/content", re.ASCII
)
_UPLOADS = re.compile(
    rf"{GENERATIONS}|{CONVERSIONS}|{PROVENANCE}|{JOBS}|{FILES}|{ROOT}|{GENERATE}|"
    r"/v1/((models|deployments)/[^/]+/[^/]+/)?predictions",
    re.ASCII,
)

_TRACKS = re.compile(
    rf"{GENERATIONS}|{SPEECH}|{AUDIO_GENERATE}|{MUSIC}(/stream|/detailed)?|{SOUND}|"
    rf"{HUGGING_FACE}[^/]+/[^/]+|{ROOT}|{GENERATE}",
    re.ASCII,
)


def makes_track(method: str, path: str) -> bool:
    """Test for a request that is answered with a track, while the caller waits."""
    if method == "GET":
        return path.startswith(STREAMS)
    return method == "POST" and _TRACKS.fullmatch(path) is not None


def takes_audio(path: str) -> bool:
    """Test that a body of this path may hold a file of audio."""
    return _UPLOADS.fullmatch(path) is not None


def takes_links(path: str) -> bool:
    """Test that signed links lead to this path."""
    return _SIGNED.fullmatch(path) is not None


def has_own_head(path: str) -> bool:
    """Test for a file whose route answers HEAD itself; elsewhere HEAD is answered as GET."""
    return path.startswith(STREAMS) or takes_links(path)


def route_path(scope: Scope) -> str:
    """Return the path as routes name it: without the application's `route_prefix`."""
    path: str = scope["path"]
    prefix: str = scope.get("root_path", "").rstrip("/")
    if prefix and (path == prefix or path.startswith(prefix + "/")):
        return path[len(prefix) :] or "/"
    return path
