"""From codes to audio to the callers' sinks, in a thread of its own: the next steps do not wait for the codec."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import torch
from torch import Tensor

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.config import EngineConfig
from serve_app.engine.cuda_streams import Handover, use_own_stream
from serve_app.engine.sequence import Sequence
from serve_app.engine.streaming_decoder import StreamingDecoder
from serve_app.errors import ReplicaFailed
from serve_app.types import AudioChunk, FinishReason, num_frames

logger = logging.getLogger(__name__)


class OutputProcessor:
    """The running sequences' decoders. Its methods are called from one thread.

    on_failure: told of an error of the codec, in the codec's thread.
    """

    def __init__(
        self, checkpoint: Checkpoint, config: EngineConfig, on_failure: Callable[[Exception], None]
    ) -> None:
        self._checkpoint, self._on_failure = checkpoint, on_failure
        self._first_chunk_frames = num_frames(config.first_chunk_s, checkpoint.frame_rate)
        self._chunk_frames = num_frames(config.chunk_s, checkpoint.frame_rate)
        self._decoders: dict[int, StreamingDecoder] = {}
        self.codec_s = 0.0
        self._thread = ThreadPoolExecutor(1, "musicgen-codec", self._prepare_thread)

    def open(self, sequence: Sequence) -> None:
        """A sequence begins."""
        self._decoders[sequence.sequence_id] = StreamingDecoder(
            self._checkpoint.codec,
            self._checkpoint.stereo_codebooks,
            self._first_chunk_frames,
            self._chunk_frames,
        )

    def close(self, sequence: Sequence) -> None:
        """A sequence has ended. What was given to `send` is still sent."""
        self._decoders.pop(sequence.sequence_id, None)

    def due(self, sequence: Sequence) -> range | None:
        """The frames of the piece that are to be sent now, if enough are there for a chunk."""
        decoder, ready = self._decoders[sequence.sequence_id], sequence.frames_complete
        if sequence.window_finished or decoder.is_due(ready):
            return range(decoder.frames_in, ready)
        return None

    def send(self, sequence: Sequence, codes: Tensor) -> None:
        """The codes [K, n] of the frames that were due, on their way to the sequence's sink as audio."""
        decoder = self._decoders[sequence.sequence_id]
        decoder.advance(codes.shape[1])
        self._thread.submit(self._decode, sequence, decoder, Handover(codes), sequence.finished)

    def shutdown(self) -> None:
        """Blocks until all is sent."""
        self._thread.shutdown()

    def _prepare_thread(self) -> None:
        torch.set_num_threads(1)
        use_own_stream(self._checkpoint.codec.codebooks.device)

    def _decode(
        self, sequence: Sequence, decoder: StreamingDecoder, codes: Handover, final: bool
    ) -> None:
        started_at = perf_counter()
        try:
            samples = decoder.decode(codes.take(), final)
        except Exception as error:
            logger.exception("The codec failed")
            sequence.sink(ReplicaFailed("The codec failed. The same request may be sent again."))
            self._on_failure(error)
            return
        codec_s = perf_counter() - started_at
        self.codec_s += codec_s
        sequence.codec_s += codec_s
        sequence.first_audio_at = sequence.first_audio_at or perf_counter()
        finish_reason, timings = (
            (FinishReason.LENGTH, sequence.timings()) if final else (None, None)
        )
        sequence.sink(
            AudioChunk(samples, self._checkpoint.sample_rate, sequence.seed, finish_reason, timings)
        )
