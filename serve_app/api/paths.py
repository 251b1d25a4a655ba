"""Paths of routes that middleware treats apart, and the path of a request below `route_prefix`."""

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
HEALTH = "/health"
LIVE = "/health/live"
HEALTH_PATHS = (HEALTH, LIVE)  # without a key, and answered while the service is overloaded


def route_path(scope: Scope) -> str:
    """Return the path as routes name it: without the application's `route_prefix`."""
    path: str = scope["path"]
    prefix: str = scope.get("root_path", "").rstrip("/")
    if prefix and (path == prefix or path.startswith(prefix + "/")):
        return path[len(prefix) :] or "/"
    return path
