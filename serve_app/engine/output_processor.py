"""Codes -> audio -> the callers' sinks, in a thread of its own beside the steps."""

import logging
from dataclasses import dataclass, field, replace
from time import perf_counter

from torch import Tensor

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.config.app import EngineConfig
from serve_app.engine.cuda_streams import Handover
from serve_app.engine.diffusion_output import DiffusionOutput
from serve_app.engine.frames import num_frames
from serve_app.engine.playback import Playback
from serve_app.engine.sequence import Sequence
from serve_app.engine.streaming_decoder import StreamingDecoder
from serve_app.engine.worker_thread import OnFailure, WorkerThread
from serve_app.errors import ReplicaFailed
from serve_app.models.audioseal.watermark import Watermark
from serve_app.models.multiband_diffusion import MultiBandDiffusion
from serve_app.types import MULTIBAND_DIFFUSION, AudioChunk, FinishReason

logger = logging.getLogger(__name__)

_FINAL_SMOOTHING = 0.2  # EMA weight of the newest track


@dataclass(eq=False)
class _Output:
    """One sequence's output. The codec's thread owns all but `decoder`."""

    decoder: StreamingDecoder
    codec_s: float = 0.0
    first_audio_at: float | None = None
    playback: Playback = field(default_factory=Playback)


class OutputProcessor:
    """Decoders of the running sequences.

    Its methods are called from one thread, and it writes to no sequence.

    final_s: exponential moving average of those for the
    last codes of a track;
    streamed_chunks, late_chunks: chunks of streams, and those that came after the end of the audio
    before them.
    on_failure: called in the codec's thread with an error of the codec;
    watermark: of all tracks; None: they are not marked;
    diffusion: decodes the tracks that ask for it; None: no sequence does.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        config: EngineConfig,
        on_failure: OnFailure,
        watermark: Watermark | None = None,
        diffusion: MultiBandDiffusion | None = None,
    ) -> None:
        self.final_s = 0.0
        self.streamed_chunks = 0
        self.late_chunks = 0
        self._codec_s = 0.0
        self._checkpoint = checkpoint
        self._on_failure = on_failure
        self._watermark = watermark
        self._first_chunk_frames = num_frames(config.first_chunk_s, checkpoint.frame_rate)
        self._chunk_frames = num_frames(config.chunk_s, checkpoint.frame_rate)
        self._outputs: dict[int, _Output] = {}
        device = checkpoint.codec.codebooks.device
        self._thread = WorkerThread("musicgen-codec", device, on_failure)
        self._diffusion: DiffusionOutput | None = None
        if diffusion is not None:
            self._diffusion = DiffusionOutput(diffusion, checkpoint, on_failure, watermark)

    @property
    def codec_s(self) -> float:
        """Busy seconds of the decoders so far."""
        return self._codec_s + (self._diffusion.busy_s if self._diffusion else 0.0)

    @property
    def pending_frames(self) -> int:
        """Frames of tracks that wait for MultiBand Diffusion."""
        return self._diffusion.pending_frames if self._diffusion else 0

    def open(self, sequence: Sequence) -> None:
        """Prepare the output of a new sequence."""
        if (whole := self._diffusion_of(sequence)) is not None:
            whole.open(sequence)
            return
        decoder = StreamingDecoder(
            self._checkpoint.codec,
            self._checkpoint.stereo_codebooks,
            self._first_chunk_frames,
            self._chunk_frames,
            self._watermark,
        )
        self._outputs[sequence.sequence_id] = _Output(decoder)

    def close(self, sequence: Sequence) -> None:
        """Forget an ended sequence. Codes given to `send` are still decoded and sent."""
        self._outputs.pop(sequence.sequence_id, None)

    def abort(self, sequence: Sequence) -> None:
        """Give up the decoding of a sequence whose steps may have ended."""
        if (whole := self._diffusion_of(sequence)) is not None:
            whole.abort(sequence)

    def due(self, sequence: Sequence) -> range | None:
        """Return the frames of the track to send now; None while they are too few for a chunk."""
        if (whole := self._diffusion_of(sequence)) is not None:
            return whole.due(sequence)
        decoder = self._outputs[sequence.sequence_id].decoder
        ready = sequence.frames_complete
        if sequence.window_finished or decoder.is_due(ready):
            return range(decoder.frames_in, ready)
        return None

    def send(self, sequence: Sequence, codes: Tensor) -> None:
        """Decode the codes [K, n] that are due, and send the audio to the sequence's sink.

        The last chunk has the timings, so that all of the sequence's steps must be recorded before.
        """
        if (whole := self._diffusion_of(sequence)) is not None:
            whole.send(sequence, codes)
            return
        output = self._outputs[sequence.sequence_id]
        output.decoder.advance(codes.shape[1])
        self._thread.submit(self._send, sequence, output, Handover(codes), sequence.finished)

    def shutdown(self) -> None:
        """Send all that is decoded, then end the threads. Blocks."""
        self._thread.shutdown()
        if self._diffusion is not None:
            self._diffusion.shutdown()

    def _diffusion_of(self, sequence: Sequence) -> DiffusionOutput | None:
        """Return the decoder of whole tracks, if the sequence asks for it."""
        return self._diffusion if sequence.request.decoder == MULTIBAND_DIFFUSION else None

    def _send(self, sequence: Sequence, output: _Output, codes: Handover, final: bool) -> None:
        try:
            chunk = self._decode(sequence, output, codes, final)
        except Exception as error:
            logger.exception("The codec failed; the engine ends")
            sequence.sink(ReplicaFailed("The codec failed. The same request may be sent again."))
            self._on_failure(error)
            return
        if final or chunk.samples.shape[1]:  # at first all may be held back as look-ahead
            sequence.sink(chunk)
            self._count(sequence, output, chunk)

    def _count(self, sequence: Sequence, output: _Output, chunk: AudioChunk) -> None:
        if sequence.request.streamed:
            self.streamed_chunks += 1
            audio_s = chunk.samples.shape[1] / chunk.sample_rate
            self.late_chunks += output.playback.add(perf_counter(), audio_s)

    def _decode(
        self, sequence: Sequence, output: _Output, codes: Handover, final: bool
    ) -> AudioChunk:
        started_at = perf_counter()
        samples = output.decoder.decode(codes.take(), final)
        ended_at = perf_counter()
        output.codec_s += ended_at - started_at
        self._codec_s += ended_at - started_at
        if output.first_audio_at is None and samples.shape[1]:
            output.first_audio_at = ended_at
        chunk = AudioChunk(
            samples,
            self._checkpoint.sample_rate,
            track_samples=sequence.num_frames * self._checkpoint.codec.config.hop_length,
        )
        if not final:
            return chunk
        self.final_s += _FINAL_SMOOTHING * (ended_at - started_at - self.final_s)
        timings = sequence.timings(output.codec_s, output.first_audio_at or ended_at, ended_at)
        return replace(chunk, finish_reason=FinishReason.LENGTH, timings=timings)
