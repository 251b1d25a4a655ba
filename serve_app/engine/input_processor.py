"""A request -> the sequence that it becomes, checked against what the model can do."""

import asyncio
import itertools
import logging
import secrets
from time import perf_counter

import torch

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.engine.audio_prompter import encode_audio_prompt
from serve_app.engine.conditioner import Conditioner
from serve_app.engine.sequence import Sequence, Sink
from serve_app.engine.window import Window, windows
from serve_app.errors import DurationTooLong, GenerationFailed, InvalidRequest
from serve_app.types import GenerationRequest, num_frames

logger = logging.getLogger(__name__)

EXTEND_STRIDE = 0.6  # of the window: AudioCraft's 18 of 30 seconds


class InputProcessor:
    """Of one model, for pieces up to `max_duration_s`."""

    def __init__(
        self, checkpoint: Checkpoint, conditioner: Conditioner, max_duration_s: float
    ) -> None:
        self.max_duration_s = max_duration_s
        self.window_s = min(max_duration_s, checkpoint.musicgen.config.max_duration_s)
        self._checkpoint, self._conditioner, self._ids = checkpoint, conditioner, itertools.count()

    @property
    def window_frames(self) -> int:
        return self._frames(self.window_s)

    async def process(self, request: GenerationRequest, sink: Sink) -> Sequence:
        """Raises InvalidRequest, or GenerationFailed where the prompt cannot be encoded. Other threads encode text and
        audio, for that takes a while."""
        sequence = self._sequence(request, sink)
        started_at = perf_counter()
        try:
            sequence.text = await self._conditioner.encode(sequence.prompt_tokens)
        except (RuntimeError, ValueError) as error:
            logger.exception("A prompt could not be encoded")
            raise GenerationFailed(
                f"the prompt could not be encoded ({type(error).__name__})"
            ) from error
        sequence.text_encoder_s = perf_counter() - started_at
        if request.audio_prompt is not None:
            known = await asyncio.to_thread(
                encode_audio_prompt, self._checkpoint, request.audio_prompt
            )
            sequence.known, sequence.windows = known, self._windows(request, known.shape[1])
        return sequence

    def process_here(self, request: GenerationRequest, sink: Sink) -> Sequence:
        """As `process`, in the caller's thread, while no other request is processed, and without an audio prompt."""
        sequence = self._sequence(request, sink)
        sequence.text = self._conditioner.encode_here(sequence.prompt_tokens)
        return sequence

    def _sequence(self, request: GenerationRequest, sink: Sink) -> Sequence:
        self._check(request)
        prompt_tokens = self._conditioner.tokenize(request.prompt)
        config = self._checkpoint.musicgen.config
        return Sequence(
            sequence_id=next(self._ids),
            request=request,
            prompt_tokens=prompt_tokens,
            known=torch.zeros(config.num_codebooks, 0, dtype=torch.int64),
            windows=self._windows(request, 0),
            delays=config.delays,
            seed=secrets.randbits(32) if request.sampling.seed is None else request.sampling.seed,
            sink=sink,
        )

    def _check(self, request: GenerationRequest) -> None:
        """Raises DurationTooLong, or InvalidRequest for what does not fit into the model's window."""
        wanted_s, longest_s, window_s = request.duration_s, self.max_duration_s, self.window_s
        if wanted_s > longest_s:
            raise DurationTooLong(
                f"{wanted_s:g} seconds were asked for, but this model makes up to {longest_s:g}."
            )
        if not request.prompt and request.audio_prompt is None:
            raise InvalidRequest("Prompt is required and cannot be empty")
        if wanted_s > window_s and (request.extend_stride_s or 0.0) >= window_s:
            raise InvalidRequest(
                f"extend_stride_s must be less than this model's window of {window_s:g} seconds."
            )
        known_s = 0.0 if request.audio_prompt is None else request.audio_prompt.duration_s
        if known_s >= min(wanted_s, window_s):
            raise InvalidRequest(
                f"The audio prompt lasts {known_s:g} seconds. It must be shorter than the whole piece "
                f"({wanted_s:g}) and than this model's window ({window_s:g})."
            )

    def _windows(self, request: GenerationRequest, known: int) -> list[Window]:
        stride = self._frames(request.extend_stride_s or EXTEND_STRIDE * self.window_s)
        frames, longest = self._frames(request.duration_s), self.window_frames
        return windows(
            frames, longest, min(stride, longest - 1), min(known, frames - 1, longest - 1)
        )

    def _frames(self, seconds: float) -> int:
        return num_frames(seconds, self._checkpoint.frame_rate)
