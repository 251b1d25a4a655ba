"""A replica in this process: device, engine, health. tests/service tests it in Ray."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.config.app import ModelConfig
from serve_app.config.watermark import WatermarkConfig
from serve_app.deployments import replica as replica_module
from serve_app.deployments.replica import MusicGenReplica
from serve_app.deployments.replica_status import from_plain
from serve_app.errors import CheckpointError, ConfigError
from serve_app.model_status import EngineStats
from serve_app.types import MULTIBAND_DIFFUSION, AudioChunk, GenerationRequest, SamplingParams
from tests.audioseal import write_generator
from tests.conftest import EMBEDDED
from tests.diffusion import write_converted


def config(source: str = EMBEDDED, **engine: Any) -> ModelConfig:
    loading = {"model_id": "nano", "model_source": source}
    return ModelConfig.model_validate(
        {"model_loading_config": loading, "engine_kwargs": {"max_slots": 2} | engine}
    )


@pytest.mark.parametrize(
    "precision", ["fp32", pytest.param("bf16", marks=pytest.mark.long), "auto"]
)
async def test_a_replica_is_warm_and_makes_music(precision: str) -> None:
    replica = MusicGenReplica(config(device="cpu", precision=precision))
    status = from_plain(replica.record_routing_stats())
    await replica.wake()
    assert status.model.precision == ("fp32" if precision == "auto" else precision)
    assert status.model.device == "cpu"
    assert status.stats.steps_total > 0, "the engine has warmed up"
    request = GenerationRequest(request_id="1", model="nano", prompt="piano", duration_s=0.3)
    items = [item async for item in replica.generate(request)]
    assert sum(item.samples.shape[1] for item in items if isinstance(item, AudioChunk)) == 9600
    replica.check_health()
    assert replica.record_replica_metadata() == {"slots": status.stats.slots}


async def test_a_replicas_speed_is_that_of_the_slots_it_admits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a card of 64 slots, of which 10 keep up with the music at 19 ms a step."""
    replica = MusicGenReplica(config(device="cpu"))
    assert (await replica.record_autoscaling_stats())["audio_s_per_s"] > 0, "it has warmed up"
    stats = EngineStats(slots=64, admitted_slots=10, step_s=0.004, full_pace_s=0.019)
    monkeypatch.setattr(replica._engine, "stats", lambda: stats)
    told = await replica.record_autoscaling_stats()
    assert told["audio_s_per_s"] == pytest.approx(10 / 50 / 0.019)
    monkeypatch.setattr(replica._engine, "stats", lambda: EngineStats(slots=64))
    assert (await replica.record_autoscaling_stats())["audio_s_per_s"] == 0, "not known yet"


def test_a_replica_on_half_a_gpu_sizes_its_slots_by_its_half(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shares: list[float] = []

    def slots(*arguments: Any) -> int:
        shares.append(arguments[3])
        return 2

    monkeypatch.setattr("serve_app.engine.engine.default_slots", slots)
    half = {"deployment_config": {"ray_actor_options": {"num_gpus": 0.5}}}
    whole = config(device="cpu", max_slots=None)
    MusicGenReplica(ModelConfig.model_validate(whole.model_dump() | half))
    assert shares == [0.5]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
    ids=["allocator", "driver", "cuBLAS"],
)
def test_too_little_memory_at_the_start_names_the_options(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The allocator of PyTorch raises the first; CUDA and its libraries take memory beside it."""

    def load(_: ModelConfig) -> None:
        raise error

    monkeypatch.setattr(replica_module, "_load", load)
    said = "The GPU has too little memory for model 'nano': lower max_slots"
    with pytest.raises(ConfigError, match=said):
        MusicGenReplica(config(device="cpu"))


def test_another_error_at_the_start_is_no_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_: ModelConfig) -> None:
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(replica_module, "_load", load)
    with pytest.raises(torch.AcceleratorError, match="device-side assert"):
        MusicGenReplica(config(device="cpu"))


def test_a_model_that_cannot_be_loaded_keeps_the_replica_from_starting() -> None:
    with pytest.raises(CheckpointError, match="neither a folder nor the id"):
        MusicGenReplica(config("no such place!"))


async def test_a_configured_watermark_is_in_every_track_and_repeatable(tmp_path: Path) -> None:
    file = write_generator(tmp_path / "g.safetensors", causal=True)
    request = GenerationRequest(
        request_id="1",
        model="nano",
        prompt="piano",
        duration_s=0.5,
        sampling=SamplingParams(seed=3),
    )

    async def track(replica: MusicGenReplica) -> Any:
        items = [item async for item in replica.generate(request)]
        chunks = [item.samples for item in items if isinstance(item, AudioChunk)]
        return np.concatenate(chunks, axis=1)

    plain = await track(MusicGenReplica(config(device="cpu")))
    marking = MusicGenReplica(
        config(device="cpu"), WatermarkConfig(generator_file=str(file), message=7)
    )
    marked = await track(marking)
    assert marked.shape == plain.shape
    level_db = 10 * np.log10(np.square(marked - plain).sum() / np.square(plain).sum())
    assert -60 < level_db < -30
    np.testing.assert_array_equal(await track(marking), marked)


def test_a_watermark_that_cannot_be_loaded_keeps_the_replica_from_starting() -> None:
    with pytest.raises(CheckpointError, match="there is no such file"):
        MusicGenReplica(config(device="cpu"), WatermarkConfig(generator_file="no-such-file"))


async def test_a_replica_reports_the_queued_jobs() -> None:
    replica = MusicGenReplica(config(device="cpu"))
    assert (await replica.record_autoscaling_stats())["jobs_audio_s"] == 0.0
    await replica.note_jobs(90.0)
    assert (await replica.record_autoscaling_stats())["jobs_audio_s"] == 90.0


async def test_a_replica_decodes_by_a_configured_diffusion(
    nano: Checkpoint, tmp_path: Path
) -> None:
    folder = write_converted(tmp_path, nano)
    replica = MusicGenReplica(config(device="cpu", multiband_diffusion_source=str(folder)))
    plain = GenerationRequest(
        request_id="1", model="nano", prompt="a", duration_s=0.3, sampling=SamplingParams(seed=3)
    )
    whole = plain.model_copy(update={"decoder": MULTIBAND_DIFFUSION})
    audio = {}
    for request in (plain, whole):
        items = [item async for item in replica.generate(request)]
        chunks = [item.samples for item in items if isinstance(item, AudioChunk)]
        audio[request.decoder] = np.concatenate(chunks, axis=1)
    assert audio["encodec"].shape == audio["multiband_diffusion"].shape
    assert np.abs(audio["encodec"] - audio["multiband_diffusion"]).max() > 1e-3


def test_a_diffusion_that_cannot_be_loaded_keeps_the_replica_from_starting() -> None:
    with pytest.raises(CheckpointError, match="there is no such file"):
        MusicGenReplica(config(device="cpu", multiband_diffusion_source="no-such-folder"))
