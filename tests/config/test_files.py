"""A configuration is found by its name, in the repository as in a wheel (tests/test_wheel.py)."""

from pathlib import Path

import pytest

from serve_app.config import files as config_files
from serve_app.config.files import find_config
from tests.conftest import CONFIGS


def test_every_file_of_the_repository_has_a_name() -> None:
    files = config_files.config_files()
    assert {file.resolve() for file in files.values()} == {*CONFIGS.resolve().glob("*.yaml")}
    assert {"nano", "small", "medium", "large", "all"} <= files.keys()


@pytest.mark.parametrize("name", ["./nano", "nano.yaml", "configs/nano.yaml", "/nano", "tiny", ""])
def test_any_other_text_is_a_path(name: str) -> None:
    assert find_config(name) == Path(name)


def test_a_name_is_not_a_file_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nano").write_text("applications: []")
    monkeypatch.chdir(tmp_path)
    assert find_config("nano").resolve() == CONFIGS.resolve() / "nano.yaml"


def test_the_files_inside_an_installed_package_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yaml").write_text("applications: []")
    monkeypatch.setattr(config_files, "_IN_WHEEL", tmp_path)
    assert config_files.config_files() == {"mine": tmp_path / "mine.yaml"}
