"""Checks before Ray starts: the configuration, API keys, checkpoints, packages, the port, and memory.

Each failure is a LaunchError with the cure.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from serve_app.checkpoints.inventory import (
    check_adapter,
    check_diffusion_files,
    check_named,
    check_watermark_files,
)
from serve_app.config.app import ModelConfig
from serve_app.config.reader import ingress_environment, read_config
from serve_app.errors import CheckpointError, ConfigError
from serve_app.gateway.keys import KeyRing
from serve_app.gateway.marking import Marking
from serve_app.gateway.observer import LogObserver
from serve_app.gateway.provenance_checks import trust_anchors
from serve_app.launch.error import CONFIGURATION, LaunchError
from serve_app.launch.runtime_env import check_runtime_envs
from serve_app.machine import (
    NEEDED_MEMORY_GIB,
    free_memory_gib,
    has_nvidia_gpu,
    port_is_free,
    port_owner,
)

_BUILDER = "serve_app.app:build_app"
_HOSTS_WITH_LOOPBACK = ("127.0.0.1", "localhost", "0.0.0.0", "::")
_PACKAGES = ("ray", "torch", "transformers", "fastapi", "safetensors", "tokenizers", "av", "numba")


def check(file: Path, content: dict[str, Any], host: str, port: int) -> None:
    """Check all that can be known before Ray starts. Raises LaunchError.

    file: named in errors; content: of the Serve configuration, whose first application is behind
    the edge, with the args of this package's; host, port: of the edge.
    """
    first, *others = content["applications"]
    try:
        _check_application(first)
        for application in others:
            if application.get("import_path") == _BUILDER:
                _check_application(application)
    except (ConfigError, CheckpointError) as error:
        raise LaunchError(f"{file}: {error.message}", CONFIGURATION) from error
    _check_packages()
    if host in _HOSTS_WITH_LOOPBACK:
        _check_port(port)
    _check_memory()


def _check_application(application: dict[str, Any]) -> None:
    """Check the args, keys, signing credentials, checkpoints, and packages to install."""
    config = read_config(application.get("args", {}))
    environment = ingress_environment(application, config)
    KeyRing(config.api.access, lambda: None, environment)
    Marking.of(config.provenance, LogObserver(), environment)
    trust_anchors(config.provenance.trust_anchors_file)
    check_watermark_files(config.provenance.watermark)
    for model in config.models:
        _check_gpu(model)
        _check_extras(model)
        check_diffusion_files(model.engine_kwargs.multiband_diffusion_source)
    sources = [named for model in config.served for named in model.model_loading_config.sources]
    for named in dict.fromkeys(sources):
        check_named(named)
    for source in dict.fromkeys(config.adapters):
        check_adapter(source)
    check_runtime_envs(application, config)


def _check_gpu(model: ModelConfig) -> None:
    """Refuse a model that needs a GPU at the start where there is none.

    Whether it is of the right type is known once Ray runs: see start_watch.
    """
    scaling = model.deployment_config.autoscaling_config or {}
    if not _needs_gpu(model) or scaling.get("min_replicas") == 0 or has_nvidia_gpu():
        return
    kind = f" of type {model.accelerator_type}" if model.accelerator_type else ""
    raise LaunchError(
        f"Model '{model.model_id}' needs a GPU{kind}, and this machine has none that NVIDIA's driver "
        "shows (nvidia-smi). Use a machine that has one. `musicgen serve FOLDER` and `musicgen serve "
        "OWNER/REPOSITORY` use the CPU where there is no GPU, and the configuration nano needs none."
    )


def _check_extras(model: ModelConfig) -> None:
    """Refuse options whose packages are missing here, unless the replica's own environment has them."""
    options = model.engine_kwargs
    wanted = {
        "audiocraft": options.multiband_diffusion_source is not None,
        "demucs": options.melody_stems == "demucs",
    }
    if "runtime_env" in (model.deployment_config.ray_actor_options or {}):
        return
    for package, is_wanted in wanted.items():
        if is_wanted and find_spec(package) is None:
            raise ConfigError(
                f"model '{model.model_id}' needs the extra `{package}`, which is not installed. "
                f"Install it: `uv sync --extra {package}`"
            )


def _needs_gpu(model: ModelConfig) -> bool:
    options = model.deployment_config.ray_actor_options or {}
    asks = model.accelerator_type is not None or options.get("num_gpus", 0) > 0
    return asks or model.engine_kwargs.device == "cuda"


def _check_packages() -> None:
    if missing := [package for package in _PACKAGES if find_spec(package) is None]:
        raise LaunchError(
            f"Missing packages: {', '.join(missing)}. Install this package with its dependencies: "
            "`uv sync`, or `pip install .`."
        )


def _check_port(port: int) -> None:
    if not port_is_free(port):
        owner = port_owner(port)
        by = f" by {owner}" if owner else ""
        raise LaunchError(
            f"Port {port} is taken{by}. Stop that program, or choose another port: "
            f"--port {port + 1} (make serve PORT={port + 1})."
        )


def _check_memory() -> None:
    if (free := free_memory_gib()) < NEEDED_MEMORY_GIB:
        raise LaunchError(
            f"Only {free:.1f} GiB of memory are free, and Ray with one small replica needs about "
            f"{NEEDED_MEMORY_GIB:.0f} GiB. Close other programs and try again."
        )
