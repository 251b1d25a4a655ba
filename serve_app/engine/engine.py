"""The engine: continuous batching of music generation in a thread of its own.

A request goes in; its audio comes out of an async iterator, chunk by chunk, while it is being made.
Leaving the iterator, for whatever reason, frees the slot.

Call `torch.set_num_threads(1)` before a model is loaded: a second OpenMP pool on the same cores
makes both pools sleep between operations, which slows every step. The engine's thread has the only
pool.
"""

import asyncio
import contextlib
import queue
from collections.abc import AsyncGenerator

import torch

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.config.app import EngineConfig
from serve_app.engine.batch import Batch
from serve_app.engine.conditioner import Conditioner
from serve_app.engine.device import configure_device
from serve_app.engine.input_processor import InputProcessor
from serve_app.engine.loop import FIRST, EngineLoop, stopping_error
from serve_app.engine.memory import default_slots
from serve_app.engine.memory_budget import check_fine_tunes
from serve_app.engine.read_speed import position_read_s
from serve_app.engine.sequence import Sequence
from serve_app.errors import ReplicaFailed, ServeAppError
from serve_app.model_status import EngineStats, LoadedModel
from serve_app.models.audioseal.watermark import Watermark
from serve_app.models.multiband_diffusion import MultiBandDiffusion
from serve_app.models.musicgen.execution import ExecutionBackend, torch_backend
from serve_app.models.musicgen.model import MusicGen
from serve_app.models.stems import StemSeparator
from serve_app.types import ENCODEC, MULTIBAND_DIFFUSION, AudioChunk, GenerationRequest, StreamItem

WARM_UP_S = 0.2  # seconds of music
LONGEST_STEP_S = 60.0  # with kernels that are compiled; one that lasts longer will not end


