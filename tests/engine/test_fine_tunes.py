"""Fine-tunes beside a model in one engine: real checkpoints, loaded while streams run."""

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import serve_app
from serve_app.checkpoints.checkpoint import Checkpoint, load_checkpoint
from serve_app.config.adapter import AdapterSource
from serve_app.config.app import EngineConfig
from serve_app.config.model_loading import ModelLoadingConfig
from serve_app.engine.batch import Batch
from serve_app.engine.engine import Engine
from serve_app.engine.errors import ModelLoadFailed
from serve_app.engine.fine_tunes import FineTunes
from serve_app.errors import ConfigError
from serve_app.types import AudioChunk, GenerationRequest, SamplingParams
from tests.adapters import write_plain_adapter
from tests.conftest import EMBEDDED

EMBEDDED_FOLDER = Path(serve_app.__file__).parent / "assets" / "musicgen-nano"
NANO_WIDTH: int = json.loads((EMBEDDED_FOLDER / "config.json").read_text())["decoder"][
    "hidden_size"
]
PATIENCE_S = 120.0
CONFIG = EngineConfig(max_slots=2, num_threads=1, max_duration_s=30.0)
Samples = NDArray[np.float32]


def track(model: str, duration_s: float = 0.5) -> GenerationRequest:
    return GenerationRequest(
        request_id="1",
        model=model,
        prompt="calm piano",
        duration_s=duration_s,
        sampling=SamplingParams(seed=7),
    )


async def samples_of(engine: Engine, lane: str, **options: Any) -> Samples:
    chunks = [item async for item in engine.generate(track(lane, **options), lane)]
    return np.concatenate([chunk.samples for chunk in chunks if isinstance(chunk, AudioChunk)], 1)


async def held(fine_tunes: FineTunes, engine: Engine, name: str) -> Samples:
    async with fine_tunes.hold(name):
        return await samples_of(engine, name)


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    names = ("drums", "strings", "bells")
    return {name: write_plain_adapter(folder / name, i, NANO_WIDTH) for i, name in enumerate(names)}


@pytest.fixture(scope="module")
def loading(adapters: dict[str, Path]) -> dict[str, ModelLoadingConfig]:
    return {
        name: ModelLoadingConfig(
            model_id=name,
            model_source=EMBEDDED,
            adapter_source=(AdapterSource(source=str(folder)),),
        )
        for name, folder in adapters.items()
    }


@pytest.fixture(autouse=True)
def _switch_interval() -> Iterator[None]:
    """Restore Python's switch interval, which fine-tunes shorten for the whole process."""
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)


@pytest.fixture
async def engine(nano: Checkpoint) -> AsyncIterator[Engine]:
    engine = Engine(nano, CONFIG, fine_tunes=2)
    yield engine
    engine.shutdown()


@pytest.fixture
async def fine_tunes(
    engine: Engine, loading: dict[str, ModelLoadingConfig]
) -> AsyncIterator[FineTunes]:
    fine_tunes = FineTunes(
        engine, source(EMBEDDED, "nano"), loading, places=2, max_wait_s=PATIENCE_S
    )
    yield fine_tunes
    fine_tunes.shutdown()


def source(folder: Path | str, name: str = "other") -> ModelLoadingConfig:
    return ModelLoadingConfig(model_id=name, model_source=str(folder))


async def alone(loading: ModelLoadingConfig) -> Samples:
    checkpoint = load_checkpoint(loading.pinned_source, adapters=loading.adapter_source)
    engine = Engine(checkpoint, CONFIG)
    try:
        return await samples_of(engine, "")
    finally:
        engine.shutdown()


async def test_tracks_equal_those_of_the_checkpoint_served_alone(
    engine: Engine, fine_tunes: FineTunes, loading: dict[str, ModelLoadingConfig]
) -> None:
    """All at once, in lanes that take turns, and a third one in the place of the first."""
    base, drums, strings = await asyncio.gather(
        samples_of(engine, ""),
        held(fine_tunes, engine, "drums"),
        held(fine_tunes, engine, "strings"),
    )
    bells = await held(fine_tunes, engine, "bells")
    assert fine_tunes.residents.names == ["strings", "bells"]
    again = await held(fine_tunes, engine, "drums")
    expected = await asyncio.gather(*map(alone, loading.values()))
    for made, wanted in zip((drums, strings, bells), expected, strict=True):
        assert np.array_equal(made, wanted)
        assert not np.array_equal(made, base)
    assert np.array_equal(again, drums), "loaded a second time"


async def test_a_running_stream_goes_on_while_another_is_loaded(
    engine: Engine, fine_tunes: FineTunes
) -> None:
    stream = engine.generate(track("nano", 30.0))
    await anext(stream)
    steps = engine.stats().steps_total
    await held(fine_tunes, engine, "drums")
    assert (await anext(stream)) is not None
    stats = engine.stats()
    assert stats.steps_total > steps
    assert stats.slots == 4, "two of each checkpoint in memory"
    await stream.aclose()


async def test_all_memory_of_an_evicted_fine_tune_is_freed(
    engine: Engine, fine_tunes: FineTunes
) -> None:
    cache = engine.stats().kv_cache_bytes or engine.loop.batch.runner.kv_cache_bytes
    for name in ("drums", "strings", "bells", "drums"):
        await held(fine_tunes, engine, name)
    assert engine.stats().kv_cache_bytes == 3 * cache
    assert set(engine.loop._lanes) == {"", "bells", "drums"}


async def test_a_checkpoint_of_another_shape_is_refused_with_its_reason(
    engine: Engine,
    loading: dict[str, ModelLoadingConfig],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It hurts nobody else: the resident one stays, and the model goes on."""
    other = tmp_path / "other"
    shutil.copytree(EMBEDDED_FOLDER, other)
    config = json.loads((other / "config.json").read_text())
    config["decoder"]["num_hidden_layers"] = 3
    (other / "config.json").write_text(json.dumps(config))
    sources = loading | {"other": source(other)}
    fine_tunes = FineTunes(engine, source(EMBEDDED), sources, places=1, max_wait_s=PATIENCE_S)
    await held(fine_tunes, engine, "drums")
    with pytest.raises(ModelLoadFailed, match="in the replica's log"):
        await held(fine_tunes, engine, "other")
    assert "differs in shape" in caplog.text
    assert "num_layers=3" in caplog.text
    assert fine_tunes.residents.names == ["drums"]
    assert (await samples_of(engine, "")).size
    fine_tunes.shutdown()


async def test_a_lane_that_cannot_be_warmed_up_hurts_no_other(
    engine: Engine, fine_tunes: FineTunes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Batch) -> Iterator[None]:
        yield
        raise RuntimeError("too little memory")

    monkeypatch.setattr(Batch, "warm_up", fail)
    with pytest.raises(ModelLoadFailed):
        await held(fine_tunes, engine, "drums")
    engine.check_health()
    assert (await samples_of(engine, "")).size


def test_fine_tunes_that_do_not_fit_are_refused_at_the_start(
    nano: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.engine.memory_budget._free_memory", lambda: 2**20)
    with pytest.raises(ConfigError, match=r"5 fine-tunes in memory need 0\.\d\d GiB .* 2 slots"):
        Engine(nano, CONFIG, fine_tunes=5)
    Engine(nano, CONFIG).shutdown()
