"""The results' store that a configuration names."""

from pathlib import Path

import pytest

from serve_app.config.jobs import JobsConfig
from serve_app.errors import ConfigError
from serve_app.jobs import result_stores
from serve_app.jobs.folder_results import FolderResults
from serve_app.jobs.result_stores import open_results
from serve_app.jobs.s3_results import S3Results

POSTGRES = "postgresql://db/jobs"


def folder_of(config: JobsConfig, **environment: str) -> Path:
    results = open_results(config, environment)
    assert isinstance(results, FolderResults)
    return results._root


def test_the_default_is_a_folder_beside_the_database() -> None:
    assert folder_of(JobsConfig(store="sqlite:////data/jobs.db")) == Path("/data/results")
    assert folder_of(JobsConfig(), MUSICGEN_JOBS_STORE="sqlite:////a/jobs.db") == Path("/a/results")


def test_without_a_database_file_the_default_is_in_the_users_data() -> None:
    assert folder_of(JobsConfig(), XDG_DATA_HOME="/data") == Path("/data/musicgen-serve/results")
    assert folder_of(JobsConfig(store=POSTGRES), HOME="/home/a") == Path(
        "/home/a/.local/share/musicgen-serve/results"
    )


def test_a_folder_may_be_named(tmp_path: Path) -> None:
    assert folder_of(JobsConfig(results=str(tmp_path))) == tmp_path


def test_a_bucket_may_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(result_stores, "S3Results", lambda *options: asked.append(options))
    for url in ("s3://music", "s3://music/jobs/a"):
        open_results(JobsConfig(results=url, s3_endpoint_url="http://minio:9000"))
    assert asked == [
        ("music", "", "http://minio:9000"), ("music", "/jobs/a", "http://minio:9000"),
    ]  # fmt: skip


@pytest.mark.parametrize("url", ["s3://", "s3:///prefix", "s3://music?x=1"])
def test_a_bucket_without_a_name_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="s3://BUCKET"):
        open_results(JobsConfig(results=url))


@pytest.mark.parametrize(
    "config", [JobsConfig(store=POSTGRES), JobsConfig(results="/results")], ids=["store", "results"]
)
def test_several_nodes_do_not_share_a_named_folder(config: JobsConfig) -> None:
    with pytest.raises(ConfigError, match="The cluster has 2 nodes"):
        open_results(config, {}, node_count=2)


def test_the_default_folder_of_several_nodes_turns_jobs_off(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert open_results(JobsConfig(), {}, node_count=3) is None
    assert "Jobs are off: the cluster has 3 nodes" in caplog.text


def test_several_nodes_share_a_bucket_and_a_network_file_system(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"1 0 0:1 / {tmp_path} rw - nfs4 server:/export rw\n")
    monkeypatch.setattr(result_stores, "MOUNTS", mounts)
    shared = open_results(JobsConfig(results=f"{tmp_path}/results"), {}, node_count=2)
    assert isinstance(shared, FolderResults)
    bucket = open_results(JobsConfig(results="s3://music"), {}, node_count=2)
    assert isinstance(bucket, S3Results)
