"""This package logs through the handlers of Serve."""

import logging
from collections.abc import Iterator

import pytest

from serve_app.deployments.logs import log_with_serve, warn_of_user_config


@pytest.fixture
def package() -> Iterator[logging.Logger]:
    """The package's logger, restored after the test."""
    logger = logging.getLogger("serve_app")
    handlers = logger.handlers
    propagate = logger.propagate
    level = logger.level
    yield logger
    logger.handlers = handlers
    logger.propagate = propagate
    logger.setLevel(level)


def test_records_reach_handlers_that_serve_adds_later(
    package: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    received: list[str] = []
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", lambda record: received.append(record.getMessage()))
    log_with_serve()
    serve = logging.getLogger("ray.serve")
    serve.addHandler(handler)
    try:
        package.getChild("engine").error("The engine has failed")
    finally:
        serve.removeHandler(handler)
    assert received == ["The engine has failed"], "once, not through the root logger as well"
    assert package.level == serve.level


def test_a_user_config_is_said_to_have_no_effect(caplog: pytest.LogCaptureFixture) -> None:
    """tests/service gives one to both deployments, which Serve would not start without `reconfigure`."""
    warn_of_user_config({"top_k": 3, "seed": 1})
    assert "user_config has no effect: top_k, seed." in caplog.text
