"""Serve's settings as an ingress replica learns them; tests/cluster/test_serve_facts.py asks the real Serve."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from serve_app.deployments import serve_facts
from serve_app.deployments.serve_facts import ServeFacts

PATIENCE_S = 60.0  # a busy machine is slow; only a failing test waits as long


class Controller:
    """Serve's controller, which fails until it has been asked three times."""

    def __init__(self) -> None:
        self.asked = 0

    @property
    def get_http_config(self) -> Any:
        return SimpleNamespace(remote=self._config)

    async def _config(self) -> Any:
        self.asked += 1
        if self.asked < 3:
            raise ray.exceptions.ActorUnavailableError("The actor is restarting", None)
        return SimpleNamespace(request_timeout_s=600.0)


async def test_the_controller_is_asked_until_it_answers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    controller = Controller()
    looked_up: list[str] = []

    def get_actor(name: str, namespace: str) -> Controller:
        looked_up.append(f"{namespace}/{name}")
        if len(looked_up) == 1:
            raise ValueError("Failed to look up actor")
        return controller

    monkeypatch.setattr(ray, "get_actor", get_actor)
    monkeypatch.setattr(serve_facts, "_AGAIN_S", 0.0)
    facts = ServeFacts()
    assert facts.limit_s() is None
    async with asyncio.timeout(PATIENCE_S):
        while facts.limit_s() is None:  # noqa: ASYNC110 - another task asks
            await asyncio.sleep(0)
    assert facts.limit_s() == 600.0
    assert looked_up == ["serve/SERVE_CONTROLLER_ACTOR"] * 4
    assert controller.asked == 3
    assert caplog.text.count("request_timeout_s is unknown") == 3
