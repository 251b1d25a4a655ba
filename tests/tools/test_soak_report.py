"""Failures of a soak test: wrong answers, leaks, and an ingress whose memory grows."""

from collections import Counter

import numpy as np
import pytest

from tools.soak import LONG_MINUTES, MOST_MIB_PER_MINUTE, Report, Resources, memory_slopes, show

SAMPLES = 225  # in 7.5 minutes
STILL = {"threads": 45.0, "files": 87.0, "tasks": 0.0, "memory_mib": 300.0}


def samples(*memory_mib: np.ndarray) -> list[tuple[float, Resources]]:
    """Samples of some ingress replicas, one every 2 s."""
    return [
        (2.0 * at, {f"Ingress {n + 1}": {"memory_mib": float(one[at])} for n, one in enumerate(memory_mib)})
        for at in range(SAMPLES)
    ]  # fmt: skip


def report(
    slopes: dict[str, float], minutes: float = LONG_MINUTES, wrong: int = 0, tasks: float = 0.0
) -> Report:
    before = dict.fromkeys(slopes, STILL)
    after = dict.fromkeys(slopes, STILL | {"tasks": tasks})
    return Report(minutes, Counter(), +Counter(whole=wrong), (before, after), slopes)


@pytest.mark.parametrize("slope", [0.0, 0.3, 0.7])
def test_the_slope_is_that_of_the_growth(slope: float) -> None:
    minutes = np.arange(SAMPLES) / 30
    noise = np.random.default_rng(0).normal(0, 1, SAMPLES)
    found = memory_slopes(samples(300 + slope * minutes + noise, 300 + 2 * slope * minutes))
    assert found == pytest.approx({"Ingress 1": slope, "Ingress 2": 2 * slope}, abs=0.08)


def test_a_step_or_a_peak_is_no_growth() -> None:
    step = np.where(np.arange(SAMPLES) < 20, 300.0, 310.0)
    peak = np.where(np.arange(SAMPLES) > 205, 330.0, 300.0)
    assert memory_slopes(samples(step, peak)) == {"Ingress 1": 0.0, "Ingress 2": 0.0}


def test_a_growing_ingress_fails_a_long_test(capsys: pytest.CaptureFixture[str]) -> None:
    fast = {"Ingress 1": 0.17, "Ingress 2": MOST_MIB_PER_MINUTE + 0.01}
    assert report(fast).growing == ["memory of Ingress 2: 0.51 MiB a minute"]
    assert report(fast).has_failed
    show(report(fast))
    assert capsys.readouterr().out.endswith("growing: memory of Ingress 2: 0.51 MiB a minute\n")
    assert not report(fast, minutes=LONG_MINUTES - 1).has_failed, "caches still fill"


@pytest.mark.parametrize(
    "slopes",
    [{"Ingress 1": MOST_MIB_PER_MINUTE, "Ingress 2": -1.0}, {"MusicGen:nano 1": 0.62}],
    ids=["slow", "replica of a model"],
)
def test_other_growth_does_not_fail(slopes: dict[str, float]) -> None:
    assert not report(slopes).has_failed


def test_an_unknown_slope_fails() -> None:
    assert report({"Ingress 1": float("nan")}).has_failed


@pytest.mark.parametrize("fault", [{"wrong": 1}, {"tasks": 1.0}])
def test_wrong_answers_and_leaks_fail_a_test_of_any_length(fault: dict[str, int]) -> None:
    found = report({"Ingress 1": 0.0}, minutes=0.5, **fault)
    assert found.has_failed
