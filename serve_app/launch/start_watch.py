"""Reasons why an application that is being deployed will not run, from the state that Ray reports."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serve_app.launch.root_error import root_error
from serve_app.placement import Demand, Resources, obstacle, shortage

_FAILED = ("DEPLOY_FAILED", "UNHEALTHY")
_RETRYING = "A replica failed to start with exception"
_ERROR = "Error:\n"  # between Serve's words and the error


def failure(application: dict[str, Any], nodes: Sequence[Resources]) -> str | None:
    """Explain why the application cannot start; None while it may.

    application: its state as Ray's dashboard returns it, empty before there is one;
    nodes: total resources of each node, to which no other will be added; empty: unknown.

    Serve tries a failing constructor several times, slowly: the first failure counts.
    """
    deployments: dict[str, dict[str, Any]] = application.get("deployments", {})
    for name, deployment in deployments.items():
        if reason := _replica_failure(name, deployment):
            return reason
    if application.get("status") == "DEPLOY_FAILED":
        reason = root_error(application.get("message", ""))
        return f"The application could not be built: {reason}"
    return _unplaced(deployments, nodes) if nodes else None


def activity(application: dict[str, Any]) -> str:
    """Say what an application without deployments waits for: its import, or its runtime_env."""
    if application.get("status") != "DEPLOYING" or application.get("deployments"):
        return ""
    config = application.get("deployed_app_config") or {}
    if config.get("runtime_env"):
        return f"installing its runtime_env (log: {_logs()}/runtime_env_agent.log)"
    return "importing it"


def _replica_failure(name: str, deployment: dict[str, Any]) -> str | None:
    message: str = deployment.get("message", "")
    if deployment.get("status") not in _FAILED and not message.startswith(_RETRYING):
        return None
    reason = root_error(message.partition(_ERROR)[2] or message)
    return f"A replica of {name} cannot start: {reason}{_log(deployment)}"


def _log(deployment: dict[str, Any]) -> str:
    """Name the log of the replica that failed first."""
    replicas = [*deployment.get("recent_dead_replicas", []), *deployment.get("replicas", [])]
    paths = [replica["log_file_path"] for replica in replicas if replica.get("log_file_path")]
    return f"\nIts log: {_logs()}{paths[0]}" if paths else ""


def _logs() -> Path:
    """Folder of the logs of the Ray that was started last."""
    session = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "session_latest"
    return session.resolve() / "logs"


def _unplaced(deployments: dict[str, dict[str, Any]], nodes: Sequence[Resources]) -> str | None:
    demands = [demand for demand in _demands(deployments) if demand.count > 0]
    for demand in demands:
        if reason := obstacle(demand, nodes):
            return reason
    return shortage(demands, nodes)


def _demands(deployments: dict[str, dict[str, Any]]) -> list[Demand]:
    return [
        Demand(name, deployment["required_resources"], deployment.get("target_num_replicas", 1))
        for name, deployment in deployments.items()
        if deployment.get("required_resources") is not None
    ]
