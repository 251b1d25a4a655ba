"""Audio prompts: uploads that become the beginning of a track."""

import asyncio
import hashlib
from dataclasses import replace

from serve_app.audio.workers import AudioWorkers
from serve_app.gateway.readiness import Readiness
from serve_app.model_status import ModelCard
from serve_app.types import Audio

_MUSICGEN_RATE = 32_000  # Hz, of every published model


class AudioPrompts:
    """Decodes audio prompts of at most `max_duration_s` seconds to their model's sample rate."""

    def __init__(self, workers: AudioWorkers, readiness: Readiness, max_duration_s: float) -> None:
        self._workers = workers
        self._readiness = readiness
        self._max_duration_s = max_duration_s
        self._rates: dict[str, int] = {}

    async def read(self, content: bytes, card: ModelCard) -> Audio:
        """Decode a file of the UPLOAD_FORMATS for the model of `card`. Raises InvalidAudio."""
        audio = await self._workers.read(content, self._max_duration_s, await self._rate(card))
        digest = await asyncio.to_thread(hashlib.sha256, content)
        return replace(audio, file_sha256=digest.hexdigest())

    async def _rate(self, card: ModelCard) -> int:
        """The model's sample rate in Hz, or MusicGen's while no replica has told it."""
        if card.model_id not in self._rates:
            loaded = await self._readiness.loaded(card)
            if loaded is None:
                return _MUSICGEN_RATE
            self._rates[card.model_id] = loaded.sample_rate
        return self._rates[card.model_id]
