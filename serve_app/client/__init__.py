"""Clients of the service, blocking and for asyncio: tracks, variations, streams, conversions, models, jobs.

client = MusicGenClient("http://127.0.0.1:8000")
client.generate("lofi beat", duration_s=8, response_format="mp3").save("track.mp3")
"""

from serve_app.client.answers import AudioFile, Track
from serve_app.client.async_client import AsyncMusicGenClient
from serve_app.client.audio_input import AudioInput
from serve_app.client.events import Audio, Event, Progress
from serve_app.client.fields import FileFields, GenerationFields, ServedModel
from serve_app.client.jobs import Job, JobFields, JobFile
from serve_app.client.problems import ApiError
from serve_app.client.retries import NO_RETRIES, Retries
from serve_app.client.sync_client import MusicGenClient

__all__ = [
    "NO_RETRIES",
    "ApiError",
    "AsyncMusicGenClient",
    "Audio",
    "AudioFile",
    "AudioInput",
    "Event",
    "FileFields",
    "GenerationFields",
    "Job",
    "JobFields",
    "JobFile",
    "MusicGenClient",
    "Progress",
    "Retries",
    "ServedModel",
    "Track",
]
