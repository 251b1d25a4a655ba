"""Fine-tunes of an engine's model: found, loaded and freed in threads beside the steps."""

import os
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager

from serve_app.checkpoints.fine_tune import FineTune, find_fine_tune
from serve_app.config.model_loading import ModelLoadingConfig
from serve_app.engine.device import loading_dtype, resolve_precision
from serve_app.engine.engine import Engine
from serve_app.engine.memory_budget import return_free_memory
from serve_app.engine.residents import Residents
from serve_app.engine.worker_thread import WorkerThread
from serve_app.models.musicgen.execution import prepare_model

_NICENESS = 5  # of the loading threads: a quarter of a core that steps want, too
# Until a step gets the interpreter back from a thread that loads: with Python's 5 ms, each of a
# step's operations may wait that long.
_SWITCH_S = 0.0005


class FineTunes:
    """The fine-tunes of an engine's model, as lanes of the engine.

    base: source of the model itself; loading: of each fine-tune, by its name;
    places: fine-tunes in memory at a time; max_wait_s: for one that is not; announce: see Residents.
    """

    def __init__(
        self,
        engine: Engine,
        base: ModelLoadingConfig,
        loading: Mapping[str, ModelLoadingConfig],
        places: int,
        max_wait_s: float,
        announce: Callable[[list[str]], None] = lambda _: None,
    ) -> None:
        self._engine = engine
        self._loading = loading
        self._device = engine.checkpoint.musicgen.embedding.weight.device
        # Started before graphs are captured: to give a thread its stream waits for the device.
        self._finder = WorkerThread("musicgen-finder", self._device, engine.loop.fail)
        self._loader = WorkerThread("musicgen-loader", self._device, engine.loop.fail)
        for thread in (self._finder, self._loader):
            thread.submit(_yield_to_steps)
        sys.setswitchinterval(_SWITCH_S)
        self._same_parts = {_files(base)}
        self.residents = Residents(self, places, max_wait_s, announce)

    def __contains__(self, name: str) -> bool:
        return name in self._loading

    def hold(self, name: str) -> AbstractAsyncContextManager[None]:
        """Keep a fine-tune in memory, in the lane of its name. Raises as `Residents.hold`."""
        return self.residents.hold(name)

    async def find(self, name: str) -> FineTune:
        """Find a fine-tune's files, or download them, and check that it fits the model."""
        return await self._finder.run(self._find, name)

    async def load(self, name: str, found: FineTune) -> None:
        """Load a fine-tune's weights, and warm its lane up."""
        await self._loader.run(self._load, name, found)

    async def unload(self, name: str) -> None:
        """Free the memory of a fine-tune without requests."""
        await self._loader.run(self._unload, name)

    def shutdown(self) -> None:
        """End the threads. Blocks until a load in progress is over."""
        self._finder.shutdown()
        self._loader.shutdown()

    def _find(self, name: str) -> FineTune:
        loading = self._loading[name]
        files = _files(loading)
        found = find_fine_tune(
            loading, self._engine.checkpoint, same_parts=files in self._same_parts
        )
        self._same_parts.add(files)
        return found

    def _load(self, name: str, found: FineTune) -> None:
        options = self._engine.config
        precision = resolve_precision(options, self._device)
        musicgen = found.load(loading_dtype(precision, self._device), self._device)
        backend = prepare_model(musicgen, precision, options.kernels, options.kv_cache)
        return_free_memory()
        self._engine.add_fine_tune(name, musicgen, backend)

    def _unload(self, name: str) -> None:
        self._engine.remove_fine_tune(name)
        return_free_memory()


def _files(loading: ModelLoadingConfig) -> tuple[str | None, ...]:
    """Return the sources of a model's codec and text encoder."""
    return loading.pinned_source, loading.text_encoder_source, loading.codec_source


def _yield_to_steps() -> None:
    """Lower the calling thread's priority, and that of the threads that it starts."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
