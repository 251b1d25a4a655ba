"""Cards are compared with the accelerator types and the memory that models need."""

import shutil
import subprocess
from typing import Any

import pytest

from serve_app.config.app import AppConfig
from serve_app.doctor import Finding, Level
from serve_app.doctor.gpus import Card, check_gpus, needed_gb

T4 = "Tesla T4, 15360, 0"
A10G = "NVIDIA A10G, 23028, 0"
A100 = "NVIDIA A100-SXM4-80GB, 81920, 500"


def app(accelerator_type: str | None = None, size: str = "small", **more: Any) -> AppConfig:
    """A configuration of one model that needs a GPU."""
    model = {
        "model_loading_config": {"model_id": size, "model_source": f"facebook/musicgen-{size}"},
        "accelerator_type": accelerator_type,
        "engine_kwargs": {"max_slots": 16},
        "deployment_config": {"ray_actor_options": {"num_gpus": 1}},
    }
    return AppConfig.model_validate({"models": [model | more]})


NO_GPU = app(deployment_config={})


def install(monkeypatch: pytest.MonkeyPatch, *cards: str, status: int = 0) -> None:
    """Put an nvidia-smi with these lines into the place of this machine's."""
    run = subprocess.CompletedProcess[str]([], status, "".join(f"{card}\n" for card in cards), "")
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: run)


def check(config: AppConfig) -> Finding:
    [finding] = check_gpus(config, "mine")
    return finding


def test_without_a_gpu_only_models_that_need_one_are_a_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert check(NO_GPU) == Finding("GPU", Level.OK, "none; mine needs none")
    found = check(app("T4"))
    assert found.level is Level.PROBLEM
    assert found.state == "small needs GPU type T4, and this machine has no GPU"
    assert "Serve nano" in found.advice
    assert check(app()).state == "small needs a GPU, and this machine has no GPU"


@pytest.mark.parametrize(
    ("card", "kind"),
    [(T4, "T4"), (A10G, "A10G"), (A100, "A100"), ("NVIDIA L40S, 46068, 0", "L40S")],
)
def test_a_card_of_the_right_type_is_good(
    monkeypatch: pytest.MonkeyPatch, card: str, kind: str
) -> None:
    install(monkeypatch, card)
    assert check(app(kind)).level is Level.OK
    assert check(app()).level is Level.OK
    assert card.partition(",")[0] in check(NO_GPU).state


def test_a_card_of_another_type_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, A100)
    found = check(app("T4"))
    assert found.level is Level.PROBLEM
    assert found.state == "small needs GPU type T4, and this machine has A100"
    assert found.advice.startswith("Set accelerator_type to this machine's type")


def test_one_fitting_card_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, T4, A10G)
    assert check(app("A10G", "medium")) == Finding(
        "GPU", Level.OK, "Tesla T4 (16 GB free); NVIDIA A10G (24 GB free)"
    )


def test_a_card_without_enough_memory_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "NVIDIA A10G, 23028, 14000")
    found = check(app("A10G", "large"))
    assert found.level is Level.PROBLEM
    assert found.state == "large needs about 26 GB, and 9 GB are free"
    assert "max_slots" in found.advice


@pytest.mark.parametrize(
    ("source", "weights_gb", "slot_gb"),
    [
        ("facebook/musicgen-small", 1.2, 0.29),
        ("facebook/musicgen-stereo-large", 6.5, 1.18),
        ("facebook/musicgen-melody", 3.8, 1.21),
        ("facebook/musicgen-stereo-melody-large", 6.5, 1.61),
    ],
)
def test_memory_of_published_models_is_known(
    source: str, weights_gb: float, slot_gb: float
) -> None:
    [model] = app(model_loading_config={"model_id": "small", "model_source": source}).models
    assert needed_gb(model) == pytest.approx(1.0 + weights_gb + 16 * slot_gb)


def test_memory_of_unknown_models_is_not_judged() -> None:
    source = {"model_id": "mine", "model_source": "me/mine"}
    [model] = app(model_loading_config=source).models
    assert needed_gb(model) is None


@pytest.mark.parametrize(
    ("cards", "status", "state"),
    [((), 9, "nvidia-smi fails with status 9"), (("No devices",), 0, "nvidia-smi answers 'No dev")],
)
def test_a_broken_driver(
    monkeypatch: pytest.MonkeyPatch, cards: tuple[str, ...], status: int, state: str
) -> None:
    install(monkeypatch, *cards, status=status)
    assert check(app("T4")).level is Level.PROBLEM
    assert check(NO_GPU).level is Level.NOTE
    assert state in check(NO_GPU).state


def test_a_driver_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("nvidia-smi", 30)

    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(subprocess, "run", hang)
    assert check(app()).state == "nvidia-smi does not answer (TimeoutExpired)"


def test_a_card_without_a_type_of_ray_keeps_its_name() -> None:
    assert Card("Unknown", 1.0).kind == "Unknown"
