"""The choice of the store, and its check against the cluster's nodes."""

import builtins
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from serve_app.config.jobs import JobsConfig
from serve_app.errors import ConfigError
from serve_app.jobs.stores import check_nodes, data_folder, open_store, store_address

SERVER = "postgresql://me:secret@host/db"


def test_the_default_is_a_file_in_the_users_data() -> None:
    address = store_address(JobsConfig(), {"HOME": "/home/me"})
    assert address.file == Path("/home/me/.local/share/musicgen-serve/jobs.db")
    assert not address.named
    assert data_folder({"XDG_DATA_HOME": "/data", "HOME": "/x"}) == Path("/data/musicgen-serve")
    assert data_folder({"XDG_DATA_HOME": "relative", "HOME": "/x"}).is_relative_to("/x")


def test_the_configuration_goes_before_the_variable() -> None:
    environment = {"MUSICGEN_JOBS_STORE": SERVER, "OTHER": "sqlite:////other.db"}
    address = store_address(JobsConfig(store="sqlite:////a/jobs.db"), environment)
    assert (address.file, address.named) == (Path("/a/jobs.db"), True)
    assert store_address(JobsConfig(), environment).url == SERVER
    other = store_address(JobsConfig(store_env="OTHER"), environment)
    assert (other.file, other.named) == (Path("/other.db"), True)
    assert store_address(JobsConfig(store="sqlite:///a.db"), {}).file == Path("a.db")


@pytest.mark.parametrize(
    "value", ["mysql://me:secret@host", "me:secret", "sqlite:///", "postgres:"]
)
def test_a_variable_with_another_value_is_refused_without_it(value: str) -> None:
    with pytest.raises(ConfigError, match="MUSICGEN_JOBS_STORE must be") as error:
        open_store(JobsConfig(), {"MUSICGEN_JOBS_STORE": value})
    assert "secret" not in error.value.message


def test_an_sqlite_file_serves_one_node(caplog: pytest.LogCaptureFixture) -> None:
    named = JobsConfig(store="sqlite:////a/jobs.db")
    assert check_nodes(named, 1, {})
    with pytest.raises(ConfigError, match="2 nodes"):
        check_nodes(named, 2, {})
    with pytest.raises(ConfigError, match="postgresql"):
        check_nodes(JobsConfig(), 2, {"MUSICGEN_JOBS_STORE": "sqlite:///a.db"})
    assert check_nodes(JobsConfig(), 1, {})
    with caplog.at_level(logging.WARNING):
        assert not check_nodes(JobsConfig(), 2, {})
    assert "name a postgresql:// store" in caplog.text


def test_a_server_serves_many_nodes() -> None:
    assert check_nodes(JobsConfig(store=SERVER), 5, {})


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "serve_app.jobs.postgres", raising=False)
    original = builtins.__import__

    def without_psycopg(name: str, *arguments: Any) -> Any:
        if name.partition(".")[0] == "psycopg":
            raise ModuleNotFoundError(name)
        return original(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without_psycopg)
    with pytest.raises(ConfigError, match=r"pip install 'musicgen-serve\[postgres\]'"):
        open_store(JobsConfig(store=SERVER), {})
