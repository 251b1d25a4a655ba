"""Folders that Ray makes for a `runtime_env`, and deletes with it."""

from pathlib import Path

from serve_app.errors import ConfigError

_RESOURCES = "runtime_resources"  # below a session's folder; `working_dir` is unpacked there


def refuse_ray_folder(path: Path, option: str) -> None:
    """Raise ConfigError for a place that lasts no longer than a `runtime_env`.

    A relative path leads there where the ingress has a `working_dir`. option: that named the path.
    """
    if _RESOURCES in path.absolute().parts:
        raise ConfigError(
            f"{option} is {path.absolute()}, in a folder that Ray deletes with its runtime_env: name"
            " an absolute path elsewhere."
        )
