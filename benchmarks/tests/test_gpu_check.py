"""The acceptance run of the GPU path, tried on a CPU with tiny shapes: its checks, runner and report."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import precision
from benchmarks.cost import row
from benchmarks.gpu_check import (
    capture,
    codec,
    company,
    environment,
    equality,
    faults,
    kernels,
    models,
    report,
    runner,
    service,
    speed,
    threads,
)
from benchmarks.gpu_check.checks import CHECKS
from benchmarks.gpu_check.measurement import Check, Measurement, Setting, at_least, at_most
from benchmarks.gpu_check.models import begin, language_model, new_runner, step_shape
from benchmarks.gpu_check.runner import FAILED, PASSED, SKIPPED, Outcome, Plan, run_all
from benchmarks.peers import SCALES
from benchmarks.speed_model import STEPS, load
from serve_app.engine import drawing
from serve_app.models.musicgen.execution import ExecutionBackend, torch_backend
from serve_app.models.musicgen.model import MusicGen
from tests.kernels.cuda.interpreter import interpreted
from tests.sources import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(torch.device("cpu"), True, tmp_path)


def measure(check: Callable[[Setting], Iterator[Measurement]], setting: Setting) -> list[str]:
    """Run a check to its end; return the names of what it measured, all of which met its bar."""
    measured = list(check(setting))
    assert [one for one in measured if one.ok is False] == []
    return [one.name for one in measured]


def test_the_environment_is_read(setting: Setting) -> None:
    names = measure(environment.run, setting)
    assert "attention of large's prefill" in names
    assert "C compiler for Triton" in names


@pytest.mark.parametrize(("device", "ok"), [("cuda", False), ("cpu", None)])
def test_a_missing_compiler_is_a_failure_on_a_gpu_alone(
    device: str, ok: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "finds_compiler", lambda: False)
    found = environment._compiler(Setting(torch.device(device), False, tmp_path))
    assert (found.value, found.ok) == ("no", ok)


def test_the_command_needs_no_triton() -> None:
    """PyTorch's build for CPUs brings none; the checks that need it are skipped there."""
    code = "import sys; sys.modules['triton'] = None; import benchmarks.gpu_check.__main__"
    command = [sys.executable, "-W", "ignore", "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    ("names", "backend"),
    [
        (["void cudnn_generated_fort_native_sdpa_sm90_flash_fprop"], "cudnn"),
        (["pytorch_flash::flash_fwd_splitkv_kernel<x>", "other"], "flash"),
        (["fmha_cutlassF_f16_aligned_64x64_rf_sm80"], "memory-efficient"),
        (["gemm", "softmax_warp_forward"], "math"),
    ],
)
def test_the_attention_is_known_by_its_kernels(
    monkeypatch: pytest.MonkeyPatch, names: list[str], backend: str
) -> None:
    monkeypatch.setattr(environment, "kernels", lambda *_: dict.fromkeys(names, (1, 1.0)))
    x = torch.zeros(1, 1, 1, 8)
    assert environment.sdpa_backend(x, x, x, x[..., :1]) == backend


def test_steps_end_by_the_draw_kernel_as_the_services(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "draws_by_kernel", lambda _device: True)
    model, backend = language_model("small", "fp16", setting)
    with interpreted() as launches:
        runner = new_runner(model, backend, 2, 60)
        begin(runner, 2, 60)
        runner.step(step_shape(2, 0))
    assert [launch.name for launch in launches] == ["draw_kernel"]


