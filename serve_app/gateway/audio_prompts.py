"""Uploads for tracks: audio prompts, with which tracks begin, and melodies, which they follow."""

import asyncio
import hashlib
from dataclasses import replace

from serve_app.audio.workers import AudioWorkers
from serve_app.gateway.readiness import Readiness
from serve_app.model_status import ModelCard
from serve_app.types import Audio

_MUSICGEN_RATE = 32_000  # Hz, of every published MusicGen
_WINDOW_S = 30.0  # likewise


class AudioPrompts:
    """Decodes audio prompts and melodies to their model's sample rate.

    max_duration_s: of an audio prompt, a longer one is refused; max_melody_s: of a melody, of a
    longer one the beginning is used.
    """

    def __init__(
        self,
        workers: AudioWorkers,
        readiness: Readiness,
        max_duration_s: float,
        max_melody_s: float,
    ) -> None:
        self._workers = workers
        self._readiness = readiness
        self._max_duration_s = max_duration_s
        self._max_melody_s = max_melody_s

    async def read(self, content: bytes, card: ModelCard) -> Audio:
        """Decode a file of the UPLOAD_FORMATS for the model of `card`. Raises InvalidAudio."""
        audio = await self._workers.read(content, self._max_duration_s, await self._rate(card))
        return await _with_digest(audio, content)

    async def read_melody(
        self, content: bytes, card: ModelCard, duration_s: float, start_s: float = 0.0
    ) -> Audio:
        """Decode the melody of a track of `duration_s` seconds likewise, as far as it is used.

        The model hears one window of the melody at a time, the last one beyond the track's end.
        start_s: second of the file at which the melody begins. Raises InvalidAudio.
        """
        known = await self._readiness.known(card)
        window_s = _WINDOW_S if known is None else known.window_s
        used_s = window_s if duration_s <= window_s else duration_s + window_s
        end_s = min(start_s + used_s, self._max_melody_s)
        audio = await self._workers.read(content, end_s, await self._rate(card), cut=True)
        return await _with_digest(audio, content)

    async def _rate(self, card: ModelCard) -> int:
        """The model's sample rate in Hz, or MusicGen's while no replica has told it."""
        known = await self._readiness.known(card)
        return _MUSICGEN_RATE if known is None else known.sample_rate


async def _with_digest(audio: Audio, content: bytes) -> Audio:
    digest = await asyncio.to_thread(hashlib.sha256, content)
    return replace(audio, file_sha256=digest.hexdigest())
