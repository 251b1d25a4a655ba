"""`musicgen fetch`: download weights before a replica needs them."""

import os
from pathlib import Path
from typing import Annotated

import typer

from serve_app.cli.console import fail
from serve_app.config.app import AppConfig
from serve_app.config.model_loading import CheckpointForm, NamedSource
from serve_app.config.published import hub_id
from serve_app.config.reader import read_config
from serve_app.config.serve_file import ServeConfigError, read_serve_config
from serve_app.errors import CheckpointError, ConfigError
from serve_app.hub_reachability import hub_endpoint, hub_is_reachable

_EMBEDDED = "embedded:"
_NANO = "nano"
_BUILDER = "serve_app.app:build_app"


def fetch(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Models: small, medium, large, ..., or hub ids such as me/my-musicgen; "
            "MODEL@REVISION fetches a commit, tag or branch. A Serve configuration (.yaml): all "
            "that it names."
        ),
    ],
    form: Annotated[
        CheckpointForm,
        typer.Option(help="Form of a model that the hub has in two: transformers or audiocraft."),
    ] = "auto",
) -> None:
    """Download models from the hub into the cache of this machine (HF_HOME).

    Without a network, models in the cache, folders and the embedded model are found all the same.
    """
    configs = [config for source in sources for config in _configs_of(source)]
    named = [one for source in sources for one in _named_by(source, form)]
    names = [_full_name(one.source) for one in named]
    possible = dict.fromkeys(one for config in configs for one in config.separators)
    separators = [source for source in possible if not Path(source).expanduser().is_file()]
    is_offline = any(map(_is_remote, [*names, *separators])) and not hub_is_reachable()
    if is_offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's library is imported: below
    for one, name in zip(named, names, strict=True):
        folder = _resolve(name, one.form, is_offline=is_offline)
        _report(one.source, folder)
        for part in _parts_of(one, folder):
            _report(part.source, _resolve(part.source, part.form, is_offline=is_offline))
    for source in separators:
        _report(source, _resolve(source, form, is_offline=is_offline, is_separator=True))


def _parts_of(model: NamedSource, folder: Path) -> list[NamedSource]:
    """List what an AudioCraft export names and does not hold, such as its T5."""
    from serve_app.checkpoints.export_parts import parts_of  # imports torch

    try:
        return parts_of(model, folder)
    except CheckpointError as error:
        fail(str(error))


def _report(source: str, folder: Path) -> None:
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"{source}: {folder} ({size / 1e9:.2f} GB)")


def _named_by(source: str, form: CheckpointForm) -> list[NamedSource]:
    """List the sources that a Serve configuration names; any other source stands for itself.

    form: of the source itself; a configuration has its own.
    """
    if not _is_configuration(source):
        return [NamedSource(source, form=form)]
    configs = _configs_of(source)
    models = [model.model_loading_config for config in configs for model in config.served]
    named = [one for model in models for one in model.sources]
    adapters = [NamedSource(name) for config in configs for name in config.adapters]
    return list(dict.fromkeys([*named, *adapters]))


def _is_configuration(source: str) -> bool:
    return source.endswith((".yaml", ".yml"))


def _configs_of(source: str) -> list[AppConfig]:
    """Read the applications of a Serve configuration; any other source has none."""
    if not _is_configuration(source):
        return []
    try:
        applications = read_serve_config(Path(source))["applications"]
        ours = [one for one in applications if one.get("import_path") == _BUILDER]
        return [read_config(application.get("args", {})) for application in ours]
    except (ServeConfigError, ConfigError) as error:
        fail(str(error))


def _full_name(source: str) -> str:
    """Complete the short name of a published model, and of the embedded one."""
    if source == _NANO:
        return f"{_EMBEDDED}musicgen-nano"
    return source if "/" in source or ":" in source else hub_id(source)


def _is_remote(name: str) -> bool:
    return not name.startswith(_EMBEDDED) and not Path(name).expanduser().is_dir()


def _resolve(
    name: str, form: CheckpointForm, *, is_offline: bool, is_separator: bool = False
) -> Path:
    from serve_app.checkpoints import hub  # imports torch

    try:
        return hub.folder_with(name, hub.WEIGHTS) if is_separator else hub.fetch(name, form)
    except CheckpointError as error:
        if is_offline and _is_remote(name):
            fail(
                f"The hub ({hub_endpoint()}) cannot be reached, and {name} is not in the cache "
                "(HF_HOME). Check the network, HTTPS_PROXY, HF_ENDPOINT and HF_HUB_OFFLINE. "
                "`musicgen serve nano` needs no download."
            )
        fail(str(error))
