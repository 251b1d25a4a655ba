"""Tracks on their way to a caller: being made, and finished."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from opentelemetry import trace

from serve_app.audio.encoder import Encoder, encode
from serve_app.audio.file_format import Encoding
from serve_app.audio.mastering import Mastering
from serve_app.audio.streamed_size import streamed_size
from serve_app.errors import GenerationFailed, InvalidRequest
from serve_app.gateway.encoding_threads import in_encoding_thread
from serve_app.gateway.marking import Marking
from serve_app.marks import DIGITAL_SOURCE_TYPE
from serve_app.model_status import ModelCard
from serve_app.track_fields import TrackReport
from serve_app.types import AudioChunk, GenerationRequest, Progress, StreamItem, Timings

_tracer = trace.get_tracer("musicgen-serve")


@dataclass(frozen=True)
class Track:
    """A finished track. samples: float32 [channels, n]; sample_rate: in Hz; marking: of its files."""

    request: GenerationRequest
    model: ModelCard
    samples: NDArray[np.float32]
    sample_rate: int
    timings: Timings
    marking: Marking

    @property
    def duration_s(self) -> float:
        return float(self.samples.shape[1] / self.sample_rate)

    def report(self) -> TrackReport:
        """Collect the facts that answers tell of the track."""
        seed = self.request.sampling.seed
        return TrackReport.of(self.model, seed, self.sample_rate, self.duration_s, self.timings)

    async def encode(
        self,
        encoding: Encoding,
        mastering: Mastering | None = None,
        *,
        detachable: bool = False,
    ) -> bytes:
        """Encode the track as a file with its marks, off the event loop.

        detachable: the caller sends what `manifest` returns beside the file. Raises FormatNotSigned
        and SigningFailed where the file should be signed and cannot be.
        """
        tagged = replace(encoding, tags=self.marking.tags(self.request, self.model))
        with _tracer.start_as_current_span("encode"):
            content = await in_encoding_thread(self._encode, tagged, mastering or Mastering())
        with _tracer.start_as_current_span("mark"):
            return await self.marking.mark(
                content, encoding.file_format, self.request, self.model, detachable=detachable
            )

    async def manifest(self, content: bytes, encoding: Encoding) -> bytes | None:
        """Sign a manifest beside the file, where the file should have one and cannot hold it.

        Raises SigningFailed.
        """
        return await self.marking.detached(content, encoding.file_format, self.request, self.model)

    def _encode(self, encoding: Encoding, mastering: Mastering) -> bytes:
        return encode(mastering.whole(self.samples, self.sample_rate), self.sample_rate, encoding)


@dataclass(frozen=True)
class LiveTrack:
    """A track that is being made. Its first item is there, so the request was accepted.

    marking: of its file.
    """

    request: GenerationRequest
    model: ModelCard
    first: StreamItem
    later: AsyncGenerator[StreamItem, None]
    marking: Marking

    async def check_channels(self, encoding: Encoding) -> None:
        """Raise InvalidRequest for a bit rate that the channels exclude, once there is audio.

        The request is aborted then.
        """
        if not isinstance(self.first, AudioChunk):
            return
        try:
            encoding.check_channels(len(self.first.samples))
        except InvalidRequest:
            await self.later.aclose()
            raise

    def facts_so_far(self) -> dict[str, object]:
        """Collect the facts that are there before the track is, by their names in TrackHeaders."""
        facts: dict[str, object] = {
            "model": self.model.model_id,
            "seed": self.request.sampling.seed,
            "license": self.model.license,
            "digital_source_type": DIGITAL_SOURCE_TYPE,
            "resume": self.model.resume,
        }
        if isinstance(self.first, AudioChunk):
            facts["sample_rate"] = self.first.sample_rate
        return facts

    async def file_size(self, encoding: Encoding) -> int | None:
        """Compute the bytes of the streamed file, if the format and the track tell them."""
        first = self.first
        if not isinstance(first, AudioChunk) or first.track_samples is None:
            return None
        tagged = self._tagged(encoding)
        channels = len(first.samples)
        return await in_encoding_thread(
            streamed_size, tagged, first.sample_rate, channels, first.track_samples
        )

    async def parts(
        self, encoding: Encoding, mastering: Mastering
    ) -> AsyncIterator[Progress | bytes | TrackReport]:
        """Yield the file's bytes while the track is made, its progress, and at last the report.

        The report tells the requested duration. Leaving the iterator aborts the request.
        Raises ServeAppError.
        """
        self.marking.check(encoding.file_format, streamed=True)
        file = _LiveFile(self._tagged(encoding), mastering, self.request.duration_s)
        async with contextlib.aclosing(self.later):
            last: AudioChunk | None = None
            async for item in self._items():
                if isinstance(item, Progress):
                    yield item
                    continue
                last = item
                content = await file.add(item)
                if content:
                    yield content
            self.marking.count_made(encoding.file_format)
            yield self._report(file.sample_rate, _timings_of(last))

    async def finish(self, made: Callable[[float], None] | None = None) -> Track:
        """Wait for the whole track. Raises ServeAppError.

        made: called with the seconds of audio made so far.
        """
        chunks: list[AudioChunk] = []
        received_s = 0.0
        made_s = 0.0
        async with contextlib.aclosing(self.later):
            async for item in self._items():
                if isinstance(item, AudioChunk):
                    chunks.append(item)
                    received_s += item.duration_s
                    made_s = max(made_s, received_s)
                elif item.queue_position == 0:  # of a decoder of whole tracks
                    made_s = max(made_s, item.audio_s)
                else:
                    continue
                if made is not None:
                    made(made_s)
        timings = _timings_of(chunks[-1] if chunks else None)
        samples = np.concatenate([chunk.samples for chunk in chunks], axis=1)
        rate = chunks[0].sample_rate
        return Track(self.request, self.model, samples, rate, timings, self.marking)

    def _tagged(self, encoding: Encoding) -> Encoding:
        return replace(encoding, tags=self.marking.tags(self.request, self.model))

    def _report(self, sample_rate: int, timings: Timings) -> TrackReport:
        seed = self.request.sampling.seed
        return TrackReport.of(self.model, seed, sample_rate, self.request.duration_s, timings)

    async def _items(self) -> AsyncIterator[StreamItem]:
        yield self.first
        async for item in self.later:
            yield item


class _LiveFile:
    """The file of a track that is being made.

    requested_s: duration of the whole track, for the fade at its end.
    """

    def __init__(self, encoding: Encoding, mastering: Mastering, requested_s: float) -> None:
        self._encoding = encoding
        self._mastering = mastering
        self._requested_s = requested_s
        self._encoder: Encoder | None = None
        self._length = 0
        self.sample_rate = 0

    async def add(self, chunk: AudioChunk) -> bytes:
        """Encode a chunk off the event loop; return the bytes that it completes."""
        with _tracer.start_as_current_span("encode"):
            return await in_encoding_thread(self._add, chunk)

    def _add(self, chunk: AudioChunk) -> bytes:
        rate = chunk.sample_rate
        if self._encoder is None:
            self.sample_rate = rate
            self._encoder = Encoder(self._encoding, rate, len(chunk.samples), streamed=True)
        total = round(self._requested_s * rate)
        content = self._encoder.add(self._mastering.part(chunk.samples, rate, self._length, total))
        self._length += chunk.samples.shape[1]
        return content + self._encoder.finish() if chunk.finish_reason is not None else content


def _timings_of(last: AudioChunk | None) -> Timings:
    if last is None or last.timings is None:
        raise GenerationFailed("the model's audio ended too early")
    return last.timings
