"""The coordinator that a configuration asks for; metrics of permits."""

import sys
from typing import Any

import pytest

from serve_app.config.app import AppConfig
from serve_app.deployments import permit_metrics
from serve_app.deployments.coordination import coordinator_of
from serve_app.deployments.ledger_actor import ActorCoordinator, actor_name
from serve_app.errors import ConfigError
from serve_app.gateway.permits.redis_coordinator import RedisCoordinator
from tests.conftest import EMBEDDED

VARIABLE = "MUSICGEN_COORDINATION_REDIS_URL"
MODEL = {"model_loading_config": {"model_id": "nano", "model_source": EMBEDDED}}


def config(coordination: dict[str, Any] | None = None, **ingress: Any) -> AppConfig:
    return AppConfig.model_validate(
        {
            "models": [MODEL],
            "coordination": coordination or {},
            "ingress_deployment_config": ingress,
        }
    )


@pytest.mark.parametrize(
    ("ingress", "is_shared"),
    [
        ({}, False),
        ({"num_replicas": 1}, False),
        ({"num_replicas": 2}, True),
        ({"num_replicas": "auto"}, True),
        ({"autoscaling_config": {"min_replicas": 1, "max_replicas": 1}}, False),
        ({"autoscaling_config": {"min_replicas": 1, "max_replicas": 4}}, True),
    ],
    ids=str,
)
def test_several_ingress_replicas_share_an_actor(ingress: dict[str, Any], is_shared: bool) -> None:
    coordinator = coordinator_of(config(**ingress), "app", {})
    assert isinstance(coordinator, ActorCoordinator) == is_shared
    assert coordinator_of(config({"backend": "local"}, num_replicas=2), "app", {}) is None
    assert coordinator_of(config({"backend": "actor"}), "app", {}) is not None


async def test_redis_needs_an_address_and_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    redis = config({"backend": "redis"})
    with pytest.raises(ConfigError, match=f"{VARIABLE} is not set"):
        coordinator_of(redis, "app", {})
    with pytest.raises(ConfigError, match="is not a URL") as refusal:
        coordinator_of(redis, "app", {VARIABLE: "secret@host"})
    assert "secret" not in refusal.value.message
    coordinator = coordinator_of(redis, "app", {VARIABLE: "redis://:a@127.0.0.1:1/0"})
    assert isinstance(coordinator, RedisCoordinator)
    await coordinator.close()
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(ConfigError, match=r"install musicgen-serve\[redis\]"):
        coordinator_of(redis, "app", {VARIABLE: "redis://127.0.0.1:1/0"})


def test_the_actor_is_one_for_each_application_and_lives_where_the_ingress_does() -> None:
    assert actor_name("a") != actor_name("b")
    options = {"resources": {"edge": 1}, "label_selector": {"pool": "cpu"}, "num_cpus": 2}
    coordinator = coordinator_of(config(num_replicas=2, ray_actor_options=options), "app", {})
    assert isinstance(coordinator, ActorCoordinator)
    assert coordinator._placement == {
        "resources": {"edge": 0.001},
        "label_selector": {"pool": "cpu"},
    }


def test_decisions_and_the_reach_of_the_coordinator_are_metrics(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[tuple[str, float, dict[str, str] | None]] = []

    class Metric:
        def __init__(self, name: str, *_: Any) -> None:
            self._name = name

        def inc(self, value: float, tags: dict[str, str]) -> None:
            told.append((self._name, value, tags))

        def set(self, value: float) -> None:
            told.append((self._name, value, None))

    monkeypatch.setattr(permit_metrics, "Counter", Metric)
    monkeypatch.setattr(permit_metrics, "Gauge", Metric)
    observer = permit_metrics.RayPermitObserver()
    observer.decided("lease")
    for is_reached in (True, False, False, True):
        observer.reached(is_reached=is_reached)
    assert told[0] == ("musicgen_permits_total", 1, {"source": "lease"})
    assert [value for _, value, _ in told[1:]] == [0, 1, 1, 0]
    assert caplog.text.count("cannot be reached") == 1, "logged once"
