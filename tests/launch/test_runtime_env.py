"""Packages of a `runtime_env`, looked for by a real pip."""

import ensurepip
import sys
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from serve_app.config.reader import read_config
from serve_app.launch import runtime_env
from serve_app.launch.error import OTHER, LaunchError
from serve_app.launch.runtime_env import check_packages, check_runtime_envs
from serve_app.machine import free_port
from tests.conftest import CONFIGS


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a pip that shares its cores with other tests."""
    monkeypatch.setattr(runtime_env, "_PATIENCE_S", 120.0)


@pytest.fixture(scope="module")
def pip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pip that comes with Python: an environment made by uv has none."""
    folder = tmp_path_factory.mktemp("pip")
    [wheel] = (Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl")
    with zipfile.ZipFile(wheel) as files:
        files.extractall(folder)
    return folder


@pytest.fixture
def python(pip: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """This Python, with pip."""
    monkeypatch.setenv("PYTHONPATH", str(pip))
    return sys.executable


@pytest.fixture
def index(tmp_path: Path) -> list[str]:
    """Options of pip, for a folder as its only source, with version 1 of the package `present`."""
    with zipfile.ZipFile(tmp_path / "present-1-py3-none-any.whl", "w") as wheel:
        about = "present-1.dist-info"
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: present\nVersion: 1\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    return ["--no-index", "--find-links", str(tmp_path)]


def fault(pip: Any, python: str) -> str:
    with pytest.raises(LaunchError) as caught:
        check_packages({"pip": pip}, python)
    assert caught.value.exit_code == OTHER
    assert "remove `pip` from the runtime_env" in str(caught.value)
    return str(caught.value)


def test_packages_that_are_there_pass(python: str, index: list[str], tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("present\n")
    check_packages({"pip": {"packages": str(file), "pip_install_options": index}}, python)


def test_an_index_that_cannot_be_reached_is_said(python: str) -> None:
    options = ["--index-url", f"http://127.0.0.1:{free_port()}/simple"]
    message = fault({"packages": ["no-such-package"], "pip_install_options": options}, python)
    assert "No matching distribution found for no-such-package; NewConnectionError(" in message
    assert "Connection refused" in message
    assert "<" not in message


def test_a_package_that_does_not_exist_is_said(python: str, index: list[str]) -> None:
    message = fault({"packages": ["present==2"], "pip_install_options": index}, python)
    assert "No matching distribution found for present==2. Check their names" in message


def test_variables_of_the_runtime_env_are_pips(python: str, index: list[str]) -> None:
    variables = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": index[-1]}
    check_packages({"pip": ["present==1", "# a comment"], "env_vars": variables}, python)


def test_variables_of_ray_are_left_to_ray(python: str) -> None:
    check_packages({"pip": ["-r ${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}/r.txt"]}, python)


def test_an_environment_without_pip_is_said(tmp_path: Path) -> None:
    venv.create(tmp_path, with_pip=False)
    message = fault(["present"], str(tmp_path / "bin" / "python"))
    assert "has no pip for Ray to copy. Install it (`uv pip install pip`)" in message


def test_a_slow_index_is_not_waited_for(
    python: str, index: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_env, "_PATIENCE_S", 0.01)
    check_packages({"pip": {"packages": ["absent"], "pip_install_options": index}}, python)


@pytest.mark.parametrize("place", ["application", "ingress", "model"])
def test_every_runtime_env_is_checked(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[Any] = []
    monkeypatch.setattr(runtime_env, "check_packages", checked.append)
    application = yaml.safe_load((CONFIGS / "nano.yaml").read_text())["applications"][0]
    args = application["args"]
    owner = {
        "application": application,
        "ingress": args.setdefault("ingress_deployment_config", {}).setdefault(
            "ray_actor_options", {}
        ),
        "model": args["models"][0]["deployment_config"]["ray_actor_options"],
    }[place]
    owner["runtime_env"] = {"pip": ["present"]}
    check_runtime_envs(application, read_config(args))
    assert checked == [{"pip": ["present"]}]
    owner["runtime_env"] = {"env_vars": {"A": "b"}}
    check_runtime_envs(application, read_config(args))
    assert len(checked) == 1
