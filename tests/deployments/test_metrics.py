"""Metrics: names, labels and values. tests/test_observability reads them from Prometheus."""

import math
from dataclasses import dataclass, field, fields

import pytest
import yaml

from serve_app.deployments import key_metrics, metrics
from serve_app.deployments.metrics import ColdStart, RayObserver, ReplicaMetrics
from serve_app.gateway.outcome import Outcome
from serve_app.model_status import EngineStats
from tests.conftest import CONFIGS
from tests.fakes import TIMINGS

Tags = dict[str, str]


@dataclass
class Recorded:
    """Values by metric, as [(value, labels)]."""

    values: dict[str, list[tuple[float, Tags]]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def metric(self, name: str, text: str, *_: object, **__: object) -> "Metric":
        """Stand in for Serve's classes, which record nothing outside of a cluster."""
        self.texts[name] = text
        return Metric(self.values.setdefault(name, []))


@dataclass
class Metric:
    values: list[tuple[float, Tags]]

    def inc(self, value: float = 1.0, tags: Tags | None = None) -> None:
        assert value > 0, "Ray refuses other increments"
        self.values.append((value, tags or {}))

    def set(self, value: float, tags: Tags | None = None) -> None:
        self.values.append((value, tags or {}))

    observe = set


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    recorded = Recorded()
    for kind in ("Counter", "Gauge", "Histogram"):
        monkeypatch.setattr(metrics, kind, recorded.metric)
    monkeypatch.setattr(key_metrics, "Counter", recorded.metric)
    return recorded


def given(recorded: Recorded) -> dict[str, list[tuple[float, Tags]]]:
    """The metrics that have values."""
    return {name: values for name, values in recorded.values.items() if values}


def test_a_finished_track_is_counted(recorded: Recorded) -> None:
    RayObserver().ended(Outcome("id", "small", "ok", 8.0, 0.5, 3.0, TIMINGS, 0.0005))
    tags = {"model": "small"}
    assert given(recorded) == {
        "musicgen_requests_total": [(1, {**tags, "outcome": "ok"})],
        "musicgen_audio_seconds_total": [(8.0, tags)],
        "musicgen_cost_dollars_total": [(0.0005, tags)],
        "musicgen_time_to_first_audio_seconds": [(0.5, tags)],
        "musicgen_queue_seconds": [(TIMINGS.queue_s, tags)],
        "musicgen_generation_seconds": [(TIMINGS.generation_s, tags)],
    }


def test_a_refused_request_has_an_outcome_alone(recorded: Recorded) -> None:
    RayObserver().ended(Outcome("id", "small", "queue_full", 0.0, None, 0.1))
    tags = {"model": "small", "outcome": "queue_full"}
    assert given(recorded) == {"musicgen_requests_total": [(1, tags)]}


def test_retries_and_rejected_keys_are_counted(recorded: Recorded) -> None:
    observer = RayObserver()
    observer.retried("small")
    observer.keys_rejected()
    assert given(recorded) == {
        "musicgen_retries_total": [(1, {"model": "small"})],
        "musicgen_keys_file_errors_total": [(1.0, {})],
    }


def test_marks_are_counted_by_format(recorded: Recorded) -> None:
    observer = RayObserver()
    observer.file_marked("wav", "manifest")
    observer.file_refused("opus")
    observer.signing_failed()
    observer.certificate_checked(29.5)
    assert given(recorded) == {
        "musicgen_marked_files_total": [(1, {"format": "wav", "mark": "manifest"})],
        "musicgen_unsigned_files_refused_total": [(1, {"format": "opus"})],
        "musicgen_signing_failures_total": [(1, {})],
        "musicgen_certificate_days_left": [(29.5, {})],
    }


def test_a_report_sets_every_gauge_and_adds_to_the_counters(recorded: Recorded) -> None:
    replica = ReplicaMetrics("small", ColdStart(1.0, 2.0, 3.0, 4.0, 5.0))
    stats = EngineStats(
        slots=8, admitted_slots=5, slots_used=3, steps_total=500, steps_per_s=25.0, codec_s=1.5
    )
    replica.report(stats)
    tags = {"model": "small"}
    assert recorded.values["musicgen_slots"] == [(8, tags)]
    assert recorded.values["musicgen_admitted_slots"] == [(5, tags)]
    assert recorded.values["musicgen_slots_used"] == [(3, tags)]
    assert recorded.values["musicgen_steps_per_second"] == [(25.0, tags)]
    assert recorded.values["musicgen_steps_total"] == [(500, tags)]
    assert recorded.values["musicgen_codec_seconds_total"] == [(1.5, tags)]
    assert recorded.values["musicgen_text_encoder_seconds_total"] == []
    stages = {tags["stage"]: s for s, tags in recorded.values["musicgen_cold_start_seconds"]}
    assert stages == {"process": 1.0, "imports": 2.0, "weights": 3.0, "graphs": 4.0, "warm_up": 5.0}
    assert all(recorded.texts.values())


def test_counters_follow_the_totals(recorded: Recorded) -> None:
    replica = ReplicaMetrics("small", ColdStart(1.0, 2.0, 3.0, 4.0, 5.0))
    for total in (500, 500, 800):
        replica.report(EngineStats(slots=8, steps_total=total))
    steps = [value for value, _ in recorded.values["musicgen_steps_total"]]
    assert steps == [500, 300]
    assert len(recorded.values["musicgen_slots"]) == 3, "Ray drops a gauge that is not set again"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gauge_is_always_a_number(recorded: Recorded, value: float) -> None:
    replica = ReplicaMetrics("small", ColdStart(1.0, 2.0, 3.0, 4.0, 5.0))
    replica.report(EngineStats(slots=8, real_time_factor=value))
    assert recorded.values["musicgen_real_time_factor"] == [(0.0, {"model": "small"})]


FOR_POLICIES = ("mean_audio_s", "lone_pace_s", "full_pace_s")


def test_every_statistic_but_the_policys_is_a_metric(recorded: Recorded) -> None:
    """Each field of the statistics changes one metric."""
    replica = ReplicaMetrics("small", ColdStart(1.0, 2.0, 3.0, 4.0, 5.0))
    names = [one.name for one in fields(EngineStats) if one.name not in FOR_POLICIES]
    numbered = {name: 100 + number for number, name in enumerate(names)}
    replica.report(EngineStats(**numbered))
    values = [value for values in recorded.values.values() for value, _ in values]
    assert sorted(value for value in values if value >= 100) == [100 + n for n in range(len(names))]


def test_keys_are_counted_by_name_up_to_a_bound(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_metrics, "_MOST_KEY_NAMES", 2)
    observer = RayObserver()
    for name in ("web", "batch", "new", "web"):
        observer.ended(Outcome("id", "small", "ok", 8.0, 0.5, 3.0, None, 0.02, caller=name))
    counted = given(recorded)
    requests = counted["musicgen_key_requests_total"]
    assert [tags["key"] for _, tags in requests] == ["web", "batch", "other", "web"]
    assert counted["musicgen_key_audio_seconds_total"][0] == (8.0, {"key": "web"})
    assert counted["musicgen_key_cost_dollars_total"][2] == (0.02, {"key": "other"})


def test_a_fallback_is_counted_for_the_model_that_was_full(recorded: Recorded) -> None:
    RayObserver().fell_back("large", "queue_full")
    tags = {"model": "large", "outcome": "queue_full"}
    assert given(recorded) == {"musicgen_fallbacks_total": [(1, tags)]}


def test_histograms_reach_the_longest_request() -> None:
    """Beyond the last bound, quantiles tell nothing."""
    for file in CONFIGS.glob("*.yaml"):
        timeout_s = yaml.safe_load(file.read_text())["http_options"]["request_timeout_s"]
        assert metrics._SECONDS[-1] >= timeout_s, file
