"""A piece of music on its way to a caller: while it is being made, and when it is finished."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from opentelemetry import trace

from serve_app.audio.encoder import Encoder, encode
from serve_app.audio.file_format import Encoding
from serve_app.audio.mastering import Mastering
from serve_app.errors import GenerationFailed
from serve_app.types import AudioChunk, GenerationRequest, ModelCard, Timings

_tracer = trace.get_tracer("musicgen-serve")


@dataclass(frozen=True)
class Track:
    """A finished piece. samples: float32 [channels, n]."""

    prompt: str
    samples: NDArray[np.float32]
    sample_rate: int
    seed: int
    timings: Timings
    model: ModelCard

    @property
    def duration_s(self) -> float:
        return float(self.samples.shape[1] / self.sample_rate)

    @property
    def real_time_factor(self) -> float:
        """Seconds of music per second of generation."""
        return round(self.duration_s / max(self.timings.generation_s, 1e-9), 2)

    async def encode(self, encoding: Encoding, mastering: Mastering | None = None) -> bytes:
        """The track as a file with its tags, made off the event loop."""
        tagged = replace(encoding, tags=tags(self.prompt, self.model, self.seed))
        with _tracer.start_as_current_span("encode"):
            return await asyncio.to_thread(self._encode, tagged, mastering or Mastering())

    def _encode(self, encoding: Encoding, mastering: Mastering) -> bytes:
        return encode(mastering.whole(self.samples, self.sample_rate), self.sample_rate, encoding)


@dataclass(frozen=True)
class Part:
    """Bytes of a file, and the chunk that completed them."""

    content: bytes
    chunk: AudioChunk


@dataclass(frozen=True)
class LiveTrack:
    """A piece that is being made. Its first chunk is there: the request is good."""

    request: GenerationRequest
    model: ModelCard
    first: AudioChunk
    later: AsyncGenerator[AudioChunk, None]

    async def parts(self, encoding: Encoding, mastering: Mastering) -> AsyncIterator[Part]:
        """The file while it is being made; leaving the iterator ends the generation. Raises ServeAppError."""
        async with contextlib.aclosing(self.later):
            tagged = replace(encoding, tags=tags(self.request.prompt, self.model, self.first.seed))
            encoder: Encoder | None = None
            start, finished = 0, False
            async for chunk in self._chunks():
                content, rate = b"", chunk.sample_rate
                if chunk.samples.size:
                    encoder = encoder or Encoder(tagged, rate, len(chunk.samples), streamed=True)
                    samples = mastering.part(
                        chunk.samples, rate, start, round(self.request.duration_s * rate)
                    )
                    start += samples.shape[1]
                    with _tracer.start_as_current_span("encode"):
                        content = await asyncio.to_thread(encoder.add, samples)
                finished = chunk.finish_reason is not None
                if finished and encoder is not None:
                    content += await asyncio.to_thread(encoder.finish)
                yield Part(content, chunk)
            if not finished:
                raise GenerationFailed("the model's audio ended too early")

    async def finish(self) -> Track:
        """Wait for the whole piece. Raises ServeAppError."""
        async with contextlib.aclosing(self.later):
            chunks = [chunk async for chunk in self._chunks()]
        last = chunks[-1]
        if last.timings is None:
            raise GenerationFailed("the model's audio ended too early")
        samples = np.concatenate([chunk.samples for chunk in chunks], axis=1)
        return Track(
            self.request.prompt, samples, last.sample_rate, last.seed, last.timings, self.model
        )

    async def _chunks(self) -> AsyncIterator[AudioChunk]:
        yield self.first
        async for chunk in self.later:
            yield chunk


def tags(prompt: str, model: ModelCard, seed: int) -> dict[str, str]:
    """What a file says of itself."""
    comment = (
        f"Made by MusicGen ({model.source}), seed {seed}. Licence of the weights: {model.license}."
    )
    return {"title": prompt, "comment": comment}