def test_an_engine_runs_the_kernels_that_a_check_asks_for(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def prepare(model: MusicGen, *options: object) -> ExecutionBackend:
        asked.append(options)
        return torch_backend(model)

    monkeypatch.setattr(models, "prepare_model", prepare)
    for way in ("auto", "eager"):
        with models.running(models.checkpoint(setting), setting, warm=False, kernels=way):
            pass
    assert asked == [("fp32", "auto"), ("fp32", "eager")]


async def test_streams_are_marked_as_such(setting: Setting) -> None:
    """The engine admits as many streams as keep up with the music."""
    with models.running(models.checkpoint(setting), setting, max_slots=2) as engine:
        await service._listen(engine, 2, 0.5)
        assert engine.loop._output.streamed_chunks > 0


def test_all_usual_and_unusual_shapes_are_captured(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "_MOST_S", float("inf"))  # of a GPU that does nothing else
    names = measure(capture.run, setting)
    assert names[0] == "small: first eager steps, which compile kernels"
    assert names[1].startswith("small, 4 slots: ")
    assert names[-1] == "small: 3 usual and 8 unusual shapes are captured and replayed"


def test_graphs_and_devices_agree(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "FRAMES", 30)
    assert len(measure(equality.run, setting)) == 1 + 1 + 3 + 1


def test_unequal_codes_are_a_failure(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    results = iter([torch.zeros(1, 4, 2), torch.ones(1, 4, 2)] * 2)
    monkeypatch.setattr(equality, "decode", lambda *_: next(results))
    first = next(equality.run(setting))
    assert (first.ok, first.value) == (False, "0.00% equal")


def test_a_track_alone_is_that_among_others(setting: Setting) -> None:
    assert measure(company.run, setting) == [
        "audio alone as among 4, kernels: auto",
        "audio alone as among 4, kernels: eager",
    ]


def test_prompts_are_encoded_beside_steps(setting: Setting) -> None:
    assert len(measure(threads.run, setting)) == 3


def test_text_that_is_not_finite_leaves_the_slot_usable(setting: Setting) -> None:
    assert all(one.ok for one in faults.nan_text(setting))


@pytest.mark.parametrize("thread", faults.THREADS)
def test_a_failed_device_is_unhealthy_whichever_thread_sees_it(
    setting: Setting, thread: str
) -> None:
    told: list[str] = []
    faults.fail_in_thread(thread, setting, told.append)
    assert told == ["unhealthy"]


def test_kernels_compute_what_pytorch_does(setting: Setting) -> None:
    with interpreted():
        names = measure(kernels.run, setting)
    assert len(names) == 2 + 1 + 10 + 1
    assert "small: norm, fc1, GELU, 2 rows, int8" in names


@pytest.mark.long
def test_speed_is_measured_beside_its_peers(setting: Setting) -> None:
    names = measure(speed.run, setting)
    assert "small: a step by AudioCraft" in names
    assert "small: a step by transformers" in names
    table = json.loads((setting.folder / "kernels-small.json").read_text())
    assert sum(count for count, _ in table.values()) > 50


def test_the_bars_of_speed_are_the_goals_of_the_speed_model() -> None:
    """Seconds and shares on an H100; both have the same floor."""
    model, goals = load()
    card = model.cards["H100"]
    on_h100 = [goal for goal in goals if goal["card"] == "H100"]
    alone = {goal["size"]: goal for goal in on_h100 if goal["together"] == 1}
    assert {size: goal["seconds"] for size, goal in alone.items()} == speed._SECONDS
    shares = {size: goal["share"] for size, goal in alone.items() if "share" in goal}
    assert shares == speed._OF_FLOOR
    assert [one["seconds"] for one in on_h100 if one["together"] == 16] == [speed._SIXTEEN_S]
    for size in alone:
        measured = model.measured["H100", size, 1]
        share = speed.share_of_floor(SCALES[size], STEPS, measured.seconds, measured.bandwidth)
        expected = row(model, card, size, 1)["share_of_floor"]
        assert share == pytest.approx(expected, abs=0.005), size


@pytest.mark.long
def test_streams_and_memory_are_watched(setting: Setting) -> None:
    names = [one.name for one in service.run(setting)]
    assert names[-1] == "memory growth over 12 requests"
    assert sum("late" in name for name in names) == 2


def test_the_codec_in_chunks_is_the_codec_as_a_whole(setting: Setting) -> None:
    assert len(measure(codec.run, setting)) == 3


def test_bars() -> None:
    assert at_most("x", 2.0, 1.0).ok is False
    assert at_least("x", 2.0, 1.0).ok is True
    assert service.percentile([3.0, 1.0, 2.0], 0.99) == 3.0


def check(name: str, needs_gpu: bool = False) -> Check:
    return Check("1", name, name.title(), environment.run, 5.0, needs_gpu)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan("cpu", False, tmp_path, 600.0)


def replace_command(monkeypatch: pytest.MonkeyPatch, scripts: dict[str, str]) -> None:
    """Let the process of a check run a script in place of the check; `lines` is its file."""

    def command(check: Check, _: Plan, lines: Path) -> list[str]:
        return [sys.executable, "-c", f"lines = {str(lines)!r}\n{scripts[check.name]}"]

    monkeypatch.setattr(runner, "_command", command)


WRITE = 'open(lines, \'a\').write(\'{"name": "x", "value": 1, "ok": %s}\\n\')\n'


def test_every_check_runs_whatever_became_of_those_before(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = {
        "killed": WRITE % "true" + "import os; os.kill(os.getpid(), 9)",
        "raises": "raise RuntimeError('CUDA error: device-side assert triggered')",
        "missed": WRITE % "false",
        "good": WRITE % "true",
    }
    replace_command(monkeypatch, scripts)
    outcomes = run_all([*map(check, scripts), check("gpu", needs_gpu=True)], plan)
    assert [one.status for one in outcomes] == [FAILED, FAILED, FAILED, PASSED, SKIPPED]
    assert outcomes[0].measurements == [Measurement("x", 1, ok=True)], "what it had measured stays"
    assert outcomes[0].error == "exit status -9"
    assert outcomes[1].error.endswith("RuntimeError: CUDA error: device-side assert triggered")


def test_time_is_limited_for_each_check_and_for_all(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_command(monkeypatch, {"slow": "import time; time.sleep(60)", "good": ""})
    slow = Check("1", "slow", "Slow", environment.run, 600.0, needs_gpu=False)
    short = Plan("cpu", False, plan.folder, 0.2)
    outcomes = run_all([slow, check("good")], short)
    assert [one.status for one in outcomes] == [FAILED, FAILED]
    assert outcomes[0].error.startswith("it took too long")
    assert outcomes[1].error == "no time was left of 0.2 s"


@pytest.mark.parametrize(("device", "status"), [("cuda", FAILED), ("cpu", PASSED)])
def test_a_check_has_a_limit_of_its_own_on_a_gpu(
    device: str, status: str, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU most checks are skipped: a busy machine may take their time for the others."""
    replace_command(monkeypatch, {"slow": "import time; time.sleep(1)"})
    slow = Check("1", "slow", "Slow", environment.run, 1.0, needs_gpu=False)
    [outcome] = run_all([slow], replace(plan, device=device))
    assert outcome.status == status, outcome.error


@pytest.fixture
def result() -> dict[str, object]:
    measured = [Measurement("steps", 1.23456789, "s", "at most 1", False)]
    outcomes = [Outcome(check("good"), PASSED, 2.0, measured), Outcome(check("gpu"), SKIPPED)]
    return report.as_json([*outcomes, Outcome(check("bad"), FAILED, 1.0, [], "exit | 1\nlast")])


def test_the_table_has_each_check_and_measurement(result: dict[str, object]) -> None:
    lines = report.table(result).splitlines()
    assert "| 1. Good |  | 2 s | | passed |" in lines
    assert "|  | steps | 1.23457 s | at most 1 | **missed** |" in lines
    assert "| 1. Bad | exit / 1 last | 1 s | | **failed** |" in lines
    assert not report.is_good(result)


def test_the_table_takes_its_place_in_the_page(tmp_path: Path, result: dict[str, object]) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text())
    for _ in range(2):
        report.put_into(page, report.table(result))
    text = page.read_text()
    assert text.count("| 1. Good |") == 1
    assert text.partition(report.BEGIN)[0] == PAGE.read_text().partition(report.BEGIN)[0]
    assert text.partition(report.END)[2] == PAGE.read_text().partition(report.END)[2]
    page.write_text("no place")
    with pytest.raises(ValueError, match="has no place for the table"):
        report.put_into(page, "x")


def test_the_order_puts_what_tells_most_first() -> None:
    assert [one.number for one in CHECKS][:4] == ["1", "2", "3", "8"]
    assert {one.number.rstrip("b") for one in CHECKS} == {str(n) for n in range(1, 11)}
    assert [one.name for one in CHECKS if not one.needs_gpu] == ["environment", "codec"]


@pytest.mark.long
def test_without_a_gpu_the_command_skips_and_exits_with_0(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{report.BEGIN}\n{report.END}\n")
    command = [sys.executable, "-m", "benchmarks.gpu_check", "--out", str(tmp_path / "out")]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.run(
        [*command, "--into", str(page)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment,
    )
    assert run.returncode == 0, run.stderr
    assert "No GPU is visible" in run.stderr
    result = json.loads((tmp_path / "out" / "gpu_check.json").read_text())
    statuses = {one["name"]: one["status"] for one in result["checks"]}
    assert {name for name, status in statuses.items() if status == PASSED} == {
        "environment",
        "codec",
    }
    assert set(statuses.values()) == {PASSED, SKIPPED}
    assert "| 8. Speed | needs a GPU |" in page.read_text()
