"""The policy: seconds of music wanted over what the replicas make, and nothing breaks it."""

import ast
import math
import pickle
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from serve_app.deployments import autoscaling
from serve_app.deployments.autoscaling import DrainTimePolicy


@dataclass
class Load:
    """What Serve would say: of each replica, the music it holds, its speed, and how long its pieces are."""

    replicas: list[tuple[float, float, float]] = field(default_factory=list)
    total_queued_requests: float | None = 0.0
    target_num_replicas: int = 2

    @property
    def aggregated_metrics(self) -> dict[str, dict[str, float]]:
        names = ("audio_s", "audio_s_per_s", "mean_audio_s")
        return {name: {str(i): values[k] for i, values in enumerate(self.replicas)} for k, name in enumerate(names)}


def wanted(load: Any, **options: float) -> float:
    replicas, state = DrainTimePolicy(**{"drain_s": 30.0, "audio_s_per_s": 8.0, "audio_s": 30.0} | options)(load)
    assert state == {}
    return replicas


@pytest.mark.parametrize(
    ("load", "replicas"),
    [
        (Load(), 0),
        (Load([(0.0, 10.0, 30.0)]), 0),
        (Load([(1.0, 10.0, 30.0)]), 1),
        (Load([(300.0, 10.0, 30.0)]), 1),
        (Load([(301.0, 10.0, 30.0)]), 2),
        (Load([(300.0, 10.0, 30.0)], total_queued_requests=20), 3),
        (Load([(300.0, 10.0, 10.0)], total_queued_requests=20), 2),
        (Load([(300.0, 10.0, 30.0), (300.0, 5.0, 30.0)]), 3),
        (Load([(300.0, 0.0, 0.0), (300.0, 10.0, 30.0)]), 2),
        (Load(total_queued_requests=16), 2),
        (Load(total_queued_requests=None), 0),
    ],
    ids=str,
)
def test_replicas_follow_the_music_that_is_wanted(load: Load, replicas: int) -> None:
    assert wanted(load) == replicas


def test_a_slow_card_counts_for_what_it_makes() -> None:
    assert wanted(Load([(600.0, 2.0, 30.0)])) == 5 * wanted(Load([(600.0, 10.0, 30.0)]))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_left_out(value: float) -> None:
    assert wanted(Load([(300.0, 10.0, 30.0), (value, value, value)])) == 1


@pytest.mark.parametrize("broken", [None, {"audio_s": None}, {"audio_s": {"a": "many"}}, 5])
def test_it_never_raises(broken: Any) -> None:
    class Broken:
        target_num_replicas, total_queued_requests, aggregated_metrics = 3, 1.0, broken

    assert wanted(Broken()) in (1, 3)


def test_it_imports_the_standard_library_alone_and_is_pickled() -> None:
    tree = ast.parse(Path(autoscaling.__file__).read_text())
    modules = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    modules |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {module.partition(".")[0] for module in modules} <= sys.stdlib_module_names
    assert pickle.loads(pickle.dumps(DrainTimePolicy(drain_s=5.0)))(Load())[0] == 0