class Engine:
    """One loaded model that serves many requests at once.

    All methods may be called from any thread.

    backend: returned by `prepare_model`; None for a model whose layers are as they were loaded;
    gpu_share: of the GPU's memory, for an engine that shares the card;
    fine_tunes: further checkpoints of the same shape that may be added, which share the codec, the
    text encoder and the thread;
    watermark: of every track; None: tracks are not marked;
    diffusion: decoder of the tracks that ask for it; None: those are refused;
    stems: of melodies; None: their chroma is that of the mix.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        config: EngineConfig,
        backend: ExecutionBackend | None = None,
        gpu_share: float = 1.0,
        watermark: Watermark | None = None,
        diffusion: MultiBandDiffusion | None = None,
        stems: StemSeparator | None = None,
        fine_tunes: int = 0,
    ) -> None:
        musicgen = checkpoint.musicgen
        configure_device(musicgen.embedding.weight.device)
        self.checkpoint = checkpoint
        self.config = config
        self.backend = backend or torch_backend(musicgen)
        self.conditioner = Conditioner(
            checkpoint.text_encoder,
            musicgen,
            config.max_prompt_tokens,
            config.prompt_cache_size,
            self._fail,
        )
        self.input_processor = InputProcessor(
            checkpoint,
            self.conditioner,
            config.max_duration_s,
            self._fail,
            (ENCODEC,) if diffusion is None else (ENCODEC, MULTIBAND_DIFFUSION),
            stems,
        )
        frames = self.input_processor.window_frames
        self.slots = config.max_slots or default_slots(
            musicgen, config, frames, gpu_share, fine_tunes
        )
        if fine_tunes:
            precision = self.backend.precision
            check_fine_tunes(musicgen, config, precision, self.slots, frames, fine_tunes, gpu_share)
        batch = self._new_batch(musicgen, self.backend)
        position_s = position_read_s(musicgen, config)
        self.loop = EngineLoop(
            checkpoint, config, batch, self.conditioner, watermark, position_s, diffusion
        )

    @property
    def graphs_s(self) -> float:
        """Seconds that capturing CUDA graphs took."""
        return self.loop.graphs_s

    async def generate(
        self, request: GenerationRequest, lane: str = FIRST
    ) -> AsyncGenerator[StreamItem, None]:
        """Yield the request's audio in order, with Progress between the chunks if asked for.

        lane: of a fine-tune that was added.
        Raises InvalidRequest before anything is queued, GenerationFailed if this sequence alone
        failed, and ReplicaFailed if the engine did.
        """
        loop = asyncio.get_running_loop()
        items: asyncio.Queue[StreamItem | ServeAppError] = asyncio.Queue()

        def sink(item: StreamItem | ServeAppError) -> None:
            with contextlib.suppress(RuntimeError):  # the caller's event loop may be closed
                loop.call_soon_threadsafe(items.put_nowait, item)

        if self.loop.stopping:
            raise stopping_error()
        sequence = await self.input_processor.process(request, sink)
        sequence.lane = lane
        self.loop.add_request(sequence)
        try:
            async for item in _stream(items):
                yield item
        finally:
            self.abort_request(sequence)

    def abort_request(self, sequence: Sequence) -> None:
        """Free the sequence's slot within one step. Has no effect on a sequence that has ended."""
        self.loop.abort_request(sequence)

    def add_fine_tune(self, name: str, musicgen: MusicGen, backend: ExecutionBackend) -> None:
        """Give a prepared model of the same shape a lane of its own. Blocks until it is warm.

        Sequences of other lanes go on. Raises the error of the warm-up.
        """
        batch = self._new_batch(musicgen, backend)
        if musicgen.embedding.weight.is_cuda:  # the lane's steps run on another stream
            torch.cuda.current_stream(musicgen.embedding.weight.device).synchronize()
        self.loop.add_lane(name, batch).result()

    def remove_fine_tune(self, name: str) -> None:
        """Free the memory of a fine-tune without requests, in the calling thread. Blocks."""
        self.loop.remove_lane(name).result()

    def warm_up(self, duration_s: float = WARM_UP_S) -> None:
        """Capture CUDA graphs and make a short track, before the first request. Blocks.

        The text is encoded before the graphs are captured, so that they are captured on a GPU that
        does nothing else. Raises the error that ended the engine, if one did.
        """
        items: queue.SimpleQueue[StreamItem | ServeAppError] = queue.SimpleQueue()
        duration_s = min(duration_s, self.input_processor.max_duration_s)
        request = GenerationRequest(
            request_id="warm-up", model="", prompt="music", duration_s=duration_s
        )
        sequence = self.input_processor.process_here(request, items.put)
        warm = self.loop.warm_up()
        if (error := warm.exception()) is not None:
            raise self.loop.failure or error
        self.loop.add_request(sequence)
        item = items.get()
        while not is_last(item):
            item = items.get()
        if isinstance(item, ServeAppError):
            raise self.loop.failure or item

    def describe(self) -> LoadedModel:
        """Return the properties of the loaded model."""
        musicgen = self.checkpoint.musicgen
        return LoadedModel(
            sample_rate=self.checkpoint.sample_rate,
            channels=self.checkpoint.audio_channels,
            frame_rate=self.checkpoint.frame_rate,
            max_duration_s=self.input_processor.max_duration_s,
            parameters=musicgen.num_parameters,
            device=musicgen.embedding.weight.device.type,
            precision=self.backend.precision,
            melody=musicgen.config.melody is not None,
            content=musicgen.config.content,
            window_s=self.input_processor.window_s,
        )

    def check_prompt(self, prompt: str) -> None:
        """Raise PromptTooLong for a prompt of too many tokens."""
        self.conditioner.tokenize(prompt)

    def stats(self) -> EngineStats:
        """Return the snapshot taken after the last step."""
        return self.loop.stats.latest()

    def works(self) -> bool:
        """Return whether the engine is idle, or in a step that has not lasted for too long."""
        return self.loop.step_watch.so_far_s < LONGEST_STEP_S

    def check_health(self) -> None:
        """Raise ReplicaFailed once the engine can no longer serve."""
        if not self.loop.alive:
            raise ReplicaFailed("The engine has stopped after a failure; the replica is replaced.")

    def shutdown(self) -> None:
        """End the engine; running requests end with ReplicaFailed.

        Blocks until the step in progress is over.
        """
        self.loop.shutdown()
        self.conditioner.shutdown()
        self.input_processor.shutdown()

    def _new_batch(self, musicgen: MusicGen, backend: ExecutionBackend) -> Batch:
        frames = self.input_processor.window_frames
        return Batch(musicgen, backend, self.config, self.conditioner, self.slots, frames)

    def _fail(self, error: Exception) -> None:
        """End the engine after an error of a thread beside its own. Called from any thread."""
        self.loop.fail(error)


def is_last(item: StreamItem | ServeAppError) -> bool:
    """Return whether nothing follows an item of a stream."""
    if isinstance(item, ServeAppError):
        return True
    return isinstance(item, AudioChunk) and item.finish_reason is not None


async def _stream(
    items: "asyncio.Queue[StreamItem | ServeAppError]",
) -> AsyncGenerator[StreamItem, None]:
    """Yield items up to the last one. Raises a ServeAppError that ends the stream."""
    while True:
        item = await items.get()
        if isinstance(item, ServeAppError):
            raise item
        yield item
        if is_last(item):
            return
