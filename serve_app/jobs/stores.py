"""The choice of the job store: by the configuration, the environment, or the default file."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from serve_app.config.jobs import JobsConfig
from serve_app.errors import ConfigError
from serve_app.jobs.database import Database
from serve_app.jobs.database_store import DatabaseStore
from serve_app.jobs.ray_folders import refuse_ray_folder
from serve_app.jobs.sqlite import SqliteDatabase

logger = logging.getLogger(__name__)
_SQLITE = "sqlite:///"
_POSTGRES = ("postgresql://", "postgres://")


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """Address of a store. named: by an operator, rather than by default."""

    url: str
    named: bool

    @property
    def file(self) -> Path | None:
        """The SQLite file; None: the store is a PostgreSQL server."""
        return Path(self.url.removeprefix(_SQLITE)) if self.url.startswith(_SQLITE) else None


def data_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Folder of the user's data (XDG Base Directory Specification 0.8)."""
    named = Path(environment.get("XDG_DATA_HOME") or "")
    home = Path(environment.get("HOME") or Path.home())
    return (named if named.is_absolute() else home / ".local" / "share") / "musicgen-serve"


def store_address(config: JobsConfig, environment: Mapping[str, str] = os.environ) -> StoreAddress:
    """Find the store's address. Raises ConfigError if the variable holds none."""
    if config.store is not None:
        return StoreAddress(config.store, named=True)
    value = environment.get(config.store_env, "").strip()
    if not value:
        return StoreAddress(f"{_SQLITE}{data_folder(environment) / 'jobs.db'}", named=False)
    if not is_store_url(value):
        scheme = value.partition("://")[0] if "://" in value else "no scheme"
        raise ConfigError(
            f"{config.store_env} must be sqlite:///PATH or postgresql://..., but it has {scheme!r}."
        )
    return StoreAddress(value, named=True)


def is_store_url(text: str) -> bool:
    """Whether the text is an address of a store; whether it can be reached is not known yet."""
    return any(text.startswith(start) and len(text) > len(start) for start in (_SQLITE, *_POSTGRES))


def open_store(config: JobsConfig, environment: Mapping[str, str] = os.environ) -> DatabaseStore:
    """Choose the store; its `open()` connects and migrates. Raises ConfigError."""
    return store_at(store_address(config, environment))


def store_at(address: StoreAddress) -> DatabaseStore:
    """Make the store of an address.

    Raises ConfigError without the client of PostgreSQL, and for a file in a folder of Ray's.
    """
    return DatabaseStore(_database(address))


def _database(address: StoreAddress) -> Database:
    if address.file is not None:
        refuse_ray_folder(address.file, "The job store")
        return SqliteDatabase(address.file)
    try:
        from serve_app.jobs.postgres import PostgresDatabase
    except ImportError as error:
        raise ConfigError(
            "A postgresql:// job store needs a package that is not installed:"
            " pip install 'musicgen-serve[postgres]'."
        ) from error
    return PostgresDatabase(address.url)


def check_nodes(
    config: JobsConfig, node_count: int, environment: Mapping[str, str] = os.environ
) -> bool:
    """Check the store against the nodes on which ingress replicas may run.

    Returns whether jobs can be kept: the default file of more than one node is left unused, with a
    warning. Raises ConfigError for an SQLite file that was named.
    """
    address = store_address(config, environment)
    if node_count <= 1 or address.file is None:
        return True
    advice = f"name a postgresql:// store in jobs.store or {config.store_env}"
    if address.named:
        raise ConfigError(
            f"The cluster has {node_count} nodes, and the job store {address.file} is an SQLite file,"
            f" which serves one: {advice}."
        )
    logger.warning("Jobs are off: the cluster has %d nodes; %s.", node_count, advice)
    return False
