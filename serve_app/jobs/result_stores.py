"""The choice of the results' store: by the configuration, else a folder beside the job store."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from serve_app.config.jobs import JobsConfig
from serve_app.errors import ConfigError
from serve_app.jobs.folder_results import FolderResults
from serve_app.jobs.network_files import MOUNTS, file_system_of, is_network
from serve_app.jobs.ray_folders import refuse_ray_folder
from serve_app.jobs.results import ResultStore
from serve_app.jobs.s3_results import S3Results
from serve_app.jobs.stores import data_folder, store_address

logger = logging.getLogger(__name__)
_S3 = "s3://"


class PreparedStore(ResultStore, Protocol):
    """A ResultStore that is prepared, in a thread, before its first use."""

    def prepare(self) -> None:
        """Make sure that files can be stored. Raises ResultsUnavailable."""
        ...


def open_results(
    config: JobsConfig, environment: Mapping[str, str] = os.environ, node_count: int = 1
) -> PreparedStore | None:
    """Choose the results' store.

    node_count: nodes on which ingress replicas may run. None: the default folder, which several
    nodes do not share, so that jobs are off; a warning is logged. Raises ConfigError for a folder of
    one node that was named, or that belongs to a named job store, for one that Ray deletes, and for
    a bucket without a name.
    """
    if config.results is not None and config.results.startswith(_S3):
        return _bucket(config.results, config.s3_endpoint_url)
    folder = _folder(config, environment)
    refuse_ray_folder(folder, "The folder of results")
    if node_count > 1 and not _is_shared(folder):
        advice = "name an s3:// bucket, or a folder that all nodes share, in jobs.results"
        if config.results is not None or store_address(config, environment).named:
            raise ConfigError(
                f"The cluster has {node_count} nodes, and the folder of results {folder} is on one of "
                f"them: {advice}."
            )
        logger.warning("Jobs are off: the cluster has %d nodes; %s.", node_count, advice)
        return None
    return FolderResults(folder)


def _bucket(url: str, endpoint_url: str | None) -> S3Results:
    parts = urlsplit(url)
    if not parts.netloc or parts.query or parts.fragment:
        raise ConfigError(f"jobs.results must be s3://BUCKET or s3://BUCKET/PREFIX, not '{url}'.")
    return S3Results(parts.netloc, parts.path, endpoint_url)


def _folder(config: JobsConfig, environment: Mapping[str, str]) -> Path:
    if config.results is not None:
        return Path(config.results).expanduser().absolute()
    database = store_address(config, environment).file
    return (
        data_folder(environment) if database is None else database.parent
    ).absolute() / "results"


def _is_shared(folder: Path) -> bool:
    """Test for a network file system, which every node may mount. Only Linux tells."""
    if not MOUNTS.exists():
        return False
    mounts = MOUNTS.read_text(errors="surrogateescape")
    return is_network(file_system_of(folder.resolve(), mounts))
