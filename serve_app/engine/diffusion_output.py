"""Whole tracks by MultiBand Diffusion, one after the other, in a thread of its own.

The codec's thread goes on meanwhile, so that streams do not wait for a track that takes seconds.
"""

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.engine.cuda_streams import Handover
from serve_app.engine.device import is_device_failure
from serve_app.engine.sequence import Sequence
from serve_app.engine.worker_thread import OnFailure, WorkerThread
from serve_app.errors import GenerationFailed, ReplicaFailed, RequestAborted, ServeAppError
from serve_app.models.audioseal.watermark import Watermark, WatermarkStream
from serve_app.models.multiband_diffusion import MultiBandDiffusion
from serve_app.types import AudioChunk, FinishReason, Progress

logger = logging.getLogger(__name__)

_CHUNK_S = 10.0  # of audio in one item: a message of Ray is kept small
_REPORT_S = 0.5  # between two reports of progress


@dataclass(eq=False)
class _Track:
    """One sequence's codes, and its end before them. reported_at: of `perf_counter`."""

    sequence: Sequence
    codes: list[Handover] = field(default_factory=list)
    frames: int = 0
    aborted: threading.Event = field(default_factory=threading.Event)
    evaluations: int = 0
    started_at: float = 0.0
    reported_at: float = 0.0


class DiffusionOutput:
    """Collects the codes of tracks, and decodes each of them once it is complete.

    Its methods are called from one thread. Each sink gets Progress besides the audio: the seconds
    that are decoded, as a share of the track.

    busy_s: seconds of decoding so far; on_failure: called in the diffusion's thread with an error
    that leaves the device unusable; watermark: of all tracks; None: they are not marked.
    """

    def __init__(
        self,
        diffusion: MultiBandDiffusion,
        checkpoint: Checkpoint,
        on_failure: OnFailure,
        watermark: Watermark | None = None,
    ) -> None:
        self.busy_s = 0.0
        self._diffusion = diffusion
        self._checkpoint = checkpoint
        self._on_failure = on_failure
        self._watermark = watermark
        self._stopping = False
        self._tracks: dict[int, _Track] = {}
        self._device = checkpoint.codec.codebooks.device
        self._thread = WorkerThread("musicgen-diffusion", self._device, on_failure)

    @property
    def pending_frames(self) -> int:
        """Frames of tracks whose codes are complete, and whose audio is not."""
        return sum(
            track.frames
            for track in self._tracks.values()
            if track.sequence.finished and not track.aborted.is_set()
        )

    def open(self, sequence: Sequence) -> None:
        """Prepare the output of a new sequence."""
        self._tracks[sequence.sequence_id] = _Track(sequence)
        sequence.sink(Progress(0, 0.0, None))

    def due(self, sequence: Sequence) -> range | None:
        """Return the frames of the track to send now: those of a window, once all are complete."""
        if not sequence.window_finished:
            return None
        return range(self._tracks[sequence.sequence_id].frames, sequence.frames_complete)

    def send(self, sequence: Sequence, codes: Tensor) -> None:
        """Keep the codes [K, n] that are due; decode the track with its last ones.

        All of the sequence's steps must be recorded before.
        """
        track = self._tracks[sequence.sequence_id]
        track.codes.append(Handover(codes))
        track.frames += codes.shape[1]
        if sequence.finished:
            self._thread.submit(self._send, track)

    def abort(self, sequence: Sequence) -> None:
        """End a sequence before its next evaluation; forget one that has ended."""
        track = self._tracks.pop(sequence.sequence_id, None)
        if track is not None:
            track.aborted.set()

    def shutdown(self) -> None:
        """End all tracks before their next evaluation, then the thread. Blocks."""
        self._stopping = True
        self._thread.shutdown()

    def _send(self, track: _Track) -> None:
        sequence = track.sequence
        try:
            chunks = self._decode(track)
        except ServeAppError as error:
            sequence.sink(error)
            return
        except Exception as error:
            logger.exception("MultiBand Diffusion failed")
            sequence.sink(self._error_of(error, track))
            return
        finally:
            track.codes.clear()
        for chunk in chunks:
            sequence.sink(chunk)

    def _error_of(self, error: Exception, track: _Track) -> ServeAppError:
        """Return the error of the track alone, or that of a device which the engine cannot use."""
        if is_device_failure(error, self._device):
            self._on_failure(error)
            return ReplicaFailed("The decoder failed. The same request may be sent again.")
        if isinstance(error, torch.OutOfMemoryError):
            seconds = track.frames / self._checkpoint.frame_rate
            return GenerationFailed(
                f"the GPU has too little memory to decode {seconds:g} s by MultiBand Diffusion; ask "
                "for a shorter track, or for decoder 'encodec'"
            )
        return GenerationFailed(f"MultiBand Diffusion failed ({type(error).__name__})")

    def _decode(self, track: _Track) -> list[AudioChunk]:
        self._check(track)
        track.started_at = perf_counter()
        samples = self._samples(track)
        ended_at = perf_counter()
        decoding_s = ended_at - track.started_at
        self.busy_s += decoding_s
        timings = track.sequence.timings(decoding_s, ended_at, ended_at)
        timings = replace(timings, compute_s=timings.compute_s + decoding_s)
        *earlier, last = self._chunks(samples)
        return [*earlier, replace(last, finish_reason=FinishReason.LENGTH, timings=timings)]

    @torch.inference_mode()
    def _samples(self, track: _Track) -> NDArray[np.float32]:
        """Decode a track: float32 [channels, n]. The channels of a stereo track are a batch.

        Raises GenerationFailed for audio that is not finite, and the errors of `_check`.
        """
        codes = torch.cat([handed.take() for handed in track.codes], dim=1)
        stereo = self._checkpoint.stereo_codebooks
        batch = torch.stack([codes[0::2], codes[1::2]]) if stereo else codes[None]
        seed = track.sequence.request.sampling.seed
        audio = self._diffusion.decode(batch, seed, lambda: self._go_on(track)).flatten(0, 1)
        if not bool(audio.isfinite().all()):
            raise GenerationFailed(
                "the audio of MultiBand Diffusion is not finite; try another seed"
            )
        if self._watermark is not None:
            audio = WatermarkStream(self._watermark).add(audio, final=True)
        return audio.cpu().numpy()

    def _check(self, track: _Track) -> None:
        """Raise ReplicaFailed or RequestAborted for a track that is to end."""
        if self._stopping:
            raise ReplicaFailed("The replica is stopping. The same request may be sent again.")
        if track.aborted.is_set():
            raise RequestAborted("The request was cancelled.")

    def _go_on(self, track: _Track) -> None:
        """Check the track before an evaluation, and report its progress."""
        self._check(track)
        now = perf_counter()
        done = track.evaluations / self._diffusion.evaluations
        track.evaluations += 1
        if now - track.reported_at < _REPORT_S:
            return
        track.reported_at = now
        remaining_s = (now - track.started_at) * (1 - done) / done if done else None
        decoded_s = done * track.frames / self._checkpoint.frame_rate
        track.sequence.sink(Progress(0, decoded_s, remaining_s))

    def _chunks(self, samples: NDArray[np.float32]) -> Iterator[AudioChunk]:
        rate = self._checkpoint.sample_rate
        size = round(_CHUNK_S * rate)
        for start in range(0, samples.shape[1], size):
            part = samples[:, start : start + size]
            yield AudioChunk(part, rate, track_samples=samples.shape[1])
