"""The benchmark of stages: what it reads, and what it computes from it."""

import asyncio
import sys

import pytest
import yaml

from benchmarks.capacity import carrying_ms, cores_for_many
from benchmarks.recorded import RECORDED, with_recorded
from benchmarks.stages import STAGES, StageClock
from serve_app.config.app import AppConfig
from serve_app.gateway.encoding_threads import THREAD_NAME
from tests.conftest import CONFIGS

# A process that names itself as an ingress replica, and spends CPU in an encoding thread alone.
_INGRESS = f"""
import threading, time
from pathlib import Path
def work():
    Path(f"/proc/self/task/{{threading.get_native_id()}}/comm").write_text("{THREAD_NAME}")
    until = time.thread_time() + 0.5
    while time.thread_time() < until:
        pass
    print(f"{{1000 * (time.process_time() - time.thread_time())}}", flush=True)
    time.sleep(60)
threading.Thread(target=work).start()
"""


def rows(**opus: float) -> dict[str, dict[str, float]]:
    """Rows of `stage_times` with a refusal and opus alone."""
    nothing = dict.fromkeys(STAGES, 0.0)
    return {"a refusal (400)": nothing, "a streamed second, opus": nothing | opus}


def test_cores_are_those_of_10000_listeners() -> None:
    table = cores_for_many(rows(ingress=1.5, encoder=4.0))
    assert list(table) == ["opus"]
    assert (table["opus"]["ingress"], table["opus"]["encoder"], table["opus"]["proxy"]) == (
        15.0,
        40.0,
        0.0,
    )


def test_what_carries_audio_is_proxy_ingress_and_raylet() -> None:
    stages = {"edge": 8.0, "proxy": 0.25, "ingress": 1.5, "encoder": 4.0, "raylet": 0.1}
    assert carrying_ms(rows(**stages)) == 1.85


def test_the_recorded_model_is_a_valid_one() -> None:
    content = yaml.safe_load((CONFIGS / "nano.yaml").read_text())
    config = AppConfig.model_validate(with_recorded(content["applications"][0]["args"]))
    assert [model.model_id for model in config.models] == ["nano", RECORDED]


async def test_encoding_threads_are_a_stage_of_their_own() -> None:
    processes: list[asyncio.subprocess.Process] = []
    others_ms: list[float] = []  # of the process's other threads: the start of Python

    async def work() -> None:
        command = ("ray::ServeReplica:musicgen:Ingress", "-c", _INGRESS)
        process = await asyncio.create_subprocess_exec(
            *command, executable=sys.executable, stdout=asyncio.subprocess.PIPE
        )
        processes.append(process)
        assert process.stdout is not None
        others_ms.append(float(await process.stdout.readline()))

    try:
        spent = await StageClock().per_unit(work, 1.0)
    finally:
        for process in processes:
            process.kill()
            await process.wait()
    assert 480 <= spent["encoder"] < 1000, spent
    assert spent["ingress"] == pytest.approx(others_ms[0], abs=100), "without the encoding"
