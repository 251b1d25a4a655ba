"""Check of the packages that a `runtime_env` installs with pip, before Ray starts.

Ray copies the whole virtual environment before it runs pip in the copy: with PyTorch in it, the
absence of a network would be known after a minute only.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from serve_app.config.app import AppConfig
from serve_app.config.reader import environment_variables
from serve_app.launch.error import LaunchError

_PATIENCE_S = 12.0
_OPTIONS = ["--dry-run", "--no-deps", "--no-input", "--retries=1", "--timeout=3"]
_BROKEN = re.compile(r"after connection broken by '(.+)': /")
_OBJECT = re.compile(r"<[^>]*>(: |, )?")
_ON_THE_NODE = "${"  # a variable that Ray fills in


def check_runtime_envs(application: dict[str, Any], config: AppConfig) -> None:
    """Look for the packages of all `runtime_env`s of an application. Raises LaunchError.

    application: of the Serve configuration; config: its args.
    """
    for runtime_env in _runtime_envs(application, config):
        if isinstance(runtime_env, dict) and runtime_env.get("pip"):
            check_packages(runtime_env)


def _runtime_envs(application: dict[str, Any], config: AppConfig) -> Iterator[Any]:
    yield application.get("runtime_env")
    deployments = (config.ingress_deployment_config, *(m.deployment_config for m in config.models))
    for deployment in deployments:
        yield (deployment.ray_actor_options or {}).get("runtime_env")


def check_packages(runtime_env: dict[str, Any], python: str = sys.executable) -> None:
    """Let pip find the packages as Ray will, without installing them. Raises LaunchError.

    An index that answers slowly is not waited for. python: of the environment that Ray copies.
    """
    packages, options = _requirements(runtime_env["pip"])
    if _ON_THE_NODE in packages:
        return
    output = _failed_output(
        [python, "-m", "pip", "install", *_OPTIONS, *options], packages, runtime_env
    )
    if output is None:
        return
    if "No module named pip" in output:
        raise LaunchError(
            "A runtime_env installs packages with pip, and this Python environment has no pip for Ray "
            "to copy. Install it (`uv pip install pip`), or install the packages here and remove "
            "`pip` from the runtime_env."
        )
    raise LaunchError(
        f"The packages of a runtime_env cannot be installed: {_reason(output)}. Check their names, the "
        "network and pip's index, or install them here and remove `pip` from the runtime_env."
    )


def _requirements(pip: Any) -> tuple[str, list[str]]:
    """Return the lines of a requirements file, and options: `pip` is a file, a list, or has both."""
    options: list[str] = []
    if isinstance(pip, dict):
        options = pip.get("pip_install_options") or []
        pip = pip.get("packages", [])
    return (f"-r {Path(pip).resolve()}" if isinstance(pip, str) else "\n".join(pip)), options


def _failed_output(command: list[str], packages: str, runtime_env: dict[str, Any]) -> str | None:
    """Run pip with `packages` as its requirements file; return its output if it fails."""
    environment = os.environ | environment_variables({"runtime_env": runtime_env})
    try:
        run = subprocess.run(
            [*command, "-r", "/dev/stdin"],
            input=packages.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            timeout=_PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as slow:
        output = (slow.output or b"").decode(errors="replace")
        return output if _BROKEN.search(output) else None
    return run.stdout.decode(errors="replace") if run.returncode else None


def _reason(output: str) -> str:
    """Shorten pip's output to its last error, and to why the index did not answer."""
    errors = [line.removeprefix("ERROR: ") for line in output.splitlines() if "ERROR: " in line]
    reasons = [errors[-1].rstrip(".") if errors else "pip failed"]
    if broken := _BROKEN.search(output):
        reasons.append(_OBJECT.sub("", broken[1]))
    return "; ".join(reasons)
