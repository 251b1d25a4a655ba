"""Where the routes have their music made: a request in, a whole track out, or one that is being made."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from serve_app.api.backend import Backend
from serve_app.api.routing import ModelRouter
from serve_app.audio.encoder import Encoder, encode
from serve_app.audio.file_format import Encoding
from serve_app.audio.mastering import Mastering
from serve_app.config import ApiConfig
from serve_app.errors import GenerationFailed, InvalidRequest
from serve_app.types import AudioChunk, GenerationRequest, LoadedModel, ModelCard, Timings


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

    async def encode(self, encoding: Encoding, mastering: Mastering | None = None) -> bytes:
        """The track as a file with its tags, made off the event loop."""
        tagged = replace(encoding, tags=tags(self.prompt, self.model, self.seed))
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
            rate, total = self.first.sample_rate, round(self.request.duration_s * self.first.sample_rate)
            encoder = Encoder(tagged, rate, len(self.first.samples), streamed=True)
            start, finished = 0, False
            async for chunk in self._chunks():
                samples = mastering.part(chunk.samples, rate, start, total)
                start += samples.shape[1]
                content = await asyncio.to_thread(encoder.add, samples) if samples.size else b""
                if finished := chunk.finish_reason is not None:
                    content += await asyncio.to_thread(encoder.finish)
                yield Part(content, chunk)
            if not finished:
                raise GenerationFailed("the model's audio ended too early")

    async def _chunks(self) -> AsyncIterator[AudioChunk]:
        yield self.first
        async for chunk in self.later:
            yield chunk


def tags(prompt: str, model: ModelCard, seed: int) -> dict[str, str]:
    """What a file says of itself."""
    comment = f"Made by MusicGen ({model.source}), seed {seed}. Licence of the weights: {model.license}."
    return {"title": prompt, "comment": comment}


class Studio:
    """The backend behind the models' names and the API's limits."""

    def __init__(self, backend: Backend, router: ModelRouter, config: ApiConfig) -> None:
        self.backend, self.router, self.config = backend, router, config

    async def start_track(self, request: GenerationRequest) -> LiveTrack:
        """Wait for the piece's first audio, or its first progress where that is asked for. Raises ServeAppError."""
        chunks = self.backend.generate(request)
        first = await anext(chunks, None)
        if first is None:
            raise GenerationFailed("the model's audio ended too early")
        return LiveTrack(request, self.router.resolve(request.model), first, chunks)

    async def make_track(self, request: GenerationRequest) -> Track:
        """Generate the whole piece. Raises ServeAppError."""
        async with contextlib.aclosing(self.backend.generate(request)) as stream:
            chunks = [chunk async for chunk in stream]
        last = chunks[-1] if chunks else None
        if last is None or last.timings is None:
            raise GenerationFailed("the model's audio ended too early")
        samples = np.concatenate([chunk.samples for chunk in chunks], axis=1)
        return Track(
            request.prompt, samples, last.sample_rate, last.seed, last.timings, self.router.resolve(request.model)
        )

    def check_prompt(self, prompt: str) -> str:
        """The prompt without surrounding space. Raises InvalidRequest when it is empty, too long or not text."""
        prompt = prompt.strip()
        if any("\ud800" <= character <= "\udfff" for character in prompt):
            raise InvalidRequest("Prompt must be valid Unicode: it has half of a surrogate pair")
        if not prompt:
            raise InvalidRequest("Prompt is required and cannot be empty")
        if len(prompt) > self.config.max_prompt_chars:
            raise InvalidRequest(f"Prompt must be at most {self.config.max_prompt_chars} characters long")
        return prompt

    async def loaded(self, card: ModelCard) -> LoadedModel | None:
        """What a replica of the model knows of it; None while no replica is ready."""
        replicas = await self.backend.replicas(card.model_id)
        return replicas[0].model if replicas else None
