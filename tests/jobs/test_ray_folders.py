"""Stores of jobs in folders that Ray deletes."""

from pathlib import Path

import pytest

from serve_app.config.jobs import JobsConfig
from serve_app.errors import ConfigError
from serve_app.jobs.result_stores import open_results
from serve_app.jobs.stores import open_store


@pytest.fixture
def working_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `working_dir` as Ray unpacks it, in which a replica runs."""
    folder = tmp_path / "session_1" / "runtime_resources" / "working_dir_files" / "_ray_pkg_1"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.usefixtures("working_dir")
def test_a_relative_store_is_refused_there() -> None:
    with pytest.raises(ConfigError, match=r"The job store .*_ray_pkg_1/jobs\.db.*absolute path"):
        open_store(JobsConfig(store="sqlite:///jobs.db"), {})


@pytest.mark.usefixtures("working_dir")
def test_relative_results_are_refused_there(tmp_path: Path) -> None:
    config = JobsConfig(store=f"sqlite:///{tmp_path}/jobs.db", results="results")
    with pytest.raises(ConfigError, match=r"The folder of results .*_ray_pkg_1/results"):
        open_results(config, {})


@pytest.mark.usefixtures("working_dir")
def test_absolute_places_are_taken(tmp_path: Path) -> None:
    config = JobsConfig(store=f"sqlite:///{tmp_path}/jobs.db")
    open_store(config, {})
    assert open_results(config, {}) is not None
