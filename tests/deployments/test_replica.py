"""A replica in this process: device, engine, health. tests/service tests it in Ray."""

from typing import Any

import pytest

from serve_app.config.app import ModelConfig
from serve_app.deployments.replica import MusicGenReplica
from serve_app.deployments.replica_status import from_plain
from serve_app.errors import CheckpointError
from serve_app.types import AudioChunk, GenerationRequest
from tests.conftest import EMBEDDED


def config(source: str = EMBEDDED, **engine: Any) -> ModelConfig:
    loading = {"model_id": "nano", "model_source": source}
    return ModelConfig.model_validate(
        {"model_loading_config": loading, "engine_kwargs": {"max_slots": 2} | engine}
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16", "auto"])
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


def test_a_replica_on_half_a_gpu_sizes_its_slots_by_its_half(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shares: list[float] = []

    def slots(_model: object, _config: object, _frames: int, share: float) -> int:
        shares.append(share)
        return 2

    monkeypatch.setattr("serve_app.engine.engine.default_slots", slots)
    half = {"deployment_config": {"ray_actor_options": {"num_gpus": 0.5}}}
    whole = config(device="cpu", max_slots=None)
    MusicGenReplica(ModelConfig.model_validate(whole.model_dump() | half))
    assert shares == [0.5]


def test_a_model_that_cannot_be_loaded_keeps_the_replica_from_starting() -> None:
    with pytest.raises(CheckpointError, match="neither a folder nor the id"):
        MusicGenReplica(config("no such place!"))
